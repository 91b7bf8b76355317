"""Ratings in groups that share an effect: all effects drawn given the rest, in one pass.

With r the residuals to which the present effect e of their group has been added back, W = Σ w over
the group and λ the precision of the effects' prior:

    e | … ~ N(Σ w r / (λ + W), 1 / (λ + W))

On a CPU the pass is compiled; what stands first is the same in PyTorch, for a GPU and to compare.
"""

import itertools
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.sparse import grouped
from model.kernels.threads import in_threads

CHUNK = 1 << 16  # ratings, or so, that a thread takes at a time

Array = NDArray[Any]


class Drawn(NamedTuple):
    """What a pass over all groups comes to."""

    squares: float  # Σ e²
    energy: float  # Σ W e²
    match: float  # Σ e Σ w r, of the r to which e has been added back


class Groups(Protocol):
    """Ratings in groups."""

    def draw(
        self,
        effects: Tensor,
        means: Tensor,
        *,
        precision: float,
        weights: Tensor,
        noise: Tensor,
        residuals: Tensor,
    ) -> Drawn:
        """Draws the effects of all groups, and takes them out of the residuals, in place.

        Args:
            effects: (G,) float32, e, which become the new ones.
            means: (G,) float32, where their conditional means are to be written.
            precision: λ.
            weights: (n_ratings,) float32, w.
            noise: (G,) float32, standard normal.
            residuals: (n_ratings,) float32, of the present effects; then of the new ones.
        """
        ...

    def sums(self, weights: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """The (G,) float64 sums Σ w and Σ w r of each group, of the residuals as they are."""
        ...

    def add(self, change: Tensor, residuals: Tensor) -> None:
        """Adds what (G,) float32 tell of its group to every residual, in place."""
        ...


def draw_given(
    groups: Groups,
    weight: Tensor,
    total: Tensor,
    effects: Tensor,
    means: Tensor,
    precision: float,
    noise: Tensor,
    residuals: Tensor,
) -> Drawn:
    """As `Groups.draw`, where `Groups.sums` are known."""
    total = total + weight * effects
    means.copy_(total / (weight + precision))
    before = effects.clone()
    effects.copy_(means + noise * (weight + precision).rsqrt())
    groups.add(before - effects, residuals)
    squares = effects.double().square()
    sums = torch.stack([squares.sum(), squares @ weight, effects.double() @ total])
    return Drawn(*sums.tolist())


class PlainGroups:
    """As `Groups` says, in PyTorch."""

    def __init__(self, group: Tensor, n_groups: int) -> None:
        """Groups of (n_ratings,) int64 numbers, -1 for a rating without a group."""
        self._group = torch.where(group < 0, n_groups, group)
        self._order = self._group.argsort(stable=True)
        counts = torch.bincount(self._group, minlength=n_groups + 1)
        self._offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))

    def draw(
        self,
        effects: Tensor,
        means: Tensor,
        *,
        precision: float,
        weights: Tensor,
        noise: Tensor,
        residuals: Tensor,
    ) -> Drawn:
        """As `Groups` says."""
        sums = self.sums(weights, residuals)
        return draw_given(self, *sums, effects, means, precision, noise, residuals)

    def sums(self, weights: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """As `Groups` says; in an order that stays, whatever the device."""
        columns = torch.stack([weights, weights * residuals], 1).double()[self._order]
        sums = torch.segment_reduce(columns, "sum", offsets=self._offsets)[:-1]
        return sums[:, 0], sums[:, 1]

    def add(self, change: Tensor, residuals: Tensor) -> None:
        """As `Groups` says."""
        residuals += torch.cat([change, change.new_zeros(1)])[self._group]


class CompiledGroups:
    """As `Groups` says, on a CPU; in a fraction of the time where groups are runs of ratings."""

    def __init__(self, group: Tensor, n_groups: int) -> None:
        """Groups of (n_ratings,) int64 numbers, -1 for a rating without a group."""
        numbers = np.where(group.numpy() < 0, n_groups, group.numpy())
        self._group = numbers.astype(np.int32)
        first, _, places = grouped(numbers, numbers, n_groups + 1)
        self._first = first[:-1]  # without those that have none
        self._places = None if (numbers[1:] >= numbers[:-1]).all() else places
        cuts = np.searchsorted(self._first, np.arange(0, self._first[-1], CHUNK))
        self._chunks = list(itertools.pairwise([*np.unique(cuts).tolist(), n_groups]))

    def draw(
        self,
        effects: Tensor,
        means: Tensor,
        *,
        precision: float,
        weights: Tensor,
        noise: Tensor,
        residuals: Tensor,
    ) -> Drawn:
        """As `Groups` says."""
        arrays = [tensor.numpy() for tensor in (effects, means, weights, noise, residuals)]
        work = self._first, self._places, np.float32(precision), *arrays
        parts = in_threads(lambda chunk: draw_groups(*chunk, *work), self._chunks)
        return Drawn(*map(sum, zip((0.0, 0.0, 0.0), *parts, strict=True)))

    def sums(self, weights: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """As `Groups` says."""
        n_groups = len(self._first) - 1
        weight, total = sums_of_groups(self._group, n_groups, weights.numpy(), residuals.numpy())
        return torch.from_numpy(weight), torch.from_numpy(total)

    def add(self, change: Tensor, residuals: Tensor) -> None:
        """As `Groups` says."""
        add_to_groups(self._group, change.numpy(), residuals.numpy())


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def draw_groups(
    begin: int,
    end: int,
    first: Array,
    places: Array | None,
    precision: np.float32,
    effects: Array,
    means: Array,
    weights: Array,
    noise: Array,
    residuals: Array,
) -> tuple[float, float, float]:
    """Draws the effects of the groups begin … end - 1; their ratings follow each other, or are at
    `places`: which of the two is compiled apart.
    """
    squares, energy, match = 0.0, 0.0, 0.0
    for group in range(begin, end):
        weight, total, effect = precision, np.float32(0.0), effects[group]
        for number in range(first[group], first[group + 1]):
            at = number if places is None else places[number]
            weight += weights[at]
            total += weights[at] * (residuals[at] + effect)
        root = np.float32(1.0) / np.sqrt(weight)
        mean = total * (root * root)
        drawn = mean + noise[group] * root
        means[group], effects[group] = mean, drawn
        squares += drawn * drawn
        energy += (weight - precision) * drawn * drawn
        match += total * drawn
        change = effect - drawn
        for number in range(first[group], first[group + 1]):
            at = number if places is None else places[number]
            residuals[at] += change
    return squares, energy, match


@njit(nogil=True, cache=True)
def sums_of_groups(
    group: Array, n_groups: int, weights: Array, residuals: Array
) -> tuple[Array, Array]:
    """As `Groups.sums` says."""
    weight, total = np.zeros(n_groups), np.zeros(n_groups)
    for at in range(len(group)):
        here = group[at]
        if here < n_groups:
            weight[here] += weights[at]
            total[here] += weights[at] * residuals[at]
    return weight, total


@njit(nogil=True, cache=True)
def add_to_groups(group: Array, change: Array, residuals: Array) -> None:
    """As `Groups.add` says."""
    for at in range(len(group)):
        if group[at] < len(change):
            residuals[at] += change[group[at]]


def walk(weights: Tensor, totals: Tensor, precision: float, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A random walk given what is seen of it: its conditional mean, and a draw around that.

        g_1 ~ N(0, 1),   g_k ~ N(g_{k-1}, 1 / λ),   what is seen in step k ~ N(g_k, 1 / w)

    Args:
        weights: (K,) float64, Σ w of each step.
        totals: (K,) float64, Σ w r of each step.
        precision: λ.
        noise: (K,) float64, standard normal.

    Returns:
        two (K,) float64, where `weights` is.
    """
    columns = [column.cpu().numpy() for column in (weights, totals, noise)]
    means, draw = walk_through(columns[0], columns[1], precision, columns[2])
    return torch.from_numpy(means).to(weights.device), torch.from_numpy(draw).to(weights.device)


@njit(nogil=True, cache=True)
def walk_through(
    weights: Array, totals: Array, precision: float, noise: Array
) -> tuple[Array, Array]:
    """As `walk`: its precision matrix is tridiagonal, and so is half of its Cholesky factor."""
    n = len(weights)
    diagonal, below, half = np.empty(n), np.zeros(n), np.empty(n)
    for k in range(n):
        entry = weights[k] + (1.0 if k == 0 else precision) + (precision if k < n - 1 else 0.0)
        if k > 0:
            below[k] = -precision / diagonal[k - 1]
        diagonal[k] = np.sqrt(entry - below[k] ** 2)
        half[k] = (totals[k] - (below[k] * half[k - 1] if k > 0 else 0.0)) / diagonal[k]
    means, draw = np.empty(n), np.empty(n)
    for k in range(n - 1, -1, -1):
        means[k], draw[k] = half[k], half[k] + noise[k]
        if k < n - 1:
            means[k] -= below[k + 1] * means[k + 1]
            draw[k] -= below[k + 1] * draw[k + 1]
        means[k] /= diagonal[k]
        draw[k] /= diagonal[k]
    return means, draw
