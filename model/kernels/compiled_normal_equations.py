"""`Regressions` compiled by numba, for a CPU: the form that als and gibbs run there.

Each row's Gram matrix is summed from a panel of its ratings that fits the first cache, the lower
half only; sixteen systems are factorized together, one a vector lane. Rows are shared out to
threads; what comes back does not depend on how many there are. `normal_equations.Batched` says the
same in a few lines of PyTorch, and the tests compare the two.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiling import njit
from model.kernels.normal_equations import Solution, regressors
from model.kernels.simd import LANES, TILE, add_products, eliminate
from model.kernels.sparse import grouped, row_chunks
from model.kernels.threads import in_threads

PANEL = 1 << 12  # numbers gathered at once: half of a first-level cache
LEAST_PIVOT = np.float32(1e-6)  # as a share of its diagonal entry: less is only rounding

Array = NDArray[Any]


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
        n_rows, width = right.shape
        table = np.zeros((len(others) + 1, -(-(width + 1) // LANES) * LANES), dtype=np.float32)
        table[:, : width + 1] = regressors(
            others, None if other_weights is None else other_weights.sqrt()
        ).numpy()
        means = torch.empty_like(right)
        draws = torch.empty_like(right) if noise is not None else means
        errors = torch.empty(n_rows, dtype=torch.float64)
        none = np.empty((0, width), dtype=np.float32)
        arguments = (
            self._first,
            self._others,
            self._places,
            table,
            targets.numpy(),
            precision.numpy(),
            right.numpy(),
            np.zeros(width, dtype=np.float32) if decay is None else decay.numpy(),
            np.ones(n_rows, dtype=np.float32) if weights is None else weights.numpy(),
            none if noise is None else noise.numpy(),
            none[:, 0] if residuals is None else residuals.numpy(),
            means.numpy(),
            draws.numpy(),
            errors.numpy(),
        )
        in_threads(lambda chunk: solve_rows(*chunk, *arguments), self._chunks)
        return Solution(means=means, draws=draws, squared_errors=errors)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def solve_rows(
    begin: int,
    end: int,
    first: Array,
    others: Array,
    places: Array,
    table: Array,
    targets: Array,
    precision: Array,
    right: Array,
    decay: Array,
    weights: Array,
    noise: Array,
    residuals: Array,
    means: Array,
    draws: Array,
    errors: Array,
) -> None:
    """Solves the regressions of rows begin … end - 1, sixteen at a time."""
    padded, width = table.shape[1], len(decay)
    panel = np.zeros((max(TILE, PANEL // padded), padded), dtype=np.float32)
    # A line more each, so that the same places of sixteen do not compete for one place of a cache.
    grams = np.zeros((LANES, padded * padded + LANES), dtype=np.float32)
    # Packed row by row, the right-hand side below; rows of a last tile beyond it stay zero.
    lower = np.zeros(((width + TILE) * (width + TILE + 1) // 2, LANES), dtype=np.float32)
    pivots = np.zeros((width + TILE, LANES), dtype=np.float32)
    inverse = np.empty((width, LANES), dtype=np.float32)
    mean = np.empty((width, LANES), dtype=np.float32)
    draw = np.empty((width, LANES), dtype=np.float32)
    scale = np.zeros(LANES, dtype=np.float32)
    n_decay = np.zeros(LANES, dtype=np.float32)
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
            scale[lane] = weights[u]
            n_decay[lane] = max(first[u + 1] - first[u], 1)
        _assemble(grams, padded, scale, n_decay, precision, decay, lower, pivots)
        below = width * (width + 1) // 2
        for j in range(width):
            for lane in range(lanes):
                added = right[start + lane, j]
                lower[below + j, lane] = scale[lane] * grams[lane, width * padded + j] + added
        _factorize(lower, pivots, inverse)
        for j in range(width):
            for lane in range(LANES):
                mean[j, lane] = lower[below + j, lane]
            for lane in range(lanes if len(noise) else 0):
                draw[j, lane] = mean[j, lane] + noise[start + lane, j]
        _substitute_back(lower, inverse, mean)
        if len(noise):
            _substitute_back(lower, inverse, draw)
        for lane in range(lanes):
            u = start + lane
            for j in range(width):
                means[u, j] = mean[j, lane]
                if len(noise):
                    draws[u, j] = draw[j, lane]
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
        residuals[places[base : first[end]]] = wanted


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
