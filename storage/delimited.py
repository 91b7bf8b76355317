"""Text tables (CSV, TSV, `::`, blanks): how they are separated, and their columns by Arrow.

Arrow takes separators of one byte, so `::` and runs of blanks become one on the way. A file is
parsed in blocks, whatever its size; only one that turns out to be wrong is walked line by line, to
say where.
"""

import io
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from storage.columns import Chosen
from storage.dialect import (
    BLOCK_BYTES,
    BOM,
    LONGEST_ROW,
    Dialect,
    check_fields,
    file_blocks,
    lines_of,
)
from storage.errors import InputError
from storage.headerless import DECIMAL_COMMA, LEAST_THOUSANDS, THOUSANDS, WHOLE, check_thousands
from storage.ids import is_id, unusable
from storage.lines import (
    LARGEST_RATING,
    opened,
    opened_bytes,
    rating_of,
    reason_of,
    shown,
)
from storage.names import ROLES, TIME
from storage.packed import UNPACKED_BY_ARROW, compression
from storage.quotes import find_dialect, uncommented
from storage.stores import StoredPath

if TYPE_CHECKING:
    import pyarrow as pa

BLANK = " \t\r\n"  # around numbers, as Arrow has it
UNIT = "\x1f"  # what takes the place of a longer separator


@dataclass(frozen=True, kw_only=True)
class Head:
    """The beginning of a text table."""

    dialect: Dialect
    rows: list[list[str]]  # of its first lines, as many fields as the first one has
    n_header_lines: int  # up to the end of the first row


def read_head(path: Path, text: str) -> Head:
    """How a file whose first lines are `text` is written, and its first rows.

    Raises:
        InputError: it does not begin like a table, or its quotes can be read in two ways.
    """
    if "\0" in text:
        raise InputError(f"{path}: expected a table of ratings as text or Parquet, got binary data")
    dialect = find_dialect(path, text, lambda: file_blocks(path))
    rows: list[list[str]] = []
    n_header_lines = 0
    try:
        for number, row in dialect.rows(path, lines_of(path, io.StringIO(text, newline=""))):
            n_header_lines = n_header_lines or number
            if not rows:
                row = uncommented(row)  # noqa: PLW2901
            if rows and len(row) != len(rows[0]):
                break  # which the reader complains about
            rows.append(row)
    except InputError:  # a field may go on below
        if not rows:
            raise
    if len(rows[0]) < 2:
        raise InputError(
            f"{path}: expected a mat_comp file, or a table whose columns of users and items are "
            f"separated by commas, semicolons, tabs, '::' or blanks, got {shown(rows[0][0])}"
        )
    return Head(dialect=dialect, rows=rows, n_header_lines=n_header_lines)


def read_rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """All rows of a small table, each with the number of its last line.

    Raises:
        InputError: there are none, or the first has one field only.
    """
    if "\0" in text:
        raise InputError(f"{path}: expected a table as text or Parquet, got binary data")
    dialect = find_dialect(path, text, lambda: [text.encode()])
    rows = list(dialect.rows(path, lines_of(path, io.StringIO(text, newline=""))))
    rows[0] = (rows[0][0], uncommented(rows[0][1]))
    if len(rows[0][1]) < 2:
        raise InputError(f"{path}: expected columns, got {shown(rows[0][1][0])}")
    return rows


def batches(
    path: Path, head: Head, chosen: Chosen, *, number: int = 0, of: int = 1
) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks: ids as dictionaries of texts, ratings as float64, none empty;
    and times, if there are any, as texts.

    Args:
        path: of the file.
        head: its beginning.
        chosen: the columns.
        number: which of several parts of a plain file, from 0.
        of: how many there are; all of a file whose fields hold line breaks is the first.

    Raises:
        InputError: the file cannot be read, or says at which line it is wrong.
    """
    n_rows = 0
    if head.dialect.has_breaks:
        if number:
            return
        of = 1
    try:
        for batch in _parsed(path, head, chosen, number, of):
            if any(column.null_count for column in batch.columns[: len(chosen.positions)]):
                raise ValueError("an empty field")
            if any(unusable(column.dictionary).true_count for column in batch.columns[:2]):
                raise ValueError("an id that is blank, or holds a line break")
            if len(chosen.positions) == len(ROLES):
                ratings = batch.column(2).to_numpy()
                if not (np.abs(ratings) <= LARGEST_RATING).all():
                    raise ValueError("a rating out of range")
            n_rows += len(batch)
            yield batch
        n_lines = head.dialect.n_lines
        if of == 1 and n_lines is not None and n_rows != n_lines - bool(chosen.names):
            raise ValueError(f"{n_lines:,} lines gave {n_rows:,} rows")
    except (OSError, ValueError) as error:  # Arrow's among them
        if isinstance(error, InputError):
            raise
        _explain(path, head, chosen, reason_of(error))


def line_of(path: Path, head: Head, row: int, *, has_header: bool) -> int:
    """The number of the line in which a row ends, of those below the header counted from 0."""
    with opened(path) as stream:
        rows = head.dialect.rows(path, lines_of(path, stream))
        return next(itertools.islice(rows, row + has_header, None))[0]


def _parsed(
    path: Path, head: Head, chosen: Chosen, number: int, of: int
) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks, an empty field as nothing, of a part of the file.

    Raises:
        OSError: the file cannot be read, or decompressed.
        ValueError: something is wrong with it.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = pa.dictionary(pa.int32(), pa.string())
    kinds = {"user": text, "item": text, "rating": pa.float64(), TIME: pa.string()}
    kind_of = {
        str(position): kinds[role] for position, role in zip(chosen.read, chosen.roles, strict=True)
    }
    dialect = head.dialect
    n_above = head.n_header_lines if chosen.names else dialect.n_skipped_lines
    is_respelled = dialect.is_long or dialect.is_padded
    kind = compression(path)
    is_for_arrow = (kind is None or kind in UNPACKED_BY_ARROW) and not isinstance(path, StoredPath)
    names = [str(position) for position in range(len(head.rows[0]))]
    parsing = arrow_csv.ParseOptions(
        delimiter=UNIT if is_respelled else dialect.separator,
        quote_char='"' if dialect.is_quoted else False,
        newlines_in_values=dialect.has_breaks,
    )
    converting = arrow_csv.ConvertOptions(
        decimal_point="," if _has_decimal_commas(head, chosen) else ".",
        include_columns=list(kind_of),
        column_types=kind_of,
        null_values=[""],
        strings_can_be_null=True,
    )
    if is_respelled or of > 1 or not is_for_arrow:
        below = _below(path, n_above, number, of)
        rows = dialect.respelled(below, UNIT.encode()) if is_respelled else dialect.whole(below)
        for block in filter(None, rows):
            reading = arrow_csv.ReadOptions(block_size=len(block), column_names=names)
            whole = arrow_csv.read_csv(pa.BufferReader(block), reading, parsing, converting)
            yield from whole.to_batches()
        return
    # Not a stream of Python's: Arrow reads ahead, maybe while the interpreter goes down.
    reading = arrow_csv.ReadOptions(block_size=BLOCK_BYTES, column_names=names, skip_rows=n_above)
    stream = pa.OSFile(os.fsencode(path))
    if kind:
        stream = pa.CompressedInputStream(stream, kind)
    with arrow_csv.open_csv(stream, reading, parsing, converting) as reader:
        yield from reader


def _has_decimal_commas(head: Head, chosen: Chosen) -> bool:
    """Whether ratings are written like `3,5`, by the first rows; `1,234` may be thousands."""
    if len(chosen.positions) < len(ROLES):
        return False
    words = [row[chosen.positions[2]].strip() for row in head.rows]
    with_commas = [word for word in words if DECIMAL_COMMA.fullmatch(word)]
    is_between_commas = head.dialect.separator == ","
    whole = [abs(int(word)) for word in words if WHOLE.fullmatch(word)]
    is_large = max(whole, default=LEAST_THOUSANDS if is_between_commas else 0) >= LEAST_THOUSANDS
    if is_large and all(map(THOUSANDS.fullmatch, with_commas)):
        return False
    return len(with_commas) > (len(words) // 2 if is_between_commas else 0)


def _below(path: Path, n_lines: int, number: int, of: int) -> Iterator[bytes]:
    """Blocks of whole lines below the first, of those that begin in a part of the file."""
    with opened_bytes(path) as stream:
        begin, end = (path.stat().st_size * n // of for n in (number, number + 1))
        mark = b""
        if number:
            stream.seek(begin - 1)
            stream.readline(LONGEST_ROW)
        elif n_lines:
            for _ in range(n_lines):
                stream.readline(LONGEST_ROW)
        else:
            mark = BOM
        left = BLOCK_BYTES
        while of == 1 or (left := min(BLOCK_BYTES, end - stream.tell())) > 0:
            if not (block := stream.read(left)):
                break
            if not block.endswith(b"\n"):
                block += stream.readline(LONGEST_ROW)
            yield block.removeprefix(mark)
            mark = b""


def _explain(path: Path, head: Head, chosen: Chosen, reason: str) -> NoReturn:
    """Raises the InputError of the first line that is wrong, reading the slow and obvious way."""
    n_fields, has_commas = len(head.rows[0]), _has_decimal_commas(head, chosen)
    place = -1
    with opened(path) as stream:
        rows = head.dialect.rows(path, lines_of(path, stream))
        for place, (number, row) in enumerate(rows):
            if number == head.n_header_lines and chosen.names:
                continue
            where = f"{path}:{number}"
            check_fields(where, row, n_fields, is_second=place == 1)
            for role, position in zip(chosen.roles, chosen.read, strict=True):
                field = row[position].strip()
                if not field and role != TIME:
                    raise InputError(f"{where}: expected {_a(role)}, got an empty field")
                if "\N{REPLACEMENT CHARACTER}" in field:
                    raise InputError(f"{where}: expected {_a(role)} in UTF-8, got other bytes")
                if role in ROLES[:2] and not is_id(field):
                    raise InputError(
                        f"{where}: expected {_a(role)} on one line, got a line break in "
                        f"{shown(field)}"
                    )
            if len(chosen.positions) == len(ROLES):
                position = chosen.positions[2]
                expected = f"{where}: expected a rating in {chosen.name(position)}"
                word = row[position].strip(BLANK)
                if not has_commas:
                    check_thousands(word, expected)
                if has_commas and "." not in word:
                    word = word.replace(",", ".")
                elif has_commas:
                    raise InputError(f"{expected}, with a comma as others, got {shown(word)}")
                rating_of(word, expected)
    if place == 0 and chosen.names:  # in a line that does not end
        raise InputError(f"{path}: expected at least one row below the header, got none")
    raise InputError(f"{path}: cannot be read ({reason})")


def _a(role: str) -> str:
    return "an item" if role == "item" else f"a {role}"
