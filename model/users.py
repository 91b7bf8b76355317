"""Models of some of their users, and of the users of several models.

Ranks that share the users out each leave a model of their own ones; what is the same for all users
stands in every one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from model.effects import Grid
from model.factorization import Factorization
from model.logarithmic import Logarithmic
from model.posterior import Draw, Posterior
from model.solver import Model

TABLES = {"user_means", "users", "user_noise"}  # of a draw; the last row is who is not known
EFFECTS = {"effects", "effect_means"}  # of a draw; the last is that of no group
USERS = "user_"  # of a factorization's state


def of_users(model: Model, rows: Tensor) -> Model | None:
    """A model of some of its users alone; None of a model that has no factors.

    Args:
        model: which stays as it is.
        rows: (n,) int64, the users, who are numbered in this order then.
    """
    if isinstance(model, Logarithmic):
        of_logs = of_users(model.of_logs, rows)
        return of_logs and model.around(of_logs)
    if isinstance(model, Factorization):
        tables = _user_tables(model.state_dict())
        return _with_tables(model, {name: _with_last(one, rows) for name, one in tables.items()})
    if not isinstance(model, Posterior):
        return None
    grids, chains = [], []
    for number, grid in enumerate(model.grids):
        found, groups = _grid_of_users(grid, rows)
        grids.append(found)
        chains.append(
            [
                replace(
                    draw,
                    **{name: _with_last(getattr(draw, name), rows) for name in TABLES},
                    **{name: _with_last(getattr(draw, name), groups) for name in EFFECTS},
                )
                for draw in model.draws(number)
            ]
        )
    return _with_grids(model, grids, chains)


def joined(models: Sequence[Model]) -> Model | None:
    """The model of all users of several models, one's behind the other's.

    None if they have no factors, or are not parts of one.
    """
    first = models[0]
    if len(models) == 1:
        return first
    if isinstance(first, Logarithmic):
        of_logs = joined([one.of_logs for one in models if isinstance(one, Logarithmic)])
        return of_logs and first.around(of_logs)
    if isinstance(first, Factorization):
        states = [_user_tables(one.state_dict()) for one in models]
        names = states[0]
        return _with_tables(first, {n: _one_below_the_other([s[n] for s in states]) for n in names})
    posteriors = [one for one in models if isinstance(one, Posterior)]
    if len(posteriors) < len(models) or not isinstance(first, Posterior):
        return None
    grids, chains = [], []
    for number in range(len(first.grids)):
        of_all = [one.draws(number) for one in posteriors]
        if len({len(draws) for draws in of_all}) > 1:
            return None
        sizes = [len(draws[0].user_noise) - 1 for draws in of_all]
        grid, groups = _grid_of_all([one.grids[number] for one in posteriors], sizes)
        grids.append(grid)
        chains.append([_draw_of_all(draws, groups) for draws in zip(*of_all, strict=True)])
    return _with_grids(first, grids, chains)


@dataclass(frozen=True)
class _Groups:
    """The (G,) groups of a grid, each by what it is of."""

    scale: Tensor  # its number
    owner: Tensor  # the user, or the item
    place: Tensor  # in time
    is_of_user: Tensor

    @classmethod
    def of(cls, grid: Grid) -> "_Groups":
        sizes = grid.firsts.diff()
        n_places = grid.n_places.repeat_interleave(sizes)
        return cls(
            scale=torch.arange(len(sizes)).repeat_interleave(sizes),
            owner=grid.keys // n_places,
            place=grid.keys % n_places,
            is_of_user=~grid.of_items.repeat_interleave(sizes),
        )

    def __getitem__(self, some: Tensor) -> "_Groups":
        return _Groups(**{one.name: getattr(self, one.name)[some] for one in fields(self)})

    def in_order(self) -> Tensor:
        """(G,) int64, which to take one after the other."""
        order = self.place.argsort(stable=True)
        for column in (self.owner, self.scale):
            order = order[column[order].argsort(stable=True)]
        return order

    def grid(self, like: Grid) -> Grid:
        """That of these groups, in order; all else as in another one."""
        counts = torch.bincount(self.scale, minlength=len(like.scales))
        keys = self.owner * like.n_places[self.scale] + self.place
        return replace(like, keys=keys, firsts=torch.cat([like.firsts[:1], counts.cumsum(0)]))


def _grid_of_users(grid: Grid, rows: Tensor) -> tuple[Grid, Tensor]:
    """The grid of some users, and the (G,) groups that are left, in its order."""
    groups = _Groups.of(grid)
    most = int(torch.cat([groups.owner, rows]).max()) + 1 if len(groups.owner) else 0
    numbers = torch.full((most,), -1)
    numbers[rows[rows < most]] = torch.arange(len(rows))[rows < most]
    owner = torch.where(groups.is_of_user, numbers[groups.owner], groups.owner)
    kept = (owner >= 0).nonzero()[:, 0]
    left = replace(groups, owner=owner)[kept]
    order = left.in_order()
    return left[order].grid(grid), kept[order]


def _grid_of_all(grids: Sequence[Grid], sizes: Sequence[int]) -> tuple[Grid, Tensor]:
    """The grid of all users, and where its (G,) groups stand among those of all the grids."""
    parts, places, n_users, n_groups = [], [], 0, 0
    for number, (grid, size) in enumerate(zip(grids, sizes, strict=True)):
        groups = _Groups.of(grid)
        own = (groups.is_of_user | (number == 0)).nonzero()[:, 0]  # items' are the same in each
        owner = groups.owner + torch.where(groups.is_of_user, n_users, 0)
        parts.append(replace(groups, owner=owner)[own])
        places.append(own + n_groups)
        n_users, n_groups = n_users + size, n_groups + len(groups.owner)
    columns = {f.name: torch.cat([getattr(one, f.name) for one in parts]) for f in fields(_Groups)}
    of_all = _Groups(**columns)
    order = of_all.in_order()
    return of_all[order].grid(grids[0]), torch.cat(places)[order]


def _draw_of_all(draws: Sequence[Draw], groups: Tensor) -> Draw:
    tables = {name: _one_below_the_other([getattr(one, name) for one in draws]) for name in TABLES}
    effects = {
        name: _with_last(_one_below_the_other([getattr(one, name) for one in draws]), groups)
        for name in EFFECTS
    }
    return replace(draws[0], **tables, **effects)


def _with_grids(model: Posterior, grids: list[Grid], chains: list[list[Draw]]) -> Posterior:
    found = model.with_draws(chains)
    found.grids = grids
    return found


def _with_tables(model: Factorization, tables: Mapping[str, Tensor]) -> Factorization:
    return type(model).from_state({**model.state_dict(), **tables})


def _user_tables(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: table for name, table in state.items() if name.startswith(USERS)}


def _with_last(table: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a table, and its last one."""
    return torch.cat([table[rows], table[-1:]])


def _one_below_the_other(tables: Sequence[Tensor]) -> Tensor:
    """Tables as one, but for the last row of each, of which one stays."""
    return torch.cat([*(table[:-1] for table in tables), tables[0][-1:]])
