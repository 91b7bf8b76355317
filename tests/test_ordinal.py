"""Levels of ratings, and the draws of thresholds, precision and latent values."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from model import ordinal
from model.kernels.compiled_intervals import CompiledIntervals
from model.kernels.intervals import Intervals
from model.ordinal import Levels, OrdinalLikelihood, level_probabilities

MEAN, SCALE = torch.tensor(3.5).double(), 1.0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stars(n_levels: int, each: int) -> Tensor:
    return torch.arange(1, n_levels + 1).double().repeat(each)


def drawing(draw: torch.Generator) -> dict[str, Any]:
    """What a draw of so many ratings takes besides, from one generator."""

    def chances(some: slice) -> Tensor:
        return torch.rand(some.stop - some.start, generator=draw, dtype=torch.float64)

    return {"generator": draw, "chances": chances}


def simulated(
    n: int, thresholds: Tensor, precision: float, *, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Levels of latent values between known thresholds: (index, fit, √ of weights without α)."""
    draw = generator(seed)
    fit = torch.randn(n, generator=draw).double()
    weights = 0.5 + torch.rand(n, generator=draw).double()
    latent = fit + torch.randn(n, generator=draw).double() / (precision * weights).sqrt()
    return torch.searchsorted(thresholds, latent), fit.float(), weights.sqrt().float()


def test_each_value_is_a_level() -> None:
    values = torch.tensor([2.0, 5.0, 1.0, 3.5, 3.5, 1.0]).double()
    levels = Levels(values)
    assert len(levels) == 4
    assert levels.values.tolist() == [1.0, 2.0, 3.5, 5.0]
    assert levels.index.tolist() == [1, 3, 0, 2, 2, 0]
    assert levels.counts.tolist() == [2, 1, 2, 1]


def test_rare_levels_are_merged_into_a_neighbour() -> None:
    counts = {0.5: 1, 1.0: 300, 1.5: 3, 2.0: 2, 2.5: 300, 3.0: 300, 3.5: 300, 4.0: 300, 4.5: 1}
    values = torch.tensor([value for value, count in counts.items() for _ in range(count)]).double()
    levels = Levels(values)
    assert levels.counts.tolist() == [301, 5, 300, 300, 300, 301]
    expected = [300.5 / 301, 8.5 / 5, 2.5, 3.0, 3.5, 1204.5 / 301]
    assert levels.values.tolist() == pytest.approx(expected)


def test_continuous_ratings_have_no_more_than_twenty_levels_of_about_one_size() -> None:
    values = torch.randn(3001, generator=generator()).double() * 7 - 3
    levels = Levels(values)
    assert 15 <= len(levels) <= 20
    assert levels.counts.sum() == 3001
    assert levels.counts.max() < 2.5 * levels.counts.min()
    for level in range(len(levels)):
        members = values[levels.index == level]
        assert len(members) == levels.counts[level]
        assert members.mean().item() == pytest.approx(levels.values[level].item())
    in_order = levels.index[values.argsort()]
    assert (in_order.diff() >= 0).all()


@pytest.mark.parametrize(("distinct", "most"), [(19, 19), (20, 20), (21, 20), (40, 20)])
def test_there_are_no_more_than_twenty_levels(distinct: int, most: int) -> None:
    levels = Levels(stars(distinct, 7))
    assert len(levels) <= most
    assert len(levels) == distinct or distinct > 20


@pytest.mark.parametrize(
    ("values", "enough"),
    [([4.0], False), ([1.0, 5.0], False), ([1, 2, 3], False), ([1, 2, 3, 4], True)],
)
def test_four_levels_are_enough(values: list[float], enough: bool) -> None:
    levels = Levels(torch.tensor(values).double())
    assert len(levels) == len(values)
    assert levels.enough is enough


def test_thresholds_start_halfway_between_standardized_levels() -> None:
    likelihood = OrdinalLikelihood(Levels(stars(6, 2)), mean=MEAN, scale=2.0)
    assert likelihood.thresholds.tolist() == pytest.approx([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert likelihood.latent.tolist() == pytest.approx(((stars(6, 2) - 3.5) / 2).tolist())


def test_level_probabilities_are_areas_under_the_normal_density() -> None:
    thresholds = torch.tensor([-1.0, 0.2, 1.5]).double()
    fit, weights = torch.tensor([0.3, -2.0, 50.0]).double(), torch.tensor([1.0, 4.0, 9.0]).double()
    probabilities = level_probabilities(thresholds, fit, weights)
    assert probabilities.shape == (3, 4)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3).double())
    for row in range(3):
        z = torch.distributions.Normal(fit[row], weights[row].rsqrt())
        below = [0.0, *z.cdf(thresholds).tolist(), 1.0]
        expected = [b - a for a, b in itertools.pairwise(below)]
        assert probabilities[row].tolist() == pytest.approx(expected, abs=1e-12)


def test_latent_values_lie_within_their_level_and_outer_thresholds_stay() -> None:
    likelihood = OrdinalLikelihood(Levels(stars(6, 50)), mean=MEAN, scale=SCALE)
    outer = likelihood.thresholds[[0, -1]].tolist()
    first = likelihood.thresholds.clone()
    draw = generator()
    fit = 4 * torch.randn(300, generator=draw)  # mostly nowhere near
    for _ in range(50):
        likelihood.draw(fit, torch.ones(300), **drawing(draw))
        end = torch.tensor([torch.inf]).double()
        ends = torch.cat([-end, likelihood.thresholds, end])
        assert (likelihood.latent >= ends[likelihood.levels.index] - 1e-9).all()
        assert (likelihood.latent <= ends[likelihood.levels.index + 1] + 1e-9).all()
        assert likelihood.thresholds[[0, -1]].tolist() == outer
        assert (likelihood.thresholds.diff() > 0).all()
        assert likelihood.precision > 0
    assert not torch.equal(likelihood.thresholds[1:-1], first[1:-1])


@pytest.mark.parametrize("fit", [-3.0, 0.1, 3.0])
def test_latent_values_are_truncated_normal(fit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordinal, "STEPS", 0)
    likelihood = OrdinalLikelihood(Levels(stars(6, 4000)), mean=MEAN, scale=SCALE)
    likelihood.precision = torch.tensor(0.5).double()
    roots = torch.full((24_000,), 3.0).sqrt()
    likelihood.draw(torch.full_like(roots, fit), roots, **drawing(generator()))
    z = torch.distributions.Normal(torch.tensor(fit).double(), (1 / 1.5) ** 0.5)
    below = [0.0, *z.cdf(likelihood.thresholds).tolist(), 1.0]
    for level in range(6):
        latent = likelihood.latent[likelihood.levels.index == level].double()
        chances = (z.cdf(latent) - below[level]) / (below[level + 1] - below[level])
        expected = (torch.arange(4000).double() + 0.5) / 4000
        assert (chances.sort().values - expected).abs().max() < 1.95 / 4000**0.5


@pytest.mark.parametrize("far", [-1e4, -40.0, 40.0, 1e4])
def test_fits_far_away_give_finite_latent_values(far: float) -> None:
    likelihood = OrdinalLikelihood(Levels(stars(6, 4)), mean=MEAN, scale=SCALE)
    for _ in range(5):
        fit = torch.full((24,), far)
        likelihood.draw(fit, torch.ones(24), **drawing(generator()))
        assert likelihood.latent.isfinite().all()
        assert likelihood.thresholds.isfinite().all()
        assert likelihood.precision.isfinite()


def test_planted_thresholds_and_precision_are_recovered() -> None:
    likelihood = OrdinalLikelihood(Levels(stars(6, 500)), mean=MEAN, scale=SCALE)
    planted = torch.tensor([-2.0, -1.4, 0.3, 0.8, 2.0]).double()
    likelihood.levels.index, fit, roots = simulated(3000, planted, precision=3.0)
    draw, draws = generator(), []
    for _ in range(600):
        likelihood.draw(fit, roots, **drawing(draw))
        draws.append(torch.cat([likelihood.thresholds, likelihood.precision[None]]))
    kept = torch.stack(draws[100:])
    assert (kept.mean(0)[:-1] - planted).abs().max() < 0.05
    assert kept.mean(0)[-1].item() == pytest.approx(3.0, rel=0.08)
    spread = kept.std(0)[[1, 2, 3, 5]]
    assert (spread > 0.01).all()
    assert (spread < 0.15).all()
    assert 0.15 < (kept.diff(dim=0)[:, 2] != 0).double().mean() < 0.8  # two steps a draw


@pytest.mark.parametrize("n", [1, 511, 513, 40_000])
def test_compiled_intervals_are_those_of_pytorch(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.kernels.compiled_intervals.CHUNK", 10_000)
    draw = generator()
    levels = torch.randint(0, 6, (n,), generator=draw)
    fit = 3 * torch.randn(n, generator=draw)
    fit[::7] *= 30  # far out in a tail
    roots = 0.2 + 2 * torch.rand(n, generator=draw)
    ends = torch.tensor([-torch.inf, -2.0, -1.4, 0.3, 0.8, 2.0, torch.inf]).double()
    uniform = torch.rand(n, generator=draw).double()
    plain, compiled = Intervals(levels, fit, roots), CompiledIntervals(levels, fit, roots)
    expected = plain.log_likelihood(ends, 1.7)
    assert compiled.log_likelihood(ends, 1.7) == pytest.approx(expected, rel=1e-10)
    chance, scale = compiled.chances(ends, 1.7, uniform)
    expected_chance, expected_scale = plain.chances(ends, 1.7, uniform)
    torch.testing.assert_close(chance, expected_chance, rtol=1e-9, atol=1e-299)
    torch.testing.assert_close(scale, expected_scale, rtol=1e-12, atol=0)


def test_a_compiled_tail_keeps_its_digits() -> None:
    fit = torch.linspace(0.01, 36.0, 1000)
    ends = torch.tensor([-torch.inf, 0.0, torch.inf]).double()
    below = torch.zeros(1000, dtype=torch.int64)
    for levels, side in ((below, fit), (below + 1, -fit)):
        intervals = CompiledIntervals(levels, side, torch.ones(1000))
        tails, _ = intervals.chances(ends, 1.0, torch.ones(1000).double())
        exact = torch.special.erfc(fit.double() / 2**0.5) / 2
        torch.testing.assert_close(tails, exact, rtol=1e-11, atol=0)


def scores_of_metropolis_steps() -> Tensor:
    """Thresholds and α from their prior, levels given them: how far steps move their means.

    In standard errors, of inner thresholds, of their squares, and of log α.
    """
    levels = Levels(stars(5, 1))
    likelihood = OrdinalLikelihood(levels, mean=MEAN, scale=SCALE)
    start = likelihood.thresholds
    draw = generator()
    changes = []
    for _ in range(2000):
        precision = torch.randn((), generator=draw).double().square()  # Gamma(½, rate ½)
        inner = torch.rand(2, generator=draw).double().sort().values * (start[-1] - start[0])
        thresholds = torch.cat([start[:1], start[0] + inner, start[-1:]])
        fit = torch.randn(5, generator=draw).double()
        noise = torch.randn(5, generator=draw).double()
        levels.index = torch.searchsorted(thresholds, fit + noise / precision.sqrt())
        likelihood.thresholds, likelihood.precision = thresholds, precision
        likelihood.draw(fit.float(), torch.ones(5), **drawing(draw))
        inner, before = likelihood.thresholds[1:-1], thresholds[1:-1]
        change = inner - before, inner.square() - before.square()
        changes.append(torch.cat([*change, (likelihood.precision / precision).log()[None]]))
    change = torch.stack(changes)
    assert (change != 0).double().mean() > 0.5
    return change.mean(0) / (change.std(0) / len(change) ** 0.5)


@pytest.mark.slow
def test_metropolis_steps_leave_the_joint_distribution_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordinal, "STEPS", 20)
    assert scores_of_metropolis_steps().abs().max() < 4
    monkeypatch.setattr(ordinal, "GAMMA_SHAPE", 0.0)  # without the prior it is seen to move
    monkeypatch.setattr(ordinal, "GAMMA_RATE", 0.0)
    assert scores_of_metropolis_steps().abs().max() > 5


def test_continuous_ratings_are_not_levels_and_a_scale_of_a_hundred_is() -> None:
    draw = torch.Generator().manual_seed(0)
    continuous = torch.randn(5000, generator=draw, dtype=torch.float64)
    hundred = torch.randint(1, 101, (5000,), generator=draw).double()
    assert not Levels(continuous).enough
    assert Levels(hundred).enough
