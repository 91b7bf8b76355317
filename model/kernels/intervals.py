"""Of ratings as ordered levels: the interval of the latent z that each level stands for.

A level k is seen where γ_{k-1} < z ≤ γ_k, for z normal around f with precision α w (`ordinal`).
Compiled on a CPU (`compiled_intervals`); this is the same in PyTorch.
"""

import math

import torch
from torch import Tensor

SMALLEST = 1e-300  # probability, of which a logarithm is still finite


class Intervals:
    """Of each rating the interval of z that its level stands for; compiled on a CPU."""

    def __init__(self, levels: Tensor, fit: Tensor, roots: Tensor) -> None:
        """Those of (n_ratings,) levels, fits f and roots √(w / α)."""
        self._levels, self._fit, self._roots = levels, fit.double(), roots.double()

    def log_likelihood(self, ends: Tensor, root_precision: float) -> float:
        """Σ log P(level), of thresholds between two infinities and √α."""
        lower, upper, _ = self._mirrored(ends, root_precision)
        return (_ndtr(upper) - _ndtr(lower)).clamp(min=SMALLEST).log().sum().item()

    def chances(
        self, ends: Tensor, root_precision: float, uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where in its level each z falls: z - f is Φ⁻¹ of the first times the second.

        An interval above f is looked at in a mirror: there a small tail keeps its digits.

        Args:
            ends: (K + 1,) float64, thresholds between two infinities.
            root_precision: √α.
            uniform: (n_ratings,) float64 between 0 and 1.

        Returns:
            (n_ratings,) float64 probabilities, and (n_ratings,) float64 scales, with a sign.
        """
        lower, upper, sign = self._mirrored(ends, root_precision)
        bottom = _ndtr(lower)
        return bottom + (_ndtr(upper) - bottom) * uniform, sign / (self._roots * root_precision)

    def _mirrored(self, ends: Tensor, root_precision: float) -> tuple[Tensor, Tensor, Tensor]:
        """Both ends in standard deviations from f, and the sign of the mirror."""
        root = self._roots * root_precision
        lower = (ends[self._levels] - self._fit) * root
        upper = (ends[self._levels + 1] - self._fit) * root
        above = lower > 0
        sign = torch.where(above, -1.0, 1.0).double()
        return torch.where(above, -upper, lower), torch.where(above, -lower, upper), sign


def drawn_between(
    intervals: Intervals, thresholds: Tensor, root_precision: float, fit: Tensor, uniform: Tensor
) -> Tensor:
    """The (n_ratings,) float64 latent z, of `uniform` between 0 and 1 in their intervals.

    Thresholds are (K - 1,), or (S, K - 1) where levels count on from one row to the next: level k
    of row s is s (K + 1) + k.
    """
    ends = ends_of(thresholds).flatten()
    chance, scale = intervals.chances(ends, root_precision, uniform)
    quantile = torch.special.ndtri(chance.clamp_(min=SMALLEST, max=1 - 1e-16))
    latent: Tensor = fit + quantile.mul_(scale)
    return latent


def ends_of(thresholds: Tensor) -> Tensor:
    """The (…, K + 1) thresholds between two infinities."""
    end = torch.full_like(thresholds[..., :1], torch.inf)
    return torch.cat([-end, thresholds, end], -1)


def _ndtr(x: Tensor) -> Tensor:
    """Φ, exact far below zero too, where `torch.special.ndtr` loses all digits."""
    chance: Tensor = torch.special.erfc(-x / math.sqrt(2.0)) / 2
    return chance
