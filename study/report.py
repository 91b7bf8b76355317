"""`python -m study.report`: writes what a study has found as one HTML file."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.cli import Outcome, add_output_options, make_parser, printable, run_command

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

PROG = "study.report"
EPILOG = """\
examples:
  python -m study.report                      beside the database, as study.run
                                              does at its end
  python -m study.report --out report.html    somewhere else
  python -m study.report --study-name mine    of another study; needs no data

A study that is still running can be looked at too. The page needs no other file
and no network.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0, 1 (a file or the database failed) or 2 (bad input)."""
    parser = make_parser(
        PROG,
        "Writes what a study has found as one HTML file: what was gained, the best setting, the "
        "search, the parameters that matter, errors and intervals.",
        EPILOG,
        trains=False,
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where the page goes (default: beside the database, named after the study)",
    )
    add_output_options(parser)
    options = parser.parse_args(arguments)
    run_command(lambda: report(options), PROG, options)


def report(options: argparse.Namespace) -> Outcome:
    """Writes the report that the options ask for."""
    import optuna

    from storage.database import (
        check_database,
        database_file,
        open_storage,
        parse_storage_url,
        runs_folder,
    )
    from storage.predictions import check_writable
    from study.page import report_path, write_report

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = parse_storage_url(options.storage)
    check_database(url, must_exist=True)
    study = _find(open_storage(url), url, options)
    out = options.out or report_path(study, runs_folder(url))
    precious = [path for path in (database_file(url), options.data) if path is not None]
    check_writable(out, precious=precious, makes_folder=options.out is None)
    write_report(study, out.resolve() if options.out else out)  # a link of the user's stays one
    print(f"Study: {printable(study.study_name)}")
    print(f"Report: {out}")
    return Outcome(facts={"study": study.study_name, "files": {"report": str(out)}})


def _find(storage: "BaseStorage", url: "URL", options: argparse.Namespace) -> "optuna.Study":
    """The study that is named, else that of the data that are named, else the only one.

    Where neither is named and the database holds several, it is that of the data by default.

    Raises:
        InputError: there is no such study, or study.run did not make it.
    """
    import optuna

    from storage.database import runs_folder
    from study.inputs import load_data
    from study.studies import FINALISTS, default_name, find_study, known_study

    name = options.study_name
    if name is None and options.data is None:
        names = optuna.get_all_study_names(storage)
        own = [one for one in names if not one.endswith(FINALISTS)]
        name = own[0] if len(own) == 1 else None
    if name is not None and options.data is None:
        return known_study(storage, name)
    data = load_data(
        options.data, runs=runs_folder(url), columns=options.columns, missing=options.missing
    )
    return find_study(storage, name or default_name(data.table), data.table, about=data.source)


if __name__ == "__main__":
    main()
