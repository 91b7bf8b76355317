"""Gradient descent a rating at a time, compiled by numba, in a grid of blocks.

Blocks of a diagonal have no user and no item in common: threads can take one each, and a block of
the next as soon as those before it that have some in common are done, so that what comes out does
not depend on how many threads there are (Gemulla, Nijkamp, Haas & Sismanis 2011, Large-Scale Matrix
Factorization with Distributed Stochastic Gradient Descent, sec. 4). Rows of a stripe lie side by
side, apart from what other threads write to, and those of a block fit a cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Ratings
from model.kernels.blocks import STRIPES, WORTH_SHARING, in_blocks
from model.kernels.compiling import njit
from model.kernels.simd import LANES, descend
from model.kernels.threads import in_threads

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

    def __init__(
        self, ratings: Ratings, *, mean: float, scale: float, generator: torch.Generator
    ) -> None:
        """Shuffles ratings into blocks.

        Args:
            ratings: of users and items, on a CPU.
            mean: what to fit are the values less this,
            scale: divided by this.
            generator: of the rows, the order of ratings and that of diagonals.
        """
        self._generator = generator
        n_users = ratings.n_users
        places = [torch.randperm(n, generator=generator) for n in (n_users, ratings.n_items)]
        self.places = torch.cat([places[0], n_users + places[1]])
        seeds = torch.randint(1, 1 << 62, (STRIPES**2,), generator=generator)
        self._entries, blocks = in_blocks(ratings, *places, mean=mean, scale=scale, seeds=seeds)
        self._diagonals = [blocks[n : n + STRIPES] for n in range(0, STRIPES**2, STRIPES)]
        self._shared = len(ratings) >= WORTH_SHARING

    def epoch(self, table: Tensor, rates: Tensor) -> float:
        """Takes a step at every rating, in place: the sum of squared errors before each.

        Args:
            table: (n_users + n_items, width) float32, rows as in `places`.
            rates: (4, 1 + LANES) float32, see `simd.descend`.
        """
        arrays = self._entries, table.numpy(), rates.numpy().ravel()
        order = torch.randperm(STRIPES, generator=self._generator).tolist()
        if not self._shared:
            blocks = [(self._diagonals[n][0][0], self._diagonals[n][-1][1]) for n in order]
            return sum(descend_block(*block, *arrays) for block in blocks)

        def descend(turn: Turn) -> float:
            try:
                for event in turn.awaited:
                    event.wait()
                return descend_block(*turn.block, *arrays)
            finally:  # even if the waiting was interrupted: others wait for this one
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
    """The table with columns of zeros before the last two, until its rows are whole vectors."""
    zeros = table.new_zeros(len(table), -table.shape[1] % LANES)
    return torch.cat([table[:, :-2], zeros, table[:, -2:]], dim=1)


@njit(nogil=True, cache=True)
def descend_block(begin: int, end: int, entries: Array, table: Array, rates: Array) -> float:
    """Takes a step at each entry from begin to end - 1: the sum of squared errors before each."""
    width = table.shape[1]
    total = 0.0
    for entry in entries[begin:end]:
        left, right = np.int64(entry.user), np.int64(entry.item)
        error = np.float64(descend(table, rates, left, right, entry.target, width))
        total += error * error
    return total
