"""The regressions that als and gibbs share: one small system a user, or an item, many at once.

With the other side fixed, row u of one side is a weighted linear regression on the other's rows:

    (Λ + n_u D + s_u Σ_i w_i φ_i φ_iᵀ) x_u = h_u + s_u Σ_i w_i φ_i (y_ui - c_i)
    x_u = [p_u, b_u],  φ_i = [q_i, 1],  D diagonal

The sums are parts of one Gram matrix, that of the rows [φ_i, y_ui - c_i] √w_i. On a CPU they are
compiled (`compiled_normal_equations`); what stands here is the same in PyTorch, for a GPU and to
compare with. Rows
with about as many ratings share a block, padded with empty cells to the longest, so that one
batched product serves them all; what a block gathers still is in the cache when it is multiplied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GATHERED_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 26}  # numbers; on a CPU the mebibyte of a cache
PADDING = 1.5  # the longest row of a block has at most so many times the shortest's ratings, …
FREE_CELLS = 8  # … and about so many more


@dataclass(frozen=True)
class Solution:
    """What the regressions of a side come to."""

    means: Tensor  # (n_rows, D) float32, x
    draws: Tensor  # (n_rows, D) float32, x + L⁻ᵀ noise; the means if there is no noise
    squared_errors: Tensor  # (n_rows,) float64, Σ_i w_i e_ui² of the draws


class Regressions(Protocol):
    """The regressions of one side, whose ratings stay and whose targets and weights change."""

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
        """Solves for every row.

        Args:
            others: (n_others, D) float32, the other side's rows [q_i, c_i].
            targets: (n_ratings,) float32, y.
            precision: (D, D) float32, Λ.
            right: (n_rows, D) float32, h.
            decay: (D,) float32, the diagonal of D, once for each rating, at least once; zero if not
                given.
            weights: (n_rows,) float32, s; ones if not given.
            other_weights: (n_others,) float32, w; ones if not given.
            noise: (n_rows, D) float32, standard normal; L Lᵀ is the matrix of the system.
            residuals: (n_ratings,) float32, where e_ui = y_ui - c_i - φ_i x_u of the draws is to be
                written.
        """
        ...


class Parts(Regressions, Protocol):
    """The same in three steps, for rows whose ratings stand in many places."""

    def cuts(self, width: int) -> list[tuple[int, int]]:
        """Begin and end of rows that are to be worked on together, of so many unknowns each."""
        ...

    def sums(self, rows: tuple[int, int], given: "Given") -> Tensor:
        """Σ_i w_i [φ_i, y_ui - c_i] [φ_i, y_ui - c_i]ᵀ of some rows.

        (n, (D + 1) (D + 2) / 2) float32, the lower triangle row by row.
        """
        ...

    def solve_sums(self, sums: Tensor, prior: "Prior") -> Tensor:
        """The (1, n, D) means of rows whose sums are known, or with the draws (2, n, D)."""
        ...

    def errors(
        self, rows: tuple[int, int], given: "Given", draws: Tensor, residuals: Tensor
    ) -> Tensor:
        """The (n,) float64 squared errors of (n, D) draws of some rows; residuals as of `solve`."""
        ...


@dataclass(frozen=True)
class Given:
    """What the sums are of, as `Regressions.solve` has it."""

    others: Tensor
    targets: Tensor
    other_weights: Tensor | None = None

    @property
    def table(self) -> Tensor:
        """What is gathered of the other side."""
        return regressors(
            self.others, None if self.other_weights is None else self.other_weights.sqrt()
        )


@dataclass(frozen=True)
class Prior:
    """What a row's system is of beside the sums, as `Regressions.solve` has it."""

    precision: Tensor
    right: Tensor
    decay: Tensor | None = None
    counts: Tensor | None = None  # (n,) of each row's ratings; needed where there is a decay
    weights: Tensor | None = None
    noise: Tensor | None = None

    def of(self, begin: int, end: int) -> "Prior":
        """That of some rows."""
        columns = (self.right, self.counts, self.weights, self.noise)
        right, counts, weights, noise = (None if c is None else c[begin:end] for c in columns)
        assert right is not None
        return Prior(self.precision, right, self.decay, counts, weights, noise)


def n_sums(width: int) -> int:
    """How many numbers `Parts.sums` has of a row of so many unknowns."""
    return (width + 1) * (width + 2) // 2


def squared_errors(sums: Tensor, rows: Tensor) -> Tensor:
    """The (n,) float64 squared errors of (n, D) rows x, [x, -1] G [x, -1]ᵀ, by their sums G.

    Args:
        sums: (n, (D + 1) (D + 2) / 2) float32, as of `Parts.sums`.
        rows: (n, D) float32.
    """
    ends = torch.cat([rows, -rows.new_ones(len(rows), 1)], dim=1)
    found = rows.new_zeros(len(rows), dtype=torch.float64)
    at = 0
    for i, own in enumerate(ends.unbind(1)):
        before = (sums[:, at : at + i] * ends[:, :i]).sum(1, dtype=torch.float64)
        found += own * (2 * before + sums[:, at + i] * own)
        at += i + 1
    return found.clamp(min=0)


def solve_grams(gram: Tensor, prior: Prior) -> Tensor:
    """The means of (n, D + 1, D + 1) Gram matrices' rows, (n, D, 1), or with the draws (n, D, 2).

    The matrices are used up.
    """
    if prior.weights is not None:
        gram *= prior.weights[:, None, None]
    system = gram[:, :-1, :-1] + prior.precision
    if prior.decay is not None and prior.counts is not None:
        counts = prior.counts.clamp(min=1)
        system += torch.diag_embed(counts[:, None] * prior.decay)
    factor = cholesky(system)
    half = (gram[:, -1, :-1] + prior.right)[..., None]
    half = torch.linalg.solve_triangular(factor, half, upper=False)
    if prior.noise is not None:
        half = torch.cat([half, half + prior.noise[..., None]], dim=2)
    solution: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    return solution


class Batched:
    """The regressions of one side, in PyTorch."""

    def __init__(self, own: Tensor, other: Tensor, *, n_rows: int, n_others: int) -> None:
        self._ratings = own, other
        self._sizes = n_rows, n_others
        self._blocks: dict[int, list[Block]] = {}  # by the width that they are cut for

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
        """As `Regressions` says."""
        given = Given(others, targets, other_weights)
        means = torch.empty_like(right)
        draws = torch.empty_like(right) if noise is not None else means
        squared_errors = torch.zeros(len(right), dtype=torch.float64, device=right.device)
        with _room_for(residuals) as room:
            for block, cells in self._cells(given):
                counts = (block.others < len(others)).sum(1)
                at = block.rows
                prior = Prior(
                    precision=precision,
                    right=right[at],
                    decay=decay,
                    counts=counts,
                    weights=None if weights is None else weights[at],
                    noise=None if noise is None else noise[at],
                )
                solution = solve_grams(cells.mT @ cells, prior)
                means[at], draws[at] = solution[..., 0], solution[..., -1]
                squared_errors[at] = self._measure(block, cells, solution[..., -1:], room)
        return Solution(means=means, draws=draws, squared_errors=squared_errors)

    def cuts(self, width: int) -> list[tuple[int, int]]:
        """As `Parts` says: all at once."""
        return [(0, self._sizes[0])]

    def sums(self, rows: tuple[int, int], given: Given) -> Tensor:
        """As `Parts` says, of all rows."""
        width = given.others.shape[1]
        row, column = torch.tril_indices(width + 1, width + 1, device=given.others.device)
        found = given.others.new_zeros(self._sizes[0], len(row))
        for block, cells in self._cells(given):
            found[block.rows] = (cells.mT @ cells)[:, row, column]
        return found

    def solve_sums(self, sums: Tensor, prior: Prior) -> Tensor:
        """As `Parts` says."""
        n, width = prior.right.shape
        row, column = torch.tril_indices(width + 1, width + 1, device=sums.device)
        gram = sums.new_zeros(n, width + 1, width + 1)
        gram[:, row, column] = sums
        gram[:, column, row] = sums
        return solve_grams(gram, prior).permute(2, 0, 1)

    def errors(
        self, rows: tuple[int, int], given: Given, draws: Tensor, residuals: Tensor
    ) -> Tensor:
        """As `Parts` says, of all rows."""
        found = torch.zeros(self._sizes[0], dtype=torch.float64, device=draws.device)
        with _room_for(residuals) as room:
            for block, cells in self._cells(given):
                found[block.rows] = self._measure(block, cells, draws[block.rows, :, None], room)
        return found

    def _cells(self, given: Given) -> Iterator[tuple["Block", Tensor]]:
        """Each block, and what it gathers."""
        width = given.others.shape[1] + 1
        if width not in self._blocks:
            (own, other), (n_rows, n_others) = self._ratings, self._sizes
            blocks = group(own, other, n_rows=n_rows, n_others=n_others, width=width)
            self._blocks[width] = blocks  # when it is whole: chains share it
        table = given.table
        targets = torch.cat([given.targets, given.targets.new_zeros(1)])
        for block in self._blocks[width]:
            yield block, gather(block, table, targets)

    @staticmethod
    def _measure(block: "Block", cells: Tensor, draws: Tensor, room: Tensor | None) -> Tensor:
        """The squared errors of a block's rows, whose residuals are written to the room."""
        errors = cells[..., -1] - (cells[..., :-1] @ draws)[..., 0]  # e √w
        if room is not None:
            # √w stands in the cells, at the feature that is one.
            room[block.ratings] = errors / cells[..., -2]
        return errors.square().sum(1, dtype=torch.float64)


@contextmanager
def _room_for(residuals: Tensor | None) -> Iterator[Tensor | None]:
    """Room for residuals, and one more for all empty cells; at the end they are copied from it."""
    if residuals is None:
        yield None
        return
    room = residuals.new_empty(len(residuals) + 1)
    yield room
    residuals.copy_(room[:-1])


@dataclass(frozen=True)
class Block:
    """Rows of one side with about as many ratings."""

    rows: Tensor  # (b,) int64
    others: Tensor  # (b, length) int64, rows of the other side; the number of those where empty
    ratings: Tensor  # (b, length) int64, places of the ratings; the number of those where empty


def group(own: Tensor, other: Tensor, *, n_rows: int, n_others: int, width: int) -> list[Block]:
    """The blocks of one side: each of its rows is in exactly one, those without ratings too.

    Args:
        own: (n_ratings,) int64, the row of this side that each rating belongs to.
        other: (n_ratings,) int64, its row of the other side.
        n_rows: the number of rows of this side.
        n_others: the number of rows of the other side.
        width: how many numbers are gathered for a rating.
    """
    device = own.device
    counts = torch.bincount(own, minlength=n_rows)
    first = counts.cumsum(0) - counts
    sorted_ratings = torch.cat([own.argsort(stable=True), own.new_tensor([len(own)])])
    padded_other = torch.cat([other, other.new_tensor([n_others])])
    by_count = counts.argsort(descending=True, stable=True)
    blocks = []
    for begin, end, length in _cuts(counts[by_count].cpu().numpy(), width, device.type):
        rows = by_count[begin:end]
        cells = torch.arange(length, device=device)
        place = torch.where(cells < counts[rows, None], first[rows, None] + cells, len(own))
        ratings = sorted_ratings[place]
        blocks.append(Block(rows=rows, others=padded_other[ratings], ratings=ratings))
    return blocks


def regressors(rows: Tensor, root_weights: Tensor | None = None) -> Tensor:
    """What to gather of the other side: (n_others + 1, D + 1) rows [q_i, 1, -c_i] √w_i.

    The last row, that of empty cells, is zero.

    Args:
        rows: (n_others, D) rows [q_i, c_i].
        root_weights: (n_others,) √w_i; ones if not given.
    """
    table = rows.new_zeros(len(rows) + 1, rows.shape[1] + 1)
    table[:-1, :-2] = rows[:, :-1]
    table[:-1, -2] = 1.0
    table[:-1, -1] = -rows[:, -1]
    if root_weights is not None:
        table[:-1] *= root_weights[:, None]
    return table


def gather(block: Block, table: Tensor, targets: Tensor) -> Tensor:
    """The (b, length, D + 1) rows [φ_i, y_ui - c_i] √w_i of a block's ratings, zero where empty.

    Args:
        block: the rows and their ratings.
        table: of `regressors`.
        targets: (n_ratings + 1,) y, the last of any value.
    """
    cells = table.index_select(0, block.others.flatten())
    cells = cells.view(*block.others.shape, table.shape[1])
    cells[..., -1].addcmul_(targets[block.ratings], cells[..., -2])
    return cells


def cholesky(matrices: Tensor) -> Tensor:
    """The (b, D, D) lower factors of positive definite matrices, in float32 unless it fails."""
    factors: Tensor
    factors, failed = torch.linalg.cholesky_ex(matrices)
    if bool(failed.any()):
        factors = torch.linalg.cholesky_ex(matrices.double())[0].to(matrices.dtype)
    return factors


def _cuts(counts: NDArray[np.int64], width: int, device: str) -> Iterator[tuple[int, int, int]]:
    """Begin, end and length of each block, of rows whose numbers of ratings fall."""
    begin = 0
    while begin < len(counts):
        length = int(counts[begin])
        most = max(1, GATHERED_AT_ONCE[device] // (width * max(length, 1)))
        alike = int(np.searchsorted(-counts, (FREE_CELLS - length) / PADDING, side="right"))
        end = min(begin + most, max(alike, begin + 1))
        yield begin, end, length
        begin = end
