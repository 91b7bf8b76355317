"""Arrow IPC files, which Feather's second version is too, and streams: columns, block by block."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from storage.columns import Chosen
from storage.lines import begins_with
from storage.packed import check_plain
from storage.parquet import as_arrays, as_texts, checked, readable
from storage.stores import arrow_file

if TYPE_CHECKING:
    import pyarrow as pa

    Reader: TypeAlias = "pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader"

MAGIC = b"ARROW1\0\0"
MAGIC_OF_STREAM = b"\xff\xff\xff\xff"


def is_it(path: Path) -> bool:
    """Whether the file begins like one.

    Raises:
        InputError: it cannot be read.
    """
    return begins_with(path, MAGIC, MAGIC_OF_STREAM)


def column_names(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as reader:
        return list(reader.schema.names)


def read_columns(path: Path, positions: tuple[int, ...]) -> list[list[str]]:
    """Columns of a small table as texts, nothing as an empty one.

    Raises:
        InputError: the file cannot be read.
    """
    import pyarrow as pa

    with _opened(path, positions) as reader:
        table = pa.Table.from_batches(_batches(reader, positions))
        return [as_texts(column) for column in table.columns]


def read_arrays(path: Path) -> list[tuple[str, "pa.Array"]]:
    """All columns of a small table, and their names.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as reader:
        table = reader.read_all()
        table.validate(full=True)
        return as_arrays(table)


def batches(path: Path, chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks, as `checked` gives them.

    Raises:
        InputError: the file cannot be read, or a row has no id, no rating, or one out of range.
    """
    import pyarrow as pa

    with _opened(path, chosen.read) as reader:
        schema = pa.schema([reader.schema.field(at) for at in _order(chosen.read)])
        yield from checked(path, schema, _batches(reader, chosen.read), chosen.roles)


@contextmanager
def _opened(path: Path, positions: tuple[int, ...] | None = None) -> Iterator["Reader"]:
    """A reader of the columns at these positions alone, or of all."""
    import pyarrow as pa

    fields = None if positions is None else sorted(positions)
    check_plain(path, "Arrow")
    options = pa.ipc.IpcReadOptions(included_fields=fields)
    with readable(path, "Arrow"), arrow_file(path) as file:
        is_stream = file.read(len(MAGIC_OF_STREAM)) == MAGIC_OF_STREAM
        file.seek(0)
        with (pa.ipc.open_stream if is_stream else pa.ipc.open_file)(
            file, options=options
        ) as reader:
            yield reader


def _batches(reader: "Reader", positions: tuple[int, ...]) -> Iterator["pa.RecordBatch"]:
    """The columns at these positions, in their order, of what is sound."""
    n_batches = getattr(reader, "num_record_batches", None)  # which a stream does not know
    for batch in reader if n_batches is None else map(reader.get_batch, range(n_batches)):
        batch.validate(full=True)
        yield batch.select(_order(positions))


def _order(positions: tuple[int, ...]) -> list[int]:
    """Where columns are among those that are read."""
    return [sorted(positions).index(position) for position in positions]
