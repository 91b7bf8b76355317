"""Text tables (CSV, TSV, `::`, blanks): how they are separated, and their columns by Arrow.

Arrow takes separators of one byte, so `::` and runs of blanks become one on the way. A file is
parsed in blocks, whatever its size; only one that turns out to be wrong is walked line by line, to
say where.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from storage.columns import ROLES, Chosen
from storage.errors import InputError
from storage.lines import (
    LARGEST_RATING,
    compression,
    opened,
    opened_bytes,
    rating_of,
    reason_of,
    shown,
)

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 24
LONGEST_ROW = 1 << 20  # characters of a line
UNIT = "\x1f"  # what takes the place of a longer separator
COLONS, BLANKS = "::", " "


@dataclass(frozen=True, kw_only=True)
class Head:
    """The beginning of a text table."""

    separator: str
    rows: list[list[str]]  # of its first lines, as many fields as the first one has
    n_header_lines: int  # up to the end of the first row


def read_head(path: Path, text: str) -> Head:
    """How a file whose first lines are `text` is separated, and its first rows.

    Raises:
        InputError: it does not begin like a table.
    """
    if "\0" in text:
        raise InputError(f"{path}: expected a table of ratings as text or Parquet, got binary data")
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise InputError(f"{path}:1: expected a table, got the end of the file")
    separator = _separator(first)
    rows: list[list[str]] = []
    n_header_lines = 0
    for number, row in _rows(path, io.StringIO(text, newline=""), separator):
        n_header_lines = n_header_lines or number
        if rows and len(row) != len(rows[0]):
            break  # which the reader complains about
        rows.append(row)
    if len(rows[0]) < 2:
        raise InputError(
            f"{path}: expected ratings, a mat_comp file or a table whose columns are separated by "
            f"commas, semicolons, tabs, '::' or blanks, got {shown(first)}"
        )
    return Head(separator=separator, rows=rows, n_header_lines=n_header_lines)


def read_rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """All rows of a small table, each with the number of its last line.

    Raises:
        InputError: there are none, they have one field only, or one has more or fewer than others.
    """
    n_fields = len(read_head(path, text).rows[0])
    first = next(line for line in text.splitlines() if line.strip())
    rows = list(_rows(path, io.StringIO(text, newline=""), _separator(first)))
    for number, row in rows:
        if len(row) != n_fields:
            raise InputError(f"{path}:{number}: expected {n_fields} fields, got {len(row)}")
    return rows


def batches(path: Path, head: Head, chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks: ids as dictionaries of texts, ratings as float64, none empty.

    Raises:
        InputError: the file cannot be read, or says at which line it is wrong.
    """
    try:
        for batch in _parsed(path, head, chosen):
            if any(column.null_count for column in batch.columns):
                raise ValueError("an empty field")
            if len(batch.columns) == len(ROLES):
                ratings = batch.column(2).to_numpy()
                if not (np.abs(ratings) <= LARGEST_RATING).all():
                    raise ValueError("a rating out of range")
            yield batch
    except (OSError, ValueError) as error:  # Arrow's among them
        if isinstance(error, InputError):
            raise
        _explain(path, head, chosen, reason_of(error))


def _parsed(path: Path, head: Head, chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks, an empty field as nothing.

    Raises:
        OSError: the file cannot be read, or decompressed.
        ValueError: something is wrong with it.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = pa.dictionary(pa.int32(), pa.string())
    columns = [str(position) for position in chosen.positions]
    n_header_lines = head.n_header_lines if chosen.names else 0
    is_long = _is_long(head.separator)
    names = [str(position) for position in range(len(head.rows[0]))]
    parsing = arrow_csv.ParseOptions(
        delimiter=UNIT if is_long else head.separator,
        quote_char=False if is_long else '"',
        newlines_in_values=not is_long,
    )
    converting = arrow_csv.ConvertOptions(
        include_columns=columns,
        column_types=dict(zip(columns, [text, text, pa.float64()], strict=False)),
        null_values=[""],
        strings_can_be_null=True,
    )
    if is_long:
        for block in _shortened(path, head.separator, n_header_lines):
            reading = arrow_csv.ReadOptions(block_size=len(block), column_names=names)
            whole = arrow_csv.read_csv(pa.BufferReader(block), reading, parsing, converting)
            yield from whole.to_batches()
        return
    # Not a stream of Python's: Arrow reads ahead, maybe while the interpreter goes down.
    reading = arrow_csv.ReadOptions(
        block_size=BLOCK_BYTES, column_names=names, skip_rows=n_header_lines
    )
    stream = pa.OSFile(os.fsencode(path))
    if kind := compression(path):
        stream = pa.CompressedInputStream(stream, kind)
    with arrow_csv.open_csv(stream, reading, parsing, converting) as reader:
        yield from reader


def _explain(path: Path, head: Head, chosen: Chosen, reason: str) -> NoReturn:
    """Raises the InputError of the first line that is wrong, reading the slow and obvious way."""
    n_fields = len(head.rows[0])
    with opened(path) as stream:
        rows = _rows(path, stream, head.separator)
        for number, row in rows:
            if number == head.n_header_lines and chosen.names:
                continue
            where = f"{path}:{number}"
            if len(row) != n_fields:
                got = f"{len(row)} fields" if len(row) != 1 else f"1 field, {shown(row[0])}"
                raise InputError(f"{where}: expected {n_fields} fields, got {got}")
            for role, position in zip(ROLES, chosen.positions, strict=False):
                if not row[position].strip() if role == "rating" else not row[position]:
                    raise InputError(f"{where}: expected {_a(role)}, got an empty field")
                if "\N{REPLACEMENT CHARACTER}" in row[position]:
                    raise InputError(f"{where}: expected {_a(role)} in UTF-8, got other bytes")
            if len(chosen.positions) == len(ROLES):
                position = chosen.positions[2]
                expected = f"{where}: expected a rating in {chosen.name(position)}"
                rating_of(row[position].strip(), expected)
    raise InputError(f"{path}: cannot be read ({reason})")


def _shortened(path: Path, separator: str, n_header_lines: int) -> Iterator[bytes]:
    """Blocks of whole lines below the header, their long separators one byte."""
    with opened_bytes(path) as stream:
        for _ in range(n_header_lines):
            stream.readline(LONGEST_ROW)
        while block := stream.read(BLOCK_BYTES):
            block += stream.readline(LONGEST_ROW)
            if separator == COLONS:
                block = block.replace(b"::", UNIT.encode())
            else:
                block = re.sub(rb"[ \t]+(?=\r?\n|\r|\Z)|(?m:^)[ \t]+", b"", block)
                block = re.sub(rb"[ \t]+", UNIT.encode(), block)
            if block.strip():
                yield block


def _separator(line: str) -> str:
    if COLONS in line:
        return COLONS
    if "\t" in line:
        return "\t"
    counts = {separator: line.count(separator) for separator in ",;|"}
    most = max(counts, key=lambda separator: counts[separator])
    return most if counts[most] else BLANKS


def _is_long(separator: str) -> bool:
    return separator in (COLONS, BLANKS)


def _rows(path: Path, stream: io.TextIOBase, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line, counted from 1, and fields of every row that is not blank."""
    if _is_long(separator):
        for number, line in enumerate(_lines(path, stream), 1):
            if line.strip():
                kept = line.rstrip("\r\n")
                yield number, kept.split("::") if separator == COLONS else kept.split()
        return
    reader = csv.reader(_lines(path, stream), delimiter=separator)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: {error}") from None


def _lines(path: Path, stream: io.TextIOBase) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST_ROW + 1):
        number += 1
        if len(line) > LONGEST_ROW:
            raise InputError(f"{path}:{number}: expected lines of at most {LONGEST_ROW} characters")
        yield line


def _a(role: str) -> str:
    return "an item" if role == "item" else f"a {role}"
