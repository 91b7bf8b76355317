"""What must fit into memory: libraries, and a file that is read, for a small one may unpack to
anything.
"""

import os
import resource
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

import psutil

from storage.errors import InputError

ROW_BYTES = 80  # that a rating takes at the peak of reading; 60 and 17 for its time were measured
N_BESIDE = "LOCAL_WORLD_SIZE"  # how many processes on this machine `torchrun` says there are
LEAST_ADDRESSES = 3_000_000_000  # bytes; 2.9e9 were measured, of few ratings and on two cores

Block = TypeVar("Block", bound=Sized)


def fitting(path: Path, blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks of rows, one after another.

    Raises:
        InputError: there are more rows than fit into the memory that is free at the beginning.
    """
    free = psutil.virtual_memory().available // int(os.environ.get(N_BESIDE, "1"))
    n_rows = 0
    for block in blocks:
        n_rows += len(block)
        if n_rows * ROW_BYTES > free:
            raise InputError(
                f"{path}: expected at most {free // ROW_BYTES:,} rows, which fit into the "
                f"{free / 1e9:.1f} GB of memory that are free, got more"
            )
        yield block


def check_addresses() -> None:
    """Raises InputError if this process may not have the addresses that libraries take.

    With fewer they end it in their ways: by signals, with pages of errors, or never.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESSES:
        raise InputError(
            f"expected {LEAST_ADDRESSES / 1e9:g} GB of addresses for a process, or more, got a "
            f"limit of {limit / 1e9:.1f} GB; ulimit -v unlimited lifts it"
        )
