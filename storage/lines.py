"""Text files of ratings, plain or packed, line by line, and the numbers in them."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError, printable
from storage.names import is_called
from storage.packed import FAULTS, compression, unpacked

LARGEST_RATING = 1e15  # in size: its square is far from the limits of single precision
LONGEST_LINE = 1000
HEAD_CHARACTERS = 1 << 16  # that are looked at to find out what a file is
LONGEST_FIRST = 1 << 20  # characters more, that its first line may have
Number = TypeVar("Number", int, float)


def read_numbers(path: Path, *, expected: int) -> NDArray[np.float64]:
    """The numbers of a file that holds one a line, such as the true ratings of the queries.

    A first line may say that they are ratings.

    Raises:
        InputError: the file cannot be read, holds something else, or not `expected` numbers.
    """
    numbers: list[float] = []
    for number, words in numbered_lines(path):
        if len(words) != 1:
            raise InputError(f"{path}:{number}: expected 1 rating, got {len(words)} fields")
        word = re.sub('^"(.*)"$', r"\1", words[0])
        if number == 1 and is_called(word, "rating"):
            continue
        numbers.append(rating_of(word, f"{path}:{number}: expected a rating"))
    check_one_a_query(path, len(numbers), expected=expected)
    return np.array(numbers)


def check_one_a_query(path: Path, n_ratings: int, *, expected: int) -> None:
    """Raises InputError if a file has more or fewer ratings than there are queries."""
    if n_ratings != expected:
        got = f"got {n_ratings:,}"
        raise InputError(f"{path}: expected {expected:,} ratings, one a query, {got}")


@contextmanager
def opened_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a plain file, or of what is packed in it.

    Raises:
        InputError: whatever goes wrong in reading.
    """
    kind = None
    try:
        kind = compression(path)
        with path.open("rb") as file:
            yield unpacked(path, file, kind)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a file, got a directory") from None
    except MemoryError:
        if not kind:
            raise
        raise InputError(f"{path}: {kind} file that is damaged, or does not fit memory") from None
    except FAULTS as error:
        raise InputError(f"{path}: damaged {kind} file ({error})") from None
    except OSError as error:
        if kind and error.errno is None:  # of what unpacks
            raise InputError(f"{path}: damaged {kind} file ({error})") from None
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def begins_with(path: Path, *magic: bytes) -> bool:
    """Whether the bytes of a plain file, or of what is packed in it, begin in one of these ways.

    Raises:
        InputError: it cannot be read.
    """
    with opened_bytes(path) as stream:
        return stream.read(max(map(len, magic))).startswith(magic)


@contextmanager
def opened(path: Path) -> Iterator[io.TextIOBase]:
    """A text stream of a file; bytes that are no UTF-8 become characters that no number holds."""
    with opened_bytes(path) as raw:
        yield io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace")


def first_lines(path: Path) -> str:
    """The lines at the beginning of a file, as many as are whole in its first characters.

    They are more where the first of them is longer than that.
    """
    with opened(path) as stream:
        text = stream.read(HEAD_CHARACTERS)
        if "\n" not in text:
            text += stream.readline(LONGEST_FIRST) + stream.read(HEAD_CHARACTERS)
        is_whole = not stream.read(1)
    return text if is_whole else text[: text.rfind("\n") + 1] or text


def whole_text(path: Path, most_bytes: int) -> str:
    """The whole text, UTF-8 or else Latin-1, in which MovieLens has its older titles.

    Raises:
        InputError: it cannot be read, or is larger than that.
    """
    with opened_bytes(path) as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise InputError(f"{path}: expected a table of at most {most_bytes >> 20} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def numbered_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
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


def rating_of(word: str, expected: str) -> float:
    """The rating that a word is; `expected` begins the message of the InputError if it is none."""
    try:
        value = number_of(word, float)
    except ValueError:
        value = float("nan")
    if not abs(value) <= LARGEST_RATING:
        raise InputError(
            f"{expected}, a number from -{LARGEST_RATING:g} to {LARGEST_RATING:g}, "
            f"got {shown(word)}"
        )
    return value


def number_of(word: str, kind: type[Number]) -> Number:
    """The number as `numpy.loadtxt` reads it: no underscores, no digits of other scripts.

    Raises:
        ValueError: it is none.
    """
    if "_" in word or not word.isascii():
        raise ValueError
    return kind(word)


def reason_of(error: Exception) -> str:
    """What an error of a library says, in one line that is not too long."""
    return printable(" ".join(str(error).split())[:150])


def bare(name: str) -> str:
    """The name of a column for a list of them, printable and short."""
    return shown(name)[1:-1] if name.strip() else "one without a name"


def shown(text: str) -> str:
    """The text in quotes, printable and short enough for one line."""
    short = text if len(text) <= 40 else text[:37] + "..."
    return f"'{printable(short)}'"
