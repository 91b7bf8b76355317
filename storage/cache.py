"""Parsed ratings files, kept on disk and reused while the file's content is unchanged."""

import contextlib
import hashlib
from dataclasses import fields
from pathlib import Path

from storage.errors import InputError
from storage.files import DamagedFileError, read_arrays, write_arrays
from storage.ratings import RatingsTable, read_mat_comp

FORMAT = 1  # of the parsed columns: raise it when `RatingsTable` or the parser changes

COUNTS = ("n_users", "n_items", "n_repeated")


def read_cached(path: Path, folder: Path) -> RatingsTable:
    """The table of a `mat_comp` file, from `folder` if this very content was parsed before.

    A cached file that is damaged is made again; a folder that cannot be written to is done without.

    Raises:
        InputError: the file cannot be read, is not of the format, or rates one pair only.
    """
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return read_mat_comp(path)  # which says what is wrong
    cached = folder / f"{content[:32]}-{FORMAT}.safetensors"
    with contextlib.suppress(FileNotFoundError, DamagedFileError):
        arrays, counts = read_arrays(cached)
        return RatingsTable(**arrays, **counts)  # type: ignore[arg-type]
    table = read_mat_comp(path)
    if table.n_ratings < 2:
        raise InputError(
            f"{path}: expected at least 2 different pairs rated, one to train on and one to "
            f"validate on, got {table.n_ratings}"
        )
    arrays = {
        field.name: getattr(table, field.name)
        for field in fields(table)
        if field.name not in COUNTS
    }
    with contextlib.suppress(OSError):
        write_arrays(cached, arrays, {name: getattr(table, name) for name in COUNTS})
    return table
