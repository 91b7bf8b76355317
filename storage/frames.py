"""Data frames of any library as Arrow tables, and answers in the kind that was given.

Frames speak Arrow (pandas, Polars, DuckDB, Ibis …: the Arrow PyCapsule interface) or the older
DataFrame interchange protocol; none of these libraries is imported here.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.columns import FRAME, ROLES
from storage.errors import InputError
from storage.lines import reason_of

if TYPE_CHECKING:
    import pyarrow as pa


EXPECTED = "expected a file, a data frame, a dict of columns or rows"
INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls an index without a name


def is_frame(source: object) -> bool:
    """Whether ratings are in memory, not in a file."""
    return source is not None and not isinstance(source, Path)


def arrow_table(frame: Any) -> "pa.Table":
    """The table of a data frame, a dict of columns, or rows of user, item and maybe rating.

    Raises:
        InputError: it is none of these.
    """
    import pyarrow as pa
    from pyarrow.interchange import from_dataframe

    try:
        if hasattr(frame, "__arrow_c_stream__"):
            table = pa.table(frame)
            return table.select([n for n in table.column_names if not INDEX.fullmatch(n)])
        if hasattr(frame, "__dataframe__"):
            return from_dataframe(frame)
        if not isinstance(frame, Mapping):
            frame = _columns_of_rows(frame)
        return pa.table({str(name): pa.array(_listed(column)) for name, column in frame.items()})
    except InputError:
        raise
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{EXPECTED}, got {_name(frame)} ({reason_of(error)})") from None


def as_frame(table: "pa.Table", *, like: Any) -> Any:
    """The table as a frame of the kind that `like` is: pandas, with its index, or Polars.

    For a dict or rows it is a dict of NumPy arrays, for all else the Arrow table.
    """
    match type(like).__module__.partition(".")[0]:
        case "pandas":
            answers = table.to_pandas()
            answers.index = like.index
            return answers
        case "polars":
            return type(like)(table)
    if isinstance(like, Mapping | np.ndarray | list | tuple):
        return {
            name: column.to_numpy()
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    return table


def _columns_of_rows(rows: Any) -> dict[str, Any]:
    """The columns of a record array, an (n, 2) or (n, 3) array, or a sequence of such rows.

    Raises:
        InputError: the rows are longer or shorter.
    """
    if isinstance(rows, np.ndarray) and rows.dtype.names:
        return {name: rows[name] for name in rows.dtype.names}
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        columns = [_whole(column) if at < 2 else column for at, column in enumerate(rows.T)]
    elif isinstance(rows, Iterable) and not isinstance(rows, bytes):
        columns = list(zip(*rows, strict=True))
    else:
        raise InputError(f"{EXPECTED}, got {_name(rows)}")
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


def _listed(column: Any) -> Any:
    """What Arrow takes: NumPy's texts, of either kind, as a list."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "UT":
        return column.tolist()
    return column


def _name(frame: object) -> str:
    return type(frame).__name__
