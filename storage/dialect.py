"""How the lines of a text table become fields: what separates them, and what quotes mean there.

Either a quote at the beginning of a field holds it together up to the quote before the next
separator (RFC 4180), or quotes are characters like any other.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from storage.errors import InputError
from storage.lines import opened_bytes, shown
from storage.spelling import BLANKS, COLONS, Spelling

BLOCK_BYTES = 1 << 24
GLANCE_BYTES = 1 << 17  # of what is only looked at: it stays in the cache of a core
LONGEST_ROW = 1 << 20  # characters of a line, and of a field that goes over several
BOM = b"\xef\xbb\xbf"
Rows = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How lines become fields."""

    separator: str
    n_skipped_lines: int = 0  # before the first row, which hold nothing but the separator
    is_quoted: bool = False  # whether quotes hold fields together
    is_padded: bool = False  # whether blanks stand around such quotes
    has_breaks: bool = False  # whether fields hold line breaks
    n_lines: int | None = None  # that are not empty, where each is a row and they were counted

    @property
    def is_long(self) -> bool:
        """Whether the separator is more than one character."""
        return self.separator in (COLONS, BLANKS)

    @cached_property
    def spelling(self) -> Spelling:
        return Spelling(self.separator)

    def rows(self, path: Path, lines: Iterable[str]) -> Rows:
        """Number of the last line, counted from 1, and fields of every row that is not blank.

        Raises:
            InputError: a quote does not close where it should.
        """
        numbered = enumerate(lines, 1)
        for _ in range(self.n_skipped_lines):
            next(numbered, None)
        if self.is_quoted:
            yield from self._quoted_rows(path, numbered)
            return
        for number, line in numbered:
            kept = line.rstrip("\r\n")
            if kept.strip() if self.is_long else kept:
                yield number, kept.split(None if self.separator == BLANKS else self.separator)

    def whole(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Blocks of whole rows, of blocks of whole lines."""
        if not self.has_breaks:
            return iter(blocks)
        return _whole_rows(blocks, self.spelling.any_rows())

    def respelled(self, blocks: Iterable[bytes], separator: bytes) -> Iterator[bytes]:
        """Blocks of whole rows with a separator of one byte, and no blanks around quotes."""
        if self.is_quoted:
            blocks = _whole_rows(blocks, self.spelling.any_rows())
        token, between = self.spelling.token(), self.spelling.separator.pattern.encode()
        for block in blocks:
            if self.is_quoted:
                block = token.sub(  # noqa: PLW2901
                    lambda m: (m[1] or m[2] or b"") + (separator if m[3] else b""), block
                )
            if self.separator == BLANKS:
                block = re.sub(rb"[ \t]+(?=\r?\n|\r|\Z)|(?m:^)[ \t]+", b"", block)  # noqa: PLW2901
            if not self.is_quoted:
                block = re.sub(between, separator, block)  # noqa: PLW2901
            if block.strip():
                yield block

    def _quoted_rows(self, path: Path, lines: Iterator[tuple[int, str]]) -> Rows:
        spelling, lead = self.spelling, re.compile("[ \t]*" if self.separator == BLANKS else "")
        fields: list[str] = []
        parts: list[str] | None = None  # of a field whose quote is open
        start, size = 0, 0  # where it began, and its length so far
        for number, line in lines:
            place = 0
            if parts is None:
                place = len(lead.match(line)[0])  # type: ignore[index]
                if not line[place:].rstrip("\r\n"):
                    continue
            while True:
                if parts is not None:
                    inside, closing = spelling.inside.match(line, place).groups()  # type: ignore[union-attr]
                    parts.append(inside)
                    place += len(inside) + len(closing or "")
                    size += len(inside)
                    if closing is None and place == len(line):
                        break  # it goes on in the next line
                    if closing is None:
                        _refuse_quote(path, start, line[place:])
                    fields.append("".join(parts).replace('""', '"'))
                    parts = None
                elif opening := spelling.opening.match(line, place):
                    parts, start, size, place = [], number, 0, opening.end()
                    continue
                else:
                    text = spelling.text.match(line, place)[0]  # type: ignore[index]
                    fields.append(text)
                    place += len(text)
                between = spelling.separator.match(line, place)
                if between and not (self.separator == BLANKS and not line[between.end() :].strip()):
                    place = between.end()
                    continue
                yield number, fields
                fields = []
                break
            if size > LONGEST_ROW:
                break
        if parts is not None:
            _refuse_quote(path, start, '"' + "".join(parts)[:100])


def file_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file in blocks of whole lines, without the mark of their order."""
    with opened_bytes(path) as stream:
        mark = BOM
        while block := stream.read(GLANCE_BYTES):
            block += stream.readline(LONGEST_ROW)
            yield block.removeprefix(mark)
            mark = b""


def lines_of(path: Path, stream: io.TextIOBase) -> Iterator[str]:
    """The lines of a stream.

    Raises:
        InputError: one is too long.
    """
    number = 0
    while line := stream.readline(LONGEST_ROW + 1):
        number += 1
        if len(line) > LONGEST_ROW:
            raise InputError(f"{path}:{number}: expected lines of at most {LONGEST_ROW} characters")
        yield line


def check_fields(where: str, row: list[str], n_fields: int, *, is_second: bool = False) -> None:
    """Raises InputError if a row has more or fewer fields than the first, which it may follow."""
    if len(row) != n_fields:
        got = f"{len(row)} fields" if len(row) != 1 else f"1 field, {shown(row[0])}"
        if is_second and len(row) == n_fields + 1 and not row[-1].strip():
            got += "; a line ends in a separator, and the first does not"
        elif is_second and len(row) == n_fields + 1:
            got += "; if R wrote the file, row.names = FALSE leaves the names of rows out"
        raise InputError(f"{where}: expected {n_fields} fields, got {got}")


def ended(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks, the last line with an end."""
    last = b"\n"
    for block in blocks:
        if block:
            yield block
            last = block[-1:]
    if last not in b"\r\n":
        yield b"\n"


def end_of_rows(
    rows: re.Pattern[bytes], block: bytes, start: int = 0, stop: int | None = None
) -> int:
    """Where rows end that a block begins with, or its part from `start` to `stop`."""
    found = rows.match(block, start, len(block) if stop is None else stop)
    return found.end() if found else start


def _whole_rows(blocks: Iterable[bytes], rows: re.Pattern[bytes]) -> Iterator[bytes]:
    """The blocks, cut where rows end."""
    rest = b""
    for block in ended(blocks):
        block = rest + block  # noqa: PLW2901
        end = end_of_rows(rows, block)
        if len(block) - end > LONGEST_ROW:
            end = len(block)
        yield block[:end]
        rest = block[end:]
    yield rest


def _refuse_quote(path: Path, number: int, got: str) -> NoReturn:
    raise InputError(
        f"{path}:{number}: expected a quote that closes at the end of its field, got {shown(got)}; "
        "write a quote within a field twice, or take the quotes out"
    )
