"""The regressions of users and of items, in the form that suits where their ratings are.

The ratings of a user stand in one place. Those of an item stand on all ranks of a world: each sums
what its own contribute, and solves a share of the items; the next items are summed meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from model.dataset import Ratings
from model.kernels.normal_equations import (
    Batched,
    Given,
    Parts,
    Prior,
    Regressions,
    Solution,
    squared_errors,
)
from model.kernels.threads import in_threads
from model.world import World

Found = TypeVar("Found")


def regressions(own: Tensor, other: Tensor, *, n_rows: int, n_others: int) -> Parts:
    """The regressions of one side, for the device that its ratings are on.

    Args:
        own: (n_ratings,) int64, the row of this side that each rating belongs to.
        other: (n_ratings,) int64, its row of the other side.
        n_rows: the number of rows of this side.
        n_others: the number of rows of the other side.
    """
    if own.device.type != "cpu":
        return Batched(own, other, n_rows=n_rows, n_others=n_others)
    from model.kernels.compiled_normal_equations import Compiled

    return Compiled(own, other, n_rows=n_rows)


def both_sides(ratings: Ratings) -> tuple[Parts, Parts]:
    """The regressions of users, and of items, of the ratings of this rank."""
    users, items = (ratings.user_index, ratings.n_users), (ratings.item_index, ratings.n_items)
    user_side, item_side = in_threads(
        lambda side: regressions(side[0][0], side[1][0], n_rows=side[0][1], n_others=side[1][1]),
        [(users, items), (items, users)],
    )
    return user_side, item_side


def summed(item_side: Parts, ratings: Ratings) -> Regressions:
    """The regressions of items by the ratings of all ranks."""
    if ratings.world.size == 1:
        return item_side
    counts = torch.bincount(ratings.item_index, minlength=ratings.n_items)
    return Summed(item_side, ratings.world, ratings.world.sum(counts))


@dataclass(frozen=True)
class Summed:
    """The regressions of rows of which each rank has some of the ratings."""

    parts: Parts  # of this rank
    world: World
    counts: Tensor  # (n_rows,) int64, of the ratings of all ranks

    def solve(
        self,
        others: Tensor,
        targets: Tensor,
        *,
        precision: Tensor,
        right: Tensor,
        decay: Tensor | None = None,
        weights: Tensor | None = None,
        other_weights: Tensor | None = None,
        noise: Tensor | None = None,
        residuals: Tensor | None = None,
    ) -> Solution:
        """As `Regressions` says; what is given of rows, and what comes back, is that of all ranks.

        Errors are sums over all ranks, residuals those of this one.
        """
        given = Given(others, targets, other_weights)
        prior = Prior(
            precision=precision,
            right=right,
            decay=decay,
            counts=self.counts,
            weights=weights,
            noise=noise,
        )
        means, draws = torch.empty_like(right), torch.empty_like(right)
        errors = torch.zeros(len(right), dtype=torch.float64, device=right.device)

        def begun(rows: tuple[int, int]) -> tuple[tuple[int, int], Callable[[], Tensor]]:
            return rows, self.world.shared_sum(self.parts.sums(rows, given))

        cuts = self.parts.cuts(right.shape[1])
        for (begin, end), total in _one_ahead(map(begun, cuts)):
            first, last = self.world.share(end - begin)
            own = slice(begin + first, begin + last)
            sums = total()
            solved = self.parts.solve_sums(sums, prior.of(own.start, own.stop))
            whole = self.world.gathered(solved.transpose(0, 1).contiguous(), of=end - begin)
            means[begin:end], draws[begin:end] = whole[:, 0], whole[:, -1]
            if residuals is None:
                errors[own] = squared_errors(sums, solved[-1])
            else:
                found = self.parts.errors((begin, end), given, draws[begin:end], residuals)
                errors[begin:end] = found
        return Solution(means=means, draws=draws, squared_errors=self.world.sum(errors))


def _one_ahead(items: Iterable[Found]) -> Iterator[Found]:
    """The items, each when the one behind it has been made."""
    before: list[Found] = []
    for item in items:
        yield from before
        before = [item]
    yield from before
