"""Joins a study: whatever a worker needs, opened by itself in whichever process it runs.

Processes are started from one that has imported this module, and what it imports.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from model.biases import fit_biases
from model.dataset import of_some_users, split
from storage.database import check_database, open_storage, parse_storage_url
from storage.errors import UnreachableError
from storage.patience import LONGEST_WAIT
from study.finalists import Finalists
from study.inputs import Data, choose_device, load_data
from study.objective import Objective
from study.studies import identity, open_study
from study.timeouts import Timeout
from study.workers import Job

SEARCHED_RATINGS = 2_000_000  # that trials see; of more, those of users drawn at random
AGAIN_SECONDS = 1.0  # after which a database that could not be reached is tried again


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A study that this process has joined."""

    study: optuna.Study
    objective: Objective
    finalists: Finalists
    timeout: Timeout
    n_ratings: int  # in all
    folder: Path  # where files beside the database are

    @property
    def n_searched(self) -> int:
        """The number of ratings that trials see; finalists see all."""
        return len(self.objective.training) + len(self.objective.validation)

    @cached_property
    def biases_rmse(self) -> float:
        """The validation RMSE of biases alone."""
        return math.sqrt(fit_biases(self.objective.training).mse(self.objective.validation))


def join(job: Job, data: Data, storage: BaseStorage, *, interrupted: Callable[[], bool]) -> Joined:
    """The study of a job, made if there is none, and what to run in it.

    Raises:
        InputError: the study is of other ratings, or of another seed.
    """
    device = choose_device(job.device)
    searched = of_some_users(data.ratings, n_ratings=SEARCHED_RATINGS, seed=job.seed)
    training, validation = split(searched, seed=job.seed)
    wanted = identity(data.table, validation, seed=job.seed)
    hurry = math.isfinite(job.timeout)
    study = open_study(storage, job.study_name, wanted, about=data.described(), hurry=hurry)
    objective = Objective(
        training=training.to(device),
        validation=validation.to(device),
        device=device,
        study_seed=job.seed,
        deadline=job.deadline,
        interrupted=interrupted,
    )
    finalists = Finalists(study, storage=storage, ratings=data.ratings, objective=objective)
    timeout = Timeout(
        study=study,
        seconds=job.timeout,
        deadline=job.deadline,
        n_workers=job.n_workers,
        times_ratings=len(data.ratings) / len(searched),
    )
    return Joined(
        study=study,
        objective=objective,
        finalists=finalists,
        timeout=timeout,
        n_ratings=len(data.ratings),
        folder=job.folder,
    )


def join_anew(job: Job, *, interrupted: Callable[[], bool]) -> Joined:
    """The same in a process of its own, which has neither the data nor the storage.

    Raises:
        InputError: the data or the database cannot be used, or do not belong to the study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = parse_storage_url(job.storage)
    data = load_data(job.data, runs=job.folder, columns=job.columns, missing=job.missing)
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
