"""`python -m study.best_predict`: trains the best setting on every rating, answers the queries."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.cli import at_least, make_parser, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.inputs import Data

PROG = "study.best_predict"
EPILOG = """\
examples:
  python -m study.best_predict                  the best setting for ./mat_comp
  python -m study.best_predict --average 5      the mean of the five best
  python -m study.best_predict --truth answers  and how far it is from the truth
  python -m study.best_predict --data ratings.csv --queries pairs.csv --out answers.csv
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0 or 2 (bad input)."""
    parser = make_parser(
        PROG,
        "Trains the best setting of a study on every rating and writes one predicted rating a "
        "line, in the order of the queries.",
        EPILOG,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("mat_comp_ans"),
        metavar="FILE",
        help="where the predictions go: with .csv, .tsv or .parquet at the end a table of user, "
        "item and prediction, else one prediction a line (default: %(default)s)",
    )
    parser.add_argument(
        "--queries",
        type=Path,
        metavar="FILE",
        help="the pairs to predict, a table as for --data (default: those in a mat_comp file)",
    )
    parser.add_argument(
        "--average",
        type=at_least(1, int),
        metavar="K",
        help="average the models of the K best settings (default: as many as the finalists "
        "found worth it)",
    )
    parser.add_argument(
        "--intervals",
        type=Path,
        metavar="FILE",
        help="a table with the predictions, their standard deviations and 90 %% intervals, "
        "calibrated on held-out ratings: one more training each",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="FILE",
        help="the true ratings of the queries, one a line: prints RMSE, MAE and MSE",
    )
    options = parser.parse_args(arguments)
    run_command(lambda: best_predict(options), PROG)


def best_predict(options: argparse.Namespace) -> int:
    """Writes the predictions that the options ask for: the exit code."""
    import optuna

    from storage.database import check_database, database_file, parse_storage_url, runs_folder
    from storage.errors import InputError
    from storage.lines import read_numbers
    from storage.predictions import check_writable, write_answers, write_table
    from study.inputs import choose_device, load_data
    from study.intervals import calibrate
    from study.leases import is_running
    from study.predict import open_ensemble

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = parse_storage_url(options.storage)
    check_database(url, must_exist=True)
    device = choose_device(options.device)
    data = load_data(
        options.data, runs=runs_folder(url), columns=options.columns, queries=options.queries
    )
    table = data.table
    truth = data.truth
    if options.truth is not None:
        truth = read_numbers(options.truth, expected=table.n_queries)
    ensemble = open_ensemble(
        url,
        data,
        study_name=options.study_name,
        average=options.average,
        device=device,
        say=print,
    )
    study, n_settings = ensemble.study, len(ensemble.settings)
    if table.about and options.queries is None:
        raise InputError(f"{data.source}: holds no pairs to predict; --queries FILE gives them")
    read = [data.file, options.queries, options.truth, database_file(url)]
    precious = [path for path in read if path is not None]
    check_writable(options.out, precious=precious)
    if options.intervals is not None:
        check_writable(options.intervals, precious=[*precious, options.out])

    print(f"Data: {data.described()}")
    note = ", still running: the best so far" if is_running(study) else ""
    print(f"Study: {study.study_name}{note}")
    if n_settings < (options.average or 1):
        print(f"Average: of {n_settings} settings; no more have finished")
    predictions, spread = ensemble.answer()
    write_answers(options.out, table, predictions)
    print(f"Wrote: {options.out}, {table.n_queries:,} predictions")
    if options.intervals is not None:
        calibration = calibrate(ensemble)
        write_table(options.intervals, table, calibration.intervals(predictions, spread))
        print(f"Wrote: {options.intervals}, 90 % intervals, calibrated on held-out ratings")
    if truth is not None and table.n_queries:
        _tell_score(data, predictions, truth)
    return 0


def _tell_score(
    data: "Data", predictions: "NDArray[np.float64]", truth: "NDArray[np.float64]"
) -> None:
    from study.score import score

    for name, figure in score(predictions, truth, data.table.query_user_ids).items():
        print(f"{name}: {figure}")
    if data.noise_std is not None:
        print(f"Noise floor: RMSE {data.noise_std:.4f}, of the planted model itself")


if __name__ == "__main__":
    main()
