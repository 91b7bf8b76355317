"""Splits of ratings into those to learn from and those to validate on, each for a question.

`random`: any rating may be the one that is missing. `latest`: what will each user say next?
`time`: what will all say from now on, newcomers included? `items`, `users`: what of those of whom
nobody, or who, has said nothing yet?
"""

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # whoever only reads about splits needs no PyTorch
    from model.dataset import Pairs, Ratings

VALIDATION_SHARE = 0.1
AnyPairs = TypeVar("AnyPairs", bound="Pairs")
UNKNOWN = -1  # as of `model.dataset`


class Split(StrEnum):
    """Which ratings are held out."""

    RANDOM = "random"  # a tenth at random
    LATEST = "latest"  # the latest tenth of each user's
    TIME = "time"  # the last tenth of all
    ITEMS = "items"  # all of some items
    USERS = "users"  # all of some users


def split(
    ratings: "Ratings", *, seed: int, kind: Split = Split.RANDOM, window: int = 0
) -> tuple["Ratings", "Ratings"]:
    """About 90/10, (training, validation), each of at least one rating.

    Drawn from the raw stream of PCG64, which NumPy guarantees to stay as it is, so that a seed
    means the same split for good.

    Args:
        ratings: with times, for `latest` and `time`; what has none is never held out by them.
        seed: of what is drawn; of the order of ratings of the same time.
        kind: which ratings are held out.
        window: of `latest` and `time`, how many such splits further back: each is of the training
            ratings of the one before, as far back as there are two.

    Raises:
        ValueError: there are fewer than two ratings, or no times where they are needed.
    """
    world = ratings.world
    if (n := sum(world.everyones(len(ratings)))) < 2:
        raise ValueError(f"expected at least 2 ratings to split, got {n}")
    from torch import from_numpy

    for _ in range(window):
        before = ratings[from_numpy(~_held_out(ratings, seed=seed, kind=kind))]
        if sum(world.everyones(len(before))) < 2:
            break
        ratings = before
    held_out = _held_out(ratings, seed=seed, kind=kind)
    return ratings[from_numpy(~held_out)], ratings[from_numpy(held_out)]


class Without(NamedTuple):
    """Ratings without those that a split holds out."""

    kind: Split
    seed: int
    window: int = 0  # as of `split`

    def of(self, ratings: "Ratings") -> tuple["Ratings", "Ratings"]:
        """Training and validation ratings."""
        return split(ratings, seed=self.seed, kind=self.kind, window=self.window)

    def of_new(self, ratings: "Ratings") -> tuple["Ratings", "Ratings"]:
        """The same, validation ratings as new as they will be."""
        training, validation = self.of(ratings)
        return training, as_new(validation, training)


def as_new(held_out: "AnyPairs", training: "Ratings") -> "AnyPairs":
    """What was held out, users and items without training ratings as UNKNOWN, as they will be.

    A row of the training that has no ratings would say that nobody rated the item, or that the user
    rated nothing, in all the time that it saw. Who is described keeps the row: it is all there is.
    """
    users, items = held_out.user_index, held_out.item_index
    of_users, of_items = training.counts(held_out)
    if not training.user_descriptions:
        users = users.where(of_users > 0, UNKNOWN)
    if not training.item_descriptions:
        items = items.where(of_items > 0, UNKNOWN)
    return replace(held_out, user_index=users, item_index=items)


def _held_out(ratings: "Ratings", *, seed: int, kind: Split) -> NDArray[np.bool_]:
    """The (n_ratings,) mask of what is held out, of the ratings of all ranks."""
    from model.selection import drawn_keys, first_rows, latest_first
    from model.world import ALONE

    world = ratings.world
    sizes = world.everyones(len(ratings))
    n, is_first = sum(sizes), not any(sizes[: world.rank])
    held_out: NDArray[np.bool_]
    if kind in (Split.ITEMS, Split.USERS):
        is_items = kind is Split.ITEMS
        own = ratings.item_index if is_items else ratings.user_index
        found = own.bincount(minlength=ratings.n_items if is_items else ratings.n_users)
        # All ranks have the same items, but each has users of its own.
        sharing = ALONE if is_items else world
        counts = (world.sum(found) if is_items else found).numpy()
        rated = np.flatnonzero(counts)
        keys = drawn_keys(seed, len(rated), sharing)
        out = np.zeros(len(counts), dtype=bool)
        out[rated] = first_rows([keys], VALIDATION_SHARE * n, sharing, weights=counts[rated])
        held_out = out[own.numpy()]
        if all(world.everyones(bool(held_out.all()))) and is_first:
            held_out[:1] = False
        return held_out
    keys = drawn_keys(seed, len(ratings), world)
    n_out = max(1, round(VALIDATION_SHARE * n))
    if kind is Split.RANDOM:
        return first_rows([keys], n_out, world)
    if ratings.times is None:
        raise ValueError(f"expected times for the split {kind}, got none")
    times = np.nan_to_num(ratings.times.numpy(), nan=-np.inf)
    latest = [latest_first(times), ~keys]
    if kind is Split.TIME:
        held_out = first_rows(latest, n_out, world)
    else:
        order = np.lexsort((keys, times))
        held_out = np.zeros(len(times), dtype=bool)
        held_out[order[_last_of_each(ratings.user_index.numpy()[order])]] = True
    held_out &= np.isfinite(times)
    n_held_out = sum(world.everyones(int(held_out.sum())))
    if n_held_out in (0, n):
        held_out = first_rows(latest, 1, world)
    return held_out


def _last_of_each(users: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of (n,) users' ratings, in the order of time, are among the last tenth of the user's.

    Of fewer than six none is, of more at least one.
    """
    by_user = np.argsort(users, kind="stable")
    counts = np.bincount(users)
    first = np.cumsum(counts) - counts
    place = np.empty(len(users), dtype=np.int64)
    place[by_user] = np.arange(len(users)) - np.repeat(first, counts)
    left: NDArray[np.bool_] = place >= (counts - np.round(VALIDATION_SHARE * counts))[users]
    return left
