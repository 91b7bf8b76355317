"""Which kind of question a set of queries asks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.splits import Split
from study.answers.asked import ENOUGH, SAID, kind_asked
from study.inputs import Data, load_data, with_pairs

DAY = 86_400.0
FIRST, LAST = 9e8, 9e8 + 99 * DAY
RANDOM_AND_LATEST = [Split.RANDOM, Split.LATEST]  # as a study of ratings with times meets them

Column = NDArray[np.float64]


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Each of 50 users rates 20 items: user u from day u on, for fifty days; the last on day 99."""
    users = np.repeat(np.arange(50), 20)
    days = np.repeat(np.arange(50), 20) + np.tile(np.linspace(0, 50, 20), 50)
    draw = np.random.default_rng(0)
    return load_data(
        {
            "user_id": users,
            "item_id": np.concatenate([draw.permutation(60)[:20] for _ in range(50)]),
            "rating": draw.integers(1, 6, 1000).astype(float),
            "timestamp": FIRST + days * DAY,
        },
        runs=tmp_path_factory.mktemp("runs"),
    )


def asked(
    ratings: Data,
    folder: Path,
    *,
    n: int = 200,
    users: int = 0,
    items: int = 0,
    times: Column | float | None = None,
) -> Data:
    """Queries of known users and items.

    Args:
        ratings: of which it is asked.
        folder: for what is cached.
        n: how many.
        users: of these, so many of users without ratings.
        items: so many of items without ratings.
        times: of them, if they have any.
    """
    rows = np.arange(n)
    pairs = {
        "user_id": rows % 50 + 1000 * (rows < users),
        "item_id": rows % 60 + 1000 * (rows < items),
    }
    if times is not None:
        pairs["timestamp"] = np.broadcast_to(times, n).astype(float)
    return with_pairs(ratings, pairs, runs=folder)


def last_of_users(n: int) -> Column:
    """When each query's user rated last."""
    return FIRST + (np.arange(n) % 50 + 50) * DAY


def test_pairs_at_any_time_are_missing_at_random(ratings: Data, tmp_path: Path) -> None:
    times = np.random.default_rng(1).uniform(FIRST, LAST, 200)
    found = kind_asked(asked(ratings, tmp_path, times=times), RANDOM_AND_LATEST)
    assert found is Split.RANDOM
    assert found not in SAID


def test_later_than_what_users_have_rated(ratings: Data, tmp_path: Path) -> None:
    n = 200
    times = last_of_users(n) - DAY * (np.arange(n) % 10 == 0)  # nine of ten
    pairs = asked(ratings, tmp_path, times=times)
    assert kind_asked(pairs, RANDOM_AND_LATEST) is Split.LATEST
    assert kind_asked(pairs, [Split.RANDOM]) is Split.LATEST
    fewer = asked(ratings, tmp_path, times=times - DAY * (np.arange(n) % 10 == 1))
    assert kind_asked(fewer, RANDOM_AND_LATEST) is Split.RANDOM


def test_later_than_all_ratings(ratings: Data, tmp_path: Path) -> None:
    pairs = asked(ratings, tmp_path, times=LAST)
    assert kind_asked(pairs, RANDOM_AND_LATEST) is Split.TIME
    n = 200
    some = np.where(np.arange(n) % 10 == 0, FIRST, LAST + DAY)
    assert kind_asked(asked(ratings, tmp_path, times=some), RANDOM_AND_LATEST) is Split.TIME
    fewer = np.where(np.arange(n) % 9 == 0, FIRST, LAST + DAY)
    assert kind_asked(asked(ratings, tmp_path, times=fewer), RANDOM_AND_LATEST) is Split.RANDOM


def test_pairs_without_a_time_are_of_the_present(ratings: Data, tmp_path: Path) -> None:
    assert kind_asked(asked(ratings, tmp_path), RANDOM_AND_LATEST) is Split.TIME


def test_a_handful_is_worth_no_training_of_its_own(ratings: Data, tmp_path: Path) -> None:
    few = ENOUGH - 1
    now = asked(ratings, tmp_path, n=few)
    assert kind_asked(now, RANDOM_AND_LATEST) is Split.LATEST
    assert kind_asked(now, [Split.RANDOM]) is Split.RANDOM
    assert kind_asked(now, [Split.TIME, Split.LATEST]) is Split.TIME
    assert kind_asked(asked(ratings, tmp_path, n=few, items=few), [Split.RANDOM]) is Split.RANDOM
    newcomers = asked(ratings, tmp_path, n=few, users=few, times=FIRST)
    assert kind_asked(newcomers, RANDOM_AND_LATEST) is Split.RANDOM
    enough = asked(ratings, tmp_path, n=ENOUGH)
    assert kind_asked(enough, [Split.RANDOM]) is Split.TIME


@pytest.mark.parametrize("times", [None, FIRST, LAST + DAY])
def test_items_without_ratings_are_asked_of_as_such_whenever(
    ratings: Data, tmp_path: Path, times: float | None
) -> None:
    pairs = asked(ratings, tmp_path, items=101, times=times)
    assert kind_asked(pairs, RANDOM_AND_LATEST) is Split.ITEMS
    half = asked(ratings, tmp_path, items=100, times=times)
    assert kind_asked(half, RANDOM_AND_LATEST) is not Split.ITEMS


def test_users_without_ratings_are_asked_of_as_such_or_as_of_later(
    ratings: Data, tmp_path: Path
) -> None:
    """Who is new at a known time is later than all; at no particular time just new."""
    past = asked(ratings, tmp_path, users=101, times=FIRST)
    assert kind_asked(past, RANDOM_AND_LATEST) is Split.USERS
    half = asked(ratings, tmp_path, users=100, times=FIRST)
    assert kind_asked(half, RANDOM_AND_LATEST) is Split.RANDOM
    later = asked(ratings, tmp_path, users=200, times=LAST)
    assert kind_asked(later, RANDOM_AND_LATEST) is Split.TIME
    everybody = asked(ratings, tmp_path, users=200, times=FIRST)
    assert kind_asked(everybody, RANDOM_AND_LATEST) is Split.USERS


def test_known_users_alone_tell_whether_their_queries_are_later(
    ratings: Data, tmp_path: Path
) -> None:
    pairs = asked(ratings, tmp_path, users=60, times=last_of_users(200))
    assert kind_asked(pairs, RANDOM_AND_LATEST) is Split.LATEST


def test_ratings_without_times_are_asked_of_at_random(ratings: Data, tmp_path: Path) -> None:
    pairs = asked(ratings, tmp_path, times=LAST)
    timeless = replace(
        pairs,
        ratings=replace(pairs.ratings, times=None),
        table=replace(pairs.table, times=None, query_times=None),
    )
    assert kind_asked(timeless, [Split.RANDOM]) is Split.RANDOM


def test_ratings_at_no_known_time_are_before_all(ratings: Data, tmp_path: Path) -> None:
    times = ratings.table.times
    assert times is not None
    is_last = times == FIRST + (ratings.table.user_ids.astype(int) + 50) * DAY
    gaps = np.where(is_last, np.nan, times)
    assert is_last.sum() == 50
    assert np.nanmax(gaps) < LAST
    data = load_data(
        {
            "user_id": ratings.table.user_ids,
            "item_id": ratings.table.item_ids,
            "rating": ratings.table.ratings,
            "timestamp": gaps,
        },
        runs=tmp_path,
    )
    pairs = asked(data, tmp_path, times=last_of_users(200) - DAY)
    assert kind_asked(pairs, RANDOM_AND_LATEST) is Split.LATEST


def test_nothing_is_asked(ratings: Data) -> None:
    assert ratings.table.n_queries == 0
    assert kind_asked(ratings, RANDOM_AND_LATEST) is Split.RANDOM
    assert kind_asked(ratings, [Split.LATEST]) is Split.LATEST


def test_whatever_is_not_at_random_is_said() -> None:
    assert set(SAID) == set(Split) - {Split.RANDOM}
