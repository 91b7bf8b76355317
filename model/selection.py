"""The rows that come first of those of all ranks, found without any rank having them all."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.world import World

DIGIT_BITS = 16
DIGITS = 64 // DIGIT_BITS  # of a key

Keys = NDArray[np.uint64]


def first_rows(
    keys: Sequence[Keys], wanted: float, world: World, *, weights: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Which of this rank's (n,) rows come first, in the order of their keys.

    A row does if those before it, of all ranks, weigh less than is wanted together: of as many rows
    as that if each weighs one. The key of the last is found digit by digit, by the weights of all
    ranks' rows with each digit (a radix selection).

    Args:
        keys: (n,) each; where the first are equal, the next decide, and then the places.
        wanted: the weight.
        world: of the ranks.
        weights: (n,) of the rows; one each if not told.
    """
    n = len(keys[0])
    weights = np.ones(n, np.int64) if weights is None else weights
    first, open_ = np.zeros(n, np.bool_), np.ones(n, np.bool_)  # decided, and not yet
    before = 0  # what the rows weigh that are decided to come first
    for key in keys:
        for place in reversed(range(DIGITS)):
            digits = (key[open_] >> np.uint64(place * DIGIT_BITS)).astype(np.int64)
            digits &= (1 << DIGIT_BITS) - 1
            sums = np.bincount(digits, weights[open_], minlength=1 << DIGIT_BITS)
            sums = world.sum(torch.from_numpy(sums.astype(np.int64))).numpy()
            ends = before + np.cumsum(sums)
            last = int(np.searchsorted(ends, wanted))  # the digit of the last that comes first
            if last == len(sums):
                return first | open_
            before = int(ends[last] - sums[last])
            rows = np.flatnonzero(open_)
            first[rows[digits < last]] = True
            open_[rows[digits != last]] = False
    own = weights[open_]
    before += sum(world.everyones(int(own.sum()))[: world.rank])
    first[np.flatnonzero(open_)[before + np.cumsum(own) - own < wanted]] = True
    return first


def drawn_keys(seed: int, n: int, world: World) -> Keys:
    """The (n,) random keys of this rank's rows, as of one process that has the rows of all."""
    before = sum(world.everyones(n)[: world.rank])
    found: Keys = np.random.PCG64(seed).advance(before).random_raw(n)
    return found


def spread_rows(n: int, most: int, world: World) -> slice:
    """Which of this rank's n rows are among so many at most of all ranks, evenly spread.

    It does not depend on how the rows are shared out.
    """
    sizes = world.everyones(n)
    every = sum(sizes) // (most + 1) + 1
    return slice(-sum(sizes[: world.rank]) % every, None, every)


def even_rows(n: int, most: int, world: World) -> Tensor:
    """The (n_found,) int64 rows of this rank's n that are among so many at most of all ranks, from
    the first row of all to the last.

    Those do not depend on how the rows are shared out.
    """
    sizes = world.everyones(n)
    total, before = sum(sizes), sum(sizes[: world.rank])
    rows = torch.from_numpy(np.linspace(0, total - 1, min(total, most)).astype(np.int64))
    return rows[(rows >= before) & (rows < before + n)] - before


def latest_first(times: NDArray[np.float64]) -> Keys:
    """The (n,) keys by which the latest time comes first; no time is NaN."""
    bits = (times + 0.0).view(np.uint64)  # -0 is 0
    negative = bits >> np.uint64(63) == 1
    ascending = np.where(negative, ~bits, bits | np.uint64(1 << 63))
    found: Keys = ~ascending
    return found
