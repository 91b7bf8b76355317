"""Where the time inside the compiled regressions goes: their parts one by one, over the same data.

The kernel itself has no clocks. Each of its parts runs in a loop of its own here, over all rows of
both sides, shared out to threads in the same way. What a part leaves behind means nothing.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from numba import njit

from model.dataset import Ratings
from model.kernels.compiled_normal_equations import (
    PANEL,
    Array,
    Compiled,
    _assemble,
    _factorize,
    _measure,
    _substitute_back,
    _sum_gram,
)
from model.kernels.simd import LANES, TILE, add_products
from model.kernels.threads import in_threads

SUM, ACCUMULATE, ASSEMBLE, FACTORIZE, SOLVE, MEASURE = range(6)


def sides(ratings: Ratings) -> list[Compiled]:
    """The regressions of users and of items."""
    users, items = ratings.user_index, ratings.item_index
    return [
        Compiled(users, items, n_rows=ratings.n_users),
        Compiled(items, users, n_rows=ratings.n_items),
    ]


def part_seconds(
    regressions: Sequence[Compiled], n_rows: Sequence[int], *, rank: int, draws: bool, repeats: int
) -> dict[str, float]:
    """Median seconds of the parts of a sweep.

    Args:
        regressions: of `sides`.
        n_rows: the numbers of users and of items.
        rank: of the factors.
        draws: as `gibbs` does: two solutions, and residuals that are written.
        repeats: how often each part runs.
    """
    width = rank + 1
    padded = -(-(width + 1) // LANES) * LANES
    works = []
    for side, n_others in zip(regressions, reversed(n_rows), strict=True):
        table = np.zeros((n_others + 1, padded), dtype=np.float32)
        table[:-1, :width] = np.random.default_rng(0).normal(0, 0.3, (n_others, width))
        table[:-1, width - 1] = 1.0
        targets = np.zeros(len(side._others), dtype=np.float32)
        residuals = targets.copy() if draws else targets[:0]
        arrays = side._first, side._others, side._places, table, targets, residuals
        works.append((side._chunks, arrays))

    def run(part: int) -> None:
        for chunks, arrays in works:
            in_threads(lambda chunk: run_part(part, *chunk, arrays, width), chunks)  # noqa: B023

    seconds = [statistics.median(run_seconds(lambda: run(part), repeats)) for part in range(6)]  # noqa: B023
    return {
        "gather": seconds[SUM] - seconds[ACCUMULATE],
        "accumulate": seconds[ACCUMULATE],
        "assemble": seconds[ASSEMBLE],
        "factorize": seconds[FACTORIZE],
        "solve": seconds[SOLVE] * (2 if draws else 1),
        "measure": seconds[MEASURE],
    }


def run_seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each run of a piece of work, after one that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


# Not cached on disk: numba would not notice that the functions called here have changed.
@njit(nogil=True, error_model="numpy")
def run_part(part: int, begin: int, end: int, arrays: tuple[Array, ...], width: int) -> float:
    """One part of `solve_rows`, for rows begin … end - 1."""
    first, others, places, table, targets, residuals = arrays
    padded = table.shape[1]
    panel = np.zeros((max(TILE, PANEL // padded), padded), dtype=np.float32)
    grams = np.zeros((LANES, padded * padded + LANES), dtype=np.float32)
    lower = np.zeros(((width + TILE) * (width + TILE + 1) // 2, LANES), dtype=np.float32)
    pivots = np.ones((width + TILE, LANES), dtype=np.float32)
    inverse = np.ones((width, LANES), dtype=np.float32)
    solution = np.ones((width, LANES), dtype=np.float32)
    ones, row = np.ones(LANES, dtype=np.float32), np.ones(padded, dtype=np.float32)
    decay = np.zeros(width, dtype=np.float32)
    precision = np.eye(width).astype(np.float32)
    base, total = first[begin], 0.0
    here = places[base : first[end]]
    wanted = targets[here] if part == SUM else targets[: len(here)].copy()
    if part == MEASURE and len(residuals):
        residuals[here] = wanted
    for start in range(begin, end, LANES):
        for u in range(start, min(start + LANES, end)):
            gram = grams[u - start]
            if part == SUM:
                _sum_gram(
                    others[first[u] : first[u + 1]],
                    wanted[first[u] - base : first[u + 1] - base],
                    table,
                    width,
                    panel,
                    gram,
                )
            elif part == ACCUMULATE:
                for at in range(first[u], first[u + 1], len(panel)):
                    n = min(len(panel), first[u + 1] - at)
                    for i in range(0, width + 1, TILE):
                        for j in range(0, i + 1, LANES):
                            add_products(panel, gram, n, padded, i, j)
            elif part == MEASURE:
                total += _measure(
                    others[first[u] : first[u + 1]],
                    wanted[first[u] - base : first[u + 1] - base],
                    table,
                    width,
                    row,
                )
        if part == ASSEMBLE:
            grams[:] = 0.0
            _assemble(grams, padded, ones, ones, precision, decay, lower, pivots)
        elif part == FACTORIZE:
            _factorize(lower, pivots, inverse)
        elif part == SOLVE:
            _substitute_back(lower, inverse, solution)
    return total + grams[0, 0] + lower[0, 0] + pivots[0, 0] + solution[0, 0]
