"""A truncated singular value decomposition of a sparse matrix, by random projection.

Halko, Martinsson & Tropp 2011 (Finding Structure with Randomness), algorithms 4.4 and 5.1;
unlike `torch.svd_lowrank` it draws from a generator.
"""

import torch
from torch import Tensor

OVERSAMPLING = 10
POWER_ITERATIONS = 4


def truncated_svd(
    matrix: Tensor, rank: int, *, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """U (n, k), s (k,) falling, V (m, k) of a sparse (n, m) matrix; k = min(rank, n, m)."""
    n, m = matrix.shape
    width = min(rank + OVERSAMPLING, n, m)
    matrix = matrix.coalesce()
    transposed = matrix.t().coalesce()
    probe = torch.randn(m, width, generator=generator, device=generator.device, dtype=matrix.dtype)
    basis = torch.linalg.qr(matrix @ probe).Q
    for _ in range(POWER_ITERATIONS):
        basis = torch.linalg.qr(transposed @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    v, s, uh = torch.linalg.svd(transposed @ basis, full_matrices=False)
    k = min(rank, width)
    return basis @ uh.mH[:, :k], s[:k], v[:, :k]
