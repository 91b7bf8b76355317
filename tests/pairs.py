"""Pairs of users and items."""

from torch import Tensor

from model.dataset import Pairs


def pairs_of(users: Tensor, items: Tensor) -> Pairs:
    """The pairs of (n,) users and (n,) items, without times."""
    return Pairs(user_index=users, item_index=items)
