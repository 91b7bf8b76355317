"""The prior of one side's rows, itself drawn: where they lie follows from who rated what.

    x_u ~ N(μ + Σ_g B_gᵀ f_gu, Λ⁻¹),   Λ ~ Wishart(D, I),   μ ~ N(0, (β₀ Λ)⁻¹),   β₀ = 1
    rows of B ~ N(0, (λ_B Λ)⁻¹),   λ_B ~ Gamma(½, rate ½), of descriptions rate 1/200

Salakhutdinov & Mnih 2008 (Bayesian Probabilistic Matrix Factorization using Markov Chain Monte
Carlo) for μ and Λ; Simm et al. 2017 (Macau) for the link matrix B, (k, D), here with features in
orthogonal columns, so that its rows are independent given the rest.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.side_features import SideFeatures
from model.variates import gamma, normal, wishart_root
from model.world import ALONE, World

MEAN_WEIGHT = 1.0  # β₀
GAMMA_SHAPE = 0.5  # of the weak priors of λ_B, and of α in a chain
GAMMA_RATE = 0.5
DESCRIPTION_RATE = 0.005  # of λ_B of a description: one that says nothing can be let go


class Link:
    """A group of features of a side's rows, and what a row gets for them."""

    def __init__(self, features: SideFeatures, width: int) -> None:
        device, n_features = features.values.device, features.values.shape[1]
        self.features = features
        self.matrix = torch.zeros(n_features, width, dtype=torch.float64, device=device)  # B
        self.precision = torch.ones((), dtype=torch.float64, device=device)  # λ_B
        self.rate = GAMMA_RATE if features.rotation is None else DESCRIPTION_RATE

    def part(self) -> Tensor:
        """Bᵀ f of every row, (n_rows, D) float32."""
        return self.features.values @ self.matrix.float()


class Hyperprior:
    """Draws μ, Λ, and B and λ_B of every group, in float64, given the rows of a side."""

    def __init__(self, groups: Sequence[SideFeatures], width: int, world: World = ALONE) -> None:
        """That of rows of so many columns, which the ranks of a world have between them."""
        device, self._world = groups[0].values.device, world
        self.links = [Link(features, width) for features in groups]
        self.mean = torch.zeros(width, dtype=torch.float64, device=device)  # μ
        self.precision = torch.eye(width, dtype=torch.float64, device=device)  # Λ

    @property
    def link(self) -> Tensor:
        """B of all groups, one below the other, (Σ k, D) float64."""
        return torch.cat([link.matrix for link in self.links])

    def row_means(self) -> Tensor:
        """μ + Σ Bᵀ f of every row, (n_rows, D) float32."""
        return self.mean.float() + _sum(self.links)

    def draw(self, rows: Tensor, *, generator: torch.Generator) -> None:
        """Draws Λ and μ, then B and λ_B of each group, from their conditionals.

        Args:
            rows: (n_rows, D) float32, of the side.
            generator: of the draws.
        """
        width, world = rows.shape[1], self._world
        unlinked = rows.double() - _sum(self.links).double()
        sums = world.sum(torch.cat([unlinked.new_tensor([len(rows)]), unlinked.sum(0)]))
        n, average = int(sums[0]), sums[1:] / sums[0]
        centred = unlinked - average
        inverse_scale = (
            torch.eye(width, dtype=torch.float64, device=rows.device)
            + world.sum(centred.mT @ centred)
            + MEAN_WEIGHT * n / (MEAN_WEIGHT + n) * torch.outer(average, average)
        )
        for link in self.links:
            inverse_scale = inverse_scale + link.precision * link.matrix.mT @ link.matrix
        root = wishart_root(width + n + len(self.link), inverse_scale, generator=generator)
        self.precision = root @ root.mT
        factor = torch.linalg.cholesky(self.precision)

        def spread(n_rows: int) -> Tensor:
            """Rows of N(0, Λ⁻¹)."""
            noise = normal((width, n_rows), generator=generator)
            rows: Tensor = torch.linalg.solve_triangular(factor.mT, noise, upper=True).mT
            return rows

        weight = MEAN_WEIGHT + n
        self.mean = n * average / weight + spread(1)[0] / weight**0.5
        for link in self.links:
            n_features = len(link.matrix)
            if not n_features:
                continue
            others = [other for other in self.links if other is not link]
            rest = rows - self.mean.float()
            if others:
                rest = rest - _sum(others)
            weights = link.features.squared_norms + link.precision
            explained = world.sum((link.features.values.mT @ rest).double())
            link.matrix = (
                explained / weights[:, None] + spread(n_features) / weights[:, None].sqrt()
            )
            link.precision = gamma(
                factor.new_tensor(GAMMA_SHAPE + n_features * width / 2),
                link.rate + (link.matrix @ factor).square().sum() / 2,
                generator=generator,
            )


def _sum(links: Sequence[Link]) -> Tensor:
    """Σ Bᵀ f over groups, (n_rows, D) float32."""
    total = links[0].part()
    for link in links[1:]:
        total = total + link.part()
    return total
