"""`python -m study.run`: runs a study, or goes on with one, until it has its trials."""

import argparse
import shlex
import time
from collections.abc import Sequence

from study.cli import (
    DEFAULT_STORAGE,
    FAILED,
    INTERRUPTED,
    Outcome,
    add_output_options,
    as_called,
    at_least,
    complain,
    make_parser,
    run_command,
    status,
)
from study.result import Ended, Result
from study.tuning import DEFAULT_TRIALS, TuningError, tune

PROG = "study.run"
EPILOG = """\
examples:
  python -m study.run --trials 100                  tune on ./mat_comp
  python -m study.run --data ratings.csv --columns user_id,movie_id,rating
  python -m study.run --data ratings.gz --trials 30 --timeout 600
  python -m study.run --trials 200                  go on to 200 trials
  python -m study.run --quiet --json > found.json   for another program

The same command goes on where it stopped, whatever stopped it. Then:
  python -m study.best_predict                      write the predictions
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with one of `study.cli.EXIT_CODES`."""
    parser = make_parser(
        PROG,
        "Tunes a matrix factorization for ratings: an Optuna study that searches solvers and their "
        "settings with TPE and prunes on the validation error; the best few meet again on fresh "
        "splits.",
        EPILOG,
    )
    parser.add_argument(
        "--trials",
        type=at_least(1, int),
        default=DEFAULT_TRIALS,
        metavar="N",
        help="finished trials that the study is to have in all (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=at_least(0, float),
        metavar="SECONDS",
        help="stop after so long; a trial that is cut keeps its best epoch",
    )
    parser.add_argument(
        "--workers",
        type=at_least(1, int),
        metavar="W",
        help="processes that run trials at once, cores divided among them (default: what suits "
        "the machine and the data); with 1 the same seed gives the same trials",
    )
    parser.add_argument(
        "--seed",
        type=at_least(0, int),
        metavar="I",
        help="of the split, the search and the training (default: 0, or the study's own)",
    )
    add_output_options(parser)
    options = parser.parse_args(arguments)
    run_command(lambda: run(options), PROG, options)


def run(options: argparse.Namespace) -> Outcome:
    """Runs the study that the options ask for and prints what came of it."""
    began = time.monotonic()
    with status("Reading the ratings…"):
        from study.processes import prepare

        if options.workers != 1:
            prepare()
        import optuna

        from storage.database import check_database, parse_storage_url, runs_folder
        from study.inputs import choose_device, load_data
        from study.interrupts import caught_interrupts
        from study.studies import n_finished
        from study.summary import summary

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = parse_storage_url(options.storage)
        check_database(url)
        choose_device(options.device)
        data = load_data(
            options.data, runs=runs_folder(url), columns=options.columns, missing=options.missing
        )
    if options.data is not None and data.source != str(options.data):
        options.data = data.file  # of a stream: where the next command reads it
    print(f"Data: {data.described()}")

    with caught_interrupts():
        loading = time.monotonic() - began
        try:
            result = tune(
                data,
                trials=options.trials,
                timeout=None if options.timeout is None else options.timeout - loading,
                workers=options.workers,
                seed=options.seed,
                storage=options.storage,
                study_name=options.study_name,
                device=options.device,
            )
        except TuningError as error:
            complain(PROG, str(error))
            result = error.result
        print(f"\n{summary(result.study, biases_rmse=result.biases_rmse)}\n")
        if result.ended is not Ended.DONE:
            n, why = n_finished(result.study), result.ended.capitalize()
            where = f"after {n} of {options.trials} trials: the same command goes on"
            if n >= options.trials:
                where = "before the finalists were done: the same command goes on with them"
            print(f"{'Stopped' if result.ended is Ended.FAILED else why} {where}")
        files = _write_files(result)
        print(f"Look: optuna-dashboard {shlex.quote(result.storage)}")
        command = _next_command(options, result) if result.best else None
        if command:
            print(f"Next: {command}")
    codes = {Ended.FAILED: FAILED, Ended.BY_HAND: INTERRUPTED}
    facts = {**_facts(result), "files": files, "next": command}
    return Outcome(code=codes.get(result.ended, 0), facts=facts)


def _write_files(result: Result) -> dict[str, str]:
    """Writes the table and the report of a study beside its database, and its note: the paths."""
    from storage.models import file_name
    from study.note import keep_note
    from study.summary import write_csv

    table = result.folder / f"{file_name(result.study.study_name)}.csv"
    write_csv(result.study, table)
    print(f"Table: {table}")
    report = result.report()
    print(f"Report: {report}")
    keep_note(result.study, report=report)
    return {"table": str(table), "report": str(report)}


def _facts(result: Result) -> dict[str, object]:
    """What a study has come to, for --json."""
    from study.studies import n_finished

    best = result.best
    return {
        "study": result.study.study_name,
        "storage": result.storage,
        "data": result.ratings.source,
        "trials": n_finished(result.study),
        "ended": str(result.ended),
        "best_trial": best and best.trial.number,
        "best_setting": result.best_setting,
        "best_epoch": best and best.trial.user_attrs["best_epoch"],
        "validation_rmse": best and round(result.best_rmse, 6),
        "biases_rmse": round(result.biases_rmse, 6),
    }


def _next_command(options: argparse.Namespace, result: Result) -> str:
    """What writes the predictions, of pairs in a table if none came with the ratings."""
    words = as_called("python -m study.best_predict").split()
    if options.data is not None:
        words += ["--data", str(options.data)]
    if options.columns is not None:
        words += ["--columns", ",".join(options.columns)]
    if options.missing is not None:
        words += ["--missing", f"{options.missing:.15g}"]
    if options.storage != DEFAULT_STORAGE:
        words += ["--storage", result.storage]
    if options.study_name is not None:
        words += ["--study-name", options.study_name]
    if not result.ratings.table.n_queries:
        words += ["--queries", "PAIRS.csv", "--out", "answers.csv"]
    return shlex.join(words)


if __name__ == "__main__":
    main()
