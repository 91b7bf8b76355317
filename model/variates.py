"""Random variates that `torch.distributions` has, drawn here from a generator of one's own.

What is drawn for the rows of a table comes from a `Stream` instead, by the number of the row: the
same for a row wherever it stands, and whatever else is drawn beside it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.kernels.philox import Key, gammas, normals, uniforms


class Stream(NamedTuple):
    """Draws by number: a stream of its own for each seed, sweep and purpose."""

    seed: int
    sweep: int = 0

    def following(self) -> "Stream":
        """That of the sweep behind."""
        return Stream(self.seed, self.sweep + 1)

    def normal(
        self, purpose: int, rows: Tensor, width: int, *, first: Tensor | None = None
    ) -> Tensor:
        """Standard normal variates, (n, width) float32, of (n,) int64 numbers of rows.

        Or of pairs of numbers: `first`, (n,) int64, then is the other one.
        """
        return normals(self._key(purpose), rows, width, first=first)

    def uniform(self, purpose: int, first: Tensor, second: Tensor) -> Tensor:
        """Uniform float64 variates in (0, 1), of pairs of (n,) int64 numbers."""
        return uniforms(self._key(purpose), first, second)

    def gamma(self, purpose: int, rows: Tensor, shape: Tensor, rate: Tensor) -> Tensor:
        """Gamma(shape, rate) variates, (n,) float64, of (n,) int64 numbers of rows; shape ≥ 1."""
        return gammas(self._key(purpose), rows, shape) / rate

    def _key(self, purpose: int) -> Key:
        return Key(self.seed, self.sweep, purpose)


def gamma(shape: Tensor, rate: Tensor, *, generator: torch.Generator) -> Tensor:
    """Gamma(shape, rate) variates, elementwise; the mean is shape / rate."""
    # The one that torch.distributions.Gamma calls, which passes no generator on.
    variates: Tensor = torch._standard_gamma(shape, generator=generator)
    return variates / rate


def wishart_root(degrees: float, inverse_scale: Tensor, *, generator: torch.Generator) -> Tensor:
    """A (D, D) root R of a Wishart(degrees, W) variate R Rᵀ, of mean degrees · W.

    By Bartlett's decomposition (Odell & Feiveson 1966): R = C⁻ᵀ A with W⁻¹ = C Cᵀ and A lower
    triangular, A_ii² ~ χ²(degrees - i), A_ij ~ N(0, 1) below the diagonal.

    Args:
        degrees: ν ≥ D.
        inverse_scale: W⁻¹, (D, D) float64.
        generator: on the device of `inverse_scale`.
    """
    half = (degrees - torch.arange(len(inverse_scale), device=inverse_scale.device)).double() / 2
    chi = gamma(half, half.new_tensor(0.5), generator=generator).sqrt()
    lower = normal(inverse_scale.shape, generator=generator).tril(-1) + torch.diag(chi)
    root = torch.linalg.cholesky(inverse_scale)
    solution: Tensor = torch.linalg.solve_triangular(root.mT, lower, upper=True)
    return solution


def normal(shape: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    """Standard normal float64 variates."""
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


def uniform(shape: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    """Uniform float64 variates in [0, 1)."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
