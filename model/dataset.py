"""Ratings as tensors with dense indices, and the split of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

VALIDATION_SHARE = 0.1
AT_ONCE = 1 << 16  # ratings, or pairs, that are worked on together: what that takes fits a cache
UNKNOWN = -1  # the index of a user or item without ratings
TEXT = np.dtypes.StringDType()


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Ratings of users 0 … n_users - 1 for items 0 … n_items - 1."""

    n_users: int
    n_items: int
    user_index: Tensor  # (n_ratings,) int64
    item_index: Tensor  # (n_ratings,) int64
    values: Tensor  # (n_ratings,) float64, in rating units

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device) -> "Ratings":
        """The same ratings on another device."""
        return self._with(lambda column: column.to(device))

    def __getitem__(self, rows: Tensor) -> "Ratings":
        """The ratings at `rows`, an index or a mask, of the same users and items."""
        return self._with(lambda column: column[rows])

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Ratings":
        return Ratings(
            n_users=self.n_users,
            n_items=self.n_items,
            user_index=change(self.user_index),
            item_index=change(self.item_index),
            values=change(self.values),
        )


@dataclass(frozen=True)
class Ids:
    """The raw ids of the rows of one side: sorted, row i belongs to `values[i]`."""

    values: NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.values)

    def index(self, ids: ArrayLike) -> Tensor:
        """The (n,) int64 rows of raw ids; UNKNOWN for those that are not among them.

        Where one side has whole numbers and the other texts, a number is the text that it is
        written as.
        """
        values, ids = self.values, np.asarray(ids)
        if not values.dtype.kind == ids.dtype.kind == "i":
            values, ids = values.astype(TEXT), ids.astype(TEXT)
        order = np.argsort(values, kind="stable")  # as texts, numbers have another order
        rows = np.searchsorted(values, ids, sorter=order)
        rows[rows == len(values)] = 0
        rows = order[rows]
        return torch.from_numpy(np.where(values[rows] == ids, rows, UNKNOWN))


def index_ratings(
    user_ids: ArrayLike, item_ids: ArrayLike, values: ArrayLike
) -> tuple[Ratings, Ids, Ids]:
    """Ratings of (n_ratings,) raw columns, and the ids behind user and item indices."""
    users, user_index = np.unique(np.asarray(user_ids), return_inverse=True)
    items, item_index = np.unique(np.asarray(item_ids), return_inverse=True)
    ratings = Ratings(
        n_users=len(users),
        n_items=len(items),
        user_index=torch.from_numpy(user_index.astype(np.int64)),
        item_index=torch.from_numpy(item_index.astype(np.int64)),
        values=torch.from_numpy(np.array(values, dtype=np.float64)),
    )
    return ratings, Ids(users), Ids(items)


def split(ratings: Ratings, *, seed: int) -> tuple[Ratings, Ratings]:
    """A shuffled 90/10 split: (training, validation), each of at least one rating.

    Drawn from the raw stream of PCG64, which NumPy guarantees to stay as it is, so that a seed
    means the same split for good.

    Raises:
        ValueError: there are fewer than two ratings.
    """
    if len(ratings) < 2:
        raise ValueError(f"expected at least 2 ratings to split, got {len(ratings)}")
    n_validation = max(1, round(VALIDATION_SHARE * len(ratings)))
    shuffled = np.argsort(np.random.PCG64(seed).random_raw(len(ratings)), kind="stable")
    validation = np.zeros(len(ratings), dtype=bool)
    validation[shuffled[:n_validation]] = True
    mask = torch.from_numpy(validation)
    return ratings[~mask], ratings[mask]


def of_some_users(ratings: Ratings, *, n_ratings: int, seed: int) -> Ratings:
    """All ratings of users drawn at random, about `n_ratings`, users and items numbered anew.

    Those that are left have ratings. If there are no more than `n_ratings`, the same ratings.
    """
    if len(ratings) <= n_ratings:
        return ratings
    users = ratings.user_index.numpy()
    counts = np.bincount(users, minlength=ratings.n_users)
    order = np.argsort(np.random.PCG64(seed).random_raw(ratings.n_users), kind="stable")
    drawn = np.zeros(ratings.n_users, dtype=bool)
    drawn[order[np.cumsum(counts[order]) - counts[order] < n_ratings]] = True
    some = ratings[torch.from_numpy(drawn[users])]
    return index_ratings(some.user_index.numpy(), some.item_index.numpy(), some.values.numpy())[0]
