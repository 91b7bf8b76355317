"""Parquet tables, and Arrow's in memory: their columns, block by block."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage.columns import Chosen
from storage.errors import InputError
from storage.ids import is_text, unusable
from storage.lines import LARGEST_RATING, begins_with, rating_of, reason_of, shown
from storage.names import ROLES, TIME
from storage.packed import check_plain
from storage.stores import arrow_file

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
ROWS_AT_ONCE = 1 << 20
LARGEST_FLOATING_ID = 2**53  # from here on neighbours are the same number
LONGEST_NAME, MOST_ENTRIES = 1 << 20, 1 << 20  # in the metadata


def is_it(path: Path) -> bool:
    """Whether the file begins like one.

    Raises:
        InputError: it cannot be read.
    """
    return begins_with(path, MAGIC)


def column_names(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_columns(path: Path, positions: tuple[int, ...]) -> list[list[str]]:
    """Columns of a small table as texts, nothing as an empty one.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        names = [file.schema_arrow.names[position] for position in positions]
        table = file.read(columns=names)
        return [as_texts(table.column(name)) for name in names]


def as_texts(column: "pa.ChunkedArray") -> list[str]:
    """The values without the blanks around them, nothing as an empty text."""
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]


def read_arrays(path: Path) -> list[tuple[str, "pa.Array"]]:
    """All columns of a small table, and their names.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        table = file.read()
        table.validate(full=True)
        return as_arrays(table)


def as_arrays(table: "pa.Table") -> list[tuple[str, "pa.Array"]]:
    """The columns of a table, each in one piece, and their names."""
    import pyarrow as pa

    whole = [column.combine_chunks() for column in table.columns]
    arrays = [
        one.chunk(0) if isinstance(one, pa.ChunkedArray) and one.num_chunks else one
        for one in whole
    ]
    return list(zip(table.column_names, arrays, strict=True))


def rows_of_groups(path: Path) -> list[int]:
    """How many rows each row group has.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        groups = range(file.metadata.num_row_groups)
        return [file.metadata.row_group(number).num_rows for number in groups]


def batches(path: Path, chosen: Chosen, group: int | None = None) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks, as `checked` gives them, of all rows or of one row group.

    Raises:
        InputError: the file cannot be read, or a row has no id, no rating, or one out of range.
    """
    import pyarrow as pa

    groups = None if group is None else [group]
    with _opened(path) as file:
        before = range(group or 0)
        n_before = sum(file.metadata.row_group(number).num_rows for number in before)
        schema = pa.schema([file.schema_arrow.field(position) for position in chosen.read])
        blocks = file.iter_batches(
            ROWS_AT_ONCE, row_groups=groups, columns=schema.names, use_threads=True
        )
        selected = (block.select(schema.names) for block in blocks)
        yield from checked(path, schema, selected, chosen.roles, n_before=n_before)


def table_batches(path: Path, table: "pa.Table", chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The same of a table in memory, of just the chosen columns, which messages call `path`.

    Raises:
        InputError: a row has no id, no rating, or one out of range.
    """
    with readable(path, "a table"):
        blocks = table.to_batches(max_chunksize=ROWS_AT_ONCE)
        yield from checked(path, table.schema, blocks, chosen.roles)


def checked(
    path: Path,
    schema: "pa.Schema",
    blocks: Iterable["pa.RecordBatch"],
    roles: Sequence[str],
    *,
    n_before: int = 0,
) -> Iterator["pa.RecordBatch"]:
    """Columns of user, item, maybe rating and time: ids as dictionaries of int64 or texts, and
    float64; times as they are.

    Args:
        path: what messages call the table.
        schema: of the columns.
        blocks: of them.
        roles: what they hold.
        n_before: rows that stand before these.

    Raises:
        InputError: a row has no id, no rating, or one out of range.
    """
    import pyarrow as pa

    given = [role for role in roles if role != TIME]
    kinds = [_kind(path, field, role) for field, role in zip(schema, given, strict=False)]
    for batch in blocks:
        columns = [_cast(column, kind) for column, kind in zip(batch.columns, kinds, strict=False)]
        for role, column in zip(given, columns, strict=True):
            if (missing := _missing(column)).any():
                row = n_before + int(np.argmax(missing)) + 1
                raise InputError(f"{path}: row {row:,}: expected {role}, got nothing")
        if len(columns) == len(ROLES) and pa.types.is_string(columns[2].type):
            columns[2] = _numbers(path, columns[2], n_before)
        if len(columns) == len(ROLES):
            ratings = columns[2].to_numpy(zero_copy_only=False)
            if (bad := ~(np.abs(ratings) <= LARGEST_RATING)).any():
                at = int(np.argmax(bad))
                raise InputError(
                    f"{path}: row {n_before + at + 1:,}: expected a rating, a number from "
                    f"-{LARGEST_RATING:g} to {LARGEST_RATING:g}, got '{ratings[at]:g}'"
                )
        ids = [
            _ids(path, field.name, role, column.dictionary_encode(), n_before)
            for field, role, column in zip(schema, ROLES[:2], columns, strict=False)
        ]
        times = batch.columns[len(given) :]
        yield pa.RecordBatch.from_arrays([*ids, *columns[2:], *times], names=[*roles])
        n_before += len(batch)


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Whatever goes wrong in Arrow is an InputError: the file is none of that kind."""
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read as {kind} ({reason_of(error)})") from None


def _ids(
    path: Path, name: str, role: str, ids: "pa.DictionaryArray", n_before: int
) -> "pa.DictionaryArray":
    """The ids as int64 if they are whole numbers and small enough, else as texts.

    Raises:
        InputError: a text is blank, or goes over more than one line; a number has a fraction.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = ids.dictionary
    is_decimal = pa.types.is_decimal(values.type)
    if pa.types.is_string(values.type):
        values.validate(full=True)  # that it is UTF-8
        bad = unusable(values).to_numpy(zero_copy_only=False)
    elif pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        bad = ~((np.abs(numbers) < LARGEST_FLOATING_ID) & (numbers == np.rint(numbers)))
    elif is_decimal:
        bad = compute.not_equal(compute.trunc(values), values).to_numpy(zero_copy_only=False)
    else:
        bad = np.zeros(len(values), np.bool_)
    if bad.any():
        at = int(np.argmax(bad[ids.indices.to_numpy()]))
        where, value = f"{path}: row {n_before + at + 1:,}", ids[at].as_py()
        if not isinstance(value, str):
            expected = f"expected whole numbers or texts in column {shown(name)}"
            raise InputError(f"{where}: {expected}, got {value:g}")
        got = f"a line break in {shown(value)}" if value.strip() else "nothing but blanks"
        raise InputError(f"{where}: expected {role}, got {got}")
    if is_decimal:
        values = values.cast(pa.decimal256(values.type.precision, 0))
    is_long = is_decimal or pa.types.is_uint64(values.type)
    if is_long or pa.types.is_floating(values.type):
        values = values.cast(pa.string() if is_long else pa.int64())
    return pa.DictionaryArray.from_arrays(ids.indices, values)


@contextmanager
def _opened(path: Path) -> Iterator["ParquetFile"]:
    from pyarrow.parquet import ParquetFile

    check_plain(path, "Parquet")
    with (
        readable(path, "Parquet"),
        ParquetFile(
            arrow_file(path),
            thrift_string_size_limit=LONGEST_NAME,
            thrift_container_size_limit=MOST_ENTRIES,
            page_checksum_verification=True,
        ) as file,
    ):
        yield file


def _cast(column: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    """The values of a column, which may be categorical, as of one type."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return column.dictionary.cast(kind).take(column.indices)
    return column.cast(kind)


def _missing(column: "pa.Array") -> NDArray[np.bool_]:
    """Where there is no value, or an empty text."""
    import pyarrow as pa
    from pyarrow import compute

    missing: NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        empty = compute.fill_null(compute.equal(column, ""), True)
        missing |= empty.to_numpy(zero_copy_only=False)
    return missing


def _numbers(path: Path, texts: "pa.StringArray", n_before: int) -> "pa.DoubleArray":
    """The numbers that texts are.

    Raises:
        InputError: one is none.
    """
    import pyarrow as pa
    from pyarrow import compute

    try:
        return compute.utf8_trim_whitespace(texts).cast(pa.float64())
    except pa.ArrowInvalid:
        for number, text in enumerate(texts.to_pylist(), n_before + 1):
            rating_of(text.strip(), f"{path}: row {number:,}: expected a rating")
        raise


def _kind(path: Path, field: "pa.Field", role: str) -> "pa.DataType":
    """The type that a column is read as.

    Raises:
        InputError: it holds something else than ids, or ratings.
    """
    import pyarrow as pa
    from pyarrow import types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    is_number = types.is_integer(kind) or types.is_floating(kind)
    if role == "rating":
        if is_number or types.is_decimal(kind):
            return pa.float64()
        if is_text(kind):
            return pa.string()
        raise InputError(
            f"{path}: expected numbers in column {shown(field.name)}, got {field.type}"
        )
    if types.is_uint64(kind) or types.is_decimal(kind):
        return kind
    if is_number:
        return pa.int64() if types.is_integer(kind) else pa.float64()
    if is_text(kind):
        return pa.string()
    raise InputError(
        f"{path}: expected whole numbers or texts in column {shown(field.name)}, got {field.type}"
    )
