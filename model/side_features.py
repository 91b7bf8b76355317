"""Who rated what, as features of users and items: it tells of taste whatever the ratings are.

    S_ui = (n_u + c)^-p (n_i + c)^-p  for each pair that was rated, 0 elsewhere;  S ≈ U Σ Vᵀ
    f_u = row u of U Σ^s,  g_i = row i of V Σ^s,  each side scaled to unit mean square row norm
    f_u = (n_u + c)^-p Σ_i l_i over what u rated,  l_i = (n_i + c)^-p row i of V Σ^(s-1), so scaled

with n_u and n_i the numbers of ratings; the last, because U = S V Σ⁻¹, also of a user who was not
there (Deerwester et al. 1990, Indexing by Latent Semantic Analysis: folding in). What a user chose
to rate informs beyond the ratings themselves (Koren 2008, Factorization Meets the Neighborhood,
sec. 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from model.dataset import Description, Ratings
from model.svd import sparse, truncated_svd
from model.world import ALONE, World

SHRINKAGE = 10.0  # c
SMALLEST = 1e-5  # singular value, beside the largest, that is told from zero


@dataclass(frozen=True)
class SideFeatures:
    """Features of the rows of one side, in orthogonal columns."""

    values: Tensor  # (n_rows, k) float32
    squared_norms: Tensor  # (k,) float64, of the columns
    # Of a description with l labels: features of a row are (its labels - centre) @ rotation.
    centre: Tensor | None = None  # (l,) float32
    rotation: Tensor | None = None  # (l, k) float32

    @classmethod
    def scaled(cls, values: Tensor, world: World = ALONE) -> "SideFeatures":
        """Those of (n_rows, k) orthogonal columns, scaled to unit mean square row norm.

        Over all rows of a world's ranks, which have them between them.
        """
        values = values / row_norm(values, world)
        return cls(values.float(), world.sum(values.double().square().sum(0)))

    def to(self, device: torch.device) -> "SideFeatures":
        """The same on another device."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        there = {name: one.to(device) for name, one in columns.items() if one is not None}
        return replace(self, **there)


def side_features(
    training: Ratings,
    n_features: int,
    *,
    degree_power: float,
    spectrum_power: float,
    generator: torch.Generator,
) -> tuple[SideFeatures, SideFeatures, Tensor]:
    """Features of users and of items: of who rated what, whatever the ratings' values.

    The last is (n_items, k) float32: l, what items add to the features of who rates them.

    Args:
        training: the pairs; no others may inform a model that is validated.
        n_features: k; fewer come back where there are fewer users or items.
        degree_power: p.
        spectrum_power: s.
        generator: of the random projection, on the ratings' device.
    """
    users, items, world = training.user_index, training.item_index, training.world
    weights = torch.ones(len(training), device=users.device)
    degrees = []
    sides = (users, training.n_users, ALONE), (items, training.n_items, world)
    for index, n_rows, summed in sides:
        counts = summed.sum(torch.bincount(index, minlength=n_rows))
        degrees.append((counts + SHRINKAGE).float() ** -degree_power)
        weights *= degrees[-1][index]
    matrix = sparse(users, items, weights, (training.n_users, training.n_items))
    u, s, v = truncated_svd(matrix, n_features, generator=generator, world=world)
    spectrum = s**spectrum_power
    inverse = torch.where(s > SMALLEST * s[:1], spectrum / s, 0.0)
    loadings = degrees[1][:, None] * v * inverse / row_norm(u * spectrum, world)
    user_features = SideFeatures.scaled(u * spectrum, world)
    return user_features, SideFeatures.scaled(v * spectrum), loadings.float()


def described(description: Description, world: World = ALONE) -> SideFeatures:
    """The features that a description gives: its columns less their means, made orthogonal.

    The ranks of a world have its rows between them.
    """
    values = description.values.double()
    n = world.sum(values.new_tensor(len(values)))
    centre = (world.sum(values.sum(0)) / n).float()
    values = values - centre
    eigenvalues, vectors = torch.linalg.eigh(world.sum(values.mT @ values))
    s = eigenvalues.clamp(min=0.0).sqrt()
    rotation = vectors[:, s > SMALLEST * s[-1:]].flip(1)
    rotation = rotation / row_norm(values @ rotation, world)
    features = values @ rotation
    return SideFeatures(
        features.float(),
        world.sum(features.square().sum(0)),
        centre=centre,
        rotation=rotation.float(),
    )


def rotation_of(groups: Sequence[SideFeatures], device: torch.device) -> tuple[Tensor, Tensor]:
    """What makes features of the labels of all descriptions of a side: (l,) centre, (l, K)."""
    centres = [group.centre for group in groups if group.centre is not None]
    rotations = [group.rotation for group in groups if group.rotation is not None]
    if not centres:
        return torch.zeros(0, device=device), torch.zeros(0, 0, device=device)
    rotation: Tensor = torch.block_diag(*rotations)  # type: ignore[no-untyped-call]
    return torch.cat(centres).float(), rotation.to(device)


def row_norm(values: Tensor, world: World = ALONE) -> Tensor:
    """The root of the mean square norm of (n_rows, k) rows of all ranks; 1 if it is zero."""
    total = values.double().square().sum()
    total, n = world.sum(torch.stack([total, total.new_tensor(len(values))])).unbind()
    norm = (total / n).sqrt()
    return torch.where(norm > 0, norm, 1.0)
