"""What the commands share: options, one-line errors, exit codes. Imports nothing heavy."""

import argparse
import csv
import io
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from storage.errors import InputError
from study.quiet import silenced

DEFAULT_STORAGE = "sqlite:///runs/study.db"

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
NOBODY_READS = 141
EXIT_CODES = """\
exit codes:
  0    done, or time is up
  1    trials keep failing, or a file or the database failed
  2    bad input
  130  interrupted
  141  nobody reads standard output any more, as of `| head`
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to."""

    code: int = 0
    facts: Mapping[str, object] = field(default_factory=dict)  # for --json


LONGEST_NAME = 500  # characters; databases take 512, that of the finalists is longer
SCRIPTS = {  # what pyproject.toml calls the commands
    "study.run": "rating-study",
    "study.best_predict": "rating-predict",
    "study.recommend": "rating-recommend",
    "study.report": "rating-report",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        hint = self._hint(message)
        self.exit(BAD_INPUT, f"{_name(self.prog)}: {message}{hint}; --help lists the options\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if not _flushed():
            status = NOBODY_READS
        super().exit(status, message)

    def _hint(self, message: str) -> str:
        """What an option that there is not may have meant."""
        for word in message.split() if message.startswith("unrecognized") else ():
            name = word.partition("=")[0]
            similar = get_close_matches(name, self._option_string_actions, n=1)
            if name.startswith("--") and similar:
                return f"; did you mean {similar[0]}?"
        return ""


def make_parser(prog: str, description: str, epilog: str, *, trains: bool = True) -> Parser:
    """A parser with the options that every command has, and --device if it trains."""
    parser = Parser(
        prog=as_called(f"python -m {prog}"),
        description=textwrap.fill(description, 79),
        epilog=as_called(f"{epilog}\n{EXIT_CODES}"),
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
        "--missing",
        type=number,
        metavar="CODE",
        help="the rating that stands for none, such as 99 or -1: rows with it are left out "
        "(default: none does)",
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


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Adds --quiet and --json."""
    parser.add_argument(
        "--quiet", action="store_true", help="print errors only; the exit code tells the rest"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object at the end and nothing else; what goes on is told on standard "
        "error, unless --quiet",
    )


def as_called(text: str) -> str:
    """The text with our commands called as this one was: as scripts, or by `python -m`."""
    if Path(sys.argv[0]).stem not in SCRIPTS.values():
        return text
    return re.sub(r"python -m (study\.\w+)", lambda found: SCRIPTS.get(found[1], found[0]), text)


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


def number(text: str) -> float:
    """An argument type: any number."""
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not abs(found) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number, got '{text}'")
    return found


def parse_columns(text: str) -> tuple[str, str, str]:
    """The three columns of a text such as `user_id,movie_id,rating` or `1,2,3`.

    Raises:
        ValueError: it has more or fewer.
    """
    user, item, rating = (column.strip() for column in next(csv.reader([text]), []))
    if not (user and item and rating):
        raise ValueError
    return user, item, rating


def _columns(text: str) -> tuple[str, str, str]:
    try:
        return parse_columns(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected three columns, like user_id,movie_id,rating or 1,2,3, got '{text}'"
        ) from None


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


@contextmanager
def status(text: str) -> Iterator[None]:
    """Shows on a terminal, while the block lasts, what is being done."""
    from rich.console import Console

    console = Console()
    with console.status(text) if console.is_terminal else nullcontext():
        yield


def complain(prog: str, message: str) -> None:
    """Prints what is wrong, in one line on standard error."""
    name = _name(as_called(f"python -m {prog}"))
    print(f"{name}: {printable(as_called(' '.join(message.split())))}", file=sys.stderr)


def run_command(
    command: Callable[[], int | Outcome], prog: str, options: argparse.Namespace | None = None
) -> NoReturn:
    """Runs a command and exits with its code; bad input is one line on standard error.

    Of the options only those of `add_output_options` matter here, if there are any.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what cannot be encoded
            stream.reconfigure(errors="backslashreplace")
    quiet, as_json = (getattr(options, name, False) for name in ("quiet", "json"))
    try:
        with redirect_stdout(sys.stderr) if as_json else nullcontext(), silenced(quiet):
            outcome = command()
        if isinstance(outcome, int):
            outcome = Outcome(code=outcome)
        if as_json:
            print(json.dumps(outcome.facts, indent=2))
        code = outcome.code if _flushed() else NOBODY_READS
    except BrokenPipeError:
        _flushed()
        code = NOBODY_READS
    except InputError as error:
        complain(prog, str(error))
        code = BAD_INPUT
    except KeyboardInterrupt:
        print(file=sys.stderr)
        complain(prog, "stopped at once")
        code = INTERRUPTED
    except Exception as error:
        if not (reason := fault_outside(error)):
            raise
        complain(prog, f"{reason}; what was finished before is kept")
        code = FAILED
    sys.exit(code)


def _name(command: str) -> str:
    """What a command's lines begin with: `study.run` of `python -m study.run`."""
    return command.removeprefix("python -m ")


def _flushed() -> bool:
    """Whether all that was printed could be written; if nobody reads it any more, it is dropped."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True


def fault_outside(error: Exception) -> str:
    """What went wrong with a file or the database, in one line; empty for a fault of our own."""
    cause: Any = error.__cause__ if type(error).__name__ == "StorageInternalError" else error
    if type(cause).__module__.startswith("grpc") and hasattr(cause, "details"):
        return " ".join(str(cause.details()).split())
    if not isinstance(cause, OSError) and type(cause).__module__ != "sqlalchemy.exc":
        return ""
    return " ".join(str(getattr(cause, "orig", None) or cause).split())
