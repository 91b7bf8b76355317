"""What a command works on: the ratings, indexed, and where they came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.dataset import Ids, Ratings, index_ratings
from storage.cache import read_cached
from storage.datasets import demonstration
from storage.errors import InputError
from storage.ratings import RatingsTable

DEFAULT_FILE = Path("mat_comp")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A set of ratings to learn from and pairs to predict."""

    source: str  # for people: the file, or what else it is
    file: Path | None
    table: RatingsTable
    ratings: Ratings
    users: Ids
    items: Ids
    truth: NDArray[np.float64] | None = None  # (n_queries,), of the demonstration
    noise_std: float | None = None  # of the demonstration

    def described(self) -> str:
        """A line for people; a second one if pairs were rated more than once."""
        table = self.table
        text = (
            f"{self.source}, {table.n_ratings:,} ratings, {len(self.users):,} users, "
            f"{len(self.items):,} items, {table.n_queries:,} queries"
        )
        if table.n_repeated:
            text += (
                f"\nRepeated: {table.n_repeated:,} lines rate a pair again; "
                "such a pair has the mean of its ratings"
            )
        return text


def load_data(file: Path | None, *, runs: Path) -> Data:
    """The ratings of a file, of ./mat_comp, or of the built-in demonstration.

    Raises:
        InputError: the file cannot be read, or holds fewer than two ratings.
    """
    if file is None and (DEFAULT_FILE.exists() or DEFAULT_FILE.is_symlink()):
        file = DEFAULT_FILE
    if file is None:
        demo = demonstration()
        table, source = demo.table, "built-in demo"
        truth, noise_std = demo.truth, demo.noise_std
    else:
        table, source = read_cached(file, runs / "cache"), str(file)
        truth, noise_std = None, None
    ratings, users, items = index_ratings(table.user_ids, table.item_ids, table.ratings)
    return Data(
        source=source,
        file=file,
        table=table,
        ratings=ratings,
        users=users,
        items=items,
        truth=truth,
        noise_std=noise_std,
    )


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU if there is one.

    PyTorch is given one thread: the solvers work in blocks that fit a cache, too small to be
    worth sharing out (with two threads, sweeps took ten times longer and epochs twice).

    Raises:
        InputError: `cuda` was asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device: cuda was asked for, but PyTorch finds no GPU here")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    return torch.device(name)
