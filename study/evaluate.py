"""`python -m study.evaluate`: how good predictions, intervals and lists are, by a test."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.cli import Asked, Outcome, as_options, complain, refuse_beside_model, run_command
from study.drawing import Drawing
from study.options import DATA, DEVICE, KEEP, MODEL, OUTPUT, FilePath, options

if TYPE_CHECKING:
    from study.answers.evaluation import Evaluation

Scored = tuple[list[Path | None], dict[str, object], Callable[[], "Evaluation"]]
"""The files that are read, facts for --json, and what scores."""

PROG = "study.evaluate"
EPILOG = """\
examples:
  python -m study.evaluate --data ratings.csv --test test.csv
  python -m study.evaluate --data ratings.csv --test test.csv --out scores.csv
  python -m study.evaluate --model movies.model --test test.csv --json
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
    MODEL,
    click.option(
        "--out",
        type=FilePath(),
        metavar="FILE",
        help="Writes the figures to a table too, with 95 % intervals: .csv, .tsv or .parquet.",
    ),
    KEEP,
    OUTPUT,
)
def evaluate(
    drawing: Drawing, *, asked: Asked, test: Path | None, model: Path | None, out: Path | None
) -> Outcome:
    """Scores the predictions of a study, their intervals and its lists by ratings that it has not
    seen: in all, and by number of ratings, time ahead and what tables of users and items say.
    """
    if test is None:
        raise click.UsageError("Expected --test FILE, with the ratings to score by")
    if model is not None:
        refuse_beside_model()
    with drawing.status("Reading the ratings…"):
        from storage.predictions import check_ending, check_writable, write_columns

        if model is not None:
            read, facts, score = _of_model(model, test, drawing)
        else:
            read, facts, score = _of_study(asked, test, drawing)
    if out is not None:
        check_writable(out, precious=[path for path in (*read, test) if path is not None])
        check_ending(out)
    with drawing.status("Scoring…"):
        found = score()
    for doubt in found.doubts:
        complain(PROG, doubt)
    drawing.say(f"\n{found}")
    if out is not None:
        write_columns(out, list(found.columns().items()))
        drawing.say(f"\nWrote: {out}, {1 + len(found.groups):,} rows")
    return Outcome(facts={**facts, **found.to_dict(), "files": {"out": out and str(out)}})


def _of_study(asked: Asked, test: Path, drawing: Drawing) -> Scored:
    """What a study's best settings are scored with."""
    from storage.database import database_file

    url = asked.url(must_exist=True)
    loaded = asked.load(drawing)
    result = asked.find(loaded, drawing)
    data = result.asked(test, rated=True)
    drawing.say(as_options(f"Data: {data.described()}"))
    drawing.say(f"Study: {result.record.name}")

    def score() -> "Evaluation":
        found = result.score(data)
        result.tidy()
        return found

    facts: dict[str, object] = {"study": result.record.name, "data": loaded.source}
    return [*loaded.files, database_file(url)], facts, score


def _of_model(path: Path, test: Path, drawing: Drawing) -> Scored:
    """What a saved model is scored with."""
    from study.held import Model

    held = Model.load(path)
    drawing.say(f"Model: {path}, {held.data}")
    return [path], {"model": str(path)}, lambda: held.evaluate(test)


if __name__ == "__main__":
    main()
