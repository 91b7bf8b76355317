"""Gradient descent a rating at a time, compiled by numba, in a grid of blocks.

Users and items are shuffled into new rows, an eighth of them a stripe, and ratings are dealt out to
the 64 blocks that stripes make: what a thread writes to lies apart from what another does. Blocks
of a diagonal have no user and no item in common: threads can take one each, and a block of the next
as soon as those before it that have some in common are done, so that what comes out does not depend
on how many threads there are (Gemulla, Nijkamp, Haas & Sismanis 2011, Large-Scale Matrix
Factorization with Distributed Stochastic Gradient Descent, sec. 4). The rows of a block fit a
cache.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Ratings
from model.simd import LANES, descend
from model.threads import in_threads

STRIPES = 8
WORTH_SHARING = 1 << 18  # ratings: fewer are done sooner than they are shared out

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """When a block has its turn."""

    block: tuple[int, int]  # its ratings: begin and end
    awaited: list[Event]  # the blocks before it that have users or items in common with it
    done: Event


class Descent:
    """Goes over ratings a diagonal of blocks after the other, in another order each time.

    Within a block their order is random, and stays. Its table has rows of its own: `places` says
    which, (n_users + n_items,) int64, of each user, then of each item.
    """

    def __init__(self, ratings: Ratings, targets: Tensor, *, generator: torch.Generator) -> None:
        """Shuffles ratings into blocks.

        Args:
            ratings: of users and items, on a CPU.
            targets: (n_ratings,) float32, what to fit.
            generator: of the rows, the order of ratings and that of diagonals.
        """
        self._generator = generator
        n_users = ratings.n_users
        places = [torch.randperm(n, generator=generator) for n in (n_users, ratings.n_items)]
        self.places = torch.cat([places[0], n_users + places[1]])
        seeds = torch.randint(1, 1 << 62, (STRIPES**2,), generator=generator).tolist()
        columns = ratings.user_index, ratings.item_index, targets, *places
        first, *dealt_out = dealt(*(column.numpy() for column in columns))
        self._users, self._items, self._targets = dealt_out
        self._items += n_users
        bounds = list(itertools.pairwise(first.tolist()))
        in_threads(
            lambda block: shuffle(*block[0], *dealt_out, block[1]), zip(bounds, seeds, strict=True)
        )
        self._diagonals = [bounds[n : n + STRIPES] for n in range(0, STRIPES**2, STRIPES)]
        self._shared = len(ratings) >= WORTH_SHARING

    def epoch(self, table: Tensor, rates: Tensor) -> float:
        """Takes a step at every rating, in place: the sum of squared errors before each.

        Args:
            table: (n_users + n_items, width) float32, rows as in `places`.
            rates: (4, width) float32, see `simd.descend`.
        """
        arrays = self._users, self._items, self._targets, table.numpy(), rates.numpy().ravel()
        order = torch.randperm(STRIPES, generator=self._generator).tolist()
        if not self._shared:
            blocks = [(self._diagonals[n][0][0], self._diagonals[n][-1][1]) for n in order]
            return sum(descend_block(*block, *arrays) for block in blocks)

        def descend(turn: Turn) -> float:
            for event in turn.awaited:
                event.wait()
            try:
                return descend_block(*turn.block, *arrays)
            finally:
                turn.done.set()

        return sum(in_threads(descend, self._turns(order)))

    def _turns(self, order: list[int]) -> Iterator[Turn]:
        """All blocks, a diagonal after the other: each waits for the last ones of its stripes."""
        of_users: dict[int, Event] = {}
        of_items: dict[int, Event] = {}
        for number in order:
            for stripe, block in enumerate(self._diagonals[number]):
                item_stripe, done = (stripe + number) % STRIPES, Event()
                before = of_users.get(stripe), of_items.get(item_stripe)
                of_users[stripe] = of_items[item_stripe] = done
                yield Turn(block=block, awaited=[one for one in before if one], done=done)


def vectors_of(table: Tensor) -> Tensor:
    """The table with columns of zeros behind, until its rows are whole vectors."""
    return torch.nn.functional.pad(table, (0, -table.shape[1] % LANES))


@njit(nogil=True, cache=True)
def dealt(
    users: Array, items: Array, targets: Array, user_places: Array, item_places: Array
) -> tuple[Array, Array, Array, Array]:
    """Where each block begins, and places of users and items and targets in it, in their order.

    Blocks stand by diagonals, those of one by stripes of users.
    """
    n_users, n_items = len(user_places), len(item_places)
    first = np.zeros(STRIPES**2 + 1, dtype=np.int64)
    for rating in range(len(users)):
        user, item = user_places[users[rating]], item_places[items[rating]]
        first[_block(user, n_users, item, n_items) + 1] += 1
    first = first.cumsum()
    following = first[:-1].copy()
    dealt_users = np.empty(len(users), dtype=np.int32)
    dealt_items = np.empty(len(users), dtype=np.int32)
    dealt_targets = np.empty(len(users), dtype=np.float32)
    for rating in range(len(users)):
        user, item = user_places[users[rating]], item_places[items[rating]]
        block = _block(user, n_users, item, n_items)
        at = following[block]
        following[block] += 1
        dealt_users[at], dealt_items[at], dealt_targets[at] = user, item, targets[rating]
    return first, dealt_users, dealt_items, dealt_targets


@njit(nogil=True, cache=True)
def shuffle(begin: int, end: int, users: Array, items: Array, targets: Array, seed: int) -> None:
    """Puts the ratings begin … end - 1 in random order, in place.

    By Durstenfeld's algorithm (1964), which fits a cache as its block does, from Marsaglia's
    xorshift (2003).
    """
    state = np.uint64(seed)
    for size in range(end - begin, 1, -1):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        one = begin + np.int64(((state >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32))
        other = begin + size - 1
        users[one], users[other] = users[other], users[one]
        items[one], items[other] = items[other], items[one]
        targets[one], targets[other] = targets[other], targets[one]


@njit(forceinline=True)
def _block(user: int, n_users: int, item: int, n_items: int) -> int:
    stripe, item_stripe = user * STRIPES // n_users, item * STRIPES // n_items
    return (item_stripe - stripe) % STRIPES * STRIPES + stripe


@njit(nogil=True, cache=True)
def descend_block(
    begin: int, end: int, users: Array, items: Array, targets: Array, table: Array, rates: Array
) -> float:
    """Takes a step at each rating from begin to end - 1: the sum of squared errors before each."""
    width = table.shape[1]
    total = 0.0
    for rating in range(begin, end):
        left, right = np.int64(users[rating]), np.int64(items[rating])
        error = np.float64(descend(table, rates, left, right, targets[rating], width))
        total += error * error
    return total
