"""Pairs of users and items, and ratings that are told apart by their values."""

import torch
from torch import Tensor

from model.dataset import Pairs, Ratings


def pairs_of(users: Tensor, items: Tensor) -> Pairs:
    """The pairs of (n,) users and (n,) items, without times."""
    return Pairs(user_index=users, item_index=items)


def numbered(n_ratings: int) -> Ratings:
    """Ratings whose values are their row numbers."""
    rows = torch.arange(n_ratings)
    return Ratings(
        n_users=n_ratings + 1,
        n_items=7,
        user_index=rows,
        item_index=rows % 5,
        values=rows.double(),
    )
