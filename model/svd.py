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

Product = Callable[[Tensor], Tensor]


def truncated_svd(
    matrix: Tensor, rank: int, *, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """U (n, k), s (k,) falling, V (m, k) of a sparse (n, m) matrix; k = min(rank, n, m)."""
    (n, m), products = matrix.shape, _products(matrix)
    return svd_of_products(
        *products, shape=(n, m), dtype=matrix.dtype, rank=rank, generator=generator
    )


def svd_of_products(
    times: Product,
    transposed_times: Product,
    *,
    shape: tuple[int, int],
    dtype: torch.dtype,
    rank: int,
    generator: torch.Generator,
    power_iterations: int = POWER_ITERATIONS,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same of a matrix that is known by its products with dense ones alone.

    Args:
        times: the product of the matrix with (m, columns).
        transposed_times: that of its transpose with (n, columns).
        shape: (n, m).
        dtype: of the matrix.
        rank: k at most.
        generator: of the random projection.
        power_iterations: how often the projection is sharpened.
    """
    n, m = shape
    width = min(rank + OVERSAMPLING, n, m)
    probe = torch.randn(m, width, generator=generator, device=generator.device, dtype=dtype)
    basis = torch.linalg.qr(times(probe)).Q
    for _ in range(power_iterations):
        basis = torch.linalg.qr(transposed_times(basis)).Q
        basis = torch.linalg.qr(times(basis)).Q
    v, s, uh = torch.linalg.svd(transposed_times(basis), full_matrices=False)
    k = min(rank, width)
    return basis @ uh.mH[:, :k], s[:k], v[:, :k]


def _products(matrix: Tensor) -> tuple[Product, Product]:
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
