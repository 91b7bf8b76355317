"""The trials of a study, up to a total, however many workers run them at once.

A trial that has just begun is needed if fewer than the total of trials before its number did not
fail. The last of all finished trials was begun when all others had been, so that there are never
more than the total.
"""

import re
import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.record.attributes import FINISHED, TrialView
from study.record.record import Record, n_finished
from study.search.objective import Objective, Trained
from study.workers.claims import StudyFailedError, Work
from study.workers.clock import Clock
from study.workers.leases import try_again

FAILURES_IN_A_ROW = 3


class Trials(Work):
    """Runs trials until a total is finished, the clock says so, or an interrupt arrives."""

    def __init__(
        self, record: Record, objective: Objective, *, total: int, clock: Clock | None = None
    ) -> None:
        """The trials of a study.

        Args:
            record: of the study.
            objective: what to run.
            total: of finished trials, those of all workers together.
            clock: when to end; never if not told.
        """
        super().__init__(record)
        self._objective = objective
        self._total = total
        self._clock = clock or Clock()
        self._deadline = self._clock.end  # of the trial that comes next
        self._failures: list[str] = []

    def is_over(self) -> bool:
        """Whether there are enough, or it is time."""
        if self._objective.context.interrupted():
            return True
        finished = n_finished(self.record.study)
        self._deadline = self._clock.trials_end(self.record.study)
        return finished >= self._total or bool(finished and time.monotonic() >= self._deadline)

    def offer(self) -> bool:
        """Whether those that are finished and those that run are fewer than the total."""
        states = [trial.state for trial in self.record.trials()]
        begun = sum(state in FINISHED or state is TrialState.RUNNING for state in states)
        return begun < self._total

    def is_needed(self, trial: FrozenTrial) -> bool:
        """Whether fewer than the total before it did not fail."""
        before = [
            other
            for other in self.record.trials()
            if other.number < trial.number and other.state is not TrialState.FAIL
        ]
        return len(before) < self._total

    def train(self, trial: optuna.Trial, lost: Callable[[], bool]) -> Trained:
        """Runs the objective, until the trials' time is over."""
        return self._objective(trial, deadline=self._deadline, lost=lost)

    def take(self, trial: FrozenTrial) -> None:
        """Counts failures in a row."""
        if trial.state is not TrialState.FAIL:
            self._failures.clear()
            return
        # Two that ran out of memory did so for the same reason, whatever they asked for.
        reason = TrialView(trial).failed or ""
        self._failures.append(re.sub(r"\d+", "#", reason))
        last = self._failures[-FAILURES_IN_A_ROW:]
        if len(last) == FAILURES_IN_A_ROW and len(set(last)) == 1:
            raise StudyFailedError(f"{FAILURES_IN_A_ROW} trials in a row failed: {reason}")


def try_cut_again(record: Record) -> None:
    """Lets the settings of trials that the timeout cut wait to be tried anew, each once a cut."""
    trials = record.trials()
    tried = {TrialView(trial).retry_of for trial in trials}
    for trial in trials:
        if TrialView(trial).was_cut and trial.number not in tried:
            try_again(record, trial)
