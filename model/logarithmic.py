"""Ratings with heavy tails (prices, play counts), learned by their logarithms.

    log r_ui = f_ui + e_ui,   r̂_ui = S exp(f̂_ui),   S = Σ r / Σ exp f̂ over ratings held out

clipped to [lowest, highest]. S is a smearing factor (Duan 1983, Smearing Estimate: A Nonparametric
Retransformation Method, sec. 2: the mean of r / exp f̂, here weighted by exp f̂, as squared errors
are). Of ratings that were learned from, residuals are too small, and so is S: a twin of the solver
learns from nine tenths of them, and S is of its predictions for the rest.

Whether ratings are learned so is told by themselves. All are above zero, the highest is far above
the median, and of biases fitted to ratings or to their logarithms, on held-out ratings,

    RMSE(log r) exp(mean of log r) < 0.6 RMSE(r)

(both in the units of ratings, as densities compare: Box & Cox 1964, An Analysis of Transformations,
sec. 3), while the logarithms' smeared predictions are hardly worse, or better, in rating units.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from model.biases import fit_biases
from model.compact import Compact
from model.dataset import Pairs, Ratings
from model.factorization import Factorization
from model.solver import Epoch, Model, Solver, mean_squared_error, measured
from model.splits import VALIDATION_SHARE, as_new, split
from model.world import ALONE, World

FEWEST = 500  # ratings: of fewer, the tenth that is held out does not tell S
TAIL = 10.0  # medians that the highest rating has to exceed
NARROWER = 0.6  # the share of the RMSE of ratings that the scaled one of logarithms stays below
MOST_WORSE = 1.06  # times the RMSE of biases; of heavy tails the few highest ratings decide it
SPLITS = 5  # that tell so, fewer where ratings are many
ENOUGH = 50_000  # ratings held out that tell it
SEED = 0  # of the first of them, and of the split that tells S
PREFIX = "logarithmic."  # of what is saved


def has_heavy_tail(ratings: Ratings) -> bool:
    """Whether the ratings are better learned by their logarithms."""
    values, moments, world = ratings.values, ratings.moments, ratings.world
    lowest, highest, n = moments.lowest, moments.highest, moments.n
    n_far_below = int(world.sum((values < highest / TAIL).sum()))
    if n < FEWEST or lowest <= 0 or n_far_below <= (n - 1) // 2:  # nor is the median
        return False
    of_ratings, of_logs, smeared = 0.0, 0.0, 0.0
    n_splits = min(SPLITS, max(1, round(ENOUGH / (VALIDATION_SHARE * n))))
    for seed in range(SEED, SEED + n_splits):
        training, held_out = split(ratings, seed=seed)
        held_out = as_new(held_out, training)
        truth, logs = held_out.values, fit_biases(with_logs(training)).predict(held_out)
        predicted = logs.exp()
        halves = slice(None, None, 2), slice(1, None, 2)  # each has the factor of the other
        factors = [smearing_factor(truth[half], logs[half], world) for half in halves]
        for half, factor in zip(halves, reversed(factors), strict=True):
            predicted[half] *= factor
        of_ratings += mean_squared_error(fit_biases(training).predict(held_out), truth, world)
        of_logs += mean_squared_error(logs, truth.log(), world)
        smeared += mean_squared_error(predicted.clamp(lowest, highest), truth, world)
    scaled = of_logs * with_logs(ratings).moments.mean.exp().item() ** 2
    return scaled < NARROWER**2 * of_ratings and smeared < MOST_WORSE**2 * of_ratings


def with_logs(ratings: Ratings) -> Ratings:
    """The ratings as their logarithms."""
    return replace(ratings, values=ratings.values.log())


def smearing_factor(truth: Tensor, logs: Tensor, world: World = ALONE) -> Tensor:
    """S, () float64, of (n,) held-out ratings and their (n,) predicted logarithms, of all ranks."""
    total, predicted = world.sum(torch.stack([truth.sum(), logs.exp().sum()])).unbind()
    return total / predicted


@dataclass(frozen=True)
class Smearing:
    """What logarithms come to in rating units."""

    factor: Tensor  # () float64, S
    lowest: Tensor  # () float64, rating
    highest: Tensor  # () float64

    def means(self, logs: Tensor) -> Tensor:
        """The (n,) float64 ratings that (n,) predicted logarithms stand for."""
        return (self.factor * logs.exp()).clamp(self.lowest, self.highest)

    def moments(self, logs: Tensor, stds: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the (n,) standard deviations, of (n,) of logarithms around these.

        As of log-normal ratings; at most half the range, which no ratings within it exceed.
        """
        means = self.means(logs)
        of_ratings = means * stds.square().expm1().sqrt()
        return means, of_ratings.clamp(max=((self.highest - self.lowest) / 2).item())

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, by names that no model has."""
        return {PREFIX + name: one.cpu() for name, one in vars(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> tuple[Self | None, dict[str, Tensor]]:
        """What `state_dict` was taken of, if the state has it, and the rest of the state."""
        own = {n.removeprefix(PREFIX): one for n, one in state.items() if n.startswith(PREFIX)}
        rest = {name: one for name, one in state.items() if not name.startswith(PREFIX)}
        return cls(**own) if own else None, rest


class Logarithmic:
    """Predicts ratings, in rating units, by a model of their logarithms."""

    def __init__(self, of_logs: Model, smearing: Smearing) -> None:
        self.of_logs, self.smearing = of_logs, smearing

    def predict(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 predicted ratings of pairs."""
        return self.smearing.means(self.of_logs.predict(pairs))

    def std(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 standard deviations of the ratings that may be seen."""
        return self.smearing.moments(self.of_logs.predict(pairs), self.of_logs.std(pairs))[1]

    def similarity(self, item: int) -> Tensor:
        """The (n_items,) float32 similarities of every item to one, as of logarithms."""
        return self.of_logs.similarity(item)

    def fold_in(
        self, item_index: Tensor, values: Tensor, *, seed: int, about: Tensor | None = None
    ) -> Self:
        """The model of one user, of index 0, who gave (n,) values above zero to (n,) items."""
        return self.around(self.of_logs.fold_in(item_index, values.log(), seed=seed, about=about))

    def around(self, of_logs: Model) -> Self:
        """The same of another model of logarithms."""
        return type(self)(of_logs, self.smearing)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, to be saved; `solvers.load_state` brings it back."""
        return self.smearing.state_dict() | dict(self.of_logs.state_dict())


@dataclass(frozen=True)
class LogarithmicCompact:
    """Predicts ratings, in rating units, by the compact form of models of their logarithms."""

    of_logs: Compact
    smearing: Smearing  # S the geometric mean of the models'

    def predict(self, pairs: Pairs) -> Tensor:
        """As `Compact` says, and so on."""
        return self.moments(pairs)[0]

    def std(self, pairs: Pairs) -> Tensor:
        """Likewise."""
        return self.moments(pairs)[1]

    def moments(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Likewise."""
        return self.smearing.moments(*self.of_logs.moments(pairs))

    def similarity(self, item: int) -> Tensor:
        """As of logarithms."""
        return self.of_logs.similarity(item)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, for `compact_from_state`."""
        return self.smearing.state_dict() | self.of_logs.state_dict()


AnyCompact = Compact | LogarithmicCompact


def compact_of(models: Sequence[Model], *, present: float | None, seed: int) -> AnyCompact | None:
    """As `Compact.of`, of models of ratings or of models of logarithms."""
    of_logs = [one for one in models if isinstance(one, Logarithmic)]
    if len(of_logs) < len(models):
        return Compact.of(models, present=present, seed=seed)
    compact = Compact.of([one.of_logs for one in of_logs], present=present, seed=seed)
    factor = torch.stack([one.smearing.factor for one in of_logs]).log().mean().exp()
    return compact and LogarithmicCompact(compact, replace(of_logs[0].smearing, factor=factor))


def compact_from_state(state: Mapping[str, Tensor]) -> AnyCompact:
    """What the `state_dict` of a compact form was taken of."""
    smearing, rest = Smearing.from_state(state)
    compact = Compact.from_state(rest)
    return LogarithmicCompact(compact, smearing) if smearing else compact


class LogarithmicSolver:
    """The solver of logarithms, and its twin that tells S."""

    def __init__(self, make: Callable[[Ratings], Solver], training: Ratings) -> None:
        """Before the first epoch.

        Args:
            make: the solver of ratings, the same whenever it is called with the same.
            training: all above zero.
        """
        known, held_out = split(training, seed=SEED)
        self._solver, self._twin = make(with_logs(training)), make(with_logs(known))
        self._held_out = as_new(held_out, known)
        self._of_twin = self._held_out.values.log()  # (n,) what it predicts of that
        moments, self._world = training.moments, training.world
        self._mean_square = (moments.std.square() + moments.mean.square()).item()
        self._lowest, self._highest = moments.lowest, moments.highest

    @property
    def model(self) -> Logarithmic:
        """As it is after the last epoch."""
        truth, of_logs = self._held_out.values, self._solver.model
        if isinstance(of_logs, Factorization):
            of_logs.spread.fill_(mean_squared_error(self._of_twin, truth.log(), self._world) ** 0.5)
        factor = smearing_factor(truth, self._of_twin, self._world)
        return Logarithmic(of_logs, Smearing(factor, self._lowest, self._highest))

    def epochs(self, validation: Ratings | None) -> Iterator[Epoch]:
        """Trains an epoch of both; the training error is that of logarithms, to first order."""
        of_both = zip(
            self._solver.epochs(validation), self._twin.epochs(self._held_out), strict=True
        )
        for epoch, of_twin in of_both:
            assert of_twin.validation_predictions is not None
            self._of_twin = of_twin.validation_predictions
            logs = epoch.validation_predictions
            predictions = None if logs is None else self.model.smearing.means(logs)
            train_mse = epoch.train_mse * self._mean_square
            yield measured(epoch.number, train_mse, predictions, validation)
