"""A file that is read must fit into memory: a small packed one may unpack to anything."""

from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

import psutil

from storage.errors import InputError

ROW_BYTES = 80  # that a rating takes at the peak of reading; 60 and 17 for its time were measured

Block = TypeVar("Block", bound=Sized)


def fitting(path: Path, blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks of rows, one after another.

    Raises:
        InputError: there are more rows than fit into the memory that is free at the beginning.
    """
    free = psutil.virtual_memory().available
    n_rows = 0
    for block in blocks:
        n_rows += len(block)
        if n_rows * ROW_BYTES > free:
            raise InputError(
                f"{path}: expected at most {free // ROW_BYTES:,} rows, which fit into the "
                f"{free / 1e9:.1f} GB of memory that are free, got more"
            )
        yield block
