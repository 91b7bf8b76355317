"""Files whose columns have names and types of their own: which of these formats a file has."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage import arrow_ipc, json_lines, parquet
from storage.columns import Chosen
from storage.foreign import check_known

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a format is known, and read."""

    is_it: Callable[[Path], bool]
    column_names: Callable[[Path], list[str]]
    batches: Callable[[Path, Chosen], Iterator["pa.RecordBatch"]]
    read_columns: Callable[[Path, tuple[int, ...]], list[list[str]]]  # of a small table, as texts
    read_arrays: Callable[[Path], list[tuple[str, "pa.Array"]]]  # of all of a small table


FORMATS = (
    Format(
        is_it=parquet.is_parquet,
        column_names=parquet.column_names,
        batches=parquet.batches,
        read_columns=parquet.read_columns,
        read_arrays=parquet.read_arrays,
    ),
    Format(
        is_it=arrow_ipc.is_arrow,
        column_names=arrow_ipc.column_names,
        batches=arrow_ipc.batches,
        read_columns=arrow_ipc.read_columns,
        read_arrays=arrow_ipc.read_arrays,
    ),
    Format(
        is_it=json_lines.is_json,
        column_names=json_lines.column_names,
        batches=json_lines.batches,
        read_columns=json_lines.read_columns,
        read_arrays=json_lines.read_arrays,
    ),
)


def format_of(path: Path) -> Format | None:
    """The format of a file; None if it has none of these, and may be text.

    Raises:
        InputError: it cannot be read, or is known to be of another format.
    """
    check_known(path)
    return next((one for one in FORMATS if one.is_it(path)), None)
