"""What times and descriptions explain: whose share of what is spread, in rating units.

The expected rating of item i by a user drawn at random spreads with the item's row z_i around their
mean z̄ by (z_i - z̄)ᵀ M (z_i - z̄), M the mean of [p_u, 1] [p_u, 1]ᵀ over users; what a column says of
the item, Bᵀ f_i, by the same form. A column's share is the ratio of the two means over items; that
of users the same with the sides changed. A label's effect is what it adds to the bias.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from model.dataset import Description, Ratings
from model.logarithmic import Logarithmic
from model.posterior import Draw, Posterior
from model.side_features import described
from model.world import ALONE, World


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column of descriptions explains."""

    side: str  # user or item
    name: str
    share: float  # of the spread of the side
    labels: tuple[str, ...]
    effects: tuple[float, ...]  # in rating units, of each label, beside the average row


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The effects of time at one scale."""

    side: str  # whose they are
    seconds: float
    std: float  # in rating units


@dataclass(frozen=True, kw_only=True)
class Explained:
    """All of it, the mean over the draws."""

    columns: tuple[Column, ...]
    scales: tuple[Scale, ...]
    times: tuple[float, ...]  # seconds since 1970 at which the level is told
    level: tuple[float, ...]  # in rating units, beside its mean


def explained(model: Posterior | Logarithmic, training: Ratings) -> Explained:
    """What a model says of the times and descriptions of the ratings that it was trained on.

    Of logarithms it is told of an average rating, to first order.
    """
    unit = 1.0
    if isinstance(model, Logarithmic):
        assert isinstance(model.of_logs, Posterior)
        model, unit = model.of_logs, training.moments.mean.item()
    draws, scale = model.draws(), model.scale.scale.item() * unit
    grid = model.grids[0]
    columns: list[Column] = []
    for side, descriptions in (
        ("item", training.item_descriptions),
        ("user", training.user_descriptions),
    ):
        n_before = model.newcomers.loadings.shape[1]
        columns += _columns(draws, side, descriptions, n_before, scale, world=training.world)
    std = torch.stack([draw.effect_variances for draw in model.draws(0)]).mean(0).sqrt() * scale
    n_steps = int(grid.n_steps)
    level = torch.stack([draw.level_means for draw in draws]).mean(0) * scale
    steps = torch.arange(n_steps, dtype=torch.float64, device=grid.span.device)
    middles = grid.origin + (steps + 0.5) * grid.span
    return Explained(
        columns=tuple(columns),
        scales=tuple(
            Scale(side="item" if of_items else "user", seconds=seconds, std=one)
            for of_items, seconds, one in zip(
                grid.of_items.tolist(), grid.scales.tolist(), std.tolist(), strict=True
            )
        ),
        times=tuple(middles.tolist()),
        level=tuple((level - level.mean()).tolist()) if n_steps else (),
    )


def _columns(
    draws: list[Draw],
    side: str,
    descriptions: tuple[Description, ...],
    n_before: int,
    scale: float,
    *,
    world: World,
) -> Iterator[Column]:
    mine, theirs = (world, ALONE) if side == "user" else (ALONE, world)  # that share the rows
    device = draws[0].items.device
    groups = [described(description, mine).to(device) for description in descriptions]
    widths = [group.values.shape[1] for group in groups]
    bounds = pairwise(accumulate(widths, initial=n_before))
    for description, group, (begin, end) in zip(descriptions, groups, bounds, strict=True):
        shares, effects = [], []
        for draw in draws:
            own, other, link = draw.items, draw.users, draw.item_link
            if side == "user":
                own, other, link = draw.users, draw.items, draw.link
            part = link[begin:end]
            metric = _metric(other[:-1], theirs)
            rows = own[:-1].float()
            said = group.values @ part
            shares.append(_spread(said, metric, mine) / _spread(rows, metric, mine))
            assert group.rotation is not None
            effects.append(group.rotation @ part[:, -1] * scale)
        yield Column(
            side=side,
            name=description.name,
            share=float(torch.stack(shares).mean()),
            labels=description.labels,
            effects=tuple(torch.stack(effects).mean(0).tolist()),
        )


def _metric(others: Tensor, world: World) -> Tensor:
    """M, (D, D), of (n, D) rows of the other side, of all ranks of a world."""
    features = others.float().clone()
    features[:, -1] = 1.0
    products = world.sum(features.mT @ features)
    return products / products[-1, -1]


def _spread(rows: Tensor, metric: Tensor, world: World) -> Tensor:
    """The mean of (x - x̄)ᵀ M (x - x̄) over (n, D) rows, of all ranks of a world."""
    n = world.sum(rows.new_tensor(float(len(rows))))
    centred = rows - world.sum(rows.sum(0)) / n
    return world.sum(((centred @ metric) * centred).sum()) / n
