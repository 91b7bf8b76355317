"""Entries of a sparse matrix grouped by row, compiled by numba: what works on rows starts here."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.kernels.compiling import njit
from model.kernels.simd import LANES
from model.kernels.threads import in_threads

WORK = 1 << 15  # entries, or so, that a thread takes at a time

Array = NDArray[Any]


class SparseProduct:
    """The product of a sparse matrix, given by its entries, with a dense one, on a CPU."""

    def __init__(self, rows: Tensor, columns: Tensor, values: Tensor, *, n_rows: int) -> None:
        self._first, self._columns, places = grouped(rows.numpy(), columns.numpy(), n_rows)
        self._values = values.numpy()[places]
        self._chunks = row_chunks(self._first)

    def __call__(self, dense: Tensor) -> Tensor:
        """The (n_rows, columns) product with (…, columns)."""
        dense = dense.contiguous()  # as the columns of a QR decomposition are not
        product = dense.new_empty(len(self._first) - 1, dense.shape[1])
        arrays = self._first, self._columns, self._values, dense.numpy(), product.numpy()
        in_threads(lambda chunk: multiply_rows(*chunk, *arrays), self._chunks)
        return product


def row_chunks(first: Array) -> list[tuple[int, int]]:
    """Begin and end of rows that are about as much work: whole batches of systems each."""
    # A row without ratings costs a factorization all the same.
    work = (first[1:] - first[:-1] + 32).cumsum()
    cuts = np.searchsorted(work, np.arange(WORK, work[-1], WORK) if len(work) else [])
    cuts = np.unique(cuts // LANES * LANES)
    return list(itertools.pairwise([0, *cuts[cuts > 0].tolist(), len(work)]))


@njit(nogil=True, cache=True)
def grouped(own: Array, other: Array, n_rows: int) -> tuple[Array, Array, Array]:
    """Entries sorted by row, their order kept: where each row begins, others, places.

    Args:
        own: (n_entries,) int64, the row of each entry.
        other: (n_entries,) int64, its column.
        n_rows: the number of rows.

    Returns:
        (n_rows + 1,) int64, (n_entries,) int32 and (n_entries,) int32.
    """
    first = np.zeros(n_rows + 1, dtype=np.int64)
    for row in own:
        first[row + 1] += 1
    first = first.cumsum()
    following = first[:-1].copy()
    others = np.empty(len(own), dtype=np.int32)
    places = np.empty(len(own), dtype=np.int32)
    for entry in range(len(own)):
        at = following[own[entry]]
        following[own[entry]] += 1
        others[at] = other[entry]
        places[at] = entry
    return first, others, places


@njit(nogil=True, cache=True, fastmath={"contract"})
def multiply_rows(
    begin: int, end: int, first: Array, columns: Array, values: Array, dense: Array, product: Array
) -> None:
    """Rows begin … end - 1 of a product."""
    total = np.empty(dense.shape[1], dtype=dense.dtype)
    for row in range(begin, end):
        total[:] = 0.0
        for entry in range(first[row], first[row + 1]):
            value, source = values[entry], dense[columns[entry]]
            for j in range(len(total)):
                total[j] += value * source[j]
        for j in range(len(total)):
            product[row, j] = total[j]


@njit(nogil=True, cache=True)
def sums_of_rests(own: Array, other: Array, values: Array, expected: Array, n_rows: int) -> Array:
    """The (n_rows,) sums of values less what their columns expect, row by row."""
    sums = np.zeros(n_rows)
    for entry in range(len(own)):
        sums[own[entry]] += values[entry] - expected[other[entry]]
    return sums
