"""A table in several files: those of a folder or of a pattern, and the pieces that readers share.

A piece is a row group of Parquet, so many bytes of whole lines of plain text, or any other file. In
the order of their names, and within a file from its beginning, they are the rows of the table.
"""

import glob
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from storage import parquet
from storage.columnar import format_of
from storage.errors import InputError
from storage.lines import shown
from storage.names import ROLES, is_called
from storage.packed import compression
from storage.stores import StoredPath

PIECE_BYTES = 1 << 26  # of text
LOOKED_AT_ONCE = 16  # files

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A file, or a part of one."""

    path: Path
    number: int = 0  # from 0
    of: int = 1  # how many the file has
    weight: int  # of rows or bytes: what it takes to read it


def is_pattern(path: Path) -> bool:
    """Whether a path stands for the files that match it."""
    is_here = not isinstance(path, StoredPath)
    return is_here and glob.has_magic(str(path)) and not path.exists()


def files_of(path: Path) -> list[Path]:
    """The files of a table, in the order of their names: itself, or those of a folder or pattern.

    What is hidden or empty, or begins with an underscore as what Spark leaves beside its files, is
    none of them.

    Raises:
        InputError: there are none, or the names of folders hold what files lack.
    """
    if is_pattern(path):
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
        files = [file for file in found if file.is_file() and _holds_rows(file, file.parent)]
        if not files:
            raise InputError(f"{path}: no such files")
        fixed = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
        _check_folders(files, Path(*fixed))
        return sorted(files)
    if not path.is_dir():
        return [path]
    try:
        inside = path.files() if isinstance(path, StoredPath) else path.rglob("*")
        files = [file for file in inside if file.is_file() and _holds_rows(file, path)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not files:
        raise InputError(f"{path}: expected a file, or a folder with files, got an empty one")
    _check_folders(files, path)
    return sorted(files)


def pieces_of(files: Sequence[Path]) -> list[Piece]:
    """The pieces of files, in their order.

    Raises:
        InputError: one cannot be read.
    """
    if parquet.is_it(files[0]):
        return [
            Piece(path=file, number=number, of=len(groups), weight=n_rows)
            for file, groups in zip(files, _of_each(parquet.rows_of_groups, files), strict=True)
            for number, n_rows in enumerate(groups)
        ]
    found = []
    for file, (n_bytes, is_whole) in zip(files, _of_each(_size, files), strict=True):
        n = 1 if is_whole else -(-n_bytes // PIECE_BYTES)
        found += [Piece(path=file, number=number, of=n, weight=n_bytes // n) for number in range(n)]
    return found


def dealt(pieces: Sequence[Piece], rank: int, size: int) -> list[Piece]:
    """The pieces of one of `size` readers, who have about as much each, one after the other."""
    total, before, mine = sum(piece.weight for piece in pieces), 0, []
    for piece in pieces:
        middle = before + piece.weight / 2
        if min(int(middle * size / max(total, 1)), size - 1) == rank:
            mine.append(piece)
        before += piece.weight
    return mine


def _check_folders(files: Sequence[Path], folder: Path) -> None:
    """Raises InputError if users, items or ratings stand in the names of folders below one, such as
    `user_id=7`, and the files have none.
    """
    for file in files:
        for part in file.parts[len(folder.parts) : -1]:
            name, equals, _ = part.partition("=")
            role = next((one for one in ROLES if is_called(name, one)), None)
            format_ = format_of(file) if equals and role else None
            if (
                role
                and format_
                and not any(is_called(one, role) for one in format_.column_names(file))
            ):
                raise InputError(
                    f"{file}: expected a column {shown(name)} in the file, got it in the name of a "
                    "folder alone; write files that have all columns"
                )


def _of_each(look: Callable[[Path], Value], files: Sequence[Path]) -> list[Value]:
    """What is found out of files, several at a time: it takes waiting where they are far away."""
    with ThreadPoolExecutor(LOOKED_AT_ONCE) as threads:
        return list(threads.map(look, files))


def _size(file: Path) -> tuple[int, bool]:
    """The bytes of a file, and whether it is read whole: packed, or of a format of its own.

    Raises:
        InputError: it cannot be read.
    """
    try:
        is_whole = compression(file) is not None or format_of(file) is not None
        return file.stat().st_size, is_whole
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def _holds_rows(file: Path, folder: Path) -> bool:
    names = file.parts[len(folder.parts) :]
    return not any(name.startswith((".", "_")) for name in names) and file.stat().st_size > 0
