"""Rows in memory as columns: tuples and lists by position; dicts, records and the like by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from itertools import chain
from typing import Any

import numpy as np

from storage.columns import FRAME
from storage.errors import InputError
from storage.lines import shown
from storage.names import ROLES, TIME
from storage.times import EARLIEST

EXPECTED = "expected a file, a data frame, a dict of columns or rows"
RAW = str | bytes | bytearray | memoryview  # sequences that are no rows, nor columns
SINGLE = "; a single row goes into a list"
OF_A_MATRIX = (
    "; a matrix of users × items has NaN for what is not rated, in its first two columns too, or "
    "is scipy.sparse.coo_array(matrix), where 0 is not rated"
)

Columns = Mapping[str, Any]


def columns_of_rows(rows: Any) -> Columns:
    """The columns of a record array, an array of two to four columns, or any iterable of rows.

    A row is a tuple or a list of user, item, maybe rating, and maybe a time behind that; or a dict,
    a named tuple, a record, a dataclass or a Series, whose fields have names. What some of these do
    not have is nothing there.

    Raises:
        InputError: it is none of these, or rows are of different kinds or lengths.
    """
    if isinstance(rows, np.ndarray) and rows.dtype.names and rows.ndim == 1:
        return {name: rows[name] for name in rows.dtype.names}
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        return _by_role(list(rows.T), mend=OF_A_MATRIX)
    if isinstance(rows, set | frozenset):
        raise InputError(f"{EXPECTED}, got {_kind(rows)}, which has no order")
    if _named(rows) is not None or is_series(rows):
        raise InputError(f"{EXPECTED}, got {_kind(rows)}{SINGLE}")
    if isinstance(rows, RAW) or not isinstance(rows, Iterable):
        raise InputError(f"{EXPECTED}, got {_kind(rows)}")
    listed = list(rows)
    named = [_named(row) for row in listed]
    if listed and all(fields is not None for fields in named):
        names = dict.fromkeys(chain.from_iterable(fields or () for fields in named))
        return {str(name): [(fields or {}).get(name) for fields in named] for name in names}
    for number, row in enumerate(listed, 1):
        if named[0] is not None or not _is_sequence(row):
            got = f"a {_kind(row)} as row {number:,}"
            raise InputError(f"{EXPECTED}, got {_kind(rows)} with {got}{SINGLE}")
        if len(row) != len(listed[0]):
            expected = f"{len(listed[0])} fields, as in row 1"
            raise InputError(f"{FRAME}: row {number:,}: expected {expected}, got {len(row)}")
    return _by_role(list(zip(*listed, strict=True)))


def listed_column(name: str, column: Any) -> Any:
    """A column that Arrow can take.

    Raises:
        InputError: it is a single value, or what has no order.
    """
    if isinstance(column, RAW | Mapping | set | frozenset) or not (
        isinstance(column, Iterable) or hasattr(column, "__array__")
    ):
        raise InputError(
            f"{FRAME}: expected a list or an array as column {shown(name)}, got "
            f"{_kind(column)}{SINGLE}"
        )
    return column if hasattr(column, "__len__") else list(column)


def as_texts(column: Iterable[Any]) -> list[str | None] | None:
    """The values of a column of whole numbers and texts, all as texts; None if there are others."""
    values = [
        None if value is None or (isinstance(value, float) and np.isnan(value)) else value
        for value in column
    ]
    kinds = {type(value) for value in values} - {type(None)}
    if any(kind is bool or not issubclass(kind, int | np.integer | str) for kind in kinds):
        return None
    return [None if value is None else str(value) for value in values]


def is_series(source: object) -> bool:
    """Whether it is one column, or one row, of a data frame of any library."""
    from narwhals.stable.v2.dependencies import is_into_series

    return is_into_series(source)


def _named(row: Any) -> Mapping[Any, Any] | None:
    """The fields of a row by their names; None if it has no names."""
    if is_dataclass(row) and not isinstance(row, type):
        return {field.name: getattr(row, field.name) for field in fields(row)}
    if isinstance(row, np.void) and row.dtype.names:
        return {name: row[name] for name in row.dtype.names}
    if isinstance(row, tuple):
        return row._asdict() if hasattr(row, "_asdict") else None
    if hasattr(row, "keys") and hasattr(row, "__getitem__"):  # dicts, Series, rows of databases
        keys = list(row.keys())
        is_numbered = bool(keys) and keys == list(range(len(keys)))  # as of a Series without names
        return None if is_numbered else row if isinstance(row, dict) else {k: row[k] for k in keys}
    return None


def _is_sequence(row: Any) -> bool:
    """Whether a row is one by position."""
    if isinstance(row, RAW | Mapping):
        return False
    is_array = isinstance(row, np.ndarray) and row.ndim == 1
    return is_array or isinstance(row, Sequence) or is_series(row)


def _by_role(columns: Sequence[Any], mend: str = "") -> Columns:
    if len(columns) == 4 and all(map(_may_be_time, columns[3][:1])):
        return dict(zip((*ROLES, TIME), columns, strict=True))
    if len(columns) not in (2, 3):
        got = f"{len(columns)} fields{mend if len(columns) > 3 else ''}"
        raise InputError(f"{FRAME}: expected rows of user, item and maybe rating, got {got}")
    return dict(zip(ROLES, columns, strict=False))


def _may_be_time(value: object) -> bool:
    """Whether a value in the fourth column is rather a time than a rating of a matrix."""
    if isinstance(value, int | float | np.number):
        return float(value) >= EARLIEST
    return isinstance(value, str | date | np.datetime64)


def _kind(value: object) -> str:
    return type(value).__name__
