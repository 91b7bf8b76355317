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
from model.side_features import SHRINKAGE
from model.variates import gamma, normal, uniform

SWEEPS = 10  # of the user's own unknowns, which forget where they began in two or three


@dataclass(frozen=True, kw_only=True)
class Newcomers:
    """What is known of a user before the first rating, the same in every draw."""

    loadings: Tensor  # (n_items, k) float32, l: what an item that was rated adds to the features
    degree_power: Tensor  # () float64, p
    noise_dof: Tensor  # () float64, ν
    centre: Tensor  # (l,) float32, of the labels of all descriptions of users
    rotation: Tensor  # (l, K) float32, which makes features of labels
    item_centre: Tensor  # the same of items
    item_rotation: Tensor

    def features(self, item_index: Tensor) -> Tensor:
        """The (k,) features f of who rated these (n,) items; what is new since adds nothing."""
        item_index = item_index[item_index < len(self.loadings)]
        degree = (len(item_index) + SHRINKAGE) ** -self.degree_power
        return self.loadings[item_index].sum(0) * degree.float()

    def described(self, about: Tensor | None) -> Tensor:
        """The (K,) features of who has these (l,) labels; zeros, as of an average user, if None."""
        if about is None:
            return self.rotation.new_zeros(self.rotation.shape[1])
        return (about - self.centre) @ self.rotation


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """S draws of a chain, as far as they bear on one row with n ratings."""

    others: Tensor  # (S, n, D) float32, rows [q_i, c_i] of what was rated
    other_noise: Tensor  # (S, n) float32, b
    precision: Tensor  # (S,) float64, α
    thresholds: Tensor  # (S, K - 1) float64; none of the Gaussian likelihood
    prior_mean: Tensor  # (S, D) float32, μ + Bᵀ f
    prior_precision: Tensor  # (S, D, D) float32, Λ
    noise_dof: float  # ν


def draw_rows(
    given: Conditions, targets: Tensor, levels: Tensor, *, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """The row in each draw: conditional means and draws, (S, D) float64, and a, (S,) float64.

    Args:
        given: all else.
        targets: (n,) float64, standardized ratings.
        levels: (n,) int64, their levels, for an ordinal draw.
        generator: of the draws.
    """
    n_draws, n, width = given.others.shape
    features = torch.cat([given.others[..., :-1], given.others.new_ones(n_draws, n, 1)], -1)
    features, bias = features.double(), given.others[..., -1].double()
    prior = given.prior_precision.double()
    right = (prior @ given.prior_mean.double()[..., None])[..., 0]
    ends = given.thresholds.shape[1] + 2
    levels = (levels + ends * torch.arange(n_draws)[:, None]).flatten()
    noise, latent = torch.ones(n_draws, dtype=torch.float64), targets.expand(n_draws, n)
    draws_more = math.isfinite(given.noise_dof) or ends > 2  # than the row
    for _ in range(SWEEPS if draws_more else 1):
        weights = (given.precision * noise)[:, None] * given.other_noise
        weighted = features * weights[..., None]
        root = torch.linalg.cholesky(prior + features.mT @ weighted)
        total = right[..., None] + weighted.mT @ (latent - bias)[..., None]
        means = torch.cholesky_solve(total, root)
        white = normal((n_draws, width, 1), generator=generator)
        rows = means + torch.linalg.solve_triangular(root.mT, white, upper=True)
        fit = (features @ rows)[..., 0] + bias
        if math.isfinite(given.noise_dof):
            errors = (given.other_noise * (latent - fit).square()).sum(1)
            noise = gamma(
                torch.full_like(noise, (given.noise_dof + n) / 2),
                (given.noise_dof + given.precision * errors) / 2,
                generator=generator,
            )
        if ends > 2:
            roots = ((given.precision * noise)[:, None] * given.other_noise).sqrt()
            latent = drawn_between(
                Intervals(levels, fit.flatten(), roots.flatten()),
                given.thresholds,
                1.0,
                fit.flatten(),
                uniform((n_draws * n,), generator=generator),
            ).reshape(n_draws, n)
    return means[..., 0], rows[..., 0], noise


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
