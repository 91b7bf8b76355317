"""What is planted in ratings of known times and descriptions is found again, and nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Pairs, Ratings
from model.descriptions import of_categories, of_numbers, of_several
from model.gibbs import Gibbs
from model.solvers import GibbsConfig
from tests.pairs import pairs_of

N_ITEMS, NOISE = 80, 0.4
SPREAD = 0.6  # of what is planted
CONFIG = GibbsConfig(rank=2, noise_dof=50.0, n_features=4, likelihood="gaussian")
START = 1.2e9
LEVEL = np.array([-0.8, 0.2, 0.6, 0.0])  # of each month

N_FANS, N_FILMS, N_RATED = 100, 200, 180  # where there are descriptions: the last have no ratings
PAIRS = pairs_of(*torch.cartesian_prod(torch.arange(N_FANS), torch.arange(N_FILMS)).mT)

Array = NDArray[Any]


def by_time(
    planted: str, *, n_users: int = 120, seed: int = 0, shuffled: bool = False
) -> tuple[Ratings, Ratings, Tensor]:
    """Training and test ratings, and what the latter would be without noise.

    Users come in four months, on three days of each, and sit down three times a day for half a
    minute, in which they rate three items.
    """
    draw = np.random.default_rng(seed)
    users, months, days, sittings, _ = (i.flatten() for i in np.indices((n_users, 4, 3, 3, 3)))
    n = len(users)
    items = draw.integers(0, N_ITEMS, n)
    hours = draw.uniform(0, 3e4, (n_users, 4, 3))[users, months, days]
    times = 3e6 * months + 2e5 * days + hours + 2500 * sittings + draw.uniform(0, 30, n)

    def normal(*shape: int) -> Array:
        return draw.normal(0, SPREAD, shape)

    signal = taste(draw, n_users)[users, items]
    if planted == "sittings":
        signal += normal(n_users, 4, 3, 3)[users, months, days, sittings]
    if planted == "days":
        signal += normal(n_users, 4, 3)[users, months, days]
    if planted == "months":
        signal += normal(n_users, 4)[users, months]
    if planted == "items":
        signal += normal(N_ITEMS, 4)[items, months]
    if planted == "level":
        signal += LEVEL[months]
    ratings = Ratings(
        n_users=n_users,
        n_items=N_ITEMS,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(signal + draw.normal(0, NOISE, n)),
        times=START + torch.from_numpy(draw.permutation(times) if shuffled else times),
    )
    test = torch.from_numpy(draw.random(n) < 0.1)
    return ratings[~test], ratings[test], torch.from_numpy(signal)[test]


def taste(draw: np.random.Generator, n_users: int) -> Array:
    biases = draw.normal(0, 0.4, (n_users, 1)) + draw.normal(0, 0.4, N_ITEMS)
    factors = draw.normal(0, 0.6, (n_users, 2)) @ draw.normal(0, 0.6, (2, N_ITEMS))
    return np.asarray(3 + biases + factors)


def by_description(
    *, seed: int = 0, n_each: int = 6, matters: bool = True
) -> tuple[Ratings, Tensor, dict[str, float]]:
    """Ratings of most items, what all PAIRS would get without noise, and the planted spreads.

    Of each side a column says nothing; none does if they do not matter.
    """
    draw = np.random.default_rng(seed)
    group, age = draw.integers(0, 4, N_FANS), draw.uniform(20, 60, N_FANS)
    genre, year = draw.integers(0, 6, N_FILMS), draw.uniform(1950, 2020, N_FILMS)
    words = draw.random((N_FILMS, 5)) < 0.3
    biases = {
        "group": draw.normal(0, SPREAD, 4)[group],
        "genre": draw.normal(0, SPREAD, 6)[genre],
        "words": words @ draw.normal(0, SPREAD, 5),
        "year": SPREAD * np.sin(year / 10),
    }
    signal = 3 + draw.normal(0, 0.3, (N_FANS, 1)) + draw.normal(0, 0.3, N_FILMS)
    if matters:
        signal += biases["group"][:, None] + biases["genre"] + biases["words"] + biases["year"]
        signal += SPREAD * np.where(group < 2, 1, -1)[:, None] * np.where(genre < 3, 1, -1)
    n = n_each * N_RATED
    users, items = draw.integers(0, N_FANS, n), np.arange(n) % N_RATED
    described = np.ones(N_FILMS, dtype=bool)
    ratings = Ratings(
        n_users=N_FANS,
        n_items=N_FILMS,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(signal[users, items] + draw.normal(0, NOISE, n)),
        user_descriptions=(
            of_categories("group", list("abcd"), group),
            of_numbers("age", age),
        ),
        item_descriptions=(
            of_categories("genre", list("abcdef"), genre),
            of_several("words", list("vwxyz"), *np.nonzero(words), described),
            of_numbers("year", year),
            of_categories("useless", list("abcdef"), draw.permutation(genre)),
        ),
    )
    planted = {name: float(values.std()) for name, values in biases.items()}
    return ratings, torch.from_numpy(signal).flatten(), planted


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
