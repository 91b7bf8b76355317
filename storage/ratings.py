"""Reads `mat_comp` files: ratings and query pairs as columns.

The format, white-space separated, ids counted from 1::

    n m k               n users, m items, k ratings
    user item rating    k lines
    q                   number of queries, may be 0
    user item           q lines

Spaces or tabs, LF or CRLF, plain or gzip; blank lines are skipped. A file is parsed by
`numpy.loadtxt`; only one that turns out to be wrong is walked line by line, to say where.
"""

import gzip
import hashlib
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError

LARGEST_ID = 2**31 - 1
LARGEST_RATING = 1e15  # in size: its square is far from the limits of single precision
LONGEST_LINE = 1000
ROWS_AT_ONCE = 1_000_000

RATING_LINE = np.dtype([("user", np.int64), ("item", np.int64), ("rating", np.float64)])
QUERY_LINE = np.dtype([("user", np.int64), ("item", np.int64)])
GZIP_MAGIC = b"\x1f\x8b"
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class RatingsTable:
    """Ratings, one a (user, item) pair and sorted by it, and the pairs to predict.

    A pair that was rated more than once has the mean of its ratings.
    """

    n_users: int  # declared: ids run from 1 to n_users, not all of them need occur
    n_items: int
    user_ids: NDArray[np.int32]  # (n_ratings,)
    item_ids: NDArray[np.int32]  # (n_ratings,)
    ratings: NDArray[np.float64]  # (n_ratings,)
    query_user_ids: NDArray[np.int32]  # (n_queries,)
    query_item_ids: NDArray[np.int32]  # (n_queries,)
    n_repeated: int = 0  # lines that rated a pair rated by another line too

    @classmethod
    def from_columns(
        cls,
        *,
        n_users: int,
        n_items: int,
        user_ids: NDArray[np.int32],
        item_ids: NDArray[np.int32],
        ratings: NDArray[np.float64],
        query_user_ids: NDArray[np.int32],
        query_item_ids: NDArray[np.int32],
    ) -> "RatingsTable":
        """The table of columns in any order, repeated pairs merged."""
        pair = user_ids.astype(np.int64) * (n_items + 1) + item_ids
        order = np.argsort(pair, kind="stable")
        pair, ratings = pair[order], ratings[order]
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        if len(first) < len(pair):
            # Values sorted within a pair too: their sum does not depend on the order of the lines.
            ratings = ratings[np.lexsort((ratings, pair))]
            counts = np.diff(np.append(first, len(pair)))
            ratings = np.add.reduceat(ratings, first) / counts
        return cls(
            n_users=n_users,
            n_items=n_items,
            user_ids=user_ids[order][first],
            item_ids=item_ids[order][first],
            ratings=ratings,
            query_user_ids=query_user_ids,
            query_item_ids=query_item_ids,
            n_repeated=len(pair) - len(first),
        )

    @property
    def n_ratings(self) -> int:
        return len(self.ratings)

    @property
    def n_queries(self) -> int:
        return len(self.query_user_ids)

    @property
    def digest(self) -> str:
        """A digest of the ratings alone, whatever the order of the lines and the queries."""
        digest = hashlib.sha256(b"ratings")
        for column, kind in ((self.user_ids, "<i4"), (self.item_ids, "<i4"), (self.ratings, "<f8")):
            digest.update(np.ascontiguousarray(column, dtype=kind).data)
        return digest.hexdigest()[:32]


def read_mat_comp(path: Path) -> RatingsTable:
    """The ratings and queries of a `mat_comp` file.

    Raises:
        InputError: the file cannot be read or is not of the format; says at which line.
    """
    with opened(path) as stream:
        try:
            n_users, n_items, n_ratings = (_number(word, int) for word in _line(stream).split())
            if not (1 <= n_users <= LARGEST_ID and 1 <= n_items <= LARGEST_ID and n_ratings >= 1):
                raise ValueError
            rated = _parse(stream, n_ratings, RATING_LINE)
            n_queries = _number(_line(stream).strip(), int)
            queries = _parse(stream, n_queries, QUERY_LINE)
            if (
                n_queries < 0
                or _line(stream)
                or not (np.abs(rated["rating"]) <= LARGEST_RATING).all()
            ):
                raise ValueError
            return RatingsTable.from_columns(
                n_users=n_users,
                n_items=n_items,
                user_ids=_checked_ids(rated["user"], n_users),
                item_ids=_checked_ids(rated["item"], n_items),
                ratings=rated["rating"],
                query_user_ids=_checked_ids(queries["user"], n_users),
                query_item_ids=_checked_ids(queries["item"], n_items),
            )
        except ValueError:
            _explain(path)


def read_numbers(path: Path, *, expected: int) -> NDArray[np.float64]:
    """The numbers of a file that holds one a line, such as the true ratings of the queries.

    Raises:
        InputError: the file cannot be read, holds something else, or not `expected` numbers.
    """
    numbers: list[float] = []
    for number, words in _numbered_lines(path):
        if len(words) != 1:
            raise InputError(f"{path}:{number}: expected 1 rating, got {len(words)} fields")
        numbers.append(_rating(words[0], f"{path}:{number}: expected a rating"))
    if len(numbers) != expected:
        got = f"got {len(numbers):,}"
        raise InputError(f"{path}: expected {expected:,} ratings, one a query, {got}")
    return np.array(numbers)


@contextmanager
def opened(path: Path) -> Iterator[io.TextIOBase]:
    """A text stream of a plain or gzip file; whatever goes wrong in reading is an InputError."""
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            file.seek(0)
            raw = gzip.GzipFile(fileobj=file) if magic == GZIP_MAGIC else file
            # Bytes that are no UTF-8 become characters that no number holds.
            yield io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a file, got a directory") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _line(stream: io.TextIOBase) -> str:
    """The next line that is not blank, cut if it is too long; empty at the end of the file."""
    while (line := stream.readline(LONGEST_LINE + 1)).isspace():
        pass
    return line


def _parse(stream: io.TextIOBase, n_rows: int, fields: np.dtype[np.void]) -> NDArray[np.void]:
    """The next `n_rows` lines as (n_rows,) records.

    Raises:
        ValueError: there are fewer lines, or one does not hold just the fields.
    """
    blocks = [np.empty(0, fields)]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # an empty rest
        # A fraction where a whole number belongs is only deprecated.
        warnings.simplefilter("error", DeprecationWarning)
        while n_rows > 0:  # in blocks: `loadtxt` asks for the memory of all rows at once
            wanted = min(n_rows, ROWS_AT_ONCE)
            try:
                rows = np.loadtxt(stream, fields, comments=None, ndmin=1, max_rows=wanted)
            except DeprecationWarning as warning:
                raise ValueError from warning
            if len(rows) != wanted:
                raise ValueError
            blocks.append(rows)
            n_rows -= wanted
    return np.concatenate(blocks)


def _checked_ids(ids: NDArray[np.int64], largest: int) -> NDArray[np.int32]:
    if len(ids) and not (ids.min() >= 1 and ids.max() <= largest):
        raise ValueError
    return ids.astype(np.int32)


def _explain(path: Path) -> NoReturn:
    """Raises the InputError of the first line that is wrong, reading the slow and obvious way."""
    lines = _numbered_lines(path)
    number = 0

    def next_line(expected: str, n_fields: int) -> tuple[str, list[str]]:
        nonlocal number
        number, words = next(lines, (number + 1, []))
        if not words:
            raise InputError(f"{path}:{number}: expected {expected}, got the end of the file")
        if len(words) != n_fields:
            got = f"{len(words)} fields" if len(words) != 1 else f"1 field, {_shown(words[0])}"
            raise InputError(f"{path}:{number}: expected {expected}, got {got}")
        return f"{path}:{number}", words

    where, words = next_line("a header of 3 numbers 'n_users n_items n_ratings'", 3)
    n_users = _whole(words[0], where, "number of users", 1, LARGEST_ID)
    n_items = _whole(words[1], where, "number of items", 1, LARGEST_ID)
    n_ratings = _whole(words[2], where, "number of ratings", 1, None)
    for row in range(1, n_ratings + 1):
        expected = f"3 fields 'user item rating' (rating {row:,} of {n_ratings:,})"
        where, words = next_line(expected, 3)
        _whole(words[0], where, "user", 1, n_users)
        _whole(words[1], where, "item", 1, n_items)
        _rating(words[2], f"{where}: expected a rating")
    where, words = next_line(f"1 field, the number of queries, behind rating {n_ratings:,}", 1)
    n_queries = _whole(words[0], where, "number of queries", 0, None)
    for row in range(1, n_queries + 1):
        where, words = next_line(f"2 fields 'user item' (query {row:,} of {n_queries:,})", 2)
        _whole(words[0], where, "user", 1, n_users)
        _whole(words[1], where, "item", 1, n_items)
    for number, words in lines:
        got = _shown(" ".join(words))
        raise InputError(
            f"{path}:{number}: expected the end of the file behind query {n_queries:,}, got {got}"
        )
    raise InputError(f"{path}: cannot be read as a mat_comp file")


def _numbered_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number, counted from 1, and words of every line that is not blank."""
    with opened(path) as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise InputError(
                    f"{path}:{number}: expected lines of at most {LONGEST_LINE} characters"
                )
            if words := line.split():
                yield number, words


def _whole(word: str, where: str, what: str, low: int, high: int | None) -> int:
    bounds = f"{low:,} to {high:,}" if high is not None else f"{low:,} or more"
    try:
        value = _number(word, int)
        if value < low or (high is not None and value > high):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{where}: expected as {what} a whole number, {bounds}, got {_shown(word)}"
        ) from None
    return value


def _rating(word: str, expected: str) -> float:
    try:
        value = _number(word, float)
    except ValueError:
        value = float("nan")
    if not abs(value) <= LARGEST_RATING:
        raise InputError(
            f"{expected}, a number from -{LARGEST_RATING:g} to {LARGEST_RATING:g}, "
            f"got {_shown(word)}"
        )
    return value


def _number(word: str, kind: type[Number]) -> Number:
    """The number as `numpy.loadtxt` reads it: no underscores, no digits of other scripts."""
    if "_" in word or not word.isascii():
        raise ValueError
    return kind(word)


def _shown(text: str) -> str:
    """The text in quotes, printable and short enough for one line."""
    short = text if len(text) <= 40 else text[:37] + "..."
    return "'" + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short) + "'"
