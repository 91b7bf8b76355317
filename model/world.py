"""Processes that share the users out between them, and what crosses from one to the others.

Each process, a rank of the world, has the ratings of its own users and a row of every item, so that
nearly everything is done where it is; what crosses are sums over users. A process alone is a world
of one, in which every sum is what it has: whoever calls these needs not know which it is. Several
are started by `torchrun`; `torch.distributed` carries the sums, by gloo on CPUs and nccl on GPUs.
"""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

LONGEST = timedelta(days=7)  # that a rank waits for the others; of a dead one it hears at once

Value = TypeVar("Value")


class World:
    """A process alone."""

    rank = 0
    size = 1

    def sum(self, values: Tensor) -> Tensor:
        """The sum of what all ranks have, the same on all, bit by bit; `values` may be used up."""
        return values

    def most(self, values: Tensor) -> Tensor:
        """The largest, elementwise, of what all ranks have."""
        return values

    def gathered(self, rows: Tensor, *, of: int | None = None) -> Tensor:
        """The rows of all ranks, one rank's below the other's.

        Args:
            rows: (n, …) of this rank.
            of: how many there are, if each rank has its share of them; any number if not told.
        """
        return rows

    def exchanged(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """What all ranks have for this one, the first rank's first.

        Args:
            rows: for the first rank, then for the second, …
            sizes: (size,) how many for each.
        """
        return rows

    def everyones(self, value: Value) -> list[Value]:
        """What each rank has, of anything that pickle takes."""
        return [value]

    def share(self, n: int) -> tuple[int, int]:
        """Where this rank's share of n rows begins, and where it ends."""
        return self.shares(n)[self.rank]

    def shares(self, n: int) -> list[tuple[int, int]]:
        """Those of all ranks, which differ by a row at most."""
        return [(n * r // self.size, n * (r + 1) // self.size) for r in range(self.size)]

    def shared_sum(self, rows: Tensor) -> Callable[[], Tensor]:
        """The sums over ranks of (n, …) rows, this rank's share of them alone, when it is called.

        They are on their way until then.
        """
        return lambda: rows

    def orthonormal(self, columns: Tensor) -> Tensor:
        """An orthonormal basis of what (n, k) columns span, whose rows stand on all ranks."""
        basis: Tensor = torch.linalg.qr(columns).Q
        return basis

    def twin(self, number: int) -> "World":
        """The same ranks on a line of its own, for a thread that talks while others do."""
        return self

    def together(self, work: Callable[[], Value], *errors: type[Exception]) -> Value:
        """What the work of this rank gives, or the error that the first rank that failed raised.

        Whoever raised alone would leave the others waiting for good.

        Args:
            work: that talks to no other rank.
            errors: that all raise; any other ends the process, of which the others hear.
        """
        failure: Exception | None = None
        try:
            value = work()
        except errors as error:
            failure = error
        failures = [one for one in self.everyones(failure) if one is not None]
        if failures:
            raise failures[0]
        return value

    def of_first(self, work: Callable[[], Value], *errors: type[Exception]) -> Value | None:
        """What the work of the first rank gives there, on others nothing; `together` says more."""
        return self.together(lambda: None if self.rank else work(), *errors)


class LostRankError(ConnectionError):
    """Another rank has ended, or cannot be reached."""


class Ranks(World):
    """One of several processes."""

    def __init__(self, group: distributed.ProcessGroup | None = None) -> None:
        self._group = group
        self._twins: dict[int, Ranks] = {}
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def sum(self, values: Tensor) -> Tensor:
        """As `World` says."""
        values = values.contiguous()
        _reached(distributed.all_reduce, values, group=self._group)
        return values

    def most(self, values: Tensor) -> Tensor:
        """As `World` says."""
        values = values.contiguous()
        _reached(distributed.all_reduce, values, distributed.ReduceOp.MAX, group=self._group)
        return values

    def gathered(self, rows: Tensor, *, of: int | None = None) -> Tensor:
        """As `World` says."""
        if of is None:
            sizes = self._told([len(rows)] * self.size, rows.device)
        else:
            sizes = [end - begin for begin, end in self.shares(of)]
        found = rows.new_empty(sum(sizes), *rows.shape[1:])
        given = rows.repeat(self.size, *[1] * (rows.ndim - 1))
        _reached(
            distributed.all_to_all_single,
            found,
            given,
            sizes,
            [len(rows)] * self.size,
            group=self._group,
        )
        return found

    def exchanged(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """As `World` says."""
        given = self._told(sizes, rows.device)
        found = rows.new_empty(sum(given), *rows.shape[1:])
        _reached(
            distributed.all_to_all_single,
            found,
            rows.contiguous(),
            given,
            list(sizes),
            group=self._group,
        )
        return found

    def everyones(self, value: Value) -> list[Value]:
        """As `World` says."""
        values: list[Any] = [None] * self.size
        _reached(distributed.all_gather_object, values, value, group=self._group)
        return values

    def shared_sum(self, rows: Tensor) -> Callable[[], Tensor]:
        """As `World` says."""
        sizes = [end - begin for begin, end in self.shares(len(rows))]
        own = sizes[self.rank]
        parts = rows.new_empty(self.size, own, *rows.shape[1:])
        sent = _reached(
            distributed.all_to_all_single,
            parts.flatten(0, 1),
            rows.contiguous(),
            [own] * self.size,
            sizes,
            group=self._group,
            async_op=True,
        )

        def total() -> Tensor:
            _reached(sent.wait)
            return parts.sum(0)

        return total

    def orthonormal(self, columns: Tensor) -> Tensor:
        """As `World` says, by the Gram matrix, twice (Yamamoto et al. 2015, CholeskyQR2)."""
        for _ in range(2):
            gram = self.sum((columns.mT @ columns).double())
            values, vectors = torch.linalg.eigh(gram)
            kept = values > values[-1] * torch.finfo(columns.dtype).eps
            roots = torch.where(kept, values, torch.inf).rsqrt()
            columns = columns @ (vectors * roots).to(columns.dtype)
        return columns

    def twin(self, number: int) -> World:
        """As `World` says."""
        if number not in self._twins:
            self._twins[number] = Ranks(distributed.new_group(timeout=LONGEST))
        return self._twins[number]

    def _told(self, sizes: Sequence[int], device: torch.device) -> list[int]:
        """How much comes from each rank, where so much goes to each."""
        told = torch.tensor(sizes, device=device)
        given = torch.empty_like(told)
        _reached(distributed.all_to_all_single, given, told, group=self._group)
        found: list[int] = given.tolist()
        return found


ALONE = World()


def joined() -> World:
    """The world of this process: the others that `torchrun` started with it, or itself alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    if not distributed.is_initialized():
        cuda = ",cuda:nccl" if torch.cuda.is_available() else ""
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        store, rank, size = next(rendezvous("env://", timeout=LONGEST))
        # Where ranks were started again, those before them left their addresses.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        distributed.init_process_group(
            f"cpu:gloo{cuda}",
            store=PrefixStore(f"attempt {attempt}", store),
            rank=rank,
            world_size=size,
            timeout=LONGEST,
        )
    return Ranks()


def _reached(crossing: Callable[..., Value], *args: Any, **kwargs: Any) -> Value:
    """What comes of a call that talks to the other ranks.

    Raises:
        LostRankError: one of them does not answer.
    """
    try:
        return crossing(*args, **kwargs)
    except RuntimeError as error:
        raise LostRankError("another rank has ended, or cannot be reached") from error


def leave() -> None:
    """Waits until all ranks are done, if there are others: one that ends at once ends them too."""
    if distributed.is_initialized():
        _reached(distributed.barrier)
        distributed.destroy_process_group()
