"""Splits of ratings, each for a question: at random, of the latest, of whole users and items."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.dataset import UNKNOWN, Description, Ratings, index_ratings
from model.splits import Split, as_new, split
from storage.ratings import RatingsTable
from tests.pairs import numbered

LATER = [Split.LATEST, Split.TIME]
WHOLE = [Split.ITEMS, Split.USERS]


def timed(n_ratings: int = 1000, *, n_users: int = 30, seed: int = 0) -> Ratings:
    """Ratings at different times in random order, whose values are their row numbers."""
    draw = np.random.default_rng(seed)
    return Ratings(
        n_users=n_users,
        n_items=40,
        user_index=torch.from_numpy(draw.integers(0, n_users, n_ratings)),
        item_index=torch.from_numpy(draw.integers(0, 40, n_ratings)),
        times=torch.from_numpy(draw.permutation(n_ratings) * 60.0 + 9e8),
        values=torch.arange(n_ratings).double(),
    )


def at(ratings: Ratings, times: NDArray[np.float64]) -> Ratings:
    """The same ratings at other times."""
    return replace(ratings, times=torch.from_numpy(times))


def times_of(ratings: Ratings) -> NDArray[np.float64]:
    assert ratings.times is not None
    times: NDArray[np.float64] = ratings.times.numpy()
    return times


def assert_complete(ratings: Ratings, parts: tuple[Ratings, Ratings]) -> None:
    """All ratings are in one of two parts, in the order in which they were."""
    together = torch.cat([part.values for part in parts])
    assert torch.equal(together.sort().values, ratings.values.sort().values)
    for part in parts:
        assert len(part) > 0
        assert torch.equal(part.values, part.values.sort().values)
        rows = part.values.long()
        assert torch.equal(part.user_index, ratings.user_index[rows])
        assert torch.equal(part.item_index, ratings.item_index[rows])
        if ratings.times is not None:
            np.testing.assert_array_equal(times_of(part), times_of(ratings)[rows])
        assert (part.n_users, part.n_items) == (ratings.n_users, ratings.n_items)


@pytest.mark.parametrize(
    ("n_ratings", "n_validation"), [(2, 1), (3, 1), (14, 1), (16, 2), (100, 10), (1234, 123)]
)
def test_a_split_is_90_to_10_disjoint_and_complete(n_ratings: int, n_validation: int) -> None:
    ratings = numbered(n_ratings)
    training, validation = split(ratings, seed=1)
    assert (len(training), len(validation)) == (n_ratings - n_validation, n_validation)
    together = torch.cat([training.values, validation.values])
    assert torch.equal(together.sort().values, ratings.values)
    for part in (training, validation):
        assert (part.n_users, part.n_items) == (ratings.n_users, ratings.n_items)
        assert torch.equal(part.user_index, part.values.long())
        assert torch.equal(part.item_index, part.values.long() % 5)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(0, [3, 11, 13, 20]), (1, [9, 31, 36, 39]), (2**32 - 1, [12, 20, 21, 38])],
)
def test_a_seed_means_the_same_split_for_good(seed: int, expected: list[int]) -> None:
    assert split(numbered(40), seed=seed)[1].values.tolist() == expected


def test_a_split_is_shuffled_by_its_seed() -> None:
    in_validation = torch.zeros(200)
    for seed in range(200):
        in_validation[split(numbered(200), seed=seed)[1].user_index] += 1
    assert in_validation.sum() == 200 * 20
    assert in_validation.min() >= 5
    assert in_validation.max() <= 40


def test_a_split_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), str(np.random.get_state())
    split(numbered(40), seed=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]


def test_the_order_of_lines_does_not_change_the_split() -> None:
    draw = np.random.default_rng(9)
    pairs = draw.permutation(20 * 30)[:300]
    values = draw.normal(size=300)
    found = []
    for order in (np.arange(300), draw.permutation(300)):
        users, items = np.divmod(pairs[order].astype(np.int32), 30)
        table = RatingsTable.from_columns(
            user_ids=users + 1,
            item_ids=items + 1,
            ratings=values[order],
            query_user_ids=users[:0],
            query_item_ids=items[:0],
        )
        ratings, _, _ = index_ratings(table.user_ids, table.item_ids, table.ratings)
        found.append(split(ratings, seed=3)[1].values.tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("n_ratings", [0, 1])
def test_too_few_ratings_to_split(n_ratings: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 ratings to split, got {n_ratings}"):
        split(numbered(n_ratings), seed=0)


@pytest.mark.parametrize("kind", Split)
def test_every_kind_leaves_nothing_out_and_holds_out_a_tenth(kind: Split) -> None:
    ratings = timed()
    parts = split(ratings, seed=3, kind=kind)
    assert_complete(ratings, parts)
    assert len(parts[1]) == pytest.approx(100, abs=40 if kind in WHOLE else 15)


@pytest.mark.parametrize("kind", Split)
@pytest.mark.parametrize("window", [0, 1, 5])
def test_two_ratings_are_one_and_one(kind: Split, window: int) -> None:
    for one in ("user_index", "item_index"):  # of one user, of one item, of neither
        ratings = timed(2)
        ratings = replace(ratings, **{one: torch.zeros(2, dtype=torch.int64)})
        training, validation = split(ratings, seed=0, kind=kind, window=window)
        assert (len(training), len(validation)) == (1, 1)


@pytest.mark.parametrize("kind", LATER)
def test_later_splits_need_times(kind: Split) -> None:
    with pytest.raises(ValueError, match=f"expected times for the split {kind}, got none"):
        split(numbered(40), seed=0, kind=kind)


@pytest.mark.parametrize("kind", Split)
def test_every_kind_is_the_same_for_a_seed(kind: Split) -> None:
    found = [split(timed(), seed=5, kind=kind)[1].values.tolist() for _ in range(2)]
    assert found[0] == found[1]
    other = split(timed(), seed=6, kind=kind)[1].values.tolist()
    assert (other == found[0]) is (kind in LATER)  # times that differ leave nothing to chance


def test_latest_is_the_last_tenth_of_each_user() -> None:
    ratings = timed()
    training, validation = split(ratings, seed=0, kind=Split.LATEST)
    for user in range(ratings.n_users):
        mine = ratings.user_index == user
        held_out = validation.user_index == user
        assert held_out.sum() == round(0.1 * mine.sum().item())
        before = times_of(training)[training.user_index == user]
        assert times_of(validation)[held_out].min() > before.max()


@pytest.mark.parametrize(("n", "n_held_out"), [(1, 0), (5, 0), (6, 1), (14, 1), (16, 2), (40, 4)])
def test_of_users_of_a_few_ratings_none_is_held_out(n: int, n_held_out: int) -> None:
    ratings = timed(100 + n, n_users=2)
    users = (torch.arange(100 + n) >= 100).long()
    ratings = replace(ratings, user_index=users)
    _, validation = split(ratings, seed=0, kind=Split.LATEST)
    assert (validation.user_index == 0).sum() == 10
    assert (validation.user_index == 1).sum() == n_held_out


def test_where_all_users_have_a_few_ratings_the_last_of_all_is_held_out() -> None:
    ratings = timed(40, n_users=40)
    ratings = replace(ratings, user_index=torch.arange(40))
    _, validation = split(ratings, seed=0, kind=Split.LATEST)
    assert times_of(validation).tolist() == [times_of(ratings).max()]


@pytest.mark.parametrize("n", [10, 997])
def test_time_is_the_last_tenth_of_all(n: int) -> None:
    ratings = timed(n)
    training, validation = split(ratings, seed=0, kind=Split.TIME)
    assert len(validation) == round(0.1 * n)
    assert times_of(validation).min() > times_of(training).max()


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_items_and_users_are_held_out(kind: Split) -> None:
    ratings = timed()
    held_out = []
    for seed in range(20):
        training, validation = split(ratings, seed=seed, kind=kind)
        parts = [
            (p.item_index if kind is Split.ITEMS else p.user_index) for p in (training, validation)
        ]
        assert not set(parts[0].tolist()) & set(parts[1].tolist())
        largest = torch.bincount(torch.cat(parts)).max()
        assert 100 <= len(validation) < 100 + largest
        held_out.append(set(parts[1].tolist()))
    rows = ratings.n_items if kind is Split.ITEMS else ratings.n_users
    assert set().union(*held_out) == set(range(rows)) or len(set().union(*held_out)) > 0.7 * rows


@pytest.mark.parametrize("kind", WHOLE)
def test_who_has_no_ratings_is_not_drawn(kind: Split) -> None:
    few = timed(30, n_users=3)
    many = replace(few, n_users=10_000, n_items=10_000)
    for seed in range(5):
        expected = split(few, seed=seed, kind=kind)[1].values
        assert torch.equal(split(many, seed=seed, kind=kind)[1].values, expected)


@pytest.mark.parametrize("kind", WHOLE)
def test_one_rating_of_a_single_item_or_user_is_left(kind: Split) -> None:
    one = torch.zeros(50, dtype=torch.int64)
    ratings = replace(timed(50), user_index=one, item_index=one)
    training, validation = split(ratings, seed=0, kind=kind)
    assert (len(training), len(validation)) == (1, 49)


@pytest.mark.parametrize("kind", LATER)
@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_further_back_is_of_the_training_before(kind: Split, window: int) -> None:
    ratings = timed()
    training, validation = split(ratings, seed=4, kind=kind, window=window)
    earlier = split(ratings, seed=4, kind=kind, window=window - 1)
    again = split(earlier[0], seed=4, kind=kind)
    assert torch.equal(training.values, again[0].values)
    assert torch.equal(validation.values, again[1].values)
    assert not set(validation.values.tolist()) & set(earlier[1].values.tolist())
    if kind is Split.TIME:
        assert times_of(validation).max() < times_of(earlier[1]).min()


@pytest.mark.parametrize("kind", LATER)
def test_windows_go_as_far_back_as_there_are_two_ratings(kind: Split) -> None:
    first = times_of(timed(4)).argsort()[:2]
    training, validation = split(timed(4), seed=0, kind=kind, window=100)
    assert training.values.tolist() + validation.values.tolist() == first.tolist()


@pytest.mark.parametrize("kind", LATER)
def test_what_has_no_time_is_not_held_out(kind: Split) -> None:
    ratings = timed()
    unknown = np.random.default_rng(1).random(1000) < 0.3
    ratings = at(ratings, np.where(unknown, np.nan, times_of(ratings)))
    for window in range(3):
        parts = split(ratings, seed=0, kind=kind, window=window)
        assert np.isfinite(times_of(parts[1])).all()
        if window == 0:
            assert_complete(ratings, parts)
            assert len(parts[1]) == pytest.approx(100, abs=15)


@pytest.mark.parametrize("kind", LATER)
@pytest.mark.parametrize("n_known", [0, 1])
def test_where_hardly_any_has_a_time_one_is_held_out(kind: Split, n_known: int) -> None:
    times = np.full(200, np.nan)
    times[17:][:n_known] = 9e8
    parts = split(at(timed(200), times), seed=0, kind=kind)
    assert (len(parts[0]), len(parts[1])) == (199, 1)
    assert n_known == 0 or parts[1].values.tolist() == [17.0]


@pytest.mark.parametrize("kind", LATER)
def test_of_ratings_of_one_time_the_seed_chooses(kind: Split) -> None:
    """As many as else are held out, whatever the order of rows: no row is favoured."""
    ratings = at(timed(), np.full(1000, 9e8))
    size = len(split(timed(), seed=0, kind=kind)[1])
    held_out = np.zeros(1000)
    for seed in range(100):
        validation = split(ratings, seed=seed, kind=kind)[1]
        assert len(validation) == size
        held_out[validation.values.long()] += 1
    assert held_out.min() > 0
    assert held_out[500:].sum() / held_out.sum() == pytest.approx(0.5, abs=0.02)


def test_of_ratings_that_tie_at_the_edge_some_are_held_out() -> None:
    times = np.repeat([1.0, 2.0, 3.0], [50, 40, 10])
    times[-10:-5] = 2.0  # 45 of the second, five of the last
    training, validation = split(at(timed(100), times), seed=0, kind=Split.TIME)
    assert sorted(times_of(validation)) == [2.0] * 5 + [3.0] * 5
    assert times_of(training).max() == 2.0


@pytest.mark.parametrize("kind", [*LATER, *WHOLE])
def test_other_splits_leave_the_global_generators_alone(kind: Split) -> None:
    before = torch.get_rng_state(), str(np.random.get_state())
    split(timed(), seed=0, kind=kind)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]


@pytest.mark.parametrize("kind", WHOLE)
def test_who_has_nothing_to_learn_from_is_unknown_unless_described(kind: Split) -> None:
    ratings = timed()
    training, held_out = split(ratings, seed=0, kind=kind)
    found = as_new(held_out, training)
    new, other = ("item", "user") if kind is Split.ITEMS else ("user", "item")
    assert (getattr(found, f"{new}_index") == UNKNOWN).all()
    assert torch.equal(getattr(found, f"{other}_index"), getattr(held_out, f"{other}_index"))
    assert torch.equal(found.values, held_out.values)
    n_rows = getattr(ratings, f"n_{new}s")
    about = Description(name="age", labels=("old",), values=torch.ones(n_rows, 1))
    described = replace(training, **{f"{new}_descriptions": (about,)})
    kept = as_new(held_out, described)
    assert torch.equal(getattr(kept, f"{new}_index"), getattr(held_out, f"{new}_index"))


def test_who_is_unknown_already_stays_so() -> None:
    ratings = timed()
    users = torch.where(ratings.user_index == 3, UNKNOWN, ratings.user_index)
    found = as_new(replace(ratings, user_index=users), ratings)
    assert torch.equal(found.user_index, users)
