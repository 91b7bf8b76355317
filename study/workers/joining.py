"""Joins a study: whatever a worker needs, opened by itself in whichever process it runs.

Processes are started from one that has imported this module, and what it imports.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from model.biases import fit_biases
from model.dataset import of_rated, of_some_users
from model.solver import mse
from model.splits import Split, split
from storage.database import check_database, open_storage, parse_storage_url
from storage.errors import InputError, UnreachableError
from storage.patience import LONGEST_WAIT
from study.inputs import Data, choose_device, load_data
from study.record.beginning import begin
from study.record.record import Record, n_finished
from study.record.studies import identity, open_study, stored_kinds
from study.search.objective import Context, Objective
from study.search.pruning import SolverMedianPruner
from study.search.sampler import SlotSampler
from study.workers.clock import Clock
from study.workers.crew import Crew
from study.workers.finalists import Finalists
from study.workers.job import Job, Whole
from study.workers.race import n_finalists
from study.workers.trials import Trials

SEARCHED_RATINGS = 2_000_000  # that trials see; of more, those of users drawn at random
AGAIN_SECONDS = 1.0  # after which a database that could not be reached is tried again
LOCK_SECONDS = 60.0  # a worker that waits so long for the lock does without


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A study that this process has joined."""

    record: Record
    objective: Objective
    finalists: Finalists
    clock: Clock
    total: int  # finished trials that it is to have
    folder: Path  # where files beside the database are
    races: bool  # whether this process runs finalists: not if ranks do, and it is none of them

    @property
    def n_searched(self) -> int:
        """The number of ratings that trials see; finalists see all."""
        return len(self.objective.training) + len(self.objective.validation)

    @cached_property
    def biases_rmse(self) -> float:
        """The validation RMSE of biases alone."""
        return math.sqrt(mse(fit_biases(self.objective.training), self.objective.validation))

    @cached_property
    def mean_rmse(self) -> float:
        """The validation RMSE of the mean rating."""
        error = self.objective.validation.values - self.objective.training.values.mean()
        return math.sqrt(error.square().mean().item())

    def work(self) -> None:
        """Runs trials up to the total, then finalists, among all others that do so.

        Raises:
            StudyFailedError: trials keep failing, or all finalists do.
        """
        lock = _folder_lock(self.folder)
        Trials(self.record, self.objective, total=self.total, clock=self.clock).run(lock=lock)
        self.race()

    def race(self) -> None:
        """Runs finalists, among all others that do so, if it is their time.

        Raises:
            StudyFailedError: none of them came to a result in a round.
        """
        in_time = not (self.clock.is_over or self.objective.context.interrupted())
        if self.races and (in_time or n_finished(self.record.study) >= self.total):
            self.finalists.run(lock=_folder_lock(self.folder))


def join(
    job: Job,
    data: Data,
    storage: BaseStorage,
    *,
    interrupted: Callable[[], bool],
    crew: Crew | None = None,
) -> Joined:
    """The study of a job, made if there is none, and what to run in it.

    Args:
        job: that says how far to go.
        data: what the trials are drawn from; if the job has a sample for them, that.
        storage: of the study.
        interrupted: whether to end.
        crew: that has all ratings; this process alone if not told.

    Raises:
        InputError: the study is of other ratings or of another seed, or has begun with another
            although it is to be fresh.
    """
    whole = job.whole or Whole.of(data)
    device = choose_device(job.device, whole.n_ratings)
    context = Context(device=device, study_seed=job.seed, interrupted=interrupted)
    crew = crew or Crew.of(data)
    if job.whole is None:
        searched = of_some_users(data.ratings, n_ratings=SEARCHED_RATINGS, seed=job.seed)
    else:
        is_part = len(data.ratings) < whole.n_ratings
        searched = of_rated(data.ratings) if is_part else data.ratings
    kinds = [job.split] if job.split else stored_kinds(storage, job.study_name)
    if not kinds:
        kinds = [Split.RANDOM] if data.ratings.times is None else [Split.RANDOM, Split.LATEST]
    training, validation = split(searched, seed=job.seed, kind=kinds[0])
    with _folder_lock(job.folder)():  # several may make it at once
        record = open_study(
            storage,
            job.study_name,
            identity(whole.digest, validation, seed=job.seed, kinds=kinds),
            about=whole.about,
            sampler=SlotSampler(job.seed, hurry=math.isfinite(job.clock.seconds)),
            pruner=SolverMedianPruner(),
        )
        begins = begin(record, crew, kinds=kinds, fresh=job.fresh)
    if job.fresh and begins["study"]:
        raise InputError(
            f"study '{record.name}': began with {begins['study']}; leave fresh= out, or choose "
            "another study_name="
        )
    clock = replace(
        job.clock,
        n_finalists=n_finalists(whole.n_ratings),
        times_ratings=whole.n_ratings / len(searched),
    )
    return Joined(
        record=record,
        objective=Objective(
            context=context,
            training=training.to(context.device),
            validation=validation.to(context.device),
        ),
        finalists=Finalists(record, crew=crew, context=context, clock=clock),
        clock=clock,
        total=job.total,
        folder=job.folder,
        races=job.whole is None or crew.world.size > 1,
    )


def join_anew(job: Job, *, interrupted: Callable[[], bool]) -> Joined:
    """The same in a process of its own, which has neither the data nor the storage.

    Raises:
        InputError: the data or the database cannot be used, or do not belong to the study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = parse_storage_url(job.storage)
    data = load_data(job.sources, runs=job.folder)
    until = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            check_database(url, must_exist=True)  # it did, a moment ago
            storage = open_storage(url, give_up=interrupted)
            return join(job, data, storage, interrupted=interrupted)
        except UnreachableError:
            if interrupted() or time.monotonic() > until:
                raise
        time.sleep(AGAIN_SECONDS)


def _folder_lock(folder: Path) -> Callable[[], AbstractContextManager[object]]:
    """What makes a context that one process at a time is in, of those that share the folder."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS, poll_interval=0.005)

    def held() -> AbstractContextManager[object]:
        try:
            return lock.acquire()
        except (Timeout, OSError):
            return nullcontext()  # trials are counted right without it

    return held
