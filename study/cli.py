"""What the commands share: options, one-line errors, exit codes. Imports nothing heavy."""

import argparse
import csv
import io
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from storage.errors import InputError

DEFAULT_STORAGE = "sqlite:///runs/study.db"

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

LONGEST_NAME = 500  # characters; databases take 512, that of the finalists is longer


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; --help lists the options\n")


def make_parser(prog: str, description: str, epilog: str, *, trains: bool = True) -> Parser:
    """A parser with the options that every command has, and --device if it trains."""
    parser = Parser(
        prog=prog,
        description=textwrap.fill(description, 79),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="ratings: a mat_comp file, a table (CSV, TSV, '::' or blanks; with gzip or zstd; "
        "Parquet), - for standard input, or a public data set that is downloaded: ml-100k, ml-1m, "
        "ml-10m, ml-20m, ml-25m, ml-32m "
        "(default: ./mat_comp if there is one, else built-in demonstration data)",
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        metavar="USER,ITEM,RATING",
        help="which columns of a table hold them, by name or by position from 1 "
        "(default: guessed where names or positions make it plain)",
    )
    parser.add_argument(
        "--storage",
        default=DEFAULT_STORAGE,
        metavar="URL",
        help="the database of the study, a SQLAlchemy URL (default: %(default)s)",
    )
    parser.add_argument(
        "--study-name",
        type=_study_name,
        metavar="NAME",
        help="the study in that database (default: a name that follows from the ratings)",
    )
    if trains:
        parser.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda"),
            default="auto",
            help="where to train; auto takes a GPU if there is one (default: auto)",
        )
    return parser


def at_least(low: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    """An argument type: a number of `kind` that is `low` or more."""
    what = "a whole number" if kind is int else "a number"

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = float("nan")
        if not low <= number < float("inf"):
            raise argparse.ArgumentTypeError(f"expected {what}, {low} or more, got '{text}'")
        return number

    return parse


def _columns(text: str) -> tuple[str, ...]:
    columns = tuple(column.strip() for column in next(csv.reader([text]), []))
    if len(columns) != 3 or not all(columns):
        raise argparse.ArgumentTypeError(
            f"expected three columns, like user_id,movie_id,rating or 1,2,3, got '{text}'"
        )
    return columns


def _study_name(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("expected text in UTF-8") from None
    if len(text) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(
            f"expected at most {LONGEST_NAME} characters, got {len(text):,}"
        )
    return text


def printable(text: str) -> str:
    """The text on one line, without what would steer a terminal: it may come from others."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def run_command(command: Callable[[], int], prog: str) -> NoReturn:
    """Runs a command and exits with its code; bad input is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what cannot be encoded
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command()
    except InputError as error:
        print(f"{prog}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        code = BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{prog}: stopped at once", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        if not (reason := fault_outside(error)):
            raise
        print(f"{prog}: {printable(reason)}; what was finished before is kept", file=sys.stderr)
        code = FAILED
    sys.exit(code)


def fault_outside(error: Exception) -> str:
    """What went wrong with a file or the database, in one line; empty for a fault of our own."""
    cause: Any = error.__cause__ if type(error).__name__ == "StorageInternalError" else error
    if type(cause).__module__.startswith("grpc") and hasattr(cause, "details"):
        return " ".join(str(cause.details()).split())
    if not isinstance(cause, OSError) and type(cause).__module__ != "sqlalchemy.exc":
        return ""
    return " ".join(str(getattr(cause, "orig", None) or cause).split())
