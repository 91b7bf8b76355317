"""Ratings as ordered levels: which level is seen says between which thresholds a latent z lies.

    z_ui ~ N(f_ui, 1/w_ui),   level k is seen where γ_{k-1} < z ≤ γ_k

The outer thresholds stay fixed, which gives z its scale; the inner ones, uniform in between, and
the precision α are drawn together by random-walk Metropolis steps with z integrated out (Cowles
1996, Accelerating Monte Carlo Markov chain convergence for cumulative-link generalized linear
models), then z given them (Albert & Chib 1993, Bayesian Analysis of Binary and Polychotomous
Response Data).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from model.dataset import AT_ONCE
from model.hyperprior import GAMMA_RATE, GAMMA_SHAPE
from model.kernels.intervals import Intervals, drawn_between, ends_of
from model.variates import normal, uniform
from model.world import ALONE, World

FEWEST_LEVELS = 4
MOST_LEVELS = 20
MOST_LOST = 0.01  # share of the ratings' variance within levels: beyond it, they are lengths
RAREST_SHARE = 0.002  # a level of fewer ratings is merged into the next
INITIAL_PRECISION = 1.5
STEPS = 2  # Metropolis steps a sweep


class Levels:
    """The levels of ratings: which one each has, and what a level stands for."""

    def __init__(self, values: Tensor, world: World = ALONE) -> None:
        """The levels of (n_ratings,) ratings, neighbours merged until none is too rare.

        Args:
            values: of this rank.
            world: of ranks that have the ratings between them.
        """
        distinct, index, counts = torch.unique(values, return_inverse=True, return_counts=True)
        whole = torch.unique(world.gathered(distinct))
        places = torch.searchsorted(whole, distinct)
        index = places[index]
        counts = world.sum(torch.zeros_like(whole, dtype=torch.int64).index_put((places,), counts))
        n = counts.sum()
        smallest = max(1, math.ceil(RAREST_SHARE * int(n)))
        merged = _merged(counts, smallest)
        while int(merged[-1]) >= MOST_LEVELS:
            smallest = math.ceil(smallest * 1.2)
            merged = _merged(counts, smallest)
        self.index = merged.to(values.device)[index].int()  # (n_ratings,) int32
        n_levels = int(merged[-1]) + 1
        self.counts = world.sum(torch.bincount(self.index, minlength=n_levels)).double()
        of_levels = torch.bincount(self.index, values, minlength=n_levels)
        sums = world.sum(of_levels.double())  # which PyTorch counts in whole numbers if it has none
        self.values = sums / self.counts  # (K,) mean ratings
        within = world.sum((values - self.values[self.index]).square().sum())
        spread = world.sum((values - sums.sum() / n).square().sum())
        self.lost = (within / spread).item()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def enough(self) -> bool:
        """Whether they are worth thresholds of their own, and stand for nearly all of a rating."""
        return len(self) >= FEWEST_LEVELS and self.lost <= MOST_LOST


class OrdinalLikelihood:
    """The thresholds and α, and the latent z that takes the ratings' place."""

    def __init__(self, levels: Levels, *, mean: Tensor, scale: float, world: World = ALONE) -> None:
        """Thresholds halfway between the levels, standardized by `mean` and `scale`."""
        self._world = world
        standardized = (levels.values - mean) / scale
        self.levels = levels
        self.thresholds = (standardized[1:] + standardized[:-1]) / 2  # (K - 1,) float64
        self.precision = torch.full_like(self.thresholds[0], INITIAL_PRECISION)  # α
        self.latent = standardized.float()[levels.index]  # z, (n_ratings,) float32
        step = 0.6 * 2.38 / math.sqrt(len(levels) - 2)
        pairs = torch.minimum(levels.counts[1:-2], levels.counts[2:-1])
        self._threshold_step = step * pairs.rsqrt()  # (K - 3,), at α = 1
        self._log_precision_step = step * (2 / levels.counts.sum().item()) ** 0.5

    def draw(
        self,
        fit: Tensor,
        roots: Tensor,
        *,
        generator: torch.Generator,
        chances: Callable[[slice], Tensor],
    ) -> None:
        """Draws the inner thresholds and α, then z, in place.

        Args:
            fit: (n_ratings,) float32, f.
            roots: (n_ratings,) float32, √(w / α).
            generator: of thresholds and α, which all ranks draw alike.
            chances: gives (n,) float64 uniform variates of some ratings, to draw their z.
        """
        intervals = self._intervals(self.levels.index, fit, roots)
        likelihood = self._log_density(intervals, self.thresholds, self.precision)
        for _ in range(STEPS):
            thresholds, precision = self._propose(generator)
            accept = uniform((), generator=generator).log()
            if bool((thresholds[1:] <= thresholds[:-1]).any()):
                continue
            log_density = self._log_density(intervals, thresholds, precision)
            if bool(accept < log_density - likelihood + self._hastings(thresholds, precision)):
                self.thresholds, self.precision = thresholds, precision
                likelihood = log_density
        root_precision = self.precision.sqrt().item()
        columns = self.levels.index, fit, roots, self.latent
        for start in range(0, len(fit), n := AT_ONCE[fit.device.type]):
            some = slice(start, min(start + n, len(fit)))
            levels, fits, root, latent = (column[some] for column in columns)
            drawn = drawn_between(
                self._intervals(levels, fits, root),
                self.thresholds,
                root_precision,
                fits,
                chances(some),
            )
            latent.copy_(drawn)

    def _intervals(self, levels: Tensor, fit: Tensor, roots: Tensor) -> Intervals:
        if fit.device.type != "cpu":
            return Intervals(levels, fit, roots)
        from model.kernels.compiled_intervals import CompiledIntervals

        return CompiledIntervals(levels, fit, roots)

    def _propose(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        thresholds = self.thresholds.clone()
        noise = normal(self._threshold_step.shape, generator=generator)
        thresholds[1:-1] += self._threshold_step * self.precision.rsqrt() * noise
        change = self._log_precision_step * normal((), generator=generator)
        return thresholds, self.precision * change.exp()

    def _hastings(self, thresholds: Tensor, precision: Tensor) -> Tensor:
        """log of the chance of the way back over that of the way there: the step depends on α."""
        moved = ((thresholds - self.thresholds)[1:-1] / self._threshold_step).square()
        there, back = self.precision, precision
        return (len(moved) * (back / there).log() - (back - there) * moved.sum()) / 2

    def _log_density(self, intervals: Intervals, thresholds: Tensor, precision: Tensor) -> Tensor:
        """Of the levels and of log α, up to a constant."""
        here = intervals.log_likelihood(ends_of(thresholds), precision.sqrt().item())
        likelihood = self._world.sum(thresholds.new_tensor(here))
        return likelihood + GAMMA_SHAPE * precision.log() - GAMMA_RATE * precision


def level_probabilities(thresholds: Tensor, fit: Tensor, weights: Tensor) -> Tensor:
    """The (…, K) probabilities of the levels where z ~ N(fit, 1 / weights), both (…)."""
    below = torch.special.ndtr((thresholds - fit[..., None]) * weights.sqrt()[..., None])
    return torch.cat([below, torch.ones_like(below[..., :1])], -1).diff(
        dim=-1, prepend=torch.zeros_like(below[..., :1])
    )


def _merged(counts: Tensor, smallest: int) -> Tensor:
    """The level of each distinct value: neighbours together until each level has enough."""
    levels, level, gathered = [], 0, 0
    for count in counts.tolist():
        levels.append(level)
        gathered += count
        if gathered >= smallest:
            level, gathered = level + 1, 0
    if gathered and level:  # the last ones were too few for a level of their own
        levels = [min(number, level - 1) for number in levels]
    return torch.tensor(levels)
