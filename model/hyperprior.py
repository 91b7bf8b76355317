"""The prior of one side's rows, itself drawn: where they lie follows from who rated what.

    x_u ~ N(μ + Bᵀ f_u, Λ⁻¹),   Λ ~ Wishart(D, I),   μ ~ N(0, (β₀ Λ)⁻¹),   β₀ = 1
    rows of B ~ N(0, (λ_B Λ)⁻¹),   λ_B ~ Gamma(½, rate ½)

Salakhutdinov & Mnih 2008 (Bayesian Probabilistic Matrix Factorization using Markov Chain Monte
Carlo) for μ and Λ; Simm et al. 2017 (Macau) for the link matrix B, (k, D), here with features in
orthogonal columns, so that its rows are independent given the rest.
"""

import torch
from torch import Tensor

from model.side_features import SideFeatures
from model.variates import gamma, normal, wishart_root

MEAN_WEIGHT = 1.0  # β₀
GAMMA_SHAPE = 0.5  # of the weak priors of λ_B, and of α in a chain
GAMMA_RATE = 0.5


class Hyperprior:
    """Draws μ, Λ, B and λ_B, in float64, given the rows of a side."""

    def __init__(self, features: SideFeatures, width: int) -> None:
        device, n_features = features.values.device, features.values.shape[1]
        self.features = features
        self.mean = torch.zeros(width, dtype=torch.float64, device=device)  # μ
        self.precision = torch.eye(width, dtype=torch.float64, device=device)  # Λ
        self.link = torch.zeros(n_features, width, dtype=torch.float64, device=device)  # B
        self.link_precision = torch.ones((), dtype=torch.float64, device=device)  # λ_B

    def row_means(self) -> Tensor:
        """μ + Bᵀ f of every row, (n_rows, D) float32."""
        return self.mean.float() + self.features.values @ self.link.float()

    def draw(self, rows: Tensor, *, generator: torch.Generator) -> None:
        """Draws Λ and μ, then B, then λ_B from their conditionals given (n_rows, D) rows."""
        n, width = rows.shape
        n_features = len(self.link)
        unlinked = rows.double() - (self.features.values @ self.link.float()).double()
        average = unlinked.mean(0)
        centred = unlinked - average
        inverse_scale = (
            torch.eye(width, dtype=torch.float64, device=rows.device)
            + centred.mT @ centred
            + MEAN_WEIGHT * n / (MEAN_WEIGHT + n) * torch.outer(average, average)
            + self.link_precision * self.link.mT @ self.link
        )
        root = wishart_root(width + n + n_features, inverse_scale, generator=generator)
        self.precision = root @ root.mT
        factor = torch.linalg.cholesky(self.precision)

        def spread(n_rows: int) -> Tensor:
            """Rows of N(0, Λ⁻¹)."""
            noise = normal((width, n_rows), generator=generator)
            rows: Tensor = torch.linalg.solve_triangular(factor.mT, noise, upper=True).mT
            return rows

        weight = MEAN_WEIGHT + n
        self.mean = n * average / weight + spread(1)[0] / weight**0.5
        if not n_features:
            return
        weights = self.features.squared_norms + self.link_precision
        explained = (self.features.values.mT @ (rows - self.mean.float())).double()
        self.link = explained / weights[:, None] + spread(n_features) / weights[:, None].sqrt()
        self.link_precision = gamma(
            factor.new_tensor(GAMMA_SHAPE + n_features * width / 2),
            GAMMA_RATE + (self.link @ factor).square().sum() / 2,
            generator=generator,
        )
