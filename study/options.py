"""The options that commands share, and the types of their values."""

from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any, TypeVar

import click

from storage.errors import ParameterError
from storage.keeping import DEFAULT_KEEP, parse_size
from storage.sources import parse_columns
from storage.stores import StoredPath, as_path
from study.tuning import DEFAULT_STORAGE

LONGEST_NAME = 500  # characters; databases take 512, that of the finalists is longer

Columns = tuple[str, ...]
Function = TypeVar("Function", bound=Callable[..., Any])


class Number(click.ParamType[float]):
    """A finite number, of `low` or more if that is told."""

    def __init__(self, low: int | None = None, *, whole: bool = False) -> None:
        self.name = "integer" if whole else "number"
        self._low = low
        self._kind: type[int] | type[float] = int if whole else float

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = self._kind(value)
        except ValueError:
            number = float("nan")
        lowest = float("-inf") if self._low is None else self._low
        if not (abs(number) < float("inf") and number >= lowest):
            what = "a whole number" if self._kind is int else "a number"
            least = "" if self._low is None else f", {self._low} or more"
            self.fail(f"expected {what}{least}, got '{value}'")
        return number


class FilePath(click.ParamType[Path]):
    """A file, as a path, which a URI may tell."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return as_path(value)


class FolderPath(PosixPath):
    """A folder, told by a slash at its end."""


class AnswersPath(FilePath):
    """A file, or a folder that has its files."""

    name = "file or folder/"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        is_folder = str(value).endswith("/") and not isinstance(path, StoredPath)
        return FolderPath(path) if is_folder else path


class TablePath(FilePath):
    """A file with a table of items or users."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        lists = ctx is not None and any(one.name == "top" for one in ctx.command.params)
        if lists and str(value).isdecimal() and not path.exists():
            self.fail(f"expected a table of items, got '{value}'; --top {value} lists so many")
        return path


class ColumnNames(click.ParamType[Columns]):
    """Three columns, such as user_id,movie_id,rating or 1,2,3, or four."""

    name = "user,item,rating"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Columns:
        try:
            return parse_columns(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(
                "expected three columns, like user_id,movie_id,rating or 1,2,3, or four with that "
                f"of the time, got '{value}'"
            )


class Size(click.ParamType[int]):
    """A size such as 2GB, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(value)
        except ParameterError as error:
            self.fail(str(error).partition(": ")[2])


class StudyName(click.ParamType[str]):
    """A name that every database takes."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("expected text in UTF-8")
        if len(text) > LONGEST_NAME:
            self.fail(f"expected at most {LONGEST_NAME} characters, got {len(text):,}")
        return text


DATA = [
    click.option(
        "--data",
        type=FilePath(),
        metavar="FILE",
        help="Ratings: a mat_comp file, a table (CSV, TSV, '::', blanks, JSON lines; with gzip, "
        "zstd, bzip2, xz or zip; Parquet, Arrow), a folder or 'pattern*' of such files, a URI "
        "such as s3://bucket/folder, - for standard input, or a public data set that is "
        "downloaded: ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-32m. Without it ./mat_comp if "
        "there is one, else built-in demonstration data.",
    ),
    click.option(
        "--columns",
        type=ColumnNames(),
        metavar="USER,ITEM,RATING",
        help="Which columns of a table hold them, by name or by position from 1; guessed where "
        "names or positions make it plain. A fourth is the time, found by its name if not told.",
    ),
    click.option(
        "--missing",
        type=Number(),
        metavar="CODE",
        help="The rating that stands for none, such as 99 or -1: rows with it are left out.",
    ),
    click.option(
        "--items",
        type=TablePath(),
        metavar="FILE",
        help="A table that describes items, such as by genres or a year, in any format of ratings; "
        "ids are in its first column, or in one called as in the ratings.",
    ),
    click.option(
        "--users",
        type=TablePath(),
        metavar="FILE",
        help="The same of users.",
    ),
    click.option(
        "--storage",
        default=DEFAULT_STORAGE,
        show_default=True,
        metavar="URL",
        help="The database of the study, a SQLAlchemy URL.",
    ),
    click.option(
        "--study-name",
        type=StudyName(),
        metavar="NAME",
        help="The study in that database; named after the ratings if not told.",
    ),
]
MODEL = click.option(
    "--model",
    type=FilePath(),
    metavar="FILE",
    help="A saved model that answers, which needs neither --data nor a study.",
)
SETTING_OF = click.option(
    "--setting-of",
    type=StudyName(),
    metavar="STUDY",
    help="Train the best settings of this study, of other ratings such as last week's, on these, "
    "which need no study of their own.",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes a GPU, if there is one, for millions of ratings.",
)
KEEP = click.option(
    "--keep",
    type=Size(),
    default=DEFAULT_KEEP,
    show_default=True,
    metavar="SIZE",
    help="How much of the models and parsed files beside the database stays; what was used longest "
    "ago goes first, and nothing that was used in the last hour.",
)
OUTPUT = [
    click.option("--quiet", is_flag=True, help="Print errors only; the exit code tells the rest."),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON object at the end and nothing else; what goes on is told on standard "
        "error, unless --quiet.",
    ),
]


def options(*groups: Any) -> Callable[[Function], Function]:
    """A decorator that adds options, in this order, to a command's function."""
    flat = [one for group in groups for one in (group if isinstance(group, list) else [group])]

    def add(function: Function) -> Function:
        for option in reversed(flat):
            function = option(function)
        return function

    return add
