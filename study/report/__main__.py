"""`python -m study.report`: writes what a study has found as one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.cli import Asked, Outcome, run_command
from study.drawing import Drawing
from study.options import DATA, OUTPUT, FilePath, options

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from study.record.record import Record

PROG = "study.report"
EPILOG = """\
examples:
  python -m study.report                    beside the database, as study.run
                                            does at its end
  python -m study.report --out report.html  somewhere else
  python -m study.report --study-name mine  of another study; needs no data

A study that is still running can be looked at too. The page needs no other
file and no network.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0, 1 (a file or the database failed) or 2 (bad input)."""
    run_command(report, PROG, arguments, epilog=EPILOG)


@options(
    DATA,
    click.option(
        "--out",
        type=FilePath(),
        metavar="FILE",
        help="Where the page goes; beside the database, named after the study, if not told.",
    ),
    OUTPUT,
)
def report(
    drawing: Drawing,
    *,
    asked: Asked,
    out: Path | None,
) -> Outcome:
    """Writes what a study has found as one HTML file: what was gained, the best setting, the
    search, the parameters that matter, errors and intervals.
    """
    from storage.database import database_file, runs_folder
    from storage.errors import InputError
    from storage.predictions import check_writable
    from study.report.page import report_path, write_report

    url = asked.url(must_exist=True)
    record = _find(url, asked, drawing)
    path = out or report_path(record, runs_folder(url))
    told = asked.sources
    read = (database_file(url), told.data, told.items, told.users)
    precious = [one for one in read if one is not None]
    try:
        check_writable(path, precious=precious, makes_folder=out is None)
    except InputError as error:
        raise InputError(f"{error}{'' if out else '; out= writes it elsewhere'}") from None
    write_report(record, path.resolve() if out else path)  # a link of the user's stays one
    drawing.say(f"Study: {record.name}")
    drawing.say(f"Report: {path}")
    return Outcome(facts={"study": record.name, "files": {"report": str(path)}})


def _find(url: "URL", asked: Asked, drawing: Drawing) -> "Record":
    """The study that is named, else that of the data that are named, else the only one.

    Where neither is named and the database holds several, it is that of the data by default.

    Raises:
        InputError: there is no such study, or study.run did not make it.
    """
    import optuna

    from storage.database import open_storage
    from study.record.record import is_of_finalists
    from study.record.studies import default_name, find_study, known_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(url, to_read=True)
    study_name = asked.study_name
    if study_name is None and asked.sources.data is None:
        names = optuna.get_all_study_names(storage)
        own = [one for one in names if not is_of_finalists(one)]
        study_name = own[0] if len(own) == 1 else None
    if study_name is not None and asked.sources.data is None:
        return known_study(storage, study_name)
    loaded = asked.load(drawing)
    name = study_name or default_name(loaded.table)
    return find_study(storage, name, loaded.table, about=loaded.source)


if __name__ == "__main__":
    main()
