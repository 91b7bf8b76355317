"""Models without one of their users: the row goes, what others learned from it stays."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from model.compact import Compact
from model.dataset import Ratings
from model.effects import Grid
from model.factorization import Factorization
from model.logarithmic import Logarithmic
from model.posterior import Draw, Posterior
from model.solver import Model

USER_TABLES = {"user_means", "users", "user_noise"}  # of a draw


def without_user(model: Model, row: int) -> Model | None:
    """A model without the row of a user; None of a model that has no factors.

    Users behind that row are numbered one less.
    """
    if isinstance(model, Logarithmic):
        of_logs = without_user(model.of_logs, row)
        return of_logs and model.around(of_logs)
    if isinstance(model, Factorization):
        state = model.state_dict()
        return type(model).from_state(_cut(state, "user_", row))
    if not isinstance(model, Posterior):
        return None
    chains, grids = [], []
    for number, grid in enumerate(model.grids):
        kept = _groups_kept(grid, row)
        grids.append(_grid_without(grid, row, kept))
        # The last effect is that of no group.
        of_groups = torch.cat([kept, torch.ones(1, dtype=torch.bool)])
        chains.append([_draw_without(draw, row, of_groups) for draw in model.draws(number)])
    found = model.with_draws(chains)
    found.grids = grids
    return found


def compact_without_user(model: Compact, row: int) -> Compact:
    """The same of a compact form."""
    parts = tuple(replace(part, **_cut(vars(part), "user_", row)) for part in model.parts)
    return replace(model, parts=parts)


def ratings_without_user(ratings: Ratings, row: int) -> Ratings:
    """The ratings of all other users, who are numbered as `without_user` does."""
    kept = ratings[ratings.user_index != row]
    return replace(
        kept,
        n_users=kept.n_users - 1,
        user_index=kept.user_index - (kept.user_index > row).long(),
        user_descriptions=tuple(
            replace(one, values=_without(one.values, row)) for one in kept.user_descriptions
        ),
    )


def _draw_without(draw: Draw, row: int, of_groups: Tensor) -> Draw:
    tables = {
        field.name: _without(getattr(draw, field.name), row)
        for field in fields(Draw)
        if field.name in USER_TABLES
    }
    effects = {name: getattr(draw, name)[of_groups] for name in ("effects", "effect_means")}
    return replace(draw, **tables, **effects)


def _groups_kept(grid: Grid, row: int) -> Tensor:
    """Which of the (G,) groups are of others."""
    owners, of_users = _owners(grid)
    return ~(of_users & (owners == row))


def _grid_without(grid: Grid, row: int, kept: Tensor) -> Grid:
    owners, of_users = _owners(grid)
    sizes = grid.firsts.diff()
    n_places = grid.n_places.repeat_interleave(sizes)
    keys = grid.keys - torch.where(of_users & (owners > row), n_places, 0)
    scale = torch.arange(len(sizes)).repeat_interleave(sizes)[kept]
    firsts = torch.cat([grid.firsts[:1], torch.bincount(scale, minlength=len(sizes)).cumsum(0)])
    return replace(grid, keys=keys[kept], firsts=firsts)


def _owners(grid: Grid) -> tuple[Tensor, Tensor]:
    """Of (G,) groups the user or item whose they are, and whether it is a user."""
    sizes = grid.firsts.diff()
    owners = grid.keys // grid.n_places.repeat_interleave(sizes)
    return owners, ~grid.of_items.repeat_interleave(sizes)


def _cut(state: dict[str, Tensor], prefix: str, row: int) -> dict[str, Tensor]:
    """The tables of one side without a row, and the others as they are."""
    return {
        name: _without(table, row) if name.startswith(prefix) else table
        for name, table in state.items()
    }


def _without(table: Tensor, row: int) -> Tensor:
    return torch.cat([table[:row], table[row + 1 :]])
