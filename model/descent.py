"""Gradient descent a rating at a time, compiled by numba, in a grid of blocks.

Users and items are dealt out to eight stripes each, and ratings to the 64 blocks that stripes make.
Blocks of a diagonal have no user and no item in common: threads can take one each, and what comes
out does not depend on how many there are (Gemulla, Nijkamp, Haas & Sismanis 2011, Large-Scale
Matrix Factorization with Distributed Stochastic Gradient Descent, sec. 4). The rows of a block fit
a cache.
"""

import itertools
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Ratings
from model.simd import LANES, descend
from model.sparse import grouped
from model.threads import in_threads

STRIPES = 8
WORTH_SHARING = 1 << 18  # ratings: fewer are done sooner than they are shared out

Array = NDArray[Any]


class Descent:
    """Goes over ratings in random order, a diagonal of blocks after the other."""

    def __init__(self, ratings: Ratings, targets: Tensor, *, generator: torch.Generator) -> None:
        """Shuffles ratings into blocks.

        Args:
            ratings: of users and items, on a CPU.
            targets: (n_ratings,) float32, what to fit.
            generator: of the stripes, the order of ratings and that of diagonals.
        """
        self._generator = generator
        order = torch.randperm(len(ratings), generator=generator)
        users, items = ratings.user_index[order], ratings.item_index[order]
        stripes = self._stripes(ratings.n_users)[users], self._stripes(ratings.n_items)[items]
        diagonal = (stripes[1] - stripes[0]) % STRIPES
        block = diagonal * STRIPES + stripes[0]
        first, self._items, places = grouped(block.numpy(), items.numpy(), STRIPES**2)
        self._items += ratings.n_users  # the rows of a table that has users first
        self._users = users.int().numpy()[places]
        self._targets = targets[order].numpy()[places]
        bounds = list(itertools.pairwise(first.tolist()))
        self._diagonals = [bounds[n : n + STRIPES] for n in range(0, STRIPES**2, STRIPES)]
        if len(ratings) < WORTH_SHARING:
            self._diagonals = [[(blocks[0][0], blocks[-1][1])] for blocks in self._diagonals]

    def epoch(self, table: Tensor, rates: Tensor) -> float:
        """Takes a step at every rating, in place: the sum of squared errors before each.

        Args:
            table: (n_users + n_items, width) float32.
            rates: (4, width) float32, see `simd.descend`.
        """
        arrays = self._users, self._items, self._targets, table.numpy(), rates.numpy().ravel()
        squared_error = 0.0
        for number in torch.randperm(STRIPES, generator=self._generator).tolist():
            blocks = self._diagonals[number]
            squared_error += sum(in_threads(lambda block: descend_block(*block, *arrays), blocks))
        return squared_error

    def _stripes(self, n_rows: int) -> Tensor:
        """The (n_rows,) int64 stripe of each row, all of about one size."""
        return torch.randperm(n_rows, generator=self._generator) * STRIPES // n_rows


def vectors_of(table: Tensor) -> Tensor:
    """The table with columns of zeros behind, until its rows are whole vectors."""
    return torch.nn.functional.pad(table, (0, -table.shape[1] % LANES))


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
