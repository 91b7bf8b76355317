"""Parsed files of ratings, kept on disk and reused while the file's content is unchanged."""

import contextlib
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage.columns import Columns
from storage.errors import InputError
from storage.files import TEXT, Arrays, DamagedFileError, replacing
from storage.frames import Frame
from storage.keeping import note_use
from storage.names import ROLES, TIME
from storage.parts import files_of
from storage.ratings import RatingsTable, arrow_ids
from storage.stores import StoredPath
from storage.tables import read_ratings

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 9  # of the parsed columns: raise it when `RatingsTable` or a reader changes
OTHERS, ORIGIN = b"others", b"origin"  # than arrays, and of the file, in the metadata
DIGEST_BYTES = 32  # of SHA-256, behind all else
FAULTS = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)  # of a file


def read_cached(
    path: Path, folder: Path, columns: Columns | None = None, missing: float | None = None
) -> RatingsTable:
    """The table of a file, from `folder` if this very content was parsed before.

    A cached file that is damaged is made again; a folder that cannot be written to is done without.

    Raises:
        InputError: the file cannot be read, is of no known format, or rates one pair only.
    """
    files = files_of(path)
    if not all(file.is_file() for file in files):
        return read_ratings(path, columns, missing)  # which says what is wrong
    try:
        origin, content = _origin(path), hashlib.sha256()
        for one in files:
            digest = _digest(one)
            if files == [path]:
                content = digest
            else:
                content.update(digest.digest())
    except OSError:
        return read_ratings(path, columns, missing)
    content.update(json.dumps([FORMAT, columns, missing]).encode())
    cached = folder / f"{content.hexdigest()[:32]}.arrow"
    if path.resolve().parent == folder.resolve():
        note_use(path)  # it came on standard input
    with contextlib.suppress(FileNotFoundError, DamagedFileError):
        table = read_parsed(cached)
        note_use(cached)
        return table
    table = read_ratings(path, columns, missing)
    with contextlib.suppress(OSError):
        write_parsed(cached, table, origin=origin)
    return table


def kept_table(path: Path) -> RatingsTable | None:
    """The ratings in a file of a cache, parsed or what came from no file; None if it has none."""
    try:
        return read_parsed(path) if path.suffix == ".arrow" else read_ratings(path)
    except (DamagedFileError, InputError, OSError):
        return None


def is_outdated(cached: Path) -> bool:
    """Whether the file that a cached one was parsed from is gone or has changed since."""
    import pyarrow as pa

    try:
        with pa.memory_map(os.fspath(cached)) as memory:
            content = memory.read_buffer()
            row = pa.ipc.open_file(content.slice(0, content.size - DIGEST_BYTES))
            origin = json.loads(row.schema.metadata[ORIGIN])
    except (pa.ArrowException, *FAULTS):
        return False
    if "://" in str(origin[0]):  # in a store, which is not asked for that
        return False
    try:
        return bool(_origin(Path(origin[0])) != origin)
    except (OSError, InputError):
        return True


def _digest(file: Path) -> "hashlib._Hash":
    """That of a file's content, or in a store of what says that it has not changed.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(file, StoredPath):
        about = file.stat()
        return hashlib.sha256(json.dumps([file.word, about.st_size, about.st_mtime_ns]).encode())
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")


def _origin(path: Path) -> list[str | int]:
    """What a file, or a folder or pattern of some, is known by, without being read."""
    about = [file.stat() for file in files_of(path)]
    size, modified = sum(one.st_size for one in about), max(one.st_mtime_ns for one in about)
    return [str(path.absolute()), size, modified]


def write_parsed(path: Path, table: RatingsTable, *, origin: Sequence[str | int] = ()) -> None:
    """Writes a table as an Arrow file of one row, with a list for each array, and its digest.

    Args:
        path: of the file.
        table: what to write.
        origin: of the file that it was parsed from.

    Raises:
        OSError: the file cannot be written; one that was there stays as it was.
    """
    import pyarrow as pa

    values = {field.name: getattr(table, field.name) for field in fields(table)}
    arrays = {name: arrow_ids(v) for name, v in values.items() if isinstance(v, np.ndarray)}
    others = {name: value for name, value in values.items() if name not in arrays}
    lists = [pa.LargeListArray.from_arrays([0, len(array)], array) for array in arrays.values()]
    metadata = {OTHERS: json.dumps(others), ORIGIN: json.dumps(origin)}
    row = pa.record_batch(lists, names=list(arrays), metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, row.schema) as writer:
        writer.write(row)
    content = sink.getvalue()
    with replacing(path, "wb") as file:
        file.write(content)
        file.write(hashlib.sha256(content).digest())


def read_parsed(path: Path) -> RatingsTable:
    """The table that `write_parsed` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it was cut, changed, or is of another kind.
    """
    import pyarrow as pa

    try:
        memory = io.BytesIO(path.read_bytes()).getbuffer()  # no copy, and it can be written to
        content, digest = memory[:-DIGEST_BYTES], memory[-DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise DamagedFileError(f"{path}: the content does not match its digest")
        row = pa.ipc.open_file(pa.py_buffer(content)).get_batch(0)
        row.validate(full=True)
        arrays = {
            name: _array(column.values, content)
            for name, column in zip(row.schema.names, row.columns, strict=True)
        }
        return _checked(arrays, json.loads(row.schema.metadata[OTHERS]))
    except FileNotFoundError:
        raise
    except (pa.ArrowException, *FAULTS) as error:
        raise DamagedFileError(f"{path}: {error}") from error


def _array(values: "pa.Array", content: memoryview) -> NDArray[Any]:
    """The values as an array; numbers are not copied, nor asked of Arrow, which imports pandas."""
    import pyarrow as pa

    if pa.types.is_string(values.type):
        return np.array(values.to_pylist(), dtype=TEXT)
    kind = values.type.to_pandas_dtype()
    if not len(values):
        return np.empty(0, kind)
    start = values.buffers()[1].address - pa.py_buffer(content).address
    return np.frombuffer(content, kind, len(values), start)


def _checked(arrays: Arrays, others: dict[str, Any]) -> RatingsTable:
    """The table of what was kept, whoever did so: compiled code follows its rows unchecked.

    Raises:
        TypeError: it is no table.
        DamagedFileError: it has rows that are not there.
    """
    table = RatingsTable(**arrays, **others)  # type: ignore[arg-type]
    rows = ((table.user_index, table.users), (table.item_index, table.items))
    is_sound = table.ratings.dtype == np.float64 and all(
        index.dtype == np.int32
        and index.shape == table.ratings.shape
        and index.min() >= 0
        and index.max() < len(ids)
        for index, ids in rows
    )
    ids = (table.users, table.items, table.query_user_ids, table.query_item_ids)
    are_ids = all(one.dtype in (np.dtype(np.int64), TEXT) for one in ids)
    timed = ((table.times, table.ratings), (table.query_times, table.query_user_ids))
    are_times = all(
        one is None or (one.dtype == np.float64 and one.shape == others.shape)
        for one, others in timed
    )
    is_even = len(table.query_user_ids) == len(table.query_item_ids)
    if not (is_sound and are_ids and are_times and is_even):
        raise DamagedFileError("rows that are not there")
    return table


def kept(table: RatingsTable, folder: Path) -> tuple[Path, Columns]:
    """The file in `folder` that holds the ratings of a table that came from no file, and the names
    of its columns.

    Raises:
        InputError: it cannot be written.
    """
    import pyarrow as pa

    sides = [(table.user_index, table.users), (table.item_index, table.items)]
    columns = [pa.DictionaryArray.from_arrays(rows, arrow_ids(values)) for rows, values in sides]
    columns.append(pa.array(table.ratings))
    if table.times is not None:
        micros = pa.array(np.rint(table.times * 1e6), from_pandas=True).cast(pa.int64())
        columns.append(micros.cast(pa.timestamp("us", "UTC")))
    names = (table.user_name, table.item_name, table.rating_name, table.time_name)[: len(columns)]
    if len(set(names)) < len(names) or not all(names) or any(map(str.isdecimal, names)):
        names = (*ROLES, TIME)[: len(columns)]
    return _kept(pa.table(columns, names=list(names)), folder, "ratings"), names


def kept_frame(frame: Frame, folder: Path) -> Path:
    """The file in `folder` that holds a table of items or users that came from no file.

    Raises:
        InputError: it cannot be written.
    """
    import pyarrow as pa

    columns = list(frame.arrays())
    table = pa.table([one for _, one in columns], [name for name, _ in columns])
    return _kept(table, folder, "table")


def _kept(table: "pa.Table", folder: Path, what: str) -> Path:
    """The Parquet file with a table, named after its content."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    sink = pa.BufferOutputStream()
    write_table(table, sink)
    content = sink.getvalue()
    path = folder / f"input-{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    try:
        note_use(path)
        if not path.exists():
            with replacing(path, "wb") as file:
                file.write(content)
    except OSError as error:
        raise InputError(f"{path}: the {what} cannot be kept ({error.strerror})") from None
    return path


def spooled(stream: IO[bytes], folder: Path) -> Path:
    """The file in `folder` that holds what the stream gave, named after its content.

    Raises:
        InputError: it cannot be written.
    """
    digest = hashlib.sha256()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                while block := stream.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                path = folder / f"input-{digest.hexdigest()[:32]}"
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise InputError(f"{folder}: cannot keep standard input ({error.strerror})") from None
    return path
