"""Small tables with a row an item: what it is called, or what somebody rates it."""

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.columns import NAMES, Columns, plain_name
from storage.delimited import read_rows
from storage.errors import InputError
from storage.files import TEXT
from storage.lines import opened_bytes, rating_of, shown
from storage.parquet import column_names, is_parquet, read_columns
from storage.ratings import IdArray

MOST_BYTES = 1 << 28


def read_titles(path: Path, *, item_ids: Container[str] = ()) -> dict[str, str]:
    """The titles by item id, of a text table or a Parquet file.

    The columns of item and title are told by their names; without such names they are the first
    two, as in MovieLens' `movies.dat` and `u.item`.

    Args:
        path: of the file.
        item_ids: those that are known; a first line with one of them is no header.

    Raises:
        InputError: the file cannot be read, or is no such table.
    """
    return {item: title for _, item, title in _pairs(path, ("item", "title"), (), item_ids)}


def read_item_ratings(
    path: Path, columns: Columns | None = None, *, item_ids: Container[str] = ()
) -> tuple[IdArray, NDArray[np.float64]]:
    """The (n,) item ids, as texts, and ratings of one user, of a text table or a Parquet file.

    Args:
        path: of the file.
        columns: what the columns of the ratings of all users are called, if it was told; used
            where the file has columns of these names too.
        item_ids: those that are known; a first line with one of them is no header.

    Raises:
        InputError: the file cannot be read, or is no such table.
    """
    pairs = _pairs(path, ("item", "rating"), columns[1:] if columns else (), item_ids)
    ratings = [rating_of(rating, f"{where}: expected a rating") for where, _, rating in pairs]
    return np.array([item for _, item, _ in pairs], dtype=TEXT), np.array(ratings)


def _pairs(
    path: Path, roles: tuple[str, str], told: Sequence[str], item_ids: Container[str]
) -> list[tuple[str, str, str]]:
    """Where it stands, item, and title or rating, of every row."""
    if is_parquet(path):
        names = column_names(path)
        positions, has_header = _positions(path, names, roles, told, ())
        if not has_header:
            raise InputError(
                f"{path}: expected columns such as {roles[0]}_id and {roles[1]}, "
                f"got {', '.join(shown(name) for name in names[:12])}"
            )
        columns = read_columns(path, [names[position] for position in positions])
        return [(f"{path}: row {n:,}", *row) for n, row in enumerate(zip(*columns, strict=True), 1)]
    rows = read_rows(path, _text(path))
    positions, has_header = _positions(path, rows[0][1], roles, told, item_ids)
    return [
        (f"{path}:{line}", row[positions[0]].strip(), row[positions[1]].strip())
        for line, row in rows[has_header:]
    ]


def _positions(
    path: Path,
    first: Sequence[str],
    roles: tuple[str, str],
    told: Sequence[str],
    item_ids: Container[str],
) -> tuple[tuple[int, int], bool]:
    """The positions of both columns in a table whose first row is this, and if it is a header."""
    first = [field.strip() for field in first]
    if told and all(first.count(name) == 1 for name in told):
        return (first.index(told[0]), first.index(told[1])), True
    found = [[p for p, name in enumerate(first) if plain_name(name) in NAMES[r]] for r in roles]
    is_row = any(field.isdecimal() or field in item_ids for field in first[:2])
    if is_row or not any(found):  # `1,Film 7` names no columns
        return (0, 1), False
    if not all(len(positions) == 1 for positions in found):
        raise InputError(
            f"{path}: cannot tell which columns hold {roles[0]} and {roles[1]} among "
            f"{', '.join(shown(name) for name in first[:12])}; call them {roles[0]}_id, {roles[1]}"
        )
    return (found[0][0], found[1][0]), True


def _text(path: Path) -> str:
    """The whole text, UTF-8 or else Latin-1, in which MovieLens has its older titles."""
    with opened_bytes(path) as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: expected a table of items of at most {MOST_BYTES >> 20} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
