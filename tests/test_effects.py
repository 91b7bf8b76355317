"""Effects of time: their groups, their draws, and what is predicted with them."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import effects
from model.dataset import Pairs, Ratings
from model.effects import Effects, Grid, draw_factor, in_order
from model.gibbs import Gibbs
from model.kernels import groups as kernels
from model.kernels.groups import CompiledGroups, Drawn, Groups, PlainGroups, walk
from model.kernels.threads import n_threads, set_n_threads
from model.posterior import Draw, Posterior
from model.solvers import GibbsConfig
from model.variates import Stream
from tests.pairs import pairs_of

CPU = torch.device("cpu")
CONFIG = GibbsConfig(rank=2, noise_dof=10.0, n_features=4)


def ratings_at(times: list[float], *, users: list[int] | None = None) -> Ratings:
    """Ratings from 1 to 5 at these times, of two users if none are told."""
    n = len(times)
    user_index = torch.tensor(users or [number % 2 for number in range(n)])
    return Ratings(
        n_users=int(user_index.max()) + 1,
        n_items=3,
        user_index=user_index,
        item_index=torch.arange(n) % 3,
        values=1.0 + (torch.arange(n) * 7 % 5).double(),
        times=torch.tensor(times, dtype=torch.float64),
    )


@pytest.fixture(scope="module")
def sittings() -> Ratings:
    """2000 ratings of 40 users within a month, some of them at times that are not known."""
    draw = np.random.default_rng(0)
    users = draw.integers(0, 40, 2000)
    starts = draw.integers(0, 30 * 86400, (40, 8))
    times = 1.5e9 + starts[users, draw.integers(0, 8, 2000)] + draw.exponential(60, 2000).round()
    times[draw.random(2000) < 0.02] = np.nan
    return in_order(
        Ratings(
            n_users=40,
            n_items=50,
            user_index=torch.from_numpy(users),
            item_index=torch.from_numpy(draw.integers(0, 50, 2000)),
            values=torch.from_numpy(draw.integers(1, 11, 2000) / 2),
            times=torch.from_numpy(times),
        )
    )


def grid_of(ratings: Ratings, seed: int = 0) -> tuple[Grid, Tensor, Tensor]:
    return Grid.of(ratings, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# What draws them.


@pytest.fixture(params=["runs", "runs and some without", "scattered"])
def numbers(request: pytest.FixtureRequest) -> Tensor:
    """Which of 60 groups each of 3000 ratings belongs to; some groups have many."""
    generator = torch.Generator().manual_seed(1)
    group = (60 * torch.rand(3000, generator=generator) ** 2).long()
    group[:60] = torch.arange(60)
    if request.param == "scattered":
        group[100:200] = -1
        return group
    group = group.sort().values
    if request.param == "runs and some without":
        group = torch.where(torch.rand(3000, generator=generator) < 0.1, -1, group)
    return group


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kernels, "CHUNK", 300)  # so that there is something to share out
    before = n_threads()
    set_n_threads(request.param)
    yield
    set_n_threads(before)


def drawn(kind: type[Groups], group: Tensor) -> dict[str, Tensor]:
    """All that the methods of groups give."""
    values, means, residuals = normal(60, seed=2), torch.empty(60), normal(3000, seed=3)
    weights, before = normal(3000, seed=4).exp(), residuals.clone()
    groups = kind(group, 60)  # type: ignore[call-arg]
    weight, total = groups.sums(weights, residuals)
    noise = normal(60, seed=5)
    sums = groups.draw(
        values, means, precision=2.5, weights=weights, noise=noise, residuals=residuals
    )
    groups.add(normal(60, seed=6), before)
    return {
        "values": values,
        "means": means,
        "residuals": residuals,
        "sums": torch.tensor(sums),
        "Σ w": weight,
        "Σ w r": total,
        "added": before,
    }


@pytest.mark.parametrize("kind", [CompiledGroups, PlainGroups])
def test_draws_of_groups_are_those_of_the_slow_loop(
    kind: type[Groups], numbers: Tensor, threads: None
) -> None:
    found = drawn(kind, numbers)
    old, new, noise = normal(60, seed=2), found["values"], normal(60, seed=5)
    residuals, weights = normal(3000, seed=3), normal(3000, seed=4).exp()
    expected, added = residuals.clone(), residuals.clone()
    energy = match = 0.0
    for group in range(60):
        own = numbers == group
        weight = weights[own].double().sum()
        total = (weights[own] * (residuals[own] + old[group])).double().sum()
        mean = total / (2.5 + weight)
        expected[own] += old[group] - new[group]
        added[own] += normal(60, seed=6)[group]
        close = {"rel": 1e-4, "abs": 1e-5}
        assert found["Σ w"][group].item() == pytest.approx(weight.item(), **close)
        plain = (weights[own] * residuals[own]).double().sum().item()
        assert found["Σ w r"][group].item() == pytest.approx(plain, **close)
        assert found["means"][group].item() == pytest.approx(mean.item(), **close)
        energy += (weight * new[group].double().square()).item()
        match += (total * new[group]).item()
        deviation = noise[group].item() / (2.5 + weight.item()) ** 0.5
        assert (new[group] - mean).item() == pytest.approx(deviation, **close)
    torch.testing.assert_close(found["residuals"], expected)
    torch.testing.assert_close(found["added"], added)
    sums = [new.square().sum().item(), energy, match]
    assert found["sums"].tolist() == pytest.approx(sums, rel=1e-4)


def test_how_many_threads_there_are_does_not_matter(
    numbers: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "CHUNK", 300)
    before, results = n_threads(), []
    for number in (1, 4):
        set_n_threads(number)
        results.append(drawn(CompiledGroups, numbers))
    set_n_threads(before)
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def dense_walk(weights: Tensor, totals: Tensor, precision: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a walk, by its precision matrix."""
    steps = torch.eye(len(weights)).double() - torch.eye(len(weights)).double().roll(1, 0).tril(-1)
    of_prior = torch.full((len(weights),), precision).double()
    of_prior[0] = 1.0
    covariance = torch.linalg.inv(steps.mT @ of_prior.diag() @ steps + weights.diag())
    return covariance @ totals, covariance


@pytest.mark.parametrize("n", [1, 2, 7, 64])
@pytest.mark.parametrize("precision", [1e-3, 30.0, 1e6])
def test_a_walk_is_that_of_the_dense_equations(n: int, precision: float) -> None:
    """Its mean; and L⁻ᵀ of unit noises has the covariance as its square."""
    weights, totals = normal(n, seed=1).exp().double(), normal(n, seed=2).double()
    weights[n // 2 : n // 2 + 3] = 0.0  # steps without ratings
    mean, covariance = dense_walk(weights, totals, precision)
    found, draw = walk(weights, totals, precision, torch.zeros(n).double())
    torch.testing.assert_close(found, mean, rtol=1e-6, atol=1e-8)
    assert torch.equal(draw, found)
    columns = [walk(weights, totals, precision, unit)[1] - found for unit in torch.eye(n).double()]
    root = torch.stack(columns, 1)
    torch.testing.assert_close(root @ root.mT, covariance, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("drawn", "precision"),
    [
        (Drawn(squares=0.0, energy=40.0, match=38.0), 100.0),
        (Drawn(squares=0.0, energy=0.5, match=0.1), 100.0),
        (Drawn(squares=0.0, energy=3.0, match=-2.0), 400_000.0),
    ],
    ids=["much is known", "little is known", "the prior is strong"],
)
def test_a_common_factor_is_drawn_from_its_density(drawn: Drawn, precision: float) -> None:
    """By quadrature: a step of many from where the density is leads there again."""
    places = torch.linspace(-6, 4, 20_001).double()
    factors = places.exp()
    density = (
        factors * drawn.match
        - factors.square() * drawn.energy / 2
        - places
        - effects.GAMMA_RATE * precision / factors.square()
    ).softmax(0)
    mean = (density * places).sum()
    deviation = (density * (places - mean).square()).sum().sqrt()
    generator = torch.Generator().manual_seed(0)
    starts = places[density.multinomial(4000, replacement=True, generator=generator)].tolist()
    chances = torch.rand(4000, effects.MOST_CUTS + 2, generator=generator, dtype=torch.float64)
    ends = []
    for start, chance in zip(starts, chances.tolist(), strict=True):
        factor = math.exp(start)  # the density of a further factor, where this one has been applied
        now = Drawn(squares=0.0, energy=drawn.energy * factor**2, match=drawn.match * factor)
        ends.append(start + math.log(draw_factor(now, precision / factor**2, chance)))
    found = torch.tensor(ends).double()
    assert (found.mean() - mean).abs() < 4.5 * deviation / 4000**0.5
    assert (found.std() / deviation - 1).abs() < 0.08
    moved = (found - torch.tensor(starts)).abs().mean() / deviation
    assert moved > 0.7  # as far as independent draws would, nearly


def test_draws_keep_the_sum_and_the_residuals_together(sittings: Ratings) -> None:
    """What is drawn is what was taken out of the residuals, whatever is drawn how often."""
    of_time = Effects(sittings, generator=torch.Generator().manual_seed(0))
    residuals = normal(len(sittings))
    whole, weights = residuals.clone(), normal(len(sittings), seed=1).exp()
    for sweep in range(10):
        of_time.draw(residuals, weights, Stream(0, sweep))
    groups = of_time.grid.groups(sittings)
    steps = of_time.grid.steps(sittings)
    values = torch.cat([of_time.values, torch.zeros(1)])
    total = values[groups].sum(1) + of_time.level[steps].float()
    torch.testing.assert_close(of_time.total, total, rtol=0, atol=1e-4)
    torch.testing.assert_close(residuals, whole - total, rtol=0, atol=1e-4)
    assert (of_time.precisions > 0).all()


def test_priors_are_those_of_the_docstring() -> None:
    assert effects.GAMMA_SHAPE == 0.5
    assert effects.GAMMA_RATE == 1 / 20_000


# Where they are.


@pytest.mark.parametrize("seed", range(3))
def test_training_pairs_fall_into_their_own_groups(seed: int, sittings: Ratings) -> None:
    grid, groups, steps = grid_of(sittings, seed)
    assert len(groups) == len(grid.scales) == 7
    found = grid.groups(sittings).mT
    first = grid.firsts[:-1, None]
    expected = torch.where(groups < 0, len(grid.keys), groups + first)
    assert torch.equal(found, expected)
    unknown = sittings.times.isnan()
    assert torch.equal(groups < 0, unknown.expand_as(groups))
    assert torch.equal(grid.steps(sittings), steps)
    assert steps.min() >= 0
    assert steps.max() == effects.STEPS - 1


def test_a_group_is_of_one_user_within_one_span(sittings: Ratings) -> None:
    grid, groups, _ = grid_of(sittings)
    assert grid.of_items.tolist() == [False] * 6 + [True]
    for scale, of_items, group in zip(grid.scales, grid.of_items, groups, strict=True):
        owner = sittings.item_index if of_items else sittings.user_index
        assert torch.equal(group[group >= 0].unique(), torch.arange(int(group.max()) + 1))
        for number in range(0, int(group.max()) + 1, 7):
            own = group == number
            assert len(owner[own].unique()) == 1
            times = sittings.times[own]
            assert times.max() - times.min() < scale
    # Other ratings of the same user, and of the same span, are in the same group.
    days = groups[4]
    place = ((sittings.times - grid.origin + grid.offsets[4]) / grid.scales[4]).floor()
    for rating in range(0, len(sittings), 97):
        if days[rating] >= 0:
            alike = (sittings.user_index == sittings.user_index[rating]) & (place == place[rating])
            assert torch.equal(alike, days == days[rating])


def test_pairs_of_others_and_of_other_times_are_in_no_group(sittings: Ratings) -> None:
    grid, _, _ = grid_of(sittings)
    known = Pairs(
        user_index=sittings.user_index[:50],
        item_index=sittings.item_index[:50],
        times=sittings.times.nan_to_num(1.5e9)[:50],
    )
    none, n_scales = len(grid.keys), len(grid.scales)
    assert (grid.groups(known) < none).any(0).all()
    nobody = torch.full((50,), -1)
    found = grid.groups(replace(known, user_index=nobody))
    assert (found[:, :-1] == none).all()
    assert (found[:, -1] < none).any()
    found = grid.groups(replace(known, item_index=nobody))
    assert (found[:, -1] == none).all()
    assert (found[:, :-1] < none).any()
    for time in (-1e18, -5.0, 1.4e9, 1.6e9, 1e18, math.inf, -math.inf, math.nan):
        found = grid.groups(replace(known, times=torch.full((50,), time).double()))
        assert found.shape == (50, n_scales)
        assert (found == none).all(), time
    assert (grid.groups(replace(known, times=None)) == none).all()
    assert grid.groups(known[:0]).shape == (0, n_scales)


def test_steps_go_on_beyond_the_last() -> None:
    ratings = ratings_at([1000.0, 1000.0 + 6400.0, 2000.0])
    grid, _, steps = grid_of(ratings)
    assert steps.tolist() == [0, 63, 9]
    times = [-1e9, 0.0, 1099.0, 1101.0, 7399.0, 7401.0, 7501.0, 13_801.0, 1e18, math.nan]
    pairs = Pairs(
        user_index=torch.zeros(10).long(),
        item_index=torch.zeros(10).long(),
        times=torch.tensor(times).double(),
    )
    assert grid.steps(pairs).tolist() == [0, 0, 0, 1, 63, 64, 65, 128, 1_000_000, 63]
    assert grid.steps(replace(pairs, times=None)).tolist() == [63] * 10


def test_a_scale_that_tells_no_more_than_the_next_is_left_out() -> None:
    """Sittings of a few seconds, days apart: whatever lies between separates the same."""
    times = [day * 86400.0 * 20 + second for day in range(6) for second in (0.0, 1.0, 2.0)]
    ratings = ratings_at(times, users=[0] * 18)
    for seed in range(10):
        grid, groups, _ = grid_of(ratings, seed)
        scales = grid.scales[~grid.of_items].tolist()
        assert len(scales) <= 2, scales
        sizes = [len(group.unique()) for group in groups[~grid.of_items]]
        assert sizes == sorted(set(sizes), reverse=True)


def test_a_scale_at_which_nobody_rates_twice_is_left_out() -> None:
    grid, _, _ = grid_of(ratings_at([1000.0 * number for number in range(40)], users=[0] * 40))
    assert grid.scales[~grid.of_items].tolist() == [10_000.0]


def test_as_many_groups_of_items_as_of_users_leave_both() -> None:
    """Four users in one sitting each, two items in two: four groups of either."""
    ratings = Ratings(
        n_users=4,
        n_items=2,
        user_index=torch.arange(8) // 2,
        item_index=torch.arange(8) % 2,
        values=torch.arange(8).double(),
        times=torch.tensor([0.0] * 4 + [100.0] * 4).double(),
    )
    grid, _, _ = grid_of(ratings)
    assert grid.of_items.tolist() == [False, True]
    assert grid.firsts.tolist() == [0, 4, 8]


# What becomes of them.

ODD_TIMES = {
    "one time": [5.0] * 12,
    "none known but one": [math.nan] * 11 + [3.0],
    "none known": [math.nan] * 12,
    "two known": [math.nan] * 10 + [3.0, 1e6],
    "large": [1e12 + 1e7 * number for number in range(12)],
    "very large": [1e15 * number for number in range(12)],
    "negative": [-3e9 + 5 * number for number in range(12)],
    "fractions": [1e-6 * number for number in range(12)],
    "one far away": [0.0] * 11 + [1e12],
    "two ratings": [0.0, 100.0],
    "one rating": [7.0],
}


@pytest.mark.parametrize("times", ODD_TIMES.values(), ids=ODD_TIMES)
@pytest.mark.parametrize("likelihood", ["gaussian", "both"])
def test_odd_times_give_predictions_among_the_ratings(times: list[float], likelihood: str) -> None:
    ratings = ratings_at(times)
    config = replace(CONFIG, likelihood=likelihood)
    solver = Gibbs(config, ratings, device=CPU, seed=0)
    epochs = solver.epochs(ratings)
    for _ in range(12):
        epoch = next(epochs)
    assert math.isfinite(epoch.train_mse + epoch.validation_mse)
    asked = [*times, 0.0, -1e13, 1e13, math.nan]
    n = len(asked)
    pairs = Pairs(
        user_index=torch.arange(n) % 3 - 1,
        item_index=torch.arange(n) % 4 - 1,
        times=torch.tensor(asked, dtype=torch.float64),
    )
    for some in (pairs, replace(pairs, times=None)):
        predicted, std = solver.model.predict(some), solver.model.std(some)
        assert ratings.values.min() <= predicted.min() <= predicted.max() <= ratings.values.max()
        assert std.isfinite().all()
        assert (std > 0).all() or len(ratings) == 1


def train(ratings: Ratings, config: GibbsConfig = CONFIG, *, n_epochs: int) -> Posterior:
    solver = Gibbs(config, ratings, device=CPU, seed=0)
    next(epoch for epoch in solver.epochs(None) if epoch.number == n_epochs)
    return solver.model


@pytest.fixture(scope="module")
def trained(sittings: Ratings) -> Posterior:
    return train(sittings, n_epochs=12)


def asked_of(ratings: Ratings) -> Pairs:
    """Pairs at times of the training, before, after, and not known."""
    some = ratings[::20]
    times = some.times.clone()
    times[::5] += 40 * 86400.0
    times[1::5] -= 40 * 86400.0
    times[2::10] = torch.nan
    users = some.user_index.clone()
    users[3::10] = -1
    return Pairs(user_index=users, item_index=some.item_index, times=times)


def test_a_stored_posterior_with_times_is_as_before(trained: Posterior, sittings: Ratings) -> None:
    pairs = asked_of(sittings)
    state = trained.state_dict()
    restored = Posterior.from_state(state)
    assert torch.equal(restored.predict(pairs), trained.predict(pairs))
    assert torch.equal(restored.std(pairs), trained.std(pairs))
    assert torch.equal(restored.probabilities(pairs), trained.probabilities(pairs))
    again = restored.state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in again.items())
    without = pairs_of(pairs.user_index, pairs.item_index)
    assert not torch.equal(trained.predict(without), trained.predict(pairs))


def test_effects_enter_predictions_and_spreads_as_the_slow_loop_says(
    trained: Posterior, sittings: Ratings
) -> None:
    """Of the Gaussian chain: e and g in the mean; 1 / λ of no group, and the steps ahead."""
    state = trained.state_dict()
    grid = Grid(**{field.name: state[f"grid0.{field.name}"] for field in fields(Grid)})
    draw = Draw(**{field.name: state[f"chain0.{field.name}"][-1] for field in fields(Draw)})
    pairs = asked_of(sittings)
    [at, _] = trained.places(pairs)
    users = draw.user_means.float(), draw.users.float()
    items = draw.items.float(), draw.item_means.float()
    expected, weights = [], []
    for number in range(len(pairs)):
        u, i = int(pairs.user_index[number]), int(pairs.item_index[number])
        time = pairs.times[number].item()
        fit = 0.0
        of_users = users if u >= 0 else (users[0], users[0])  # who is unknown is not drawn here
        for of_user, of_item in zip(of_users, items, strict=True):
            product = (of_user[u, :-1] * of_item[i, :-1]).sum()
            fit += (product + of_user[u, -1] + of_item[i, -1]).item() / 2
        variance = 1 / (draw.precision * draw.user_noise[u] * draw.item_noise[i]).item()
        for scale in range(len(grid.scales)):
            owner = i if grid.of_items[scale] else u
            where = (time - grid.origin.item() + grid.offsets[scale].item()) / grid.scales[scale]
            found = None
            if owner >= 0 and math.isfinite(where) and 0 <= where < grid.n_places[scale]:
                key = owner * int(grid.n_places[scale]) + math.floor(where)
                keys = grid.keys[grid.firsts[scale] : grid.firsts[scale + 1]].tolist()
                if key in keys:
                    found = int(grid.firsts[scale]) + keys.index(key)
            if found is None:
                variance += draw.effect_variances[scale].item()
            else:
                fit += draw.effect_means[found].item()
        step = effects.STEPS - 1
        if math.isfinite(time):
            step = max(0, math.floor((time - grid.origin.item()) / grid.span.item()))
        fit += draw.level_means[min(step, effects.STEPS - 1)].item()
        variance += max(0, step - effects.STEPS + 1) * draw.level_variance.item()
        expected.append(fit)
        weights.append(1 / variance)
    mean, scale = trained.scale.mean, trained.scale.scale
    found_fit = (trained.expected(draw, at) - mean) / scale
    torch.testing.assert_close(found_fit, torch.tensor(expected).double(), rtol=1e-4, atol=1e-4)
    found_weights = draw.weights(at)
    torch.testing.assert_close(found_weights, torch.tensor(weights).double(), rtol=1e-4, atol=1e-6)


def test_a_later_time_is_less_sure(trained: Posterior) -> None:
    pairs = Pairs(
        user_index=torch.zeros(4).long(),
        item_index=torch.zeros(4).long(),
        times=1.5e9 + 86400.0 * torch.tensor([40.0, 80.0, 400.0, 4000.0]).double(),
    )
    std = trained.std(pairs)
    assert (std.diff() > 0).all()


@pytest.mark.parametrize("likelihood", ["gaussian", "both"])
def test_who_is_folded_in_rates_at_the_last_level(likelihood: Any) -> None:
    """All rate higher and higher: that is not what is liked by a user who rates at the end."""
    draw = np.random.default_rng(3)
    users, items = draw.integers(0, 100, 6000), draw.integers(0, 60, 6000)
    times = np.where(users < 10, draw.uniform(97, 100, 6000), draw.uniform(0, 100, 6000))
    biases = draw.normal(0, 0.5, 100)[users] + draw.normal(0, 0.5, 60)[items]
    values = 3 + biases + times / 50 + draw.normal(0, 0.3, 6000)
    ratings = Ratings(
        n_users=100,
        n_items=60,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy((2 * values).round() / 2),
        times=torch.from_numpy(times * 1e6),
    )
    model = train(ratings, replace(CONFIG, likelihood=likelihood), n_epochs=30)
    for user in range(3):
        own = ratings[ratings.user_index == user]
        folded = model.fold_in(own.item_index, own.values, seed=0)
        pairs = pairs_of(torch.full((60,), user), torch.arange(60))
        for times_asked in (None, torch.full((60,), 100e6).double()):
            asked = replace(pairs, times=times_asked)
            found = folded.predict(replace(asked, user_index=torch.zeros(60).long()))
            assert (found - model.predict(asked)).abs().max() < 0.2


def test_a_seed_is_all_that_effects_depend_on(sittings: Ratings) -> None:
    state = torch.get_rng_state()

    def states(seed: int) -> dict[str, Tensor]:
        solver = Gibbs(CONFIG, sittings, device=CPU, seed=seed)
        for _, _ in zip(range(2), solver.epochs(None), strict=False):
            pass
        return solver.model.state_dict()

    first, again, other = states(1), states(1), states(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["grid0.offsets"], other["grid0.offsets"])
    assert not torch.equal(first["grid0.offsets"], first["grid1.offsets"])


def test_the_order_of_the_ratings_does_not_matter(sittings: Ratings) -> None:
    shuffled = sittings[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    in_time = in_order(shuffled)
    users = in_time.user_index
    assert (users.diff() >= 0).all()
    same = users.diff() == 0
    steps = in_time.times.diff()
    assert (steps[same & steps.isfinite()] >= 0).all()
    assert in_order(replace(shuffled, times=None)) is not None


def test_draws_without_times_hold_no_effects(few_ratings: Ratings) -> None:
    solver = Gibbs(CONFIG, few_ratings, device=CPU, seed=0)
    next(solver.epochs(None))
    state = solver.model.state_dict()
    assert state["chain0.effects"].shape == state["chain0.level"].shape == (1, 1)
    assert not state["chain0.effects"].any()
    pairs = pairs_of(few_ratings.user_index, few_ratings.item_index)
    timed = replace(pairs, times=torch.zeros(len(pairs)).double())
    assert torch.equal(solver.model.predict(pairs), solver.model.predict(timed))
