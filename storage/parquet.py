"""Parquet tables, and Arrow's in memory: their columns, block by block."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage.columns import Chosen
from storage.errors import InputError
from storage.ids import unusable
from storage.lines import LARGEST_RATING, opened_bytes, reason_of, shown
from storage.names import ROLES

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
ROWS_AT_ONCE = 1 << 20
LONGEST_NAME, MOST_ENTRIES = 1 << 20, 1 << 20  # in the metadata


def is_parquet(path: Path) -> bool:
    """Whether the file begins like one.

    Raises:
        InputError: it cannot be read.
    """
    with opened_bytes(path) as stream:
        return stream.read(len(MAGIC)) == MAGIC


def column_names(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_columns(path: Path, names: list[str]) -> list[list[str]]:
    """Columns of a small table as texts, nothing as an empty one.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        table = file.read(columns=names)
        columns = [table.column(name).to_pylist() for name in names]
    return [["" if v is None else str(v).strip() for v in values] for values in columns]


def batches(path: Path, chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks, as `checked` gives them.

    Raises:
        InputError: the file cannot be read, or a row has no id, no rating, or one out of range.
    """
    with _opened(path) as file:
        names = [file.schema_arrow.names[position] for position in chosen.positions]
        blocks = file.iter_batches(ROWS_AT_ONCE, columns=names, use_threads=True)
        yield from checked(path, chosen, file.schema_arrow, blocks)


def frame_batches(path: Path, frame: "pa.Table", chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The same of a table in memory, which messages call `path`.

    Raises:
        InputError: a row has no id, no rating, or one out of range.
    """
    blocks = frame.select(list(chosen.positions)).to_batches(max_chunksize=ROWS_AT_ONCE)
    with _readable(path, "a table"):
        yield from checked(path, chosen, frame.schema, blocks)


def checked(
    path: Path, chosen: Chosen, schema: "pa.Schema", blocks: Iterable["pa.RecordBatch"]
) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks: ids as dictionaries of int64 or texts, ratings as float64.

    Raises:
        InputError: a row has no id, no rating, or one out of range.
    """
    import pyarrow as pa

    names = [schema.names[position] for position in chosen.positions]
    types = [
        _type(path, schema.field(position).type, role, name)
        for position, role, name in zip(chosen.positions, ROLES, names, strict=False)
    ]
    n_before = 0
    for batch in blocks:
        columns = [
            _plain(batch.column(name)).cast(kind) for name, kind in zip(names, types, strict=True)
        ]
        for role, column in zip(ROLES, columns, strict=False):
            if (missing := _missing(column)).any():
                row = n_before + int(np.argmax(missing)) + 1
                raise InputError(f"{path}: row {row:,}: expected {role}, got nothing")
        if len(columns) == len(ROLES):
            ratings = columns[2].to_numpy(zero_copy_only=False)
            if (bad := ~(np.abs(ratings) <= LARGEST_RATING)).any():
                at = int(np.argmax(bad))
                raise InputError(
                    f"{path}: row {n_before + at + 1:,}: expected a rating, a number from "
                    f"-{LARGEST_RATING:g} to {LARGEST_RATING:g}, got '{ratings[at]:g}'"
                )
        ids = [column.dictionary_encode() for column in columns[:2]]
        for role, column in zip(ROLES, ids, strict=False):
            column.dictionary.validate(full=True)  # that texts are UTF-8
            if pa.types.is_string(column.dictionary.type):
                _check_ids(path, role, column, n_before)
        yield pa.RecordBatch.from_arrays([*ids, *columns[2:]], names=[*ROLES[: len(columns)]])
        n_before += len(batch)


def _check_ids(path: Path, role: str, ids: "pa.DictionaryArray", n_before: int) -> None:
    """Raises InputError if a text is blank, or goes over more than one line."""
    bad = unusable(ids.dictionary).to_numpy(zero_copy_only=False)
    if bad.any():
        at = int(np.argmax(bad[ids.indices.to_numpy()]))
        text = ids[at].as_py()
        got = f"a line break in {shown(text)}" if text.strip() else "nothing but blanks"
        raise InputError(f"{path}: row {n_before + at + 1:,}: expected {role}, got {got}")


@contextmanager
def _opened(path: Path) -> Iterator["ParquetFile"]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with (
        _readable(path, "Parquet"),
        ParquetFile(
            pa.OSFile(os.fsencode(path)),
            thrift_string_size_limit=LONGEST_NAME,
            thrift_container_size_limit=MOST_ENTRIES,
            page_checksum_verification=True,
        ) as file,
    ):
        yield file


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read as {kind} ({reason_of(error)})") from None


def _plain(column: "pa.Array") -> "pa.Array":
    """The values themselves of a column that may be categorical."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _missing(column: "pa.Array") -> NDArray[np.bool_]:
    """Where there is no value, or an empty text."""
    import pyarrow as pa
    from pyarrow import compute

    missing: NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        empty = compute.fill_null(compute.equal(column, ""), True)
        missing |= empty.to_numpy(zero_copy_only=False)
    return missing


def _type(path: Path, kind: "pa.DataType", role: str, name: str) -> "pa.DataType":
    """What a column is read as.

    Raises:
        InputError: it holds something else than ids, or ratings.
    """
    import pyarrow as pa

    found = kind.value_type if pa.types.is_dictionary(kind) else kind
    if role == "rating":
        if any(t(found) for t in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)):
            return pa.float64()
        raise InputError(f"{path}: expected numbers in column {shown(name)}, got {kind}")
    if pa.types.is_integer(found):
        return pa.int64()
    if any(
        t(found) for t in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    ):
        return pa.string()
    raise InputError(f"{path}: expected whole numbers or texts in column {shown(name)}, got {kind}")
