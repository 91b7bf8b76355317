"""Rows in memory as columns: tuples and lists by position; dicts, records and the like by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any

import numpy as np

from storage.columns import FRAME
from storage.errors import InputError
from storage.lines import shown
from storage.names import ROLES

EXPECTED = "expected a file, a data frame, a dict of columns or rows"
RAW = str | bytes | bytearray | memoryview  # sequences that are no rows, nor columns
SINGLE = "; a single row goes into a list"

Columns = dict[str, Any]


def columns_of_rows(rows: Any) -> Columns:
    """The columns of a record array, an (n, 2) or (n, 3) array, or any iterable of rows.

    A row is a tuple or a list of user, item and maybe rating; or a dict, a named tuple, a record, a
    dataclass or a Series, whose fields have names. What some of these do not have is nothing there.

    Raises:
        InputError: it is none of these, or rows are of different kinds or lengths.
    """
    if isinstance(rows, np.ndarray) and rows.dtype.names and rows.ndim == 1:
        return {name: rows[name] for name in rows.dtype.names}
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        return _by_role([_whole(column) if at < 2 else column for at, column in enumerate(rows.T)])
    if isinstance(rows, set | frozenset):
        raise InputError(f"{EXPECTED}, got {_kind(rows)}, which has no order")
    if _names(rows) is not None or is_series(rows):
        raise InputError(f"{EXPECTED}, got {_kind(rows)}{SINGLE}")
    if isinstance(rows, RAW) or not isinstance(rows, Iterable):
        raise InputError(f"{EXPECTED}, got {_kind(rows)}")
    listed = list(rows)
    names = [_names(row) for row in listed]
    if listed and all(found is not None for found in names):
        every = dict.fromkeys(chain.from_iterable(found or () for found in names))
        values = {
            str(name): [
                _value(row, name) if name in (found or ()) else None
                for row, found in zip(listed, names, strict=True)
            ]
            for name in every
        }
        return {name: _unshared(column, listed[0]) for name, column in values.items()}
    for number, row in enumerate(listed, 1):
        if names[0] is not None or not _is_sequence(row):
            got = f"a {_kind(row)} as row {number:,}"
            raise InputError(f"{EXPECTED}, got {_kind(rows)} with {got}{SINGLE}")
        if len(row) != len(listed[0]):
            expected = f"{len(listed[0])} fields, as in row 1"
            raise InputError(f"{FRAME}: row {number:,}: expected {expected}, got {len(row)}")
    return _by_role([_unshared(column, listed[0]) for column in zip(*listed, strict=True)])


def listed_column(name: object, column: Any) -> Any:
    """A column as Arrow takes it: NumPy's texts, of either kind, as a list.

    Raises:
        InputError: it is a single value, or what has no order.
    """
    if isinstance(column, RAW | Mapping | set | frozenset) or not (
        isinstance(column, Iterable) or hasattr(column, "__array__")
    ):
        raise InputError(
            f"{FRAME}: expected a list or an array as column {shown(str(name))}, got "
            f"{_kind(column)}{SINGLE}"
        )
    if isinstance(column, np.ndarray) and column.dtype.kind in "UT":
        return column.tolist()
    return column


def is_series(source: object) -> bool:
    """Whether it is one column, or one row, of pandas or Polars."""
    return type(source).__name__ == "Series"


def _names(row: Any) -> Sequence[Any] | None:
    """What the fields of a row are called; None if it has no names."""
    if is_dataclass(row) and not isinstance(row, type):
        return [field.name for field in fields(row)]
    if isinstance(row, np.void) and row.dtype.names:
        return row.dtype.names
    if isinstance(row, tuple):
        return getattr(row, "_fields", None)
    if hasattr(row, "keys") and hasattr(row, "__getitem__"):  # dicts, Series, rows of databases
        keys = list(row.keys())
        return None if _is_numbered(keys) else keys
    return None


def _value(row: Any, name: Any) -> Any:
    if isinstance(row, tuple) or is_dataclass(row):
        return getattr(row, name)
    return row[name]


def _is_sequence(row: Any) -> bool:
    """Whether a row is one by position."""
    if isinstance(row, RAW | Mapping):
        return False
    is_array = isinstance(row, np.ndarray) and row.ndim == 1
    return is_array or isinstance(row, Sequence) or is_series(row)


def _is_numbered(keys: list[Any]) -> bool:
    """Whether these are the positions that a Series has for want of names."""
    return bool(keys) and keys == list(range(len(keys)))


def _by_role(columns: Sequence[Any]) -> Columns:
    if len(columns) not in (2, 3):
        raise InputError(
            f"{FRAME}: expected rows of user, item and maybe rating, got {len(columns)} fields"
        )
    return dict(zip(ROLES, columns, strict=False))


def _whole(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ids that share an array with ratings are floating: as the whole numbers that they are."""
    if ids.dtype.kind != "f" or not (ids == np.rint(ids)).all():
        return ids
    return ids.astype(np.int64)


def _unshared(column: Sequence[Any], row: Any) -> Any:
    """A column of rows that have one type each, as arrays do: of whole numbers where it can be."""
    if not (isinstance(row, np.ndarray) or is_series(row)):
        return column
    return _whole(np.asarray(column)) if np.asarray(column).dtype.kind == "f" else column


def _kind(value: object) -> str:
    return type(value).__name__
