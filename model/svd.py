"""A truncated singular value decomposition of a sparse matrix, by random projection.

Halko, Martinsson & Tropp 2011 (Finding Structure with Randomness), algorithms 4.4 and 5.1;
unlike `torch.svd_lowrank` it draws from a generator.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from model.kernels.threads import in_threads
from model.world import ALONE, World

OVERSAMPLING = 10
POWER_ITERATIONS = 4

Product = Callable[[Tensor], Tensor]


def sparse(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """The sparse matrix of that shape whose (n,) values stand at (n,) distinct places."""
    with warnings.catch_warnings():  # PyTorch 2.11 warns that it checks nothing, as it is told to
        warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
        return torch.sparse_coo_tensor(
            torch.stack([rows, columns]), values, shape, check_invariants=True
        )


def truncated_svd(
    matrix: Tensor, rank: int, *, generator: torch.Generator, world: World = ALONE
) -> tuple[Tensor, Tensor, Tensor]:
    """U (n, k), s (k,) falling, V (m, k) of a sparse (n, m) matrix; k = min(rank, n, m).

    Each rank of a world has some of the rows, and gets those of U.
    """
    (n, m), (times, transposed_times) = matrix.shape, _products(matrix)
    if world.size > 1:
        n = int(world.sum(torch.tensor(n, device=matrix.device)))
    return svd_of_products(
        times,
        lambda dense: world.sum(transposed_times(dense)),
        shape=(n, m),
        dtype=matrix.dtype,
        rank=rank,
        generator=generator,
        world=world,
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
    world: World = ALONE,
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
        world: of ranks that have the rows between them.
    """
    n, m = shape
    width = min(rank + OVERSAMPLING, n, m)
    probe = torch.randn(m, width, generator=generator, device=generator.device, dtype=dtype)
    basis = world.orthonormal(times(probe))
    for _ in range(power_iterations):
        basis = torch.linalg.qr(transposed_times(basis)).Q
        basis = world.orthonormal(times(basis))
    v, s, uh = torch.linalg.svd(transposed_times(basis), full_matrices=False)
    k = min(rank, width)
    v = v[:, :k]
    signs = v.gather(0, v.abs().argmax(0, keepdim=True)).sign()  # whatever the basis was
    return basis @ uh.mH[:, :k] * signs, s[:k], v * signs


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
