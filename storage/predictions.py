"""The answers, in the order of the queries: one predicted rating a line, or a table."""

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from storage.errors import InputError
from storage.files import replacing
from storage.lines import shown
from storage.ratings import RatingsTable
from storage.stores import StoredPath

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = (".csv", ".tsv", ".parquet")
ENDINGS = (*TABLES, ".txt", "")  # of names of answers

Named = Sequence[tuple[str, ArrayLike]]
"""Columns with their names."""


def write_answers(path: Path, ids: Named, predictions: NDArray[np.floating]) -> None:
    """Writes (n,) predictions: a table with the (n,) ids of users and items if the file's name ends
    so, else one a line.

    Raises:
        InputError: the file cannot be written; one that was there stays as it was.
    """
    if path.suffix.lower() in TABLES:
        write_columns(path, [*ids, ("prediction", predictions)])
    else:
        write_predictions(path, predictions)


def write_predictions(path: Path, predictions: NDArray[np.floating]) -> None:
    """Writes (n_queries,) predictions, one a line with six digits after the point.

    Raises:
        InputError: the file cannot be written; one that was there stays as it was.
    """
    with _written(path) as file:
        np.savetxt(file, predictions, fmt="%.6f")


def write_columns(path: Path, columns: Named) -> None:
    """Writes named columns of equal length.

    A file that ends in .parquet is one, another text with six digits after the point, separated by
    tabs if it ends in .tsv, else by commas.

    Raises:
        InputError: the file cannot be written; one that was there stays as it was.
    """
    suffix = path.suffix.lower()
    names, arrays = [name for name, _ in columns], [np.asarray(array) for _, array in columns]
    if suffix == ".parquet":
        from pyarrow.parquet import write_table as write_parquet

        with _written(path, "wb") as file:
            write_parquet(arrow_table(columns), file)
        return
    texts = [
        [f"{value:.6f}" for value in array] if array.dtype.kind == "f" else array
        for array in arrays
    ]
    with _written(path) as file:
        separator = "\t" if suffix == ".tsv" else ","
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*texts, strict=True))


def check_new_folder(path: Path, *, precious: Iterable[Path] = ()) -> None:
    """Raises InputError if a folder could or should not be made, before the work it is for.

    Args:
        path: to be made later.
        precious: files that must stay as they are.
    """
    try:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"{path}: expected a folder that is new or empty, got one with files")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    check_writable(path.parent / f".{path.name}.tmp", precious=precious)


def write_part(folder: Path, columns: Named, *, rank: int) -> None:
    """Writes named columns of equal length, those of one rank, to a file in a folder.

    Raises:
        InputError: it cannot be written.
    """
    write_columns(folder / f"part-{rank:05}.parquet", columns)


def begun_folder(path: Path) -> Path:
    """A new folder beside `path`, which `finish_folder` puts in its place when all is written.

    Raises:
        InputError: it cannot be made.
    """
    try:
        found = Path(tempfile.mkdtemp(dir=path.resolve().parent, prefix=f".{path.name}."))
        umask = os.umask(0o077)
        os.umask(umask)
        found.chmod(0o777 & ~umask)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    return found


def finish_folder(begun: Path, path: Path) -> None:
    """Puts a folder in its place, which is free or empty.

    Raises:
        InputError: it is neither.
    """
    try:
        os.replace(begun, path.resolve())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def asked_ids(table: RatingsTable) -> Named:
    """The queries' users and items, as named columns."""
    return [(table.user_name, table.query_user_ids), (table.item_name, table.query_item_ids)]


def arrow_table(columns: Named) -> "pa.Table":
    """Named columns of equal length as an Arrow table."""
    import pyarrow as pa

    arrays = [np.asarray(values) for _, values in columns]
    texts = [array.dtype.kind in "TU" for array in arrays]
    return pa.table(
        [pa.array(a.tolist() if is_text else a) for a, is_text in zip(arrays, texts, strict=True)],
        [name for name, _ in columns],
    )


def check_ending(path: Path) -> None:
    """Raises InputError if a name ends like a format that answers are not written in."""
    ending = path.suffix.lower()
    if ending in ENDINGS:
        return
    meant = next(iter(get_close_matches(ending, TABLES, n=1)), TABLES[0])
    raise InputError(
        f"{path}: expected a name that ends in {', '.join(ENDINGS[:-1])}, or has no ending, got "
        f"{shown(path.suffix)}; did you mean {path.with_suffix(meant)}?"
    )


def check_writable(
    path: Path, *, precious: Iterable[Path] = (), makes_folder: bool = False
) -> None:
    """Raises InputError if `path` could or should not be written, before the work it is for.

    Args:
        path: to be written later.
        precious: files that must stay as they are.
        makes_folder: whether its folder is ours, and made if it is not there.
    """
    if isinstance(path, StoredPath):
        raise InputError(f"{path}: expected a file here to write, got a URI")
    if str(path) == "-":
        raise InputError("-: expected a file to write, got what would be standard output")
    precious = [other for other in precious if not isinstance(other, StoredPath)]
    try:
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "something else"
            raise InputError(f"{path}: expected a file to write, got {kind}")
        target = path.resolve()
        if any(other.resolve() == target or _same_file(path, other) for other in precious):
            raise InputError(f"{path}: expected a file of its own, got one that is used here")
        if makes_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        elif not target.parent.exists():
            raise InputError(f"{path}: no such folder: {path.parent}")
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except RuntimeError:  # of resolve
        raise InputError(f"{path}: expected a file to write, got a link to itself") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


@contextlib.contextmanager
def _written(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    try:
        with replacing(path.resolve(), mode) as file:  # a link of the user's stays one
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _same_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
