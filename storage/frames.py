"""Data frames of any library as Arrow tables, and answers in the kind that was given.

Frames speak Arrow (pandas, Polars, DuckDB, Ibis …: the Arrow PyCapsule interface) or the older
DataFrame interchange protocol; none of these libraries is imported here.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import InputError
from storage.lines import reason_of
from storage.rows import EXPECTED, columns_of_rows, is_series, listed_column

if TYPE_CHECKING:
    import pyarrow as pa


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
        if hasattr(frame, "__arrow_c_stream__") and not is_series(frame):
            table = pa.table(frame)
            return table.select([n for n in table.column_names if not INDEX.fullmatch(n)])
        if hasattr(frame, "__dataframe__") and not is_series(frame):
            return from_dataframe(frame)
        if not isinstance(frame, Mapping):
            frame = columns_of_rows(frame)
        return pa.table(
            {str(name): pa.array(listed_column(name, column)) for name, column in frame.items()}
        )
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
    is_table = hasattr(like, "__arrow_c_stream__") or hasattr(like, "__dataframe__")
    if is_table or like is None or isinstance(like, str | os.PathLike):
        return table
    return {
        name: column.to_numpy()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _name(frame: object) -> str:
    return type(frame).__name__
