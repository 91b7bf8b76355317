"""`python -m study.best_predict`: trains the best setting on every rating, answers the queries."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from study.cli import (
    Outcome,
    add_output_options,
    at_least,
    complain,
    make_parser,
    run_command,
    status,
)

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
  python -m study.best_predict --intervals sure.csv   and how sure each one is
  python -m study.best_predict --data ratings.csv --queries pairs.csv \\
      --out answers.csv
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with one of `study.cli.EXIT_CODES`."""
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
        help="the pairs to predict, a table whose columns are called as in the ratings, or "
        "user_id and item_id (default: those in a mat_comp file)",
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
    add_output_options(parser)
    options = parser.parse_args(arguments)
    run_command(lambda: best_predict(options), PROG, options)


def best_predict(options: argparse.Namespace) -> Outcome:
    """Writes the predictions that the options ask for."""
    with status("Reading the ratings…"):
        import optuna

        from storage.database import check_database, database_file, parse_storage_url, runs_folder
        from storage.errors import InputError
        from storage.lines import read_numbers
        from storage.predictions import check_ending, check_writable, write_answers, write_table
        from study.inputs import choose_device, load_data
        from study.intervals import calibrate
        from study.leases import is_running
        from study.predict import open_ensemble

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = parse_storage_url(options.storage)
        check_database(url, must_exist=True)
        device = choose_device(options.device)
        data = load_data(
            options.data,
            runs=runs_folder(url),
            columns=options.columns,
            missing=options.missing,
            queries=options.queries,
        )
    table, truth = data.table, data.truth
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
    study = ensemble.study
    if table.about and options.queries is None:
        raise InputError(f"{data.source}: holds no pairs to predict; --queries FILE gives them")
    precious = list(filter(None, (data.file, options.queries, options.truth, database_file(url))))
    for path in filter(None, (options.out, options.intervals)):
        check_writable(path, precious=precious)
        check_ending(path)
        precious.append(path)

    if data.doubt:
        complain(PROG, data.doubt)
    print(f"Data: {data.described()}")
    note = ", still running: the best so far" if is_running(study) else ""
    print(f"Study: {study.study_name}{note}")
    if (options.average or 1) > 1:
        print(ensemble.described(wanted=options.average))
    with status("Predicting…"):
        predictions, spread = ensemble.answer()
    write_answers(options.out, table, predictions)
    print(f"Wrote: {options.out}, {table.n_queries:,} predictions")
    if options.intervals is not None:
        with status("Calibrating the intervals…"):
            calibration = calibrate(ensemble)
        columns = calibration.intervals(predictions, spread, ensemble.kinds())
        write_table(options.intervals, table, columns)
        print(
            f"Wrote: {options.intervals}, 90 % intervals, calibrated on "
            f"{calibration.n_ratings:,} held-out ratings"
        )
        if calibration.doubt:
            complain(PROG, calibration.doubt)
    facts: dict[str, object] = {
        "study": study.study_name,
        "data": data.source,
        "trials": [setting.trial.number for setting in ensemble.settings],
        "validation_rmse": round(ensemble.settings[0].rmse, 6),
        "predictions": table.n_queries,
        "files": {
            "out": str(options.out),
            "intervals": options.intervals and str(options.intervals),
        },
    }
    if truth is not None and table.n_queries:
        facts["score"] = _score(predictions, truth, data)
    return Outcome(facts=facts)


def _score(
    predictions: "NDArray[np.float64]", truth: "NDArray[np.float64]", data: "Data"
) -> dict[str, object]:
    """Prints how far the predictions are from the truth; the same for --json."""
    from study.score import score

    figures = score(predictions, truth, data.table.query_user_ids)
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    if data.noise_std is not None:
        print(f"Noise floor: RMSE {data.noise_std:.4f}, of the planted model itself")
    return {name.lower(): asdict(figure) for name, figure in figures.items()}


if __name__ == "__main__":
    main()
