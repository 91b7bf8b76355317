"""Random variates that `torch.distributions` has, drawn here from a generator of one's own."""

import torch
from torch import Tensor


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
