"""More ratings for a model that is trained: nearly what training with them comes to."""

import math
from dataclasses import replace

import pytest
import torch

from model.dataset import Ratings
from model.fold_in import Conditions, draw_rows
from model.posterior import Posterior
from model.solver import Model, mse
from model.solvers import SOLVERS, Config, make_solver
from model.updating import joined, outdated, updated

CPU = torch.device("cpu")
SETTINGS: dict[str, tuple[Config, int]] = {
    "als": (replace(SOLVERS["als"].default, rank=2), 30),
    "gibbs, Gaussian": (
        replace(SOLVERS["gibbs"].default, rank=2, n_features=4, likelihood="gaussian"),
        30,
    ),
    "gibbs, both": (replace(SOLVERS["gibbs"].default, rank=2, n_features=4), 30),
}
N_USERS, N_ITEMS = 140, 95  # that the model knows; ten users and five items come later


@pytest.fixture(scope="module")
def parts(planted: tuple[Ratings, Ratings, float]) -> tuple[Ratings, Ratings, Ratings]:
    """What is known, what comes later, and what is predicted; in half stars."""
    few = planted[0][torch.arange(4000)]
    few = replace(few, values=(few.values * 2).round() / 2)
    is_new = (few.user_index >= N_USERS) | (few.item_index >= N_ITEMS)
    is_new |= torch.arange(4000) % 10 == 0
    later = few[is_new]
    rows = torch.arange(len(later))
    known = replace(few[~is_new], n_users=N_USERS, n_items=N_ITEMS)
    return known, later[rows % 5 > 0], later[rows % 5 == 0]


def trained(name: str, ratings: Ratings, *, seed: int = 0) -> Model:
    config, epochs = SETTINGS[name]
    solver = make_solver(config, ratings, device=CPU, seed=seed)
    next(epoch for epoch in solver.epochs(None) if epoch.number == epochs)
    return solver.model


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "gibbs, both" else [])
        for name in SETTINGS
    ],
)
def test_what_is_taken_in_counts_nearly_as_if_it_was_trained_with(
    name: str, parts: tuple[Ratings, Ratings, Ratings]
) -> None:
    """Of whom little comes in, half of what training brings; of whom is new, nearly all."""
    old, new, test = parts
    is_known = (test.user_index < N_USERS) & (test.item_index < N_ITEMS)
    errors = torch.zeros(2, 3)
    for seed in range(1 if name == "als" else 3):
        model = trained(name, old, seed=seed)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        after = updated(model, old, new, seed=0)
        assert after
        whole = trained(name, joined(old, new), seed=seed)
        for row, here in enumerate((is_known, ~is_known)):
            some = test[here]
            unknown = replace(
                some,
                user_index=torch.where(some.user_index < N_USERS, some.user_index, -1),
                item_index=torch.where(some.item_index < N_ITEMS, some.item_index, -1),
            )
            found = mse(model, unknown), mse(after, some), mse(whole, some)
            errors[row] += torch.tensor(found)
        again = model.state_dict()
        assert all(torch.equal(value, again[key]) for key, value in before.items())
    worst, found, best = errors.unbind(1)
    assert (found < 1.15 * best).all()
    assert (worst - found > torch.tensor([0.3, 0.6]) * (worst - best)).all()


def test_ratings_in_two_parts_come_to_the_regression_on_all(
    parts: tuple[Ratings, Ratings, Ratings],
) -> None:
    """A user's row in a Gaussian draw, of old ratings and new: the textbook's formula on both."""
    model = trained("gibbs, Gaussian", parts[0])
    assert isinstance(model, Posterior)
    old, draw = parts[0], model.draws()[-1]
    one = model.with_draws([[draw]])
    user = 7
    mine = old[old.user_index == user]
    some, more = mine[torch.arange(3)], replace(mine[torch.arange(3, len(mine))])
    assert len(more) > 5
    # The row as the first three would have left it.
    precision = (draw.precision * draw.user_noise[user])[None]

    def solved(ratings: Ratings) -> torch.Tensor:
        given = Conditions(
            others=draw.items[ratings.item_index].float()[None],
            other_noise=draw.item_noise[ratings.item_index][None],
            precision=precision,
            thresholds=torch.empty(1, 0).double(),
            prior_mean=draw.prior_mean[None],
            prior_precision=draw.prior_precision[None],
            noise_dof=math.inf,
        )
        targets = (ratings.values - model.scale.mean) / model.scale.scale
        levels = torch.zeros(len(ratings), dtype=torch.int64)
        generator = torch.Generator().manual_seed(0)
        return draw_rows(given, targets, levels, generator=generator)[0][0]

    means = draw.user_means.clone()
    means[user] = solved(some).half()
    begun = one.with_draws([[replace(draw, user_means=means)]])
    kept = torch.cat([old.user_index != user, torch.ones(3, dtype=torch.bool)])
    known = replace(
        old,
        user_index=torch.cat([old.user_index, some.user_index])[kept],
        item_index=torch.cat([old.item_index, some.item_index])[kept],
        values=torch.cat([old.values, some.values])[kept],
    )
    after = updated(begun, known, more, seed=0)
    assert isinstance(after, Posterior)
    found = after.draws()[0].user_means[user].double()
    torch.testing.assert_close(found, solved(mine), rtol=0, atol=0.01)
    assert (found - means[user]).abs().max() > 0.05


def test_a_pair_rated_again_has_its_newer_rating(few_ratings: Ratings) -> None:
    again = replace(few_ratings[torch.arange(3)], values=torch.tensor([9.0, 9.0, 9.0]).double())
    whole = joined(few_ratings, again)
    assert len(whole) == len(few_ratings)
    assert (whole.values == 9.0).sum() == 3
    timed = replace(few_ratings, times=torch.arange(120).double())
    assert joined(timed, again).times.isnan().sum() == 3


def test_an_older_rating_of_a_pair_replaces_none(few_ratings: Ratings) -> None:
    """Of pairs in any order; without times of both the new one counts."""
    n = len(few_ratings)
    timed = replace(few_ratings, times=torch.arange(n, dtype=torch.float64))
    rows = torch.tensor([5, 0, n - 1, 7])
    times = torch.tensor([4.0, 3.0, n + 1.0, torch.nan], dtype=torch.float64)
    again = replace(timed[rows], times=times)
    assert outdated(again, timed).tolist() == [True, False, False, False]
    assert outdated(again[:0], timed).tolist() == []
    assert not outdated(again, few_ratings).any()
    assert not outdated(again, timed[:0]).any()
    n_items = few_ratings.n_items
    other = replace(again, item_index=torch.full_like(rows, n_items), n_items=n_items + 1)
    assert not outdated(other, timed).any()  # of no pair that was rated
