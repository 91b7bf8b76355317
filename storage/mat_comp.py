"""`mat_comp` files: ratings and query pairs as columns.

The format, white-space separated, ids counted from 1::

    n m k               n users, m items, k ratings
    user item rating    k lines
    q                   number of queries, may be 0
    user item           q lines

Spaces or tabs, LF or CRLF, plain, gzip or zstd; blank lines are skipped. A file is parsed by
`numpy.loadtxt`; only one that turns out to be wrong is walked line by line, to say where.
"""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError
from storage.lines import (
    HEAD_CHARACTERS,
    LARGEST_RATING,
    LONGEST_LINE,
    number_of,
    numbered_lines,
    opened,
    rating_of,
    shown,
)
from storage.memory import fitting
from storage.missing import are_missing
from storage.ratings import RatingsTable

LARGEST_ID = 2**31 - 1
ROWS_AT_ONCE = 1 << 16  # they fit a cache

RATING_LINE = np.dtype([("user", np.int64), ("item", np.int64), ("rating", np.float64)])
QUERY_LINE = np.dtype([("user", np.int64), ("item", np.int64)])


def read_mat_comp(path: Path, missing: float | None = None) -> RatingsTable:
    """The ratings and queries of a `mat_comp` file; rows rated `missing` are left out.

    Raises:
        InputError: the file cannot be read or is not of the format; says at which line.
    """
    with opened(path) as stream:
        try:
            n_users, n_items, n_ratings = (number_of(word, int) for word in _line(stream).split())
            if not (1 <= n_users <= LARGEST_ID and 1 <= n_items <= LARGEST_ID and n_ratings >= 1):
                raise ValueError
            rated = _parse(path, stream, n_ratings, RATING_LINE)
            n_queries = number_of(_line(stream).strip(), int)
            queries = _parse(path, stream, n_queries, QUERY_LINE)
            if (
                n_queries < 0
                or _line(stream)
                or not -LARGEST_RATING <= rated["rating"].min() <= rated["rating"].max()
                or not rated["rating"].max() <= LARGEST_RATING
            ):
                raise ValueError
            is_rated = ~are_missing(rated["rating"], missing)
            return RatingsTable.from_columns(
                user_ids=_checked_ids(rated["user"], n_users)[is_rated],
                item_ids=_checked_ids(rated["item"], n_items)[is_rated],
                ratings=rated["rating"][is_rated],
                n_missing=int((~is_rated).sum()),
                query_user_ids=_checked_ids(queries["user"], n_users),
                query_item_ids=_checked_ids(queries["item"], n_items),
            )
        except InputError:
            raise
        except ValueError:
            _explain(path)


def looks_like_mat_comp(text: str) -> bool:
    """Whether a file whose first lines are these is one, or nothing that has columns.

    Rows of user, item and rating without a header may begin alike: they are told by a row with
    three fields where a `mat_comp` file has its number of queries, or by larger ids.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines:
        return True
    try:
        numbers = [number_of(word, int) for word in lines[0]]
    except ValueError:
        return False
    if len(numbers) != 3:
        return len(numbers) < 3
    if any(len(words) != 3 for words in lines):
        return True
    is_whole = len(text) < HEAD_CHARACTERS - LONGEST_LINE  # where a line was cut off, it is longer
    return len(lines) < numbers[2] + 2 and not (is_whole and _is_beyond(numbers, lines[1:]))


def _is_beyond(header: list[int], lines: list[list[str]]) -> bool:
    """Whether any of the rows has a larger user or item than the header says there are."""
    try:
        return any(int(words[0]) > header[0] or int(words[1]) > header[1] for words in lines)
    except ValueError:
        return False


def _line(stream: io.TextIOBase) -> str:
    """The next line that is not blank, cut if it is too long; empty at the end of the file."""
    while (line := stream.readline(LONGEST_LINE + 1)).isspace():
        pass
    return line


def _parse(
    path: Path, stream: io.TextIOBase, n_rows: int, fields: np.dtype[np.void]
) -> dict[str, NDArray[Any]]:
    """The next `n_rows` lines as (n_rows,) columns.

    Raises:
        ValueError: there are fewer lines, or one does not hold just the fields.
        InputError: they do not fit into memory.
    """
    columns = {name: np.empty(0, fields[name]) for name in fields.names or ()}
    for block in fitting(path, _blocks(stream, n_rows, fields)):
        for name, column in columns.items():
            column.resize(len(column) + len(block), refcheck=False)  # mostly without a copy
            column[-len(block) :] = block[name]
    return columns


def _blocks(
    stream: io.TextIOBase, n_rows: int, fields: np.dtype[np.void]
) -> Iterator[NDArray[np.void]]:
    """The same in blocks: `loadtxt` asks for the memory of all rows at once."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # an empty rest
        # A fraction where a whole number belongs is only deprecated.
        warnings.simplefilter("error", DeprecationWarning)
        while n_rows > 0:
            wanted = min(n_rows, ROWS_AT_ONCE)
            try:
                rows = np.loadtxt(stream, fields, comments=None, ndmin=1, max_rows=wanted)
            except DeprecationWarning as warning:
                raise ValueError from warning
            if len(rows) != wanted:
                raise ValueError
            yield rows
            n_rows -= wanted


def _checked_ids(ids: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    if len(ids) and not (ids.min() >= 1 and ids.max() <= largest):
        raise ValueError
    return ids


def _explain(path: Path) -> NoReturn:
    """Raises the InputError of the first line that is wrong, reading the slow and obvious way."""
    lines = numbered_lines(path)
    number = 0

    def next_line(expected: str, n_fields: int) -> tuple[str, list[str]]:
        nonlocal number
        number, words = next(lines, (number + 1, []))
        if not words:
            raise InputError(f"{path}:{number}: expected {expected}, got the end of the file")
        if len(words) != n_fields:
            got = f"{len(words)} fields" if len(words) != 1 else f"1 field, {shown(words[0])}"
            raise InputError(f"{path}:{number}: expected {expected}, got {got}")
        return f"{path}:{number}", words

    where, words = next_line("a table, or a header of 3 numbers 'n_users n_items n_ratings'", 3)
    n_users = _whole(words[0], where, "number of users", 1, LARGEST_ID)
    n_items = _whole(words[1], where, "number of items", 1, LARGEST_ID)
    n_ratings = _whole(words[2], where, "number of ratings", 1, None)
    for row in range(1, n_ratings + 1):
        expected = f"3 fields 'user item rating' (rating {row:,} of {n_ratings:,})"
        where, words = next_line(expected, 3)
        _whole(words[0], where, "user", 1, n_users)
        _whole(words[1], where, "item", 1, n_items)
        rating_of(words[2], f"{where}: expected a rating")
    where, words = next_line(f"1 field, the number of queries, behind rating {n_ratings:,}", 1)
    n_queries = _whole(words[0], where, "number of queries", 0, None)
    for row in range(1, n_queries + 1):
        where, words = next_line(f"2 fields 'user item' (query {row:,} of {n_queries:,})", 2)
        _whole(words[0], where, "user", 1, n_users)
        _whole(words[1], where, "item", 1, n_items)
    for number, words in lines:
        got = shown(" ".join(words))
        raise InputError(
            f"{path}:{number}: expected the end of the file behind query {n_queries:,}, got {got}"
        )
    raise InputError(f"{path}: cannot be read as a mat_comp file")


def _whole(word: str, where: str, what: str, low: int, high: int | None) -> int:
    bounds = f"{low:,} to {high:,}" if high is not None else f"{low:,} or more"
    try:
        value = number_of(word, int)
        if value < low or (high is not None and value > high):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{where}: expected as {what} a whole number, {bounds}, got {shown(word)}"
        ) from None
    return value
