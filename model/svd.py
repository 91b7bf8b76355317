"""A truncated singular value decomposition of a sparse matrix, by random projection.

Halko, Martinsson & Tropp 2011 (Finding Structure with Randomness), algorithms 4.4 and 5.1;
unlike `torch.svd_lowrank` it draws from a generator.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model.kernels.threads import in_threads

OVERSAMPLING = 10
POWER_ITERATIONS = 4


def truncated_svd(
    matrix: Tensor, rank: int, *, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """U (n, k), s (k,) falling, V (m, k) of a sparse (n, m) matrix; k = min(rank, n, m)."""
    n, m = matrix.shape
    width = min(rank + OVERSAMPLING, n, m)
    times, transposed_times = _products(matrix)
    probe = torch.randn(m, width, generator=generator, device=generator.device, dtype=matrix.dtype)
    basis = torch.linalg.qr(times(probe)).Q
    for _ in range(POWER_ITERATIONS):
        basis = torch.linalg.qr(transposed_times(basis)).Q
        basis = torch.linalg.qr(times(basis)).Q
    v, s, uh = torch.linalg.svd(transposed_times(basis), full_matrices=False)
    k = min(rank, width)
    return basis @ uh.mH[:, :k], s[:k], v[:, :k]


def _products(matrix: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Products of the matrix, and of its transpose, with a dense one."""
    if matrix.device.type != "cpu":
        whole, transposed = matrix.coalesce(), matrix.t().coalesce()
        return lambda dense: whole @ dense, lambda dense: transposed @ dense
    from model.kernels.sparse import SparseProduct

    (rows, columns), values = matrix._indices(), matrix._values()
    sides = (rows, columns, matrix.shape[0]), (columns, rows, matrix.shape[1])
    times, transposed_times = in_threads(
        lambda side: SparseProduct(side[0], side[1], values, n_rows=side[2]), sides
    )
    return times, transposed_times
