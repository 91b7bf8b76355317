"""`python -m study.evaluate`: how good predictions, intervals and lists are, by a test."""

from collections.abc import Sequence
from pathlib import Path

import click

from study.cli import (
    DATA,
    DEVICE,
    OUTPUT,
    Asked,
    FilePath,
    Outcome,
    as_options,
    complain,
    options,
    run_command,
)
from study.drawing import Drawing

PROG = "study.evaluate"
EPILOG = """\
examples:
  python -m study.evaluate --data ratings.csv --test test.csv
  python -m study.evaluate --data ratings.csv --test test.csv --out scores.csv
  python -m study.evaluate --data ratings.csv --test test.csv --json
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0 or 2 (bad input)."""
    run_command(evaluate, PROG, arguments, epilog=EPILOG)


@options(
    DATA,
    DEVICE,
    click.option(
        "--test",
        type=FilePath(),
        metavar="FILE",
        help="The ratings to score by, which are not in --data: a table of user, item and rating, "
        "and maybe the time, whose columns are called as in the ratings, or user_id, item_id and "
        "rating.",
    ),
    click.option(
        "--out",
        type=FilePath(),
        metavar="FILE",
        help="Writes the figures to a table too, with 95 % intervals: .csv, .tsv or .parquet.",
    ),
    OUTPUT,
)
def evaluate(drawing: Drawing, *, asked: Asked, test: Path | None, out: Path | None) -> Outcome:
    """Scores the predictions of a study, their intervals and its lists by ratings that it has not
    seen: in all, and by number of ratings, time ahead and what tables of users and items say.
    """
    if test is None:
        raise click.UsageError("Expected --test FILE, with the ratings to score by")
    with drawing.status("Reading the ratings…"):
        from storage.database import database_file
        from storage.predictions import check_ending, check_writable, write_columns

        url = asked.url(must_exist=True)
        loaded = asked.load(drawing)
        result = asked.find(loaded, drawing)
        data = result.asked(test, rated=True)
    if out is not None:
        read = [*loaded.files, test, database_file(url)]
        check_writable(out, precious=[path for path in read if path is not None])
        check_ending(out)
    drawing.say(as_options(f"Data: {data.described()}"))
    drawing.say(f"Study: {result.record.name}")
    with drawing.status("Scoring…"):
        found = result.score(data)
    for doubt in found.doubts:
        complain(PROG, doubt)
    drawing.say(f"\n{found}")
    if out is not None:
        write_columns(out, list(found.columns().items()))
        drawing.say(f"\nWrote: {out}, {1 + len(found.groups):,} rows")
    facts = {"study": result.record.name, "data": loaded.source, **found.to_dict()}
    return Outcome(facts={**facts, "files": {"out": out and str(out)}})


if __name__ == "__main__":
    main()
