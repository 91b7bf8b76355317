"""`Regressions` compiled by numba, for a CPU: the form that als and gibbs run there.

Each row's Gram matrix is summed from a panel of its ratings that fits the first cache, the lower
half only; sixteen systems are factorized together, one a vector lane. Rows are shared out to
threads; what comes back does not depend on how many there are. `normal_equations.Batched` says the
same in a few lines of PyTorch, and the tests compare the two.

Arrays are written number by number: of an array that is assigned to a part of another, numba
compiles what it would say if their shapes differed, and takes a third longer for all kernels.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiling import njit
from model.kernels.normal_equations import Given, Prior, Solution, n_sums
from model.kernels.simd import LANES, TILE, add_products, eliminate
from model.kernels.sparse import grouped, row_chunks
from model.kernels.threads import in_threads

SUMMED_AT_ONCE = 1 << 22  # numbers
PANEL = 1 << 12  # numbers gathered at once: half of a first-level cache
LEAST_PIVOT = np.float32(1e-6)  # as a share of its diagonal entry: less is only rounding

Array = NDArray[Any]
Arrays = tuple[Array, ...]


class Compiled:
    """The regressions of one side, on a CPU."""

    def __init__(self, own: Tensor, other: Tensor, *, n_rows: int) -> None:
        self._first, self._others, self._places = grouped(own.numpy(), other.numpy(), n_rows)
        self._chunks = row_chunks(self._first)

    def solve(
        self,
        others: Tensor,
        targets: Tensor,
        *,
        precision: Tensor,
        right: Tensor,
        decay: Tensor | None = None,
        weights: Tensor | None = None,
        other_weights: Tensor | None = None,
        noise: Tensor | None = None,
        residuals: Tensor | None = None,
    ) -> Solution:
        """As `normal_equations.Regressions` says."""
        means = torch.empty_like(right)
        draws = torch.empty_like(right) if noise is not None else means
        errors = torch.empty(len(right), dtype=torch.float64)
        prior = Prior(precision=precision, right=right, decay=decay, weights=weights, noise=noise)
        arguments = (
            self._first,
            self._others,
            self._places,
            _padded(Given(others, targets, other_weights)),
            targets.numpy(),
            _arrays(prior),
            np.empty(0, dtype=np.float32) if residuals is None else residuals.numpy(),
            means.numpy(),
            draws.numpy(),
            errors.numpy(),
        )
        in_threads(lambda chunk: solve_rows(*chunk, *arguments), self._chunks)
        return Solution(means=means, draws=draws, squared_errors=errors)

    def cuts(self, width: int) -> list[tuple[int, int]]:
        """As `normal_equations.Parts` says."""
        most = max(LANES, SUMMED_AT_ONCE // n_sums(width))
        n_rows = len(self._first) - 1
        return [(begin, min(begin + most, n_rows)) for begin in range(0, n_rows, most)]

    def sums(self, rows: tuple[int, int], given: Given) -> Tensor:
        """As `normal_equations.Parts` says."""
        width = given.others.shape[1]
        found = torch.empty(rows[1] - rows[0], n_sums(width))
        columns = self._first, self._others, self._places
        arguments = (*columns, _padded(given), given.targets.numpy(), width, rows[0], found.numpy())
        in_threads(lambda chunk: sum_rows(*chunk, *arguments), self._chunks_of(rows))
        return found

    def solve_sums(self, sums: Tensor, prior: Prior) -> Tensor:
        """As `normal_equations.Parts` says."""
        n, step = len(sums), 8 * LANES
        found = torch.empty(1 if prior.noise is None else 2, *prior.right.shape)
        counts = torch.ones(n) if prior.counts is None else prior.counts.float()
        rows = found[0].numpy(), found[-1].numpy()
        arguments = (sums.numpy(), counts.numpy(), _arrays(prior), *rows)
        chunks = [(begin, min(begin + step, n)) for begin in range(0, n, step)]
        in_threads(lambda chunk: solve_triangles(*chunk, *arguments), chunks)
        return found

    def errors(
        self, rows: tuple[int, int], given: Given, draws: Tensor, residuals: Tensor
    ) -> Tensor:
        """As `normal_equations.Parts` says."""
        found = torch.empty(len(draws), dtype=torch.float64)
        arguments = (
            self._first,
            self._others,
            self._places,
            _padded(given),
            given.targets.numpy(),
            rows[0],
            draws.numpy(),
            residuals.numpy(),
            found.numpy(),
        )
        in_threads(lambda chunk: measure_rows(*chunk, *arguments), self._chunks_of(rows))
        return found

    def _chunks_of(self, rows: tuple[int, int]) -> list[tuple[int, int]]:
        """The chunks of some rows."""
        begin, end = rows
        cut = ((max(begin, first), min(end, last)) for first, last in self._chunks)
        return [(first, last) for first, last in cut if first < last]


def _padded(given: Given) -> Array:
    """What is gathered of the other side, in whole vectors."""
    width = given.others.shape[1] + 1
    table = np.zeros((len(given.others) + 1, -(-width // LANES) * LANES), dtype=np.float32)
    table[:, :width] = given.table.numpy()
    return table


def _arrays(prior: Prior) -> Arrays:
    """Precision, right side, decay, weights and noise; the last is empty if there is none."""
    n_rows, width = prior.right.shape
    return (
        prior.precision.numpy(),
        prior.right.numpy(),
        np.zeros(width, dtype=np.float32) if prior.decay is None else prior.decay.numpy(),
        np.ones(n_rows, dtype=np.float32) if prior.weights is None else prior.weights.numpy(),
        np.empty((0, width), dtype=np.float32) if prior.noise is None else prior.noise.numpy(),
    )


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def solve_rows(
    begin: int,
    end: int,
    first: Array,
    others: Array,
    places: Array,
    table: Array,
    targets: Array,
    prior: Arrays,
    residuals: Array,
    means: Array,
    draws: Array,
    errors: Array,
) -> None:
    """Solves the regressions of rows begin … end - 1, sixteen at a time."""
    padded, width = table.shape[1], means.shape[1]
    panel = np.zeros((max(TILE, PANEL // padded), padded), dtype=np.float32)
    room = _room(width, padded)
    grams = room[0]
    n_ratings = np.zeros(LANES, dtype=np.float32)
    row = np.zeros(padded, dtype=np.float32)
    base = first[begin]
    wanted = targets[places[base : first[end]]]
    for start in range(begin, end, LANES):
        lanes = min(LANES, end - start)
        grams[:] = 0.0
        for lane in range(lanes):
            u = start + lane
            _sum_gram(
                others[first[u] : first[u + 1]],
                wanted[first[u] - base : first[u + 1] - base],
                table,
                width,
                panel,
                grams[lane],
            )
            n_ratings[lane] = max(first[u + 1] - first[u], 1)
        rows = slice(start, start + lanes)
        _solve_lanes(room, padded, n_ratings, prior, means[rows], draws[rows], rows)
        for lane in range(lanes):
            u = start + lane
            for j in range(width):
                row[j] = draws[u, j]
            row[width] = -1.0
            errors[u] = _measure(
                others[first[u] : first[u + 1]],
                wanted[first[u] - base : first[u + 1] - base],
                table,
                width,
                row,
            )
    if len(residuals):
        for cell in range(len(wanted)):
            residuals[places[base + cell]] = wanted[cell]


@njit(nogil=True, cache=True)
def sum_rows(
    begin: int,
    end: int,
    first: Array,
    others: Array,
    places: Array,
    table: Array,
    targets: Array,
    width: int,
    start: int,
    sums: Array,
) -> None:
    """Writes the packed sums of the rows begin … end - 1 to those of rows from `start` on."""
    padded = table.shape[1]
    panel = np.zeros((max(TILE, PANEL // padded), padded), dtype=np.float32)
    gram = np.zeros(padded * padded + LANES, dtype=np.float32)
    base = first[begin]
    wanted = targets[places[base : first[end]]]
    for u in range(begin, end):
        gram[:] = 0.0
        _sum_gram(
            others[first[u] : first[u + 1]],
            wanted[first[u] - base : first[u + 1] - base],
            table,
            width,
            panel,
            gram,
        )
        at = 0
        for i in range(width + 1):
            for j in range(i + 1):
                sums[u - start, at] = gram[i * padded + j]
                at += 1


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def solve_triangles(
    begin: int,
    end: int,
    sums: Array,
    counts: Array,
    prior: Arrays,
    means: Array,
    draws: Array,
) -> None:
    """Solves the regressions whose packed sums are in rows begin … end - 1."""
    width = means.shape[1]
    padded = width + 1
    room = _room(width, padded)
    grams = room[0]
    n_ratings = np.zeros(LANES, dtype=np.float32)
    for start in range(begin, end, LANES):
        lanes = min(LANES, end - start)
        for lane in range(lanes):
            n_ratings[lane] = max(counts[start + lane], np.float32(1.0))
            at = 0
            for i in range(width + 1):
                for j in range(i + 1):
                    grams[lane, i * padded + j] = sums[start + lane, at]
                    at += 1
        rows = slice(start, start + lanes)
        _solve_lanes(room, padded, n_ratings, prior, means[rows], draws[rows], rows)


@njit(nogil=True, cache=True, error_model="numpy")
def measure_rows(
    begin: int,
    end: int,
    first: Array,
    others: Array,
    places: Array,
    table: Array,
    targets: Array,
    start: int,
    draws: Array,
    residuals: Array,
    errors: Array,
) -> None:
    """Writes the errors of the rows begin … end - 1, whose draws are those of rows from `start`."""
    width = draws.shape[1]
    row = np.zeros(table.shape[1], dtype=np.float32)
    base = first[begin]
    wanted = targets[places[base : first[end]]]
    for u in range(begin, end):
        for j in range(width):
            row[j] = draws[u - start, j]
        row[width] = -1.0
        errors[u - start] = _measure(
            others[first[u] : first[u + 1]],
            wanted[first[u] - base : first[u + 1] - base],
            table,
            width,
            row,
        )
    for cell in range(len(wanted)):
        residuals[places[base + cell]] = wanted[cell]


@njit(nogil=True, cache=True)
def _room(width: int, padded: int) -> Arrays:
    """What sixteen systems are worked on in: Gram matrices, factors, their diagonals, solutions."""
    # A line more each, so that the same places of sixteen do not compete for one place of a cache.
    grams = np.zeros((LANES, padded * padded + LANES), dtype=np.float32)
    # Packed row by row, the right-hand side below; rows of a last tile beyond it stay zero.
    lower = np.zeros(((width + TILE) * (width + TILE + 1) // 2, LANES), dtype=np.float32)
    pivots = np.zeros((width + TILE, LANES), dtype=np.float32)
    solutions = np.empty((3, width, LANES), dtype=np.float32)
    return grams, lower, pivots, solutions[0], solutions[1], solutions[2]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _solve_lanes(
    room: Arrays,
    padded: int,
    n_ratings: Array,
    prior: Arrays,
    means: Array,
    draws: Array,
    rows: slice,
) -> None:
    """Solves at most sixteen systems, one a lane: means and draws of the rows."""
    grams, lower, pivots, inverse, mean, draw = room
    precision, right, decay, weights, noise = prior
    right, weights = right[rows], weights[rows]
    noise = noise[rows] if len(noise) else noise
    lanes, width = means.shape
    scale = np.zeros(LANES, dtype=np.float32)
    for lane in range(lanes):
        scale[lane] = weights[lane]
    _assemble(grams, padded, scale, n_ratings, precision, decay, lower, pivots)
    below = width * (width + 1) // 2
    for j in range(width):
        for lane in range(lanes):
            added = right[lane, j]
            lower[below + j, lane] = scale[lane] * grams[lane, width * padded + j] + added
    _factorize(lower, pivots, inverse)
    for j in range(width):
        for lane in range(LANES):
            mean[j, lane] = lower[below + j, lane]
        for lane in range(lanes if len(noise) else 0):
            draw[j, lane] = mean[j, lane] + noise[lane, j]
    _substitute_back(lower, inverse, mean)
    if len(noise):
        _substitute_back(lower, inverse, draw)
    for lane in range(lanes):
        for j in range(width):
            means[lane, j] = mean[j, lane]
            if len(noise):
                draws[lane, j] = draw[j, lane]


@njit(nogil=True, cache=True)
def _sum_gram(
    others: Array, wanted: Array, table: Array, width: int, panel: Array, gram: Array
) -> None:
    """Adds [φ, y - c] [φ, y - c]ᵀ w of a row's ratings, where i ≥ j."""
    padded = table.shape[1]
    for start in range(0, len(others), len(panel)):
        n = min(len(panel), len(others) - start)
        for cell in range(n):
            other = others[start + cell]
            for j in range(padded):
                panel[cell, j] = table[other, j]
            panel[cell, width] += wanted[start + cell] * panel[cell, width - 1]
        for i in range(0, width + 1, TILE):
            for j in range(0, i + 1, LANES):
                add_products(panel, gram, n, padded, i, j)


@njit(nogil=True, cache=True, fastmath={"contract", "nsz"})
def _assemble(
    grams: Array,
    padded: int,
    scale: Array,
    n_decay: Array,
    precision: Array,
    decay: Array,
    lower: Array,
    pivots: Array,
) -> None:
    """The matrices of sixteen systems, one a lane, their diagonals apart."""
    at = 0
    for i in range(len(decay)):
        for j in range(i):
            for lane in range(LANES):
                lower[at, lane] = scale[lane] * grams[lane, i * padded + j] + precision[i, j]
            at += 1
        at += 1
        for lane in range(LANES):
            own = precision[i, i] + n_decay[lane] * decay[i]
            pivots[i, lane] = scale[lane] * grams[lane, i * padded + i] + own


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _factorize(lower: Array, pivots: Array, inverse: Array) -> None:
    """Cholesky factors L of packed lower triangles in place; the row below becomes L⁻¹ times it.

    Column by column, from the left. A pivot that rounding made vanish is kept at the size of
    rounding: what it stands for is too certain for float32.

    Args:
        lower: (…, LANES), the diagonals unused.
        pivots: (width + TILE, LANES), the diagonals, which are used up.
        inverse: (width, LANES), where the reciprocals of the diagonal of L go.
    """
    width = len(inverse)
    for i in range(width):
        for lane in range(LANES):
            inverse[i, lane] = LEAST_PIVOT * pivots[i, lane]
    for j in range(width):
        for lane in range(LANES):
            inverse[j, lane] = np.float32(1.0) / np.sqrt(max(pivots[j, lane], inverse[j, lane]))
        for i in range(j + 1, width + 1, TILE):
            eliminate(lower, pivots, inverse, i, j)


@njit(nogil=True, cache=True, fastmath={"contract", "nsz"})
def _substitute_back(lower: Array, inverse: Array, solution: Array) -> None:
    """Solves Lᵀ x = b in place, (width, LANES)."""
    for j in range(len(solution) - 1, -1, -1):
        for lane in range(LANES):
            solution[j, lane] *= inverse[j, lane]
        before = j * (j + 1) // 2
        for k in range(j):
            for lane in range(LANES):
                solution[k, lane] -= lower[before + k, lane] * solution[j, lane]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _measure(others: Array, wanted: Array, table: Array, width: int, row: Array) -> float:
    """Σ w e² of a row's ratings, for the row [x, -1, 0 …]; e takes the place of what was wanted."""
    total = 0.0
    for rating in range(len(others)):
        other = others[rating]
        fit = np.float32(0.0)
        for j in range(len(row)):
            fit += table[other, j] * row[j]
        root = table[other, width - 1]
        error = wanted[rating] * root - fit
        total += np.float64(error) * np.float64(error)
        wanted[rating] = error / root
    return total
