"""Which items please the same users.

    sim(i, j) = q_iᵀ C q_j / √(q_iᵀ C q_i · q_jᵀ C q_j),   C the covariance of the users' factors

which is the cosine of the items' factors measured by how users differ: the correlation, over all
users, of p_u · q_i with p_u · q_j. Factors are known up to a linear map A only, p · q being
A⁻ᵀ p · A q, and each draw of a sampler may have another one; the correlation is the same for all,
so that it can be averaged over draws where factors cannot.
"""

import torch
from torch import Tensor


def correlations(users: Tensor, items: Tensor, item: int) -> Tensor:
    """The (n_items,) float32 correlations of every item with one.

    Args:
        users: (n_users, rank) factors.
        items: (n_items, rank) factors.
        item: the index of the one.
    """
    found = directions(users, items)
    return found @ found[item]


def directions(users: Tensor, items: Tensor) -> Tensor:
    """The (n_items, rank) float32 rows, of length 1, whose products are all correlations.

    Args:
        users: (n_users, rank) factors.
        items: (n_items, rank) factors.
    """
    centred = users.float() - users.float().mean(0)
    values, vectors = torch.linalg.eigh((centred.mT @ centred).double())
    root = (vectors * values.clamp(min=0.0).sqrt()).float()
    return torch.nn.functional.normalize(items.float() @ root, dim=1)
