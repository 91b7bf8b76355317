"""Levels: offsets of whoever has few ratings, and of what comes later, read off residuals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.dataset import Pairs, Ratings
from model.factorization import Factorization
from model.splits import Split
from study.answers.levels import EDGES, N_GROUPS, Levels, Residuals

STD = 1.0
MANY = EDGES[-1]


def residuals_of(
    n: int = 4000,
    seed: int = 0,
    *,
    offset: float = 0.0,
    of_new_users: float = 0.0,
    of_new_items: float = 0.0,
    n_rows: int = 200,
    own: float = 0.0,
    slope: float = 1.0,
    weight: float = 1.0,
) -> Residuals:
    """Residuals of users and items of whom every fourth is new.

    Args:
        n: how many.
        seed: of the noise, of standard deviation 1.
        offset: of all.
        of_new_users: on top.
        of_new_items: on top.
        n_rows: users, and items.
        own: standard deviation of what a user's residuals have in common.
        slope: of ratings on predictions, whose standard deviation is 0.5.
        weight: likewise of what they are beyond biases alone, of standard deviation 0.2.
    """
    draw = np.random.default_rng(seed)
    users, items = draw.integers(0, n_rows, (2, n))
    is_new_user, is_new_item = users % 4 == 0, items % 4 == 0
    values = draw.normal(offset, 1.0, n) + draw.normal(0, own, n_rows)[users]
    values += of_new_users * is_new_user + of_new_items * is_new_item
    above, beyond = draw.normal(0, 0.5, n), draw.normal(0, 0.2, n)
    return Residuals(
        values=values + (slope - 1) * above + (weight - 1) * beyond,
        above=above,
        beyond=beyond,
        mean=3.0,
        users=users,
        items=items,
        user_counts=np.where(is_new_user, 0, MANY + users),
        item_counts=np.where(is_new_item, 0, MANY + items),
    )


def fitted(*splits: Residuals, kind: Split = Split.RANDOM) -> Levels:
    return Levels.fitted(splits, kind=kind, std=STD)


def test_planted_offsets_are_found() -> None:
    splits = [residuals_of(seed=seed, of_new_users=0.4, of_new_items=-0.5) for seed in range(3)]
    found = fitted(*splits)
    assert found.all == 0
    assert found.by_user[0] == pytest.approx(0.4, abs=0.06)
    assert found.by_item[0] == pytest.approx(-0.5, abs=0.06)
    assert found.by_user[1:] == found.by_item[1:] == (0.0,) * (N_GROUPS - 1)


def test_users_and_items_are_told_apart() -> None:
    """Most pairs of new items are of new users too, whose offset is not the items'."""
    split = residuals_of(n=20_000, of_new_users=0.4)
    kept = (split.items % 4 > 0) | (split.users % 4 == 0) | (split.users % 8 == 1)
    split = replace(
        split, **{name: column[kept] for name, column in vars(split).items() if name != "mean"}
    )
    found = fitted(split, split)
    assert found.by_user[0] == pytest.approx(0.4, abs=0.05)
    assert found.by_item[0] == pytest.approx(0.0, abs=0.06)


@pytest.mark.parametrize("kind", [Split.RANDOM, Split.LATEST, Split.TIME])
def test_nothing_is_added_where_there_is_nothing_to_add(kind: Split) -> None:
    found = fitted(*(residuals_of(seed=seed) for seed in range(3)), kind=kind)
    assert np.abs([found.all, *found.by_user, *found.by_item]).max() < 0.05
    counts = np.array([0, 1, 5, 20, 1000])
    assert np.abs(found.at(counts, counts)).max() < 0.1


def test_the_level_of_all_may_only_have_moved_with_time() -> None:
    splits = [residuals_of(seed=seed, offset=0.3) for seed in range(3)]
    later = fitted(*splits, kind=Split.TIME)
    assert later.all == pytest.approx(0.3, abs=0.06)
    assert np.abs(later.by_user).max() < 0.05
    assert fitted(*splits).all == 0


def test_few_users_shrink_it() -> None:
    """As many residuals tell less of all users if a few said them."""
    found = []
    for n_rows in (400, 40, 8):
        split = residuals_of(n_rows=n_rows, of_new_users=0.4, own=0.5)
        here = split.users % 4 == 0
        shift = fitted(split).by_user[0] / split.values[here].mean()
        found.append(shift)
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.75
    assert found[-1] < 0.5


def test_one_user_counts_half() -> None:
    split = residuals_of()
    one = replace(split, users=np.where(split.user_counts == 0, 0, split.users))
    mean = one.values[one.user_counts == 0].mean()
    assert fitted(one).by_user[0] == pytest.approx(mean / 2, abs=0.01)


def test_two_users_who_agree_by_chance_move_little() -> None:
    split = residuals_of()
    agree = {
        "values": np.append(split.values, [-1.0, -1.01, -0.99]),
        "above": np.append(split.above, [0.1, 0.1, 0.1]),
        "beyond": np.append(split.beyond, [0.1, 0.1, 0.1]),
        "mean": split.mean,
        "users": np.append(split.users, [1000, 1000, 1001]),
        "items": np.append(split.items, [1, 2, 3]),
        "user_counts": np.append(split.user_counts, [2, 2, 3]),
        "item_counts": np.append(split.item_counts, [MANY] * 3),
    }
    assert -0.25 < fitted(Residuals(**agree)).by_user[2] < 0


def test_who_has_told_of_themselves_is_moved_less() -> None:
    """The same few residuals move the predictions of somebody with ratings less."""
    split = residuals_of(n=300, of_new_users=0.8)
    found = []
    for group, n_ratings in enumerate((0, *EDGES[:-1])):
        counts = np.where(split.user_counts == 0, n_ratings, split.user_counts)
        found.append(fitted(replace(split, user_counts=counts)).by_user[group])
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.6 * found[0]


def test_times_that_differ_shrink_it() -> None:
    alike = [residuals_of(seed=seed, of_new_users=0.4) for seed in range(3)]
    unlike = [
        residuals_of(seed=seed, of_new_users=offset) for seed, offset in enumerate((0.0, 0.4, 0.8))
    ]
    steady = fitted(*alike, kind=Split.TIME).by_user[0]
    assert steady == pytest.approx(0.4, abs=0.07)
    assert 0 < fitted(*unlike, kind=Split.TIME).by_user[0] < steady / 2
    opposite = [
        residuals_of(seed=seed, offset=offset) for seed, offset in enumerate((-0.3, 0.3, 0.4))
    ]
    assert abs(fitted(*opposite, kind=Split.TIME).all) < 0.04


def test_one_time_counts_half_and_one_draw_whole() -> None:
    split = residuals_of(n=40_000, n_rows=2000, of_new_users=0.4)
    assert fitted(split, kind=Split.RANDOM).by_user[0] == pytest.approx(0.4, abs=0.03)
    assert fitted(split, kind=Split.TIME).by_user[0] == pytest.approx(0.2, abs=0.03)


def test_who_has_more_than_a_few_ratings_is_left_alone() -> None:
    """However far off they are: of random splits nothing, of later ones what all have in common."""
    known = residuals_of(seed=1)
    split = replace(known, values=known.values + (known.user_counts >= MANY))
    found = fitted(split, split)
    assert (found.all, found.by_user[-1], found.by_item[-1]) == (0.0, 0.0, 0.0)
    many = np.array([MANY, 10**6])
    assert found.at(many, many).tolist() == [0.0, 0.0]


def test_each_number_of_ratings_has_its_group() -> None:
    found = Levels(
        all=0.5, by_user=(1.0, 2.0, 3.0, 4.0, 5.0, 0.0), by_item=(10.0, 20.0, 30.0, 40.0, 50.0, 0.0)
    )
    counts = np.array([0, 1, 2, 3, 4, 7, 8, 15, 16, 500])
    many = np.full(10, MANY)
    assert (found.at(counts, many) - 0.5).tolist() == [1, 2, 3, 3, 4, 4, 5, 5, 0, 0]
    assert (found.at(many, counts) - 0.5).tolist() == [10, 20, 30, 30, 40, 40, 50, 50, 0, 0]
    assert found.at(counts[:1], counts[:1]).tolist() == [11.5]


def test_no_levels_add_nothing_and_kept_ones_are_found_again() -> None:
    counts = np.arange(40)
    assert not Levels.none().at(counts, counts).any()
    found = fitted(residuals_of(of_new_users=0.4), kind=Split.TIME)
    again = Levels.of(found.to_keep())
    assert again.at(counts, counts) == pytest.approx(found.at(counts, counts), abs=2e-6)


def test_larger_ratings_have_larger_levels() -> None:
    splits = [residuals_of(seed=seed, of_new_users=0.4) for seed in range(3)]
    tenfold = [replace(one, values=10 * one.values) for one in splits]
    found = Levels.fitted(tenfold, kind=Split.TIME, std=10 * STD)
    assert found.by_user[0] == pytest.approx(10 * fitted(*splits, kind=Split.TIME).by_user[0])


def test_predictions_that_tell_too_much_are_shrunk() -> None:
    """Of half of it, and of nothing: the slope is the planted one, and their own mean stays."""
    half = fitted(*(residuals_of(seed=seed, slope=0.5) for seed in range(3)))
    assert half.slope == pytest.approx(0.5, abs=0.05)
    counts = np.full(2, MANY)
    assert half.applied(np.array([4.0, 3.0]), counts, counts) == pytest.approx(
        [3.0 + half.slope, 3.0]
    )
    assert fitted(residuals_of(slope=0.0)).slope < 0.05
    assert fitted(residuals_of(slope=-0.5)).slope == 0.0
    assert Levels.of(half.to_keep()).slope == pytest.approx(half.slope, abs=1e-6)


@pytest.mark.parametrize("slope", [0.98, 1.0, 1.5])
def test_honest_predictions_stay_exactly_as_they_are(slope: float) -> None:
    found = fitted(*(residuals_of(seed=seed, slope=slope) for seed in range(3)))
    assert found.slope == 1.0
    assert "slope" not in found.to_keep()  # as a version before kept it, which is still read
    predictions, counts = np.array([0.1, 0.7]), np.full(2, MANY)
    assert found.applied(predictions, counts, counts).tolist() == [0.1, 0.7]


def test_what_is_found_beyond_biases_by_chance_is_left_to_them() -> None:
    """Of half of it, and of nothing: predictions lie between both as they are planted."""
    splits = [residuals_of(seed=seed, weight=0.5) for seed in range(3)]
    half = fitted(*splits)
    assert half.weight == pytest.approx(0.5, abs=0.1)
    assert half.slope == 1.0
    assert Levels.of(half.to_keep()).weight == pytest.approx(half.weight, abs=1e-6)
    nothing = fitted(*(residuals_of(seed=seed, weight=-0.5) for seed in range(3)))
    assert nothing.weight == 0.0

    model = Factorization(2, 1, rank=0)
    model.global_mean.fill_(3.0)
    pairs = Pairs(user_index=torch.tensor([0, 1]), item_index=torch.tensor([0, 0]))
    predictions = np.array([4.0, 3.0])
    blended = half.blended(predictions, pairs, lambda: model)
    assert blended == pytest.approx([3.0 + half.weight, 3.0])
    assert nothing.blended(predictions, pairs, lambda: model).tolist() == [3.0, 3.0]


def test_how_far_off_all_are_says_nothing_of_slopes() -> None:
    """As of items that are held out whole, of which models know that nobody rated them."""
    split = residuals_of(n=10_000, offset=0.6, of_new_items=0.2)
    found = fitted(replace(split, above=split.above - 0.6, beyond=split.beyond - 0.6))
    assert (found.weight, found.slope) == (1.0, 1.0)


@pytest.mark.parametrize("weight", [0.9, 1.0, 1.5])
def test_models_that_find_more_than_biases_answer_alone(weight: float) -> None:
    """Without a look at biases; what is little more than chance is theirs as well."""
    found = fitted(*(residuals_of(seed=seed, weight=weight) for seed in range(3)))
    assert found.weight == 1.0
    assert "weight" not in found.to_keep()
    predictions = np.array([4.0, 3.0])
    pairs = Pairs(user_index=torch.tensor([0, 1]), item_index=torch.tensor([0, 0]))
    assert found.blended(predictions, pairs, pytest.fail) is predictions


@pytest.mark.parametrize("heavy", [False, True])
def test_models_of_logarithms_are_not_beside_biases_of_ratings(
    monkeypatch: pytest.MonkeyPatch, heavy: bool
) -> None:
    monkeypatch.setattr("study.answers.levels.has_heavy_tail", lambda _: heavy)
    ratings = Ratings(
        user_index=torch.tensor([0, 1]),
        item_index=torch.tensor([0, 1]),
        values=torch.tensor([1.0, 3.0], dtype=torch.float64),
        n_users=2,
        n_items=2,
    )
    found = Residuals.of(ratings, ratings, np.array([2.0, 2.5]), biases=np.array([2.0, 2.0]))
    assert found.beyond.tolist() == ([0.0, 0.0] if heavy else [0.0, 0.5])
    assert found.above.tolist() == [0.0, 0.5]
    assert found.values.tolist() == [-1.0, 0.5]


def test_a_slope_that_may_be_chance_counts_less() -> None:
    """Of 40 residuals it is nothing, of 4,000 nearly what it is; users in common tell less."""
    few, some, many = (
        np.mean([fitted(residuals_of(n=n, seed=seed, slope=0.4)).slope for seed in range(20)])
        for n in (40, 400, 4000)
    )
    assert few < 0.1 < some < many == pytest.approx(0.4, abs=0.03)
    split = residuals_of(n=400, slope=0.6)
    few_users = replace(split, users=split.users % 4, above=split.above)
    assert fitted(few_users).slope <= fitted(split).slope


def test_of_few_residuals_what_may_be_chance_is_not_added() -> None:
    for seed in range(5):
        found = fitted(residuals_of(n=100, seed=seed))
        assert sum(shift != 0 for shift in found.by_user + found.by_item) <= 2
    assert fitted(residuals_of(n=100, of_new_users=1.0)).by_user[0] > 0.4
