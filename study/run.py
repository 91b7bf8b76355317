"""`python -m study.run`: runs a study, or goes on with one, until it has its trials."""

import argparse
import math
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from study.cli import DEFAULT_STORAGE, FAILED, INTERRUPTED, at_least, make_parser, run_command

if TYPE_CHECKING:
    import optuna
    from sqlalchemy.engine import URL

    from study.objective import Objective

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
    import optuna

    from model.biases import fit_biases
    from model.dataset import split
    from storage.database import (
        check_database,
        open_storage,
        parse_storage_url,
        runs_folder,
        shown,
    )
    from study.finalists import Finalists, is_decided
    from study.inputs import choose_device, load_data
    from study.objective import Objective
    from study.report import summary
    from study.studies import (
        default_name,
        identity,
        let_go,
        n_finished,
        open_study,
        stored_seed,
        take_over,
    )
    from study.trials import StudyFailedError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = parse_storage_url(options.storage)
    check_database(url)
    device = choose_device(options.device)
    data = load_data(options.data, runs=runs_folder(url), columns=options.columns)
    if options.data is not None and data.source != str(options.data):
        options.data = data.file  # of a stream: where the next command reads it
    print(f"Data: {data.described()}")

    storage = open_storage(url)
    name = options.study_name or default_name(data.table)
    seed = options.seed if options.seed is not None else stored_seed(storage, name) or 0
    training, validation = split(data.ratings, seed=seed)
    wanted = identity(data.table, validation, seed=seed)
    hurry = options.timeout is not None
    study = open_study(storage, name, wanted, about=data.described(), hurry=hurry)
    take_over(study, say=print)
    before = n_finished(study)
    enough = max(before, options.trials)
    over = ", nothing left to run" if before == enough and is_decided(study) else ""
    print(f"Study: {name}, {before} of {enough} trials finished{over}, {shown(url)}")

    interrupts = _count_interrupts()
    objective = Objective(
        training=training.to(device),
        validation=validation.to(device),
        device=device,
        study_seed=seed,
        deadline=began + options.timeout if options.timeout is not None else math.inf,
        interrupted=lambda: interrupts() > 0,
    )
    finalists = Finalists(
        study=study,
        storage=storage,
        ratings=data.ratings,
        folder=runs_folder(url),
        objective=objective,
        say=partial(print, flush=True),
    )
    failed = False
    try:
        done = _run_trials(study, objective, options.trials) and finalists.run()
    except StudyFailedError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        done, failed = False, True
    let_go(study)

    biases_rmse = math.sqrt(fit_biases(training).mse(validation))
    print(f"\n{summary(study, biases_rmse=biases_rmse)}\n")
    if not done:
        why = "Stopped by hand" if interrupts() else "Stopped" if failed else "Time is up"
        finished = n_finished(study)
        where = f"{finished} trials" if finished < options.trials else "the finalists"
        print(f"{why}: the same command goes on from {where}")
    _say_what_next(study, url, options)
    return FAILED if failed else INTERRUPTED if interrupts() and not done else 0


def _run_trials(study: "optuna.Study", objective: "Objective", total: int) -> bool:
    """Runs the trials that are missing, in view: whether there are `total` now."""
    from study.progress import StudyProgress
    from study.studies import n_finished
    from study.trials import run_trials

    if n_finished(study) < total:
        with StudyProgress(study, total=total, deadline=objective.deadline) as progress:
            run_trials(
                study,
                replace(objective, on_epoch=progress.on_epoch),
                total=total,
                on_start=progress.on_start,
                on_finish=progress.on_finish,
            )
    return n_finished(study) >= total


def _say_what_next(study: "optuna.Study", url: "URL", options: argparse.Namespace) -> None:
    from storage.database import runs_folder, shown
    from storage.models import file_name
    from study.best import ranked_trials
    from study.report import write_csv

    table = runs_folder(url) / f"{file_name(study.study_name)}.csv"
    write_csv(study, table)
    print(f"Table: {table}")
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


def _count_interrupts() -> Callable[[], int]:
    """Takes Ctrl-C and SIGTERM as a wish to end after this epoch; the second ends at once."""
    received = []

    def take(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, take)
    signal.signal(signal.SIGTERM, take)
    return lambda: len(received)


if __name__ == "__main__":
    main()
