"""Which items please the same users.

    sim(i, j) = q_iᵀ C q_j / √(q_iᵀ C q_i · q_jᵀ C q_j),   C the covariance of the users' factors

which is the cosine of the items' factors measured by how users differ: the correlation, over all
users, of p_u · q_i with p_u · q_j. Factors are known up to a linear map A only, p · q being
A⁻ᵀ p · A q, and each draw of a sampler may have another one; the correlation is the same for all,
so that it can be averaged over draws where factors cannot.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

SMALLEST = 1e-12  # norm, beside which an item is like none


@dataclass(frozen=True, kw_only=True)
class Taste:
    """How users differ, which is the same whatever item is asked about."""

    root: Tensor  # (rank, rank) float32, R with R Rᵀ in proportion to C
    norms: Tensor  # (n_items,) float32, √(q_iᵀ R Rᵀ q_i)

    @classmethod
    def of(cls, users: Tensor, items: Tensor) -> Self:
        """That of factors, (n_users, rank) and (n_items, rank)."""
        centred = users.float() - users.float().mean(0)
        values, vectors = torch.linalg.eigh((centred.mT @ centred).double())
        root = (vectors * values.clamp(min=0.0).sqrt()).float()
        return cls(root=root, norms=(items.float() @ root).norm(dim=1))

    def correlations(self, items: Tensor, item: int) -> Tensor:
        """The (n_items,) float32 correlations of every item with one.

        Args:
            items: (n_items, rank) factors, those that it is of.
            item: the index of the one.
        """
        norms = self.norms.clamp(min=SMALLEST)
        direction = items[item].float() @ self.root / norms[item]
        return items.float() @ (self.root @ direction) / norms


def correlations(users: Tensor, items: Tensor, item: int) -> Tensor:
    """The (n_items,) float32 correlations of every item with one, of factors as of `Taste`."""
    return Taste.of(users, items).correlations(items, item)
