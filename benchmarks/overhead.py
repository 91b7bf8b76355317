"""What a study costs besides training: proposals, reports, pruning, and the database they go to.

    python -m benchmarks.overhead --data FILE [--trials 100] [--finished 100 300 1000]

The trials of `study.run`, without its finalists, on an SQLite database of their own; each part is
timed without those inside it, and after each trial is told what `study.run` tells twice a second
from a thread of its own. Then how long a proposal takes after so many finished trials, of
random settings and made-up errors, beside the mean seconds of a real trial.
"""

import argparse
import io
import math
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
from model.dataset import Ratings
from model.solver import Epoch, Solver
from model.solvers import Config, make_solver
from storage.database import open_storage, parse_storage_url
from storage.sources import Sources
from study.drawing import Drawing
from study.inputs import Data, load_data
from study.record.attributes import Stop, TrialView
from study.record.parameters import SOLVER, space
from study.record.record import Record
from study.search import objective as objectives
from study.search.sampler import SlotSampler, suggest
from study.workers import claims
from study.workers.clock import Clock
from study.workers.job import Job
from study.workers.joining import Joined, join
from study.workers.leases import Lease
from study.workers.progress import Follower
from study.workers.trials import Trials

PARTS: Parts = {
    "proposals": [(SlotSampler, "propose")],
    "claim, suggest": [
        *((optuna.Study, "ask"), (claims, "suggest")),
        *((Trials, "is_over"), (Trials, "offer"), (Trials, "is_needed")),
    ],
    "lease": [(Lease, "sign")],
    "report": [(objectives, "report")],
    "should_prune": [(optuna.Trial, "should_prune")],
    "finish": [(Record, "finish")],
    "attributes": [(optuna.Trial, "set_user_attr")],
    "progress shown": [(Follower, "look")],
}
PROPOSALS = 5  # of which the median is told
EPOCHS = 60  # of a made-up trial


class Followed(Trials):
    """Trials after each of which is told how the study is doing."""

    def __init__(self, joined: Joined, *, total: int, follower: Follower) -> None:
        super().__init__(joined.record, joined.objective, total=total, clock=joined.clock)
        self._follower = follower

    def take(self, trial: FrozenTrial) -> None:
        """Tells it."""
        super().take(trial)
        self._follower.look()


def opened(data: Data, folder: str, *, total: int) -> Joined:
    """A study as `study.run` opens it, in a database of its own."""
    url = f"sqlite:///{folder}/study.db"
    job = Job(
        storage=url,
        study_name="study",
        total=total,
        sources=Sources(data=data.file),
        folder=Path(folder),
        device="cpu",
        seed=0,
        clock=Clock(),
    )
    return join(job, data, open_storage(parse_storage_url(url)), interrupted=lambda: False)


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
        joined = opened(data, folder, total=n_trials)
        follower = Follower(
            joined.record,
            joined.finalists,
            clock=joined.clock,
            total=n_trials + 1,  # so that no race begins
            on_event=Drawing(io.StringIO()),
        )
        with watch.watching(PARTS), patch.object(objectives, "make_solver", make_watched):
            began = time.perf_counter()
            Followed(joined, total=n_trials, follower=follower).run()
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
            TrialView.stopped.name: Stop.PATIENCE.value,
            TrialView.seconds.name: 1.0,
            TrialView.best_epoch.name: EPOCHS,
            TrialView.validation_mse.name: mse,
            TrialView.validation_rmse.name: round(math.sqrt(mse), 6),
        },
    )


def proposal_seconds(data: Data, counts: list[int]) -> Iterator[tuple[int, float]]:
    """How long a proposal takes after each number of finished trials."""
    with tempfile.TemporaryDirectory() as folder:
        study, n_trials = opened(data, folder, total=max(counts)).record.study, 0
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
