"""The answers: one predicted rating a line, in the order of the queries."""

import csv
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError
from storage.files import replacing
from storage.ratings import RatingsTable


def write_predictions(path: Path, predictions: NDArray[np.floating]) -> None:
    """Writes (n_queries,) predictions, one a line with six digits after the point.

    Raises:
        InputError: the file cannot be written; one that was there stays as it was.
    """
    try:
        with replacing(path) as file:
            np.savetxt(file, predictions, fmt="%.6f")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def write_intervals(
    path: Path, table: RatingsTable, columns: Mapping[str, NDArray[np.floating]]
) -> None:
    """Writes a CSV: the queries' users and items, and (n_queries,) columns, six digits each.

    Raises:
        InputError: the file cannot be written; one that was there stays as it was.
    """
    figures = [[f"{value:.6f}" for value in column] for column in columns.values()]
    try:
        with replacing(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["user", "item", *columns])
            writer.writerows(zip(table.query_user_ids, table.query_item_ids, *figures, strict=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def check_writable(path: Path, *, precious: Iterable[Path] = ()) -> None:
    """Raises InputError if `path` could or should not be written, before the work it is for.

    `precious` are files that must stay as they are.
    """
    try:
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "something else"
            raise InputError(f"{path}: expected a file to write, got {kind}")
        target = path.resolve()
        if any(other.resolve() == target or _same_file(path, other) for other in precious):
            raise InputError(f"{path}: expected a file of its own, got one that is used here")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except RuntimeError:  # of resolve
        raise InputError(f"{path}: expected a file to write, got a link to itself") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _same_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
