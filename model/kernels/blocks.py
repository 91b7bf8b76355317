"""Ratings dealt out to a grid of blocks, and in random order within each.

Users and items are put into rows of their own, an eighth of which is a stripe: the ratings that
users of a stripe give to items of another are a block. Blocks of a diagonal have no user and no
item in common.
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Ratings
from model.kernels.compiling import njit
from model.kernels.threads import in_threads, n_threads

STRIPES = 8
WORTH_SHARING = 1 << 18  # ratings: fewer are done sooner than they are shared out
# A user's row, an item's, and a rating less the mean, in standard deviations.
ENTRY = np.dtype([("user", np.int32), ("item", np.int32), ("target", np.float32)])

Array = NDArray[Any]


def in_blocks(
    ratings: Ratings,
    user_rows: Tensor,
    item_rows: Tensor,
    *,
    mean: float,
    scale: float,
    seeds: Tensor,
) -> tuple[Array, list[tuple[int, int]]]:
    """Entries by blocks, and where each block begins and ends: a diagonal's by stripes of users.

    Args:
        ratings: on a CPU.
        user_rows: (n_users,) int64, the row of each user, a permutation.
        item_rows: (n_items,) int64, the row of each item, counted from 0 likewise.
        mean: of the ratings.
        scale: their standard deviation.
        seeds: (STRIPES²,) int64 from 1, of the order in each block.

    Returns:
        (n_ratings,) of type ENTRY, items' rows counted on from the users', and STRIPES² pairs.
    """
    n_ratings = len(ratings)
    rows = user_rows.int().numpy(), item_rows.int().numpy()
    stripes = [(STRIPES * row // len(row)).astype(np.uint8) for row in rows]
    columns = ratings.user_index.numpy(), ratings.item_index.numpy()
    block = np.empty(n_ratings, dtype=np.uint8)
    # A thread deals out a part of the ratings; of a block, what the first part has comes first.
    n_parts = n_threads() if n_ratings >= WORTH_SHARING else 1
    parts = parts_of(n_ratings, n_parts)
    counts = np.array(in_threads(lambda part: find(*part, *columns, *stripes, block), parts))
    after = counts.T.cumsum().reshape(-1, n_parts).T
    following = np.ascontiguousarray(after - counts)
    bounds = list(itertools.pairwise([*following[0].tolist(), n_ratings]))
    entries = np.empty(n_ratings, dtype=ENTRY)
    given = *columns, ratings.values.numpy(), block, *rows, mean, 1.0 / scale
    in_threads(
        lambda part: deal(*part[0], *given, part[1], entries), zip(parts, following, strict=True)
    )
    starts = seeds.tolist()

    def shuffle_some(begin: int, end: int) -> None:
        for number in range(begin, end):
            shuffle(*bounds[number], entries, starts[number])

    in_threads(lambda part: shuffle_some(*part), parts_of(STRIPES**2, n_parts))
    return entries, bounds


def parts_of(n: int, n_parts: int) -> list[tuple[int, int]]:
    """Where each of some equal parts of n begins and ends."""
    return list(itertools.pairwise(np.linspace(0, n, n_parts + 1).astype(int).tolist()))


@njit(nogil=True, cache=True)
def find(
    begin: int,
    end: int,
    users: Array,
    items: Array,
    user_stripes: Array,
    item_stripes: Array,
    block: Array,
) -> Array:
    """Writes which block each of the ratings begin … end - 1 belongs to: (STRIPES²,) how many do.

    A block's number counts diagonals, and within them stripes of users.
    """
    counts = np.zeros(STRIPES**2, dtype=np.int64)
    for rating in range(begin, end):
        stripe, item_stripe = user_stripes[users[rating]], item_stripes[items[rating]]
        block[rating] = (item_stripe - stripe) % np.uint8(STRIPES) * STRIPES + stripe
        counts[block[rating]] += 1
    return counts


@njit(nogil=True, cache=True)
def deal(
    begin: int,
    end: int,
    users: Array,
    items: Array,
    values: Array,
    block: Array,
    user_rows: Array,
    item_rows: Array,
    mean: float,
    precision: float,
    following: Array,
    entries: Array,
) -> None:
    """Writes an entry of each of the ratings begin … end - 1 where its block goes on."""
    n_users = len(user_rows)
    for rating in range(begin, end):
        entry = entries[following[block[rating]]]
        following[block[rating]] += 1
        entry.user = user_rows[users[rating]]
        entry.item = n_users + item_rows[items[rating]]
        entry.target = (values[rating] - mean) * precision


@njit(nogil=True, cache=True)
def shuffle(begin: int, end: int, entries: Array, seed: int) -> None:
    """Puts the entries begin … end - 1 in random order, in place.

    By Durstenfeld's algorithm (1964), which fits a cache as its block does, from Marsaglia's
    xorshift (2003).
    """
    state = np.uint64(seed)
    for size in range(end - begin, 1, -1):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        drawn = ((state >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
        one, last = entries[np.uint64(begin) + drawn], entries[begin + size - 1]
        one.user, last.user = last.user, one.user
        one.item, last.item = last.item, one.item
        one.target, last.target = last.target, one.target
