"""Parsed files of ratings, kept on disk and reused while the file's content is unchanged."""

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import IO

import numpy as np

from storage.columns import Columns
from storage.errors import InputError
from storage.files import Arrays, DamagedFileError, read_arrays, replacing, write_arrays
from storage.names import ROLES
from storage.ratings import RatingsTable, arrow_ids
from storage.tables import read_ratings

FORMAT = 4  # of the parsed columns: raise it when `RatingsTable` or a reader changes


def read_cached(
    path: Path, folder: Path, columns: Columns | None = None, missing: float | None = None
) -> RatingsTable:
    """The table of a file, from `folder` if this very content was parsed before.

    A cached file that is damaged is made again; a folder that cannot be written to is done without.

    Raises:
        InputError: the file cannot be read, is of no known format, or rates one pair only.
    """
    if not path.is_file():
        return read_ratings(path, columns, missing)  # which says what is wrong
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
    except OSError:
        return read_ratings(path, columns, missing)
    content.update(json.dumps([FORMAT, columns, missing]).encode())
    cached = folder / f"{content.hexdigest()[:32]}.safetensors"
    with contextlib.suppress(FileNotFoundError, DamagedFileError):
        return _table(*read_arrays(cached))
    table = read_ratings(path, columns, missing)
    values = {field.name: getattr(table, field.name) for field in fields(table)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    others = {name: value for name, value in values.items() if name not in arrays}
    with contextlib.suppress(OSError):
        write_arrays(cached, arrays, others)
    return table


def _table(arrays: Arrays, others: dict[str, object]) -> RatingsTable:
    """The table of what was kept, whoever did so: compiled code follows its rows unchecked.

    Raises:
        DamagedFileError: it is no table, or has rows that are not there.
    """
    try:
        table = RatingsTable(**arrays, **others)  # type: ignore[arg-type]
        rows = ((table.user_index, table.users), (table.item_index, table.items))
        is_sound = all(
            index.dtype == np.int32
            and index.shape == table.ratings.shape == (table.n_ratings,)
            and index.min() >= 0
            and index.max() < len(ids)
            for index, ids in rows
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(str(error)) from error
    if not is_sound or table.query_user_ids.shape != table.query_item_ids.shape:
        raise DamagedFileError("rows that are not there")
    return table


def kept(table: RatingsTable, folder: Path) -> Path:
    """The file in `folder` that holds the ratings of a table that came from no file.

    Raises:
        InputError: it cannot be written.
    """
    import pyarrow as pa
    from pyarrow.parquet import write_table

    path = folder / f"input-{table.digest}.parquet"
    sides = [(table.user_index, table.users), (table.item_index, table.items)]
    ids = [pa.DictionaryArray.from_arrays(rows, arrow_ids(values)) for rows, values in sides]
    try:
        if not path.exists():
            with replacing(path, "wb") as file:
                write_table(pa.table([*ids, table.ratings], names=list(ROLES)), file)
    except OSError as error:
        raise InputError(f"{path}: the ratings cannot be kept ({error.strerror})") from None
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
