"""Who rated what, as features of users and items: it tells of taste whatever the ratings are.

    S_ui = (n_u + c)^-p (n_i + c)^-p  for each pair that was rated, 0 elsewhere;  S ≈ U Σ Vᵀ
    f_u = row u of U Σ^s,  g_i = row i of V Σ^s,  each side scaled to unit mean square row norm

with n_u and n_i the numbers of ratings. What a user chose to rate informs beyond the ratings
themselves (Koren 2008, Factorization Meets the Neighborhood, sec. 4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.dataset import Ratings
from model.svd import truncated_svd

SHRINKAGE = 10.0  # c


@dataclass(frozen=True)
class SideFeatures:
    """Features of the rows of one side, in orthogonal columns."""

    values: Tensor  # (n_rows, k) float32
    squared_norms: Tensor  # (k,) float64, of the columns

    @classmethod
    def scaled(cls, values: Tensor) -> "SideFeatures":
        """Those of (n_rows, k) orthogonal columns, scaled to unit mean square row norm."""
        norm = values.double().square().sum(1).mean().sqrt()
        values = values / (norm if norm > 0 else 1.0)
        return cls(values.float(), values.double().square().sum(0))


def side_features(
    training: Ratings,
    n_features: int,
    *,
    degree_power: float,
    spectrum_power: float,
    generator: torch.Generator,
) -> tuple[SideFeatures, SideFeatures]:
    """Features of users and of items: of who rated what, whatever the ratings' values.

    Args:
        training: the pairs; no others may inform a model that is validated.
        n_features: k; fewer come back where there are fewer users or items.
        degree_power: p.
        spectrum_power: s.
        generator: of the random projection, on the ratings' device.
    """
    users, items = training.user_index, training.item_index
    weights = torch.ones(len(training), device=users.device)
    for index in (users, items):
        weights *= ((torch.bincount(index) + SHRINKAGE).float() ** -degree_power)[index]
    matrix = torch.sparse_coo_tensor(
        torch.stack([users, items]),
        weights,
        (training.n_users, training.n_items),
        check_invariants=True,
    )
    u, s, v = truncated_svd(matrix, n_features, generator=generator)
    spectrum = s**spectrum_power
    return SideFeatures.scaled(u * spectrum), SideFeatures.scaled(v * spectrum)
