"""What is kept beside models without one of their users: the row goes, what others gave stays.

`model.users` has models themselves without some of their users.
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.compact import Compact, Part
from model.dataset import Ratings
from model.logarithmic import AnyCompact, LogarithmicCompact
from model.users import USERS


def compact_without_user(model: AnyCompact, row: int) -> AnyCompact:
    """A compact form without a user; those behind are numbered one less."""
    if isinstance(model, LogarithmicCompact):
        return replace(model, of_logs=_compact_without(model.of_logs, row))
    return _compact_without(model, row)


def _compact_without(model: Compact, row: int) -> Compact:
    def without(part: Part) -> Part:
        tables = {name: one for name, one in vars(part).items() if name.startswith(USERS)}
        return replace(part, **{name: _without(one, row) for name, one in tables.items()})

    return replace(model, parts=tuple(map(without, model.parts)))


def ratings_without_user(ratings: Ratings, row: int) -> Ratings:
    """The ratings of all other users, who are numbered likewise."""
    kept = ratings[ratings.user_index != row]
    return replace(
        kept,
        n_users=kept.n_users - 1,
        user_index=kept.user_index - (kept.user_index > row).long(),
        user_descriptions=tuple(
            replace(one, values=_without(one.values, row)) for one in kept.user_descriptions
        ),
    )


def _without(table: Tensor, row: int) -> Tensor:
    return torch.cat([table[:row], table[row + 1 :]])
