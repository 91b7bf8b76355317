"""Runs the trials of a study, up to a total, however many workers do so at once.

A trial that has just begun is let go on if fewer than the total of trials before its number did not
fail. The last of all finished trials was begun when all others had been, so that there are never
more than the total, without a lock, on any number of machines. Workers of one folder begin trials
one after another, so that none is begun in vain.
"""

import random
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.leases import LEASE, Lease, give_up, try_again
from study.objective import Interrupted, Objective, Stop
from study.space import INTERRUPTED_BY, NOT_NEEDED, RETRY_OF, suggest
from study.studies import FINISHED, n_finished

FAILURES_IN_A_ROW = 3
WAIT_SECONDS = 0.3  # from one look to the next, while others run the last trials

Lock = Callable[[], AbstractContextManager[object]]  # held while a trial begins


class StudyFailedError(Exception):
    """Trials fail one after another for the same reason."""


def run_trials(
    study: optuna.Study,
    objective: Objective,
    *,
    total: int,
    lock: Lock = nullcontext,
    until: Callable[[], float] | None = None,
    on_start: Callable[[optuna.Trial], None] = lambda trial: None,
    on_finish: Callable[[FrozenTrial], None] = lambda trial: None,
) -> None:
    """Runs trials until `total` are finished, the deadline passes or an interrupt arrives.

    Args:
        study: whose trials to run.
        objective: what to run.
        total: of finished trials, those of all workers together.
        lock: what makes the context that a trial is begun in.
        until: the deadline as it is by now; that of the objective if not told.
        on_start: called with each trial that begins.
        on_finish: called with each trial that this worker finished or failed.

    Raises:
        StudyFailedError: several trials in a row failed for the same reason.
    """
    failures: list[str] = []
    with Lease(study._storage) as lease:
        while not objective.interrupted():
            if until:
                objective = replace(objective, deadline=until())
            if time.monotonic() >= objective.deadline and n_finished(study):
                return
            with lock():
                finished, trial_id = begin(study, lease, total=total)
            if finished >= total:
                return
            if trial_id is None:
                time.sleep(random.uniform(0.5, 1.5) * WAIT_SECONDS)
                continue
            with lease.on(trial_id):
                trial = _run(study, trial_id, objective, lease, on_start)
            if trial is None:
                continue
            on_finish(trial)
            if trial.state is not TrialState.FAIL:
                failures.clear()
                continue
            # Two that ran out of memory did so for the same reason, whatever they asked for.
            reason = trial.user_attrs["failed"]
            failures.append(re.sub(r"\d+", "#", reason))
            if failures[-FAILURES_IN_A_ROW:] == failures[-1:] * FAILURES_IN_A_ROW:
                raise StudyFailedError(f"{FAILURES_IN_A_ROW} trials in a row failed: {reason}")


def try_cut_again(study: optuna.Study) -> None:
    """Lets the settings of trials that the timeout cut wait to be tried anew, each once a cut."""
    trials = study.get_trials(deepcopy=False)
    tried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    for trial in trials:
        if trial.user_attrs.get("stopped") == Stop.TIMEOUT and trial.number not in tried:
            try_again(study, trial)


def begin(study: optuna.Study, lease: Lease, *, total: int) -> tuple[int, int | None]:
    """How many trials are finished, and the id of one to run, one that waits or a new one.

    The latter is None if there is none to run now.
    """
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    finished = sum(state in FINISHED for state in states)
    if finished + states.count(TrialState.RUNNING) >= total:
        return finished, None
    storage = study._storage
    trial_id = study._pop_waiting_trial_id()
    if trial_id is None:
        trial_id = create_running(study, system_attrs={LEASE: lease.words()})
    else:
        storage.set_trial_system_attr(trial_id, LEASE, lease.words())
    number = storage.get_trial(trial_id).number
    before = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.number < number and trial.state is not TrialState.FAIL
    ]
    if len(before) < total:
        return finished, trial_id
    withdraw(study, trial_id)
    return finished, None


def create_running(study: optuna.Study, **template: Any) -> int:
    """The id of a new trial that runs, made at once with all that `create_trial` is told of it."""
    new = create_trial(state=TrialState.RUNNING, **template)
    new.datetime_start = datetime.now()
    return study._storage.create_new_trial(study._study_id, new)


def withdraw(study: optuna.Study, trial_id: int) -> None:
    """Fails a trial that was begun although others were quicker: it is not done again."""
    study._storage.set_trial_user_attr(trial_id, INTERRUPTED_BY, NOT_NEEDED)
    study._storage.set_trial_state_values(trial_id, TrialState.FAIL)


def finish(
    study: optuna.Study, trial: optuna.Trial, state: TrialState, value: float | None = None
) -> FrozenTrial:
    """Tells a trial finished.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: another worker did so before.
    """
    values = None if value is None else [value]
    study._storage.set_trial_state_values(trial._trial_id, state, values)
    return study._storage.get_trial(trial._trial_id)


def failure_reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _run(
    study: optuna.Study,
    trial_id: int,
    objective: Objective,
    lease: Lease,
    on_start: Callable[[optuna.Trial], None],
) -> FrozenTrial | None:
    """Runs a trial: what came of it, or None if it is to be done again, here or elsewhere."""
    stopped = objective.interrupted
    objective = replace(objective, interrupted=lambda: lease.lost or stopped())
    trial = optuna.Trial(study, trial_id)
    with suppress(UpdateFinishedTrialError):  # others took this worker for dead
        try:
            suggest(trial)
            on_start(trial)
            value = objective(trial)
        except optuna.TrialPruned:
            latest = list(trial._cached_frozen_trial.intermediate_values.values())[-1:]
            return finish(study, trial, TrialState.PRUNED, *latest)
        except Interrupted:
            give_up(study, study._storage.get_trial(trial_id), "stopped by hand")
        except UpdateFinishedTrialError:
            raise
        except (MemoryError, RuntimeError) as error:
            trial.set_user_attr("failed", failure_reason(error))
            return finish(study, trial, TrialState.FAIL)
        else:
            return finish(study, trial, TrialState.COMPLETE, value)
    return None
