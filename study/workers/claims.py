"""How workers share trials: claimed, leased, run, finished, withdrawn or done again.

A trial is claimed before it is known to be needed, and withdrawn if it is not: by its number
everyone sees alike who was first, so that no lock is needed, on any number of machines. Workers of
one folder claim one after another, so that nothing is claimed in vain.
"""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from study.record.attributes import TrialView
from study.record.record import Record
from study.search.objective import Interrupted, Trained
from study.search.sampler import suggest
from study.workers.leases import Lease, give_up

WAIT_SECONDS = 0.3  # from one look to the next, while others run the last trials

Lock = Callable[[], AbstractContextManager[object]]  # held while a trial is claimed


class StudyFailedError(Exception):
    """Trials fail one after another for the same reason, or all finalists do."""


class Work(ABC):
    """Trials of a study that workers share."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def run(self, *, lock: Lock = nullcontext) -> None:
        """Does what nobody else does, until the work is over.

        Raises:
            StudyFailedError: it will not come to an end.
        """
        with Lease(self.record) as lease:
            while not self.is_over():
                with lock():
                    trial = self._claim(lease)
                if trial is None:
                    time.sleep(random.uniform(0.5, 1.5) * WAIT_SECONDS)
                    continue
                with lease.on(trial.number):
                    done = self._run(trial, lease)
                if done is not None:
                    self.take(done)

    @abstractmethod
    def is_over(self) -> bool:
        """Whether nothing is left to be begun by this worker.

        Raises:
            StudyFailedError: it will not come to an end.
        """

    @abstractmethod
    def offer(self) -> bool:
        """Whether there is something to claim, which may be put into the study's queue first."""

    @abstractmethod
    def is_needed(self, trial: FrozenTrial) -> bool:
        """Whether a trial that was just claimed is, beside those that were claimed before it."""

    @abstractmethod
    def train(self, trial: optuna.Trial, lost: Callable[[], bool]) -> Trained:
        """Runs the objective.

        Raises:
            optuna.TrialPruned: it came to nothing more.
            Interrupted: it is to be done again.
        """

    def keep(self, number: int, trained: Trained) -> None:  # noqa: B027
        """Keeps more of what a trial came to, before it is told complete."""

    def take(self, trial: FrozenTrial) -> None:  # noqa: B027
        """Learns what became of a trial that this worker has run.

        Raises:
            StudyFailedError: others would come to the same.
        """

    def _claim(self, lease: Lease) -> optuna.Trial | None:
        """A trial to run, one that waits or a new one; None if there is none now."""
        if not self.offer():
            return None
        trial = self.record.study.ask()
        with suppress(UpdateFinishedTrialError):  # others took this worker for dead
            lease.sign(trial.number)
            if self.is_needed(self.record.trial(trial.number)):
                return trial
            self.record.withdraw(trial.number)
        return None

    def _run(self, trial: optuna.Trial, lease: Lease) -> FrozenTrial | None:
        """Runs a trial: what came of it, or None if it is to be done again, here or elsewhere."""
        record, number = self.record, trial.number
        with suppress(UpdateFinishedTrialError):  # others took this worker for dead
            try:
                suggest(trial)
                trained = self.train(trial, lease.lost)
                self.keep(number, trained)
            except optuna.TrialPruned:
                return record.finish(number, TrialState.PRUNED)
            except Interrupted as why:
                give_up(record, record.trial(number), str(why) or "stopped")
            except UpdateFinishedTrialError:
                raise
            except (MemoryError, RuntimeError) as error:
                record.keep_with(number, TrialView.failed, failure_reason(error))
                return record.finish(number, TrialState.FAIL)
            else:
                return record.finish(number, TrialState.COMPLETE, trained.validation_mse)
        return None


def failure_reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
