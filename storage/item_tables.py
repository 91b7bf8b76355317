"""Small tables with a row an item: what it is called, or what somebody rates it."""

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.delimited import read_rows
from storage.errors import InputError
from storage.files import TEXT
from storage.headerless import is_number
from storage.lines import LARGEST_RATING, opened_bytes, rating_of, shown
from storage.names import NAMES, plain_name
from storage.parquet import column_names, is_parquet, read_columns
from storage.ratings import IdArray

MOST_BYTES = 1 << 28


def read_titles(
    path: Path, *, item_name: str = "item", item_ids: Container[str] = ()
) -> dict[str, str]:
    """The titles by item id, of a text table or a Parquet file.

    The columns of item and title are told by their names; without such names they are the first
    two, as in MovieLens' `movies.dat` and `u.item`.

    Args:
        path: of the file.
        item_name: what the ratings call the column of items; such as `item_id` are known too.
        item_ids: those that are known; a first line with one of them is no header.

    Raises:
        InputError: the file cannot be read, or is no such table.
    """
    pairs = _pairs(path, ("item", "title"), (item_name, "title"), item_ids)
    return {item: title for _, item, title in pairs}


def read_item_ratings(
    path: Path,
    *,
    names: tuple[str, str] = ("item", "rating"),
    item_ids: Container[str] = (),
    within: tuple[float, float] = (-LARGEST_RATING, LARGEST_RATING),
) -> tuple[IdArray, NDArray[np.float64]]:
    """The (n,) item ids, as texts, and ratings of one user, of a text table or a Parquet file.

    Args:
        path: of the file.
        names: what the ratings of all users call the columns; such as `item_id` are known too.
        item_ids: those that are known; a first line with one of them is no header.
        within: the lowest and the highest rating that there may be.

    Raises:
        InputError: the file cannot be read, or is no such table.
    """
    items, ratings = [], []
    for where, item, word in _pairs(path, ("item", "rating"), names, item_ids):
        rating = rating_of(word, f"{where}: expected a rating")
        if not within[0] <= rating <= within[1]:
            raise InputError(
                f"{where}: expected a rating from {within[0]:g} to {within[1]:g}, as in the data, "
                f"got {rating:g}"
            )
        items.append(item)
        ratings.append(rating)
    return np.array(items, dtype=TEXT), np.array(ratings)


def _pairs(
    path: Path, roles: tuple[str, str], names: tuple[str, str], item_ids: Container[str]
) -> list[tuple[str, str, str]]:
    """Where it stands, item, and title or rating, of every row."""
    if is_parquet(path):
        columns = column_names(path)
        positions, has_header = _positions(path, columns, roles, names, ())
        if not has_header:
            raise InputError(
                f"{path}: expected columns such as {roles[0]}_id and {roles[1]}, "
                f"got {', '.join(shown(name) for name in columns[:12])}"
            )
        values = read_columns(path, [columns[position] for position in positions])
        return [(f"{path}: row {n:,}", *row) for n, row in enumerate(zip(*values, strict=True), 1)]
    rows = read_rows(path, _text(path))
    positions, has_header = _positions(path, rows[0][1], roles, names, item_ids)
    return [
        (f"{path}:{line}", row[positions[0]].strip(), row[positions[1]].strip())
        for line, row in rows[has_header:]
    ]


def _positions(
    path: Path,
    first: Sequence[str],
    roles: tuple[str, str],
    names: tuple[str, str],
    item_ids: Container[str],
) -> tuple[tuple[int, int], bool]:
    """The positions of both columns in a table whose first row is this, and if it is a header."""
    first = [field.strip() for field in first]
    told = [[p for p, field in enumerate(first) if field == name] for name in names]
    found = [
        exact or [p for p, field in enumerate(first) if plain_name(field) in NAMES[role]]
        for exact, role in zip(told, roles, strict=True)
    ]
    is_row = any(field.isdecimal() or field in item_ids for field in first[:2])
    names_nothing = not any(found) and (roles[1] != "rating" or is_number(first[1]))
    is_bare = not all(told) and (is_row or names_nothing)  # `1,Film 7` names no columns
    if is_bare and (roles[1] != "rating" or len(first) == 2):
        return (0, 1), False
    if is_bare or not all(len(positions) == 1 for positions in found) or found[0] == found[1]:
        raise InputError(
            f"{path}: cannot tell which columns hold {roles[0]} and {roles[1]} among "
            f"{', '.join(shown(name) for name in first[:12])}; call them {names[0]}, {names[1]}"
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
