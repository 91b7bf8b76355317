"""What is planted in ratings of known times and descriptions is found again, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.dataset import Pairs, Ratings
from model.gibbs import Gibbs
from model.solvers import GibbsConfig
from tests.planted_ratings import (
    LEVEL,
    N_RATED,
    NOISE,
    PAIRS,
    SPREAD,
    START,
    by_description,
    by_time,
)

CONFIG = GibbsConfig(rank=2, noise_dof=50.0, n_features=4, likelihood="gaussian")


def train(training: Ratings) -> Gibbs:
    solver = Gibbs(CONFIG, training, device=torch.device("cpu"), seed=0)
    next(epoch for epoch in solver.epochs(None) if epoch.number == 40)
    return solver


def rmse(solver: Gibbs, pairs: Pairs, signal: Tensor) -> float:
    """Of ratings, which the noise is in, if all of those pairs were there."""
    error = solver.model.predict(pairs) - signal
    return float((error.square().mean() + NOISE**2).sqrt())


def spreads_in_time(solver: Gibbs) -> dict[str, float]:
    """The standard deviation of the effects of each scale, in rating units."""
    state = solver.model.state_dict()
    variances = state["chain0.effect_variances"].mean(0) * solver.model.scale.scale.square()
    scales, of_items = (state[f"grid0.{name}"].tolist() for name in ("scales", "of_items"))
    names = ["items" if of else f"{scale:g}" for scale, of in zip(scales, of_items, strict=True)]
    return dict(zip(names, variances.sqrt().tolist(), strict=True))


def spreads_of_descriptions(solver: Gibbs, ratings: Ratings) -> dict[str, float]:
    """The standard deviation of what a row's bias has of each column, in rating units."""
    chain, found = solver._chains[0], {}
    of_users, of_items = ratings.user_descriptions, ratings.item_descriptions
    for side, columns in ((chain.users, of_users), (chain.items, of_items)):
        for column, link in zip(columns, side.prior.links[1:], strict=True):
            found[column.name] = (link.part()[:, -1].std() * solver.model.scale.scale).item()
    return found


# What scales an effect may be found at, and the RMSE of the best fit beside that of the noise: of
# few ratings an effect is not known for sure, and a grid has its boundaries anywhere.
FOUND_AT = {
    "sittings": ({"100", "1000"}, 1.35),
    "days": ({"10000", "100000"}, 1.15),
    "months": ({"1e+06"}, 1.1),
    "items": ({"items"}, 1.05),
}


@pytest.mark.parametrize("planted", FOUND_AT)
def test_an_effect_is_found_at_its_scale(planted: str) -> None:
    training, test, signal = by_time(planted)
    scales, most = FOUND_AT[planted]
    solver = train(training)
    without = train(replace(training, times=None))
    assert rmse(solver, test, signal) < most * NOISE
    assert rmse(without, replace(test, times=None), signal) > 1.5 * NOISE
    found = spreads_in_time(solver)
    assert max(found, key=found.__getitem__) in scales, found
    total = sum(found[scale] ** 2 for scale in scales) ** 0.5
    assert SPREAD / 2 < total < SPREAD * 2, found
    for scale in found.keys() - scales:
        assert found[scale] < 0.5 * total, found


def test_a_level_that_all_share_is_found() -> None:
    training, test, signal = by_time("level")
    solver = train(training)
    assert rmse(solver, test, signal) < 1.03 * NOISE
    assert max(spreads_in_time(solver).values()) < 0.15 * SPREAD
    level = solver.model.state_dict()["chain0.level"].double().mean(0) * solver.model.scale.scale
    assert solver._chains[0].effects is not None
    steps = solver._chains[0].effects.grid.steps(training)
    months = ((training.times - START) / 3e6).long()  # type: ignore[operator]
    found = torch.stack([level[steps[months == month]].mean() for month in range(4)])
    expected = torch.from_numpy(LEVEL)
    torch.testing.assert_close(found - found.mean(), expected - expected.mean(), rtol=0, atol=0.1)


@pytest.mark.parametrize("shuffled", [False, True], ids=["of nothing", "shuffled"])
def test_times_that_tell_nothing_do_no_harm(shuffled: bool) -> None:
    ratios = []
    for seed in range(5):
        training, test, signal = by_time("nothing", n_users=240, seed=seed, shuffled=shuffled)
        without = train(replace(training, times=None))
        ratios.append(
            rmse(train(training), test, signal) / rmse(without, replace(test, times=None), signal)
        )
    assert np.mean(ratios) < 1.001, ratios


def test_what_descriptions_tell_is_found_and_of_items_without_ratings_known() -> None:
    ratings, signal, planted = by_description()
    solver = train(ratings)
    without = train(replace(ratings, user_descriptions=(), item_descriptions=()))
    known, new = (PAIRS.item_index < N_RATED), (PAIRS.item_index >= N_RATED)
    for pairs, most, beside in ((known, 1.25, 0.9), (new, 1.5, 0.5)):
        error = rmse(solver, PAIRS[pairs], signal[pairs])
        assert error < most * NOISE
        assert error < beside * rmse(without, PAIRS[pairs], signal[pairs])
    assert error < 0.5 * signal[new].std()
    found = spreads_of_descriptions(solver, ratings)
    for name, spread in planted.items():
        assert spread / 2 < found[name] < spread * 2, name
        assert max(found["useless"], found["age"]) < 0.5 * found[name]


def test_descriptions_that_tell_nothing_do_no_harm() -> None:
    ratios = []
    known = PAIRS.item_index < N_RATED
    for seed in range(5):
        ratings, signal, _ = by_description(seed=seed, n_each=60, matters=False)
        without = train(replace(ratings, user_descriptions=(), item_descriptions=()))
        ratios.append(
            rmse(train(ratings), PAIRS[known], signal[known])
            / rmse(without, PAIRS[known], signal[known])
        )
    assert np.mean(ratios) < 1.001, ratios
