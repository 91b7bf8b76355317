"""What the quotes of a text table mean, found out from all of it.

A file is read in the one way in which all of its lines fit; where two would do and give other rows,
it is refused. A way of reading is a regular expression that runs over the file.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from storage.dialect import LONGEST_ROW, Dialect, check_fields, end_of_rows, ended
from storage.errors import InputError
from storage.names import ROLES, is_called
from storage.spelling import BLANKS, COLONS, NOTHING

COMMAS = ",;"  # between which quotes are what RFC 4180 has them be
COMMENT = re.compile(r"[ \t]*[#%]")  # how lines begin that some files have above their rows
NAMED = re.compile(r'"?sep=([^\w\s"]|\t)"?', re.IGNORECASE)  # how Excel begins a file
ESCAPED = re.compile(rb'(?<!\\)\\"')
LINE_END = re.compile(r"\r\n|\n|\r")
LINE_END_BYTES = re.compile(rb"\r\n|\n|\r")

Blocks = Callable[[], Iterable[bytes]]  # of whole lines of a file, from its beginning at each call


def find_dialect(path: Path, text: str, blocks: Blocks) -> Dialect:
    """How a file becomes fields.

    Args:
        path: of the file.
        text: its first lines.
        blocks: gives all of it.

    Raises:
        InputError: it is empty, a quote does not close, or there are two ways to read it.
    """
    named = NAMED.fullmatch(_first_line(path, text))
    if n_skipped := 1 if named else _n_comments(text):
        text = re.sub(r"[^\r\n]+", "", text, count=n_skipped)
    row = _first_line(path, text)
    separator = named[1] if named else _separator(row)

    def below() -> Iterator[bytes]:
        return _with_first_lines_empty(blocks(), n_skipped)

    has_quotes, n_lines = _counted(below())
    dialect = Dialect(separator=separator)
    if separator != BLANKS:  # of which an empty line may hold some
        dialect = replace(dialect, n_lines=n_lines)
    if has_quotes:
        dialect = _Ways(path, text, below, dialect).chosen()
    return replace(dialect, n_skipped_lines=n_skipped)


class _Ways:
    """The ways to read a file that holds quotes."""

    def __init__(self, path: Path, text: str, blocks: Blocks, literal: Dialect) -> None:
        self._path, self._text, self._blocks, self._literal = path, text, blocks, literal
        self._spelling = literal.spelling
        self._quoted = replace(literal, is_quoted=True)
        self._n_plain = self._n_fields(literal)
        self._n_quoted = self._n_fields(self._quoted) or self._n_plain

    def chosen(self) -> Dialect:
        """The one way in which all lines fit.

        Raises:
            InputError: there are two that give other rows, or there is none for the quotes.
        """
        literal, quoted = self._literal, self._quoted
        if literal.separator in COMMAS and not self._departs(padded=False, breaks=False):
            self._check_escapes()
            return quoted
        plain = self._spelling.rows(self._spelling.literal, self._n_plain)
        off_plain = _departure(self._blocks, plain)
        off_quoted = self._departs(padded=True, breaks=True)
        off_lines = self._departs(padded=True, breaks=False)
        if off_lines and not (off_plain or off_quoted):
            raise InputError(
                f"{self._path}:{off_lines}: expected one way to read the file, got two: a quote "
                "opens here and closes on a later line, and yet each line is a row by itself; take "
                "the quotes out, or the line breaks between them"
            )
        if not off_plain and not self._are_structural():
            return literal
        if off_quoted and off_plain >= off_quoted + (literal.separator in COMMAS):
            return literal  # whose reader complains about a line further down
        if off_quoted:
            self._explain(off_quoted)
        self._check_escapes()
        return replace(
            quoted,
            is_padded=bool(self._departs(padded=False, breaks=True)),
            has_breaks=bool(off_lines),
            n_lines=None if off_lines else literal.n_lines,
        )

    def _check_escapes(self) -> None:
        """Raises InputError if quotes behind backslashes may as well be characters of their fields.

        So R's `write.table` writes them, where others write a quote twice.
        """
        if not any(b"\\" in block and ESCAPED.search(block) for block in self._blocks()):
            return
        escaped = self._spelling.rows(self._spelling.escaped(), self._n_quoted)
        if not _departure(self._blocks, escaped):
            place = 0
            for block in self._blocks():
                if found := ESCAPED.search(block):
                    place += found.start()
                    break
                place += len(block)
            raise InputError(
                f"{self._path}:{_line_at(self._blocks(), place)}: expected one way to read the "
                "file, got two: a quote behind a backslash may end its field or not; write a quote "
                "within a field twice"
            )

    def _departs(self, *, padded: bool, breaks: bool) -> int:
        """The line where the file is no table of quoted fields any more; 0 if it always is."""
        field = self._spelling.quoted(padded=padded, breaks=breaks)
        return _departure(self._blocks, self._spelling.rows(field, self._n_quoted))

    def _are_structural(self) -> bool:
        """Whether quotes hold fields together where every line is a row by itself.

        Between commas and semicolons they do if any field begins and ends with one. Elsewhere only
        if a program has set them: around all of a column, or around just what holds quotes itself.
        """
        spelling, n = self._spelling, self._n_plain
        if not _departure(self._blocks, spelling.rows(spelling.unpaired, n)):
            return False
        if self._literal.separator in COMMAS:
            return True
        as_needed = f"(?:{spelling.doubled}|{spelling.unpaired})"
        if not _departure(self._blocks, spelling.rows(as_needed, n)):
            return True
        return any(
            not _departure(
                lambda: _with_first_lines_empty(self._blocks(), 1),  # it may be a header
                spelling.rows(spelling.literal, n, other=spelling.paired_or_nothing, at=position),
                skips=False,
            )
            for position in self._quoted_columns()
        )

    def _quoted_columns(self) -> Iterator[int]:
        """Positions of columns that seem to be quoted throughout, by the first lines."""
        rows = [row for _, row in self._literal.rows(self._path, _lines(self._text))][1:]
        columns = zip(*(row for row in rows if len(row) == self._n_plain), strict=True)
        for position, column in enumerate(columns):
            fields = [field.strip() for field in column]
            paired = [len(field) > 1 and field[0] == field[-1] == '"' for field in fields]
            others = (f for f, is_paired in zip(fields, paired, strict=True) if not is_paired)
            if any(paired) and all(re.fullmatch(NOTHING, field) for field in others):
                yield position

    def _n_fields(self, dialect: Dialect) -> int:
        """Of the first row; 0 if it does not end."""
        try:
            return len(next(dialect.rows(self._path, _lines(self._text)))[1])
        except (InputError, StopIteration):
            return 0

    def _explain(self, line: int) -> NoReturn:
        """Raises the InputError of the first row that is none of quoted fields."""
        lines = (
            line for block in self._blocks() for line in _lines(block.decode(errors="replace"))
        )
        for place, (number, row) in enumerate(self._quoted.rows(self._path, lines)):
            where = f"{self._path}:{number}"
            check_fields(where, row, self._n_quoted, is_second=place == 1)
        raise InputError(f"{self._path}:{line}: expected quotes that close, or none")


def _departure(blocks: Blocks, rows: re.Pattern[bytes], *, skips: bool = True) -> int:
    """The line where a file is not made of such rows any more; 0 if it always is.

    Lines before the first quote of a block and behind its last may be skipped: without quotes they
    are the same however the file is read.
    """
    place, rest = 0, b""
    for block in ended(blocks()):
        block = rest + block  # noqa: PLW2901
        start, stop = 0, len(block)
        if skips:
            last = block.rfind(b'"')
            stop = _line_end(block, last) if last >= 0 or not rest else stop
            start = 0 if rest else _line_start(block, block.find(b'"'))
        end = end_of_rows(rows, block, start, stop)
        end = len(block) if end == stop else end
        place += end
        rest = block[end:]
        if len(rest) > LONGEST_ROW:
            break
    return _line_at(ended(blocks()), place) if rest else 0


def _line_start(block: bytes, place: int) -> int:
    """Where the line begins that a place of a block is in; the end of the block if it is -1."""
    if place < 0:
        return len(block)
    return max(block.rfind(end, 0, place) for end in (b"\n", b"\r")) + 1


def _line_end(block: bytes, place: int) -> int:
    """Where the next line begins; the end of the block if it is -1."""
    found = LINE_END_BYTES.search(block, place) if place >= 0 else None
    return found.end() if found else len(block)


def _line_at(blocks: Iterable[bytes], place: int) -> int:
    """The number of the line that a place in a file is in."""
    line = 1
    for block in blocks:
        line += _n_line_ends(block[:place])
        place -= len(block)
        if place <= 0:
            break
    return line


def _with_first_lines_empty(blocks: Iterable[bytes], n: int) -> Iterator[bytes]:
    """The blocks of whole lines without what stands in the first n that are not empty."""
    for block in blocks:
        if n:
            block, n_emptied = re.subn(rb"[^\r\n]+", b"", block, count=n)  # noqa: PLW2901
            n -= n_emptied
        yield block


def _counted(blocks: Iterable[bytes]) -> tuple[bool, int | None]:
    """Whether there are quotes, and the number of lines that are not empty if they end in LF."""
    has_quotes, n_lines, is_counted, last = False, 0, True, b"\n"
    for block in filter(None, blocks):
        has_quotes = has_quotes or b'"' in block
        ends = np.frombuffer(block, np.uint8) == ord("\n")
        n_lines += int(np.count_nonzero(ends))
        has_empty = block[:1] in b"\r\n" or bool((ends[1:] & ends[:-1]).any())
        if b"\r" in block:
            is_counted = is_counted and block.count(b"\r") == block.count(b"\r\n")
            has_empty = has_empty or b"\n\r\n" in block
        if has_empty:
            n_lines -= len(re.findall(rb"^\r?\n", block, re.MULTILINE))
        last = block[-1:]
    return has_quotes, n_lines + (last not in b"\r\n") if is_counted else None


def _n_line_ends(block: bytes) -> int:
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")


def _first_line(path: Path, text: str) -> str:
    line = next((line for line in LINE_END.split(text) if line.strip()), "")
    if not line:
        raise InputError(f"{path}:1: expected a table, got the end of the file")
    return line


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text, newline=""))


def _n_comments(text: str) -> int:
    """How many lines at the beginning are comments: behind `#` or `%` stands a blank, or they do
    not have as many fields as the first row. One that names the columns is their header.
    """
    lines = _lines(text)
    begin = next((n for n, line in enumerate(lines) if not COMMENT.match(line)), len(lines))
    row = next((line for line in lines[begin:] if line.strip()), "")
    if not begin or not row:
        return 0
    separator = _separator(row)

    def fields(line: str) -> list[str]:
        return line.strip().split(None if separator == BLANKS else separator)

    last = fields(lines[begin - 1])
    if (names := uncommented(last)) != last and len(names) == len(fields(row)):
        begin -= 1
    are_comments = all(
        re.match(r"[ \t]*[#%]+(\s|$)", line) or len(fields(line)) != len(fields(row))
        for line in lines[:begin]
    )
    return begin if are_comments else 0


def uncommented(fields: list[str]) -> list[str]:
    """The fields of a first row, without what makes it a comment if it names user and item."""
    if not COMMENT.match(fields[0]):
        return fields
    first = fields[0].strip().lstrip("#%").lstrip()
    names = [first, *fields[1:]] if first else fields[1:]
    called = {role for role in ROLES[:2] for name in names if is_called(name.strip(), role)}
    return names if len(called) == len(ROLES[:2]) else fields


def _separator(line: str) -> str:
    """What separates the fields of a line, which may be quoted."""
    line = re.sub(r'"(?:[^"]|"")*"', "", line) or line
    if COLONS in line:
        return COLONS
    if "\t" in line:
        return "\t"
    counts = {separator: line.count(separator) for separator in ",;|"}
    most = max(counts, key=lambda separator: counts[separator])
    return most if counts[most] else BLANKS
