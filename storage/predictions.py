"""The answers: one predicted rating a line, in the order of the queries."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError
from storage.files import replacing


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


def check_writable(path: Path) -> None:
    """Raises InputError if `path` could not be written, before the work that leads to it."""
    if path.exists() and not path.is_file():
        kind = "a directory" if path.is_dir() else "something else"
        raise InputError(f"{path}: expected a file to write, got {kind}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
