"""Files whose columns have names and types of their own: which of these formats a file has."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from storage import arrow_ipc, json_lines, parquet
from storage.columns import Chosen
from storage.foreign import check_known

if TYPE_CHECKING:
    import pyarrow as pa


class Format(Protocol):
    """How a format is known, and read: a module with these functions."""

    def is_it(self, path: Path, /) -> bool:
        """Whether the file begins like one."""

    def column_names(self, path: Path, /) -> list[str]:
        """The names of the columns."""

    def batches(self, path: Path, chosen: Chosen, /) -> Iterator["pa.RecordBatch"]:
        """The chosen columns in blocks."""

    def read_columns(self, path: Path, positions: tuple[int, ...], /) -> list[list[str]]:
        """Columns of a small table as texts."""

    def read_arrays(self, path: Path, /) -> list[tuple[str, "pa.Array"]]:
        """All columns of a small table, and their names."""


FORMATS: tuple[Format, ...] = (parquet, arrow_ipc, json_lines)


def format_of(path: Path) -> Format | None:
    """The format of a file; None if it has none of these, and may be text.

    Raises:
        InputError: it cannot be read, or is known to be of another format.
    """
    check_known(path)
    return next((one for one in FORMATS if one.is_it(path)), None)
