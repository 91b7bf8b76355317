"""Runs the trials of a study, up to a total, whatever happens to single ones."""

import re
import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.objective import Interrupted, Objective
from study.space import suggest
from study.studies import fail_interrupted, n_finished

FAILURES_IN_A_ROW = 3


class StudyFailedError(Exception):
    """Trials fail one after another for the same reason."""


def run_trials(
    study: optuna.Study,
    objective: Objective,
    *,
    total: int,
    on_start: Callable[[optuna.Trial], None] = lambda trial: None,
    on_finish: Callable[[FrozenTrial], None] = lambda trial: None,
) -> None:
    """Runs trials until `total` are finished, the deadline passes or an interrupt arrives.

    Raises:
        StudyFailedError: several trials in a row failed for the same reason.
    """
    failures: list[str] = []
    while n_finished(study) < total and not objective.interrupted():
        if n_finished(study) and time.monotonic() >= objective.deadline:
            return
        trial = study.ask()
        suggest(trial)
        on_start(trial)
        try:
            value = objective(trial)
        except optuna.TrialPruned:
            finished = study.tell(trial, state=TrialState.PRUNED)
            failures.clear()
        except Interrupted:
            fail_interrupted(study, trial.number, "stopped by hand")
            return
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise StudyFailedError("another process has taken over the study") from error
        except (MemoryError, RuntimeError) as error:
            reason = failure_reason(error)
            trial.set_user_attr("failed", reason)
            finished = study.tell(trial, state=TrialState.FAIL)
            # Two that ran out of memory did so for the same reason, whatever they asked for.
            failures.append(re.sub(r"\d+", "#", reason))
            if failures[-FAILURES_IN_A_ROW:] == failures[-1:] * FAILURES_IN_A_ROW:
                raise StudyFailedError(
                    f"{FAILURES_IN_A_ROW} trials in a row failed: {reason}"
                ) from error
        else:
            finished = study.tell(trial, value)
            failures.clear()
        on_finish(finished)


def failure_reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
