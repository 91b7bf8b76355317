"""Text tables (CSV, TSV, `::`, blanks): how they are separated, and their columns by Arrow.

Arrow takes separators of one byte, so `::` and runs of blanks become one on the way. A file is
parsed in blocks, whatever its size; only one that turns out to be wrong is walked line by line, to
say where.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

import numpy as np

from storage.columns import ROLES, Chosen
from storage.errors import InputError
from storage.lines import LARGEST_RATING, opened, opened_bytes, rating_of, shown

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
    first = next(line for line in text.splitlines() if line.strip())
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


def batches(path: Path, head: Head, chosen: Chosen) -> Iterator["pa.RecordBatch"]:
    """The chosen columns in blocks: ids as dictionaries of texts, ratings as float64, none empty.

    Raises:
        InputError: the file cannot be read, or says at which line it is wrong.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = pa.dictionary(pa.int32(), pa.string())
    types = [text, text, pa.float64()][: len(chosen.positions)]
    columns = [str(position) for position in chosen.positions]
    options = {
        "read_options": arrow_csv.ReadOptions(
            block_size=BLOCK_BYTES,
            column_names=[str(position) for position in range(len(head.rows[0]))],
            skip_rows=head.n_header_lines if chosen.names else 0,
        ),
        "parse_options": arrow_csv.ParseOptions(
            delimiter=UNIT if _is_long(head.separator) else head.separator,
            quote_char=False if _is_long(head.separator) else '"',
            newlines_in_values=not _is_long(head.separator),
        ),
        "convert_options": arrow_csv.ConvertOptions(
            include_columns=columns,
            column_types=dict(zip(columns, types, strict=True)),
            null_values=[""],
            strings_can_be_null=True,
        ),
    }
    with opened_bytes(path) as stream:
        source = _Shortened(stream, head.separator) if _is_long(head.separator) else stream
        try:
            for batch in arrow_csv.open_csv(pa.PythonFile(source, "r"), **options):
                if any(column.null_count for column in batch.columns):
                    raise ValueError("an empty field")
                if len(columns) == len(ROLES):
                    ratings = batch.column(2).to_numpy()
                    if not (np.abs(ratings) <= LARGEST_RATING).all():
                        raise ValueError("a rating out of range")
                yield batch
            return
        except ValueError as error:  # Arrow's among them
            if isinstance(error, InputError):
                raise
            reason = " ".join(str(error).split())
    _explain(path, head, chosen, reason)


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
                rating_of(row[chosen.positions[2]].strip(), f"{where}: expected a rating")
    raise InputError(f"{path}: cannot be read ({shown(reason)[1:-1]})")


class _Shortened:
    """A stream whose long separators are one byte, for Arrow to read."""

    closed = False

    def __init__(self, stream: IO[bytes], separator: str) -> None:
        self._stream, self._separator, self._rest = stream, separator, b""

    def read(self, n_bytes: int) -> bytes:
        """At most so many bytes; none at the end."""
        if len(self._rest) < n_bytes and (block := self._stream.read(n_bytes)):
            block += self._stream.readline(LONGEST_ROW)  # so that no separator is cut
            self._rest += self._shorten(block)
        given, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return given

    def _shorten(self, block: bytes) -> bytes:
        if self._separator == COLONS:
            return block.replace(b"::", UNIT.encode())
        block = re.sub(rb"[ \t]+(?=\r?\n|\r|\Z)|(?m:^)[ \t]+", b"", block)
        return re.sub(rb"[ \t]+", UNIT.encode(), block)


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
