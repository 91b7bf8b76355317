"""What a study costs besides training: proposals, reports, pruning, and the database they go to.

    python -m benchmarks.overhead --data FILE [--trials 100] [--finished 100 300 1000]

The trials of `study.run`, without its finalists, on an SQLite database of their own; each part is
timed without those inside it. Then how long a proposal takes after so many finished trials, of
random settings and made-up errors, beside the mean seconds of a real trial.
"""

import argparse
import contextlib
import io
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.search import random_setting
from benchmarks.stopwatch import Parts, Stopwatch
from model.dataset import Ratings, split
from model.solver import Epoch, Solver
from model.solvers import Config, make_solver
from storage.database import open_storage, parse_storage_url
from study import objective as objectives
from study import trials as running
from study.inputs import Data, choose_device, load_data
from study.record.parameters import SOLVER
from study.record.studies import identity, open_study
from study.search.sampler import SlotSampler, suggest
from study.workers.clock import Timeout
from study.workers.finalists import Finalists
from study.workers.progress import StudyProgress

PARTS: Parts = {
    "proposals": [(SlotSampler, "propose")],
    "begin, suggest": [(running, "begin"), (running, "suggest")],
    "report": [(objectives, "report")],
    "should_prune": [(optuna.Trial, "should_prune")],
    "finish": [(running, "finish")],
    "attributes": [(optuna.Trial, "set_user_attr")],
    "progress shown": [(StudyProgress, "look")],
}
PROPOSALS = 5  # of which the median is told
EPOCHS = 60  # of a made-up trial


def opened(data: Data, folder: str) -> tuple[optuna.Study, Ratings, Ratings]:
    """A study as `study.run` opens it, in a database of its own, with both parts of its split."""
    training, validation = split(data.ratings, seed=0)
    storage = open_storage(parse_storage_url(f"sqlite:///{folder}/study.db"))
    wanted = identity(data.table, validation, seed=0)
    return open_study(storage, "study", wanted, about=data.source), training, validation


def run_study(data: Data, n_trials: int) -> tuple[float, Stopwatch]:
    """The seconds that so many trials take, and those of their parts."""
    watch = Stopwatch()

    def watched(epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        while True:
            with watch.counting("solver"):
                epoch = next(epochs)
            yield epoch

    def make_watched(
        config: Config, training: Ratings, *, device: torch.device, seed: int
    ) -> SimpleNamespace:
        with watch.counting("solver"):
            solver: Solver = make_solver(config, training, device=device, seed=seed)
        return SimpleNamespace(epochs=lambda validation: watched(solver.epochs(validation)))

    with tempfile.TemporaryDirectory() as folder:
        study, training, validation = opened(data, folder)
        objective = objectives.Objective(
            training=training, validation=validation, device=choose_device("cpu"), study_seed=0
        )
        finalists = Finalists(
            study, storage=study._storage, ratings=data.ratings, objective=objective
        )
        with (
            watch.watching(PARTS),
            patch.object(objectives, "make_solver", make_watched),
            contextlib.redirect_stdout(io.StringIO()),
            StudyProgress(
                study, finalists, timeout=Timeout(study=study), total=n_trials + 1
            ) as progress,
        ):
            began = time.perf_counter()
            running.run_trials(
                study,
                objective,
                total=n_trials,
                on_finish=lambda trial: progress.look(),
            )
            return time.perf_counter() - began, watch


def made_up(number: int) -> FrozenTrial:
    """A finished trial of a random setting, with what an objective stores."""
    draw = random.Random(number)
    params: dict[str, Any] = random_setting(number)
    mse = 0.75 + draw.expovariate(10)
    curve = {epoch: mse + 0.3 * 0.9**epoch for epoch in range(1, EPOCHS + 1)}
    return create_trial(
        params=params,
        distributions={"solver": SOLVER} | space(params["solver"]),
        value=mse,
        intermediate_values=curve,
        user_attrs={
            "stopped": objectives.Stop.PATIENCE.value,
            "seconds": 1.0,
            "best_epoch": EPOCHS,
            "validation_mse": mse,
            "validation_rmse": round(mse**0.5, 6),
        },
    )


def proposal_seconds(data: Data, counts: list[int]) -> Iterator[tuple[int, float]]:
    """How long a proposal takes after each number of finished trials."""
    with tempfile.TemporaryDirectory() as folder:
        study, _, _ = opened(data, folder)
        n_trials = 0
        for count in sorted(counts):
            study.add_trials(made_up(number) for number in range(n_trials, count))
            n_trials = count
            seconds = []
            for _ in range(PROPOSALS + 1):
                began = time.perf_counter()
                trial = study.ask()
                suggest(trial)
                seconds.append(time.perf_counter() - began)
                study.tell(trial, state=TrialState.FAIL)
            yield count, statistics.median(seconds[1:])


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 300, 1000])
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = load_data(options.data, runs=Path("runs"))
    wall, watch = run_study(data, options.trials)
    print(f"{options.trials} trials in {wall:.1f} s\n\n| part | seconds | share |\n|---|---|---|")
    training = watch.seconds.pop("solver")
    rows = [("solver", training), ("everything else", wall - training)]
    rows += [(f"… {part}", watch.seconds[part]) for part in PARTS]
    rows.append(("… the rest", wall - training - sum(watch.seconds.values())))
    for part, seconds in rows:
        print(f"| {part} | {seconds:.2f} | {100 * seconds / wall:.1f} % |")
    trial = wall / options.trials
    print(f"\nA trial takes {trial:.3f} s in the mean\n")
    print("| finished trials | a proposal, s | of a mean trial |\n|---|---|---|")
    for count, seconds in proposal_seconds(data, options.finished):
        print(f"| {count:,} | {seconds:.4f} | {100 * seconds / trial:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
