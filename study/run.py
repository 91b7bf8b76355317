"""`python -m study.run`: runs a study, or goes on with one, until it has its trials."""

import argparse
import math
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from study.cli import (
    DEFAULT_STORAGE,
    FAILED,
    INTERRUPTED,
    at_least,
    make_parser,
    printable,
    run_command,
)

if TYPE_CHECKING:
    import optuna
    from sqlalchemy.engine import URL

    from study.joining import Joined
    from study.workers import Job

PROG = "study.run"
EPILOG = """\
examples:
  python -m study.run --trials 100                  tune on ./mat_comp
  python -m study.run --data ratings.csv --columns user_id,movie_id,rating
  python -m study.run --data ratings.gz --trials 30 --timeout 600
  python -m study.run --trials 200                  go on to 200 trials

The same command goes on where it stopped, whatever stopped it. Then:
  python -m study.best_predict                      write the predictions
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0, 1 (trials keep failing), 2 (bad input) or 130 (interrupted)."""
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
        default=100,
        metavar="N",
        help="finished trials that the study is to have in all (default: 100)",
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
    options = parser.parse_args(arguments)
    run_command(lambda: run(options), PROG)


def run(options: argparse.Namespace) -> int:
    """Runs the study that the options ask for and prints what came of it: the exit code."""
    began = time.monotonic()
    from study.workers import Job, prepare, suitable_workers

    if options.workers != 1:
        prepare()
    import optuna

    from storage.database import (
        check_database,
        database_file,
        open_storage,
        parse_storage_url,
        runs_folder,
    )
    from storage.models import file_name
    from storage.predictions import check_writable
    from storage.proxy import shown
    from study.finalists import is_decided
    from study.held_out import record_held_out
    from study.inputs import choose_device, load_data
    from study.joining import join
    from study.studies import check_others, default_name, n_finished, stored_seed
    from study.summary import summary

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = parse_storage_url(options.storage)
    check_database(url)
    device = choose_device(options.device)
    data = load_data(options.data, runs=runs_folder(url), columns=options.columns)
    if options.data is not None and data.source != str(options.data):
        options.data = data.file  # of a stream: where the next command reads it
    print(f"Data: {data.described()}")

    interrupted = _catch_interrupts()
    storage = open_storage(
        url,
        on_wait=lambda reason: print(f"Waiting for the database: {printable(reason)}", flush=True),
        give_up=interrupted,
    )
    name = options.study_name or default_name(data.table)
    precious = [path for path in (data.file, database_file(url)) if path is not None]
    for kind in ("csv", "html"):  # written at the end
        check_writable(runs_folder(url) / f"{file_name(name)}.{kind}", precious=precious)
    if database_file(url) is None and options.study_name is None:
        check_others(storage, name, source=data.source, is_demonstration=data.file is None)
    n_workers = options.workers or suitable_workers(len(data.ratings), device)
    job = Job(
        storage=options.storage,
        study_name=name,
        total=options.trials,
        data=data.file,
        columns=options.columns,
        folder=runs_folder(url),
        device=options.device,
        seed=options.seed if options.seed is not None else stored_seed(storage, name) or 0,
        hurry=options.timeout is not None,
        deadline=began + options.timeout if options.timeout is not None else math.inf,
        n_workers=n_workers,
    )
    joined = join(job, data, storage, interrupted=interrupted)
    study = joined.study
    before = n_finished(study)
    enough = max(before, options.trials)
    over = before == enough and is_decided(study)
    note = ", nothing left to run" if over else ""
    print(f"Study: {name}, {before} of {enough} trials finished{note}, {shown(url)}")

    failed = not over and not _run_job(job, joined, interrupted)
    finished = n_finished(study)
    done = finished >= options.trials and is_decided(study)

    record_held_out(study, joined.finalists, biases_rmse=joined.biases_rmse)
    print(f"\n{summary(study, biases_rmse=joined.biases_rmse)}\n")
    if not done:
        why = "Stopped by hand" if interrupted() else "Stopped" if failed else "Time is up"
        where = f"{finished} trials" if finished < options.trials else "the finalists"
        print(f"{why}: the same command goes on from {where}")
    _say_what_next(study, url, options)
    return FAILED if failed else INTERRUPTED if interrupted() and not done else 0


def _run_job(job: "Job", joined: "Joined", interrupted: Callable[[], bool]) -> bool:
    """Does what there is to do; whether it was not cut by a failure, which is told then."""
    from study.trials import StudyFailedError
    from study.workers import WorkerError, run_job

    try:
        run_job(job, joined, interrupted=interrupted)
    except (StudyFailedError, WorkerError) as error:
        print(f"{PROG}: {printable(str(error))}", file=sys.stderr)
        return False
    return True


def _say_what_next(study: "optuna.Study", url: "URL", options: argparse.Namespace) -> None:
    from storage.database import runs_folder
    from storage.models import file_name
    from storage.proxy import shown
    from study.best import ranked_trials
    from study.note import keep_note
    from study.page import report_path, write_report
    from study.summary import write_csv

    table = runs_folder(url) / f"{file_name(study.study_name)}.csv"
    write_csv(study, table)
    print(f"Table: {table}")
    report = report_path(study, runs_folder(url))
    write_report(study, report)
    print(f"Report: {report}")
    keep_note(study, report=report)
    print(f"Look: optuna-dashboard {shlex.quote(shown(url))}")
    if ranked_trials(study):
        print(f"Next: {_next_command(options, shown(url))}")


def _next_command(options: argparse.Namespace, storage: str) -> str:
    words = ["python", "-m", "study.best_predict"]
    if options.data is not None:
        words += ["--data", str(options.data)]
    if options.columns is not None:
        words += ["--columns", ",".join(options.columns)]
    if options.storage != DEFAULT_STORAGE:
        words += ["--storage", storage]
    if options.study_name is not None:
        words += ["--study-name", options.study_name]
    return shlex.join(words)


def _catch_interrupts() -> Callable[[], bool]:
    """Takes Ctrl-C and SIGTERM as a wish to end after this epoch; the second ends at once."""
    received = []

    def take(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, take)
    signal.signal(signal.SIGTERM, take)
    return lambda: bool(received)


if __name__ == "__main__":
    main()
