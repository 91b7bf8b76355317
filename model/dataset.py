"""Ratings as tensors with dense indices, and the split of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from model.world import ALONE, World

# Ratings, or pairs, that are worked on together: on a CPU what they take fits a cache; on a GPU, a
# few gigabytes, where a step takes as long for thousands.
AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 23}
UNKNOWN = -1  # the index of a user or item without ratings
TEXT = np.dtypes.StringDType()


@dataclass(frozen=True, kw_only=True)
class Description:
    """What one column of a table tells of the rows of one side, as numbers."""

    name: str  # of the column
    labels: tuple[str, ...]  # (k,) what each number stands for, for people
    values: Tensor  # (n_rows, k) float32


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Users and items, and when each user meets the item."""

    user_index: Tensor  # (n,) int64
    item_index: Tensor  # (n,) int64
    times: Tensor | None = None  # (n,) float64, seconds since 1970, NaN where it is not known

    def __len__(self) -> int:
        return len(self.user_index)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return self._with(lambda column: column.to(device))

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """Those at `rows`: an index, a mask or a slice."""
        return self._with(lambda column: column[rows])

    def blocks(self) -> Iterator[Self]:
        """All of them, so many at once that what they gather stays small."""
        n = AT_ONCE[self.user_index.device.type]
        starts = range(0, max(len(self), 1), n)
        return (self[slice(start, start + n)] for start in starts)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Self:
        columns = {
            field.name: change(column)
            for field in fields(self)
            if isinstance(column := getattr(self, field.name), Tensor)
        }
        return replace(self, **columns)


@dataclass(frozen=True, kw_only=True)
class Ratings(Pairs):
    """Ratings of users 0 … n_users - 1 for items 0 … n_items - 1, and what is known of those."""

    n_users: int
    n_items: int
    values: Tensor  # (n_ratings,) float64, in rating units
    user_descriptions: tuple[Description, ...] = ()
    item_descriptions: tuple[Description, ...] = ()
    world: World = ALONE  # the processes that have all users between them; items are the same
    user_numbers: NDArray[np.int64] | None = None  # (n_users,) among those of all ranks

    @property
    def users(self) -> Tensor:
        """The (n_users,) int64 numbers of the users among those of all ranks."""
        numbers = self.user_numbers
        own = torch.arange(self.n_users) if numbers is None else torch.from_numpy(numbers)
        return own.to(self.user_index.device)

    @cached_property
    def moments(self) -> "Moments":
        """What the ratings of all ranks are like, together."""
        values, world = self.values, self.world
        n, total = world.sum(torch.stack([values.new_tensor(len(values)), values.sum()])).tolist()
        mean = total / n
        squares = world.sum((values - mean).square_().sum())
        least, most = (
            values.aminmax() if len(values) else values.new_tensor([torch.inf, -torch.inf])
        )
        ends = torch.stack([-least, most])
        lowest, highest = (world.most(ends) * ends.new_tensor([-1, 1])).unbind()
        return Moments(
            n=int(n),
            mean=values.new_tensor(mean),
            std=(squares / n).sqrt(),
            lowest=lowest,
            highest=highest,
        )

    def counts(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """How many of these the user, and the item, of each of n pairs has: (n,) int64 each.

        Those of an item are of all ranks, which all call this.
        """
        per_user = torch.bincount(self.user_index, minlength=self.n_users + 1)  # the last is
        per_item = torch.bincount(self.item_index, minlength=self.n_items + 1)  # UNKNOWN's
        per_item = self.world.sum(per_item)
        return per_user[pairs.user_index], per_item[pairs.item_index]

    def last_times(self) -> Tensor:
        """When each user rated last, (n_users + 1,) float64; -inf if never, or not known.

        The last row is UNKNOWN's.

        Raises:
            ValueError: the ratings have no times.
        """
        if self.times is None:
            raise ValueError("expected ratings with times")
        last = self.times.new_full((self.n_users + 1,), -torch.inf)
        known = self.times.nan_to_num(nan=-torch.inf)
        return last.scatter_reduce(0, self.user_index, known, "amax")


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What ratings are like, in their units."""

    n: int
    mean: Tensor  # () float64, as are the others
    std: Tensor
    lowest: Tensor
    highest: Tensor

    @property
    def scale(self) -> float:
        """By what they are divided to be standardized: 1 if all are equal."""
        return self.std.item() or 1.0


@dataclass(frozen=True)
class Ids:
    """The raw ids of the rows of one side: row i belongs to `values[i]`."""

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
            texts = ids.astype(TEXT).tolist()
            found = (self._rows_of_texts.get(one, UNKNOWN) for one in texts)
            return torch.from_numpy(np.fromiter(found, np.int64, len(texts)))
        if not len(values):
            return torch.full((len(ids),), UNKNOWN)
        places = np.searchsorted(values, ids, sorter=self._order)
        rows = self._order[np.minimum(places, len(values) - 1)]
        return torch.from_numpy(np.where(values[rows] == ids, rows, UNKNOWN))

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Rows in the order of their ids."""
        return np.argsort(self.values, kind="stable")

    @cached_property
    def _rows_of_texts(self) -> dict[str, int]:
        """The row of each id as a text.

        `numpy.searchsorted` (2.4) finds texts of more than 15 bytes in the wrong places.
        """
        texts = self.values.astype(TEXT).tolist()
        return {text: row for row, text in enumerate(texts)}


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
    return of_rated(ratings[torch.from_numpy(drawn[users])])


def of_rated(some: Ratings) -> Ratings:
    """The same ratings of users and items that have some, which are numbered anew."""
    users, user_index = torch.unique(some.user_index, return_inverse=True)
    items, item_index = torch.unique(some.item_index, return_inverse=True)
    return replace(
        some,
        n_users=len(users),
        n_items=len(items),
        user_index=user_index,
        item_index=item_index,
        user_descriptions=_rows_of(some.user_descriptions, users),
        item_descriptions=_rows_of(some.item_descriptions, items),
    )


def _rows_of(descriptions: tuple[Description, ...], rows: Tensor) -> tuple[Description, ...]:
    return tuple(replace(one, values=one.values[rows]) for one in descriptions)
