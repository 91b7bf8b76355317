"""The row of a user who was not in the training, from a few ratings and the items as they are.

A sampler's is drawn as in its sweeps, from the conditionals that `chain` draws from, the items, α,
Λ, μ and B being those of a kept draw:

    x | a, z ~ N(P⁻¹ h, P⁻¹),   P = Λ + a α Σ_i b_i φ_i φ_iᵀ,   φ_i = [q_i, 1]
    h = Λ (μ + Bᵀ f) + a α Σ_i b_i φ_i (z_i - c_i)
    a | x, z ~ Gamma((ν + n) / 2, rate (ν + α Σ_i b_i (z_i - c_i - φ_i·x)²) / 2)
    z_i = y_i, the standardized rating; of ordinal chains drawn between its level's thresholds
    f = (n + c)^-p Σ_i l_i, with the loadings l of `side_features`

Salakhutdinov & Mnih 2008 (Bayesian Probabilistic Matrix Factorization using Markov Chain Monte
Carlo), eq. 11, and the sources of `chain`, `ordinal` and `hyperprior`. Of als and gradient it is
the minimum of their loss in that row: one ridge regression (Zhou, Wilkinson, Schreiber & Pan 2008,
sec. 3.1).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.kernels.intervals import Intervals, drawn_between
from model.kernels.normal_equations import Batched, Solution
from model.side_features import SHRINKAGE
from model.variates import gamma, uniform

SWEEPS = 10  # of the user's own unknowns, which forget where they began in two or three


@dataclass(frozen=True, kw_only=True)
class Newcomers:
    """What is known of a user before the first rating, the same in every draw."""

    loadings: Tensor  # (n_items, k) float32, l: what an item that was rated adds to the features
    degree_power: Tensor  # () float64, p
    noise_dof: Tensor  # () float64, ν
    centre: Tensor  # (l,) float32, of the labels of all descriptions of users
    rotation: Tensor  # (l, K) float32, which makes features of labels

    def features(self, item_index: Tensor) -> Tensor:
        """The (k,) features f of who rated these (n,) items."""
        degree = (len(item_index) + SHRINKAGE) ** -self.degree_power
        return self.loadings[item_index].sum(0) * degree.float()

    def described(self, about: Tensor | None) -> Tensor:
        """The (K,) features of who has these (l,) labels; zeros, as of an average user, if None."""
        if about is None:
            return self.rotation.new_zeros(self.rotation.shape[1])
        return (about - self.centre) @ self.rotation


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """A draw, as far as it bears on one user with n ratings."""

    items: Tensor  # (n, D) float32, rows [q_i, c_i] of the items that were rated
    item_noise: Tensor  # (n,) float32, b
    precision: Tensor  # () float64, α
    thresholds: Tensor  # (K - 1,) float64; none of the Gaussian likelihood
    prior_mean: Tensor  # (D,) float32, μ + Bᵀ f
    prior_precision: Tensor  # (D, D) float32, Λ
    noise_dof: float  # ν


def draw_row(
    given: Conditions, targets: Tensor, levels: Tensor, *, generator: torch.Generator
) -> tuple[Solution, Tensor]:
    """A user's row, its conditional mean and draw of shape (1, D), and a, (1,) float64.

    Args:
        given: all else.
        targets: (n,) float32, standardized ratings.
        levels: (n,) int64, their levels, for an ordinal draw.
        generator: of the draws.
    """
    n, width = given.items.shape
    own, other = torch.zeros(n, dtype=torch.int64), torch.arange(n)
    regression = Batched(own, other, n_rows=1, n_others=n)
    right = (given.prior_mean @ given.prior_precision)[None]
    noise, residuals = torch.ones(1, dtype=torch.float64), torch.empty(n)
    for _ in range(SWEEPS):
        solution = regression.solve(
            given.items,
            targets,
            precision=given.prior_precision,
            right=right,
            weights=(given.precision * noise).float(),
            other_weights=given.item_noise,
            noise=torch.randn(1, width, generator=generator),
            residuals=residuals,
        )
        if math.isfinite(given.noise_dof):
            shape = noise.new_tensor([(given.noise_dof + n) / 2])
            rate = (given.noise_dof + given.precision * solution.squared_errors) / 2
            noise = gamma(shape, rate, generator=generator)
        if len(given.thresholds):
            fit, roots = targets - residuals, (noise.float() * given.item_noise).sqrt()
            targets = drawn_between(
                Intervals(levels, fit, roots),
                given.thresholds,
                given.precision.sqrt().item(),
                fit,
                uniform((n,), generator=generator),
            ).float()
    return solution, noise


def ridge(factors: Tensor, targets: Tensor, penalty: Tensor) -> Tensor:
    """The row [p, b] that minimizes Σ_i (y_i - φ_i·[p, b])² + Σ_d penalty_d [p, b]_d².

    Args:
        factors: (n, rank) float64, q of the items that were rated; φ_i = [q_i, 1].
        targets: (n,) float64, y.
        penalty: (rank + 1,) float64; what costs infinitely much stays zero.
    """
    features = torch.cat([factors, factors.new_ones(len(factors), 1)], 1)
    row, free = features.new_zeros(features.shape[1]), penalty.isfinite()
    features = features[:, free]
    system = features.mT @ features + torch.diag(penalty[free])
    row[free] = torch.linalg.pinv(system, hermitian=True) @ (features.mT @ targets)
    return row
