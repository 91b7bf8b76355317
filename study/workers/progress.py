"""Follows a study, and tells what goes on in it.

All of it is read from the database, so that it tells of the work of every worker, on every machine.
"""

import math
import time

from optuna.trial import FrozenTrial, TrialState

from model.splits import Split
from study.events import Ended, OnEvent, Progress, Said
from study.record.attributes import FINISHED, TrialView
from study.record.ranking import is_decided, ranked_trials
from study.record.record import Record
from study.workers.clock import Clock
from study.workers.finalists import Finalists

FRESH = {  # what a round was on
    Split.RANDOM: "a fresh split",
    Split.LATEST: "each user's latest",
    Split.TIME: "the last of all",
}


class Follower:
    """Looks at a study now and then, and tells what is new."""

    def __init__(
        self,
        record: Record,
        finalists: Finalists,
        *,
        clock: Clock,
        total: int,
        n_workers: int = 1,
        on_event: OnEvent,
    ) -> None:
        self._record = record
        self._finalists = finalists
        self._total = total
        self._clock = clock
        self._on_event = on_event
        self._starting = f"starting {n_workers} workers…" if n_workers > 1 else "starting…"
        self._stopping = False
        self._began = time.monotonic()
        trials = record.trials()
        self._told = {trial.number for trial in trials if trial.state.is_finished()}
        self._finished_before = sum(trial.state in FINISHED for trial in trials)
        self._best_of = (-1, "")  # how many were finished, and the RMSE of the best
        self._rounds_told = 0
        self._race_is_over = self._finished_before >= total and is_decided(record.study)

    def say_stopping(self) -> None:
        """Says, once, that an interrupt was heard."""
        if not self._stopping:
            self._stopping = True
            text = "Stopping after the epochs that run; Ctrl-C once more ends at once"
            self._on_event(Said(text))

    def look(self) -> None:
        """Tells how the study is doing by now."""
        trials = self._record.trials()
        finished = [trial for trial in trials if trial.state in FINISHED]
        summary = self._summary(finished)
        new = [t for t in trials if t.state.is_finished() and t.number not in self._told]
        count = len(finished) - sum(trial.state in FINISHED for trial in new)
        for trial in new:
            self._told.add(trial.number)
            count += trial.state in FINISHED
            self._tell(trial, f"{count} of {self._total}", trials=finished)
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        quiet = not running and not self._race_is_over  # or it need not be asked of the database
        if running or new:
            self._starting = ""
        if quiet and self._clock.is_for_finalists(self._record.study, total=self._total):
            self._on_event(self._look_at_finalists())
            return
        self._on_event(
            Progress(
                what="Trials",
                done=len(finished),
                total=self._total,
                about=f"done, {summary}",
                running=self._lines(running),
            )
        )

    def _look_at_finalists(self) -> Progress:
        """Tells the rounds that are done since; how far the round is that goes on."""
        now = self._finalists.look()
        for done in now.rounds[self._rounds_told :]:
            text = (
                f"Finalists, round {done.number + 1}: {done.n_settings} "
                f"setting{'s' if done.n_settings > 1 else ''} on "
                f"{FRESH[done.kind]}, "
                f"trial {done.leader.trial.number} leads, RMSE {done.rmse:.4f}"
            )
            self._on_event(Said(text))
        self._rounds_told = len(now.rounds)
        self._race_is_over = now.decided
        running: list[FrozenTrial] = []
        if not now.decided:
            running = self._finalists.runs.record.trials(TrialState.RUNNING)
        return Progress(
            what="Finalists",
            done=now.n_racing - len(now.missing),
            total=now.n_racing,
            about=f"runs, round {now.number + 1} of at most {now.most_rounds}",
            running=self._lines(running),
        )

    def _tell(self, trial: FrozenTrial, count: str, *, trials: list[FrozenTrial]) -> None:
        """Tells, within 80 columns, what a trial came to, and where the study is."""
        view = TrialView(trial)
        if trial.state is TrialState.FAIL:
            if view.failed is not None:
                self._on_event(Said(f"trial {trial.number} failed: {view.failed}"))
            elif view.died:
                text = f"trial {trial.number}: {view.interrupted}; its setting is tried again"
                self._on_event(Said(text))
            return
        outcome = f"trial {trial.number}, {trial.params['solver']:<8}  RMSE {_rmse(trial)}"
        if trial.state is TrialState.PRUNED:
            outcome += f", {view.stopped}"
        best = [f"best {one}"] if (one := self._best(trials)) else []
        self._on_event(Ended(f"{outcome} | {', '.join([count, *best, *self._left(trials)])}"))

    def _summary(self, finished: list[FrozenTrial]) -> str:
        best = [f"best by validation {one}"] if (one := self._best(finished)) else []
        pruned = sum(trial.state is TrialState.PRUNED for trial in finished)
        return ", ".join([*best, f"{pruned} pruned", *self._left(finished)])

    def _best(self, finished: list[FrozenTrial]) -> str:
        """The RMSE of the best trial; empty if there is none."""
        if self._best_of[0] != len(finished):
            best = ranked_trials(self._record.study)[:1]
            self._best_of = len(finished), _rmse(best[0]) if best else ""
        return self._best_of[1]

    def _left(self, finished: list[FrozenTrial]) -> list[str]:
        """How long it still takes, if that can be told."""
        left = self._seconds_left(len(finished))
        return [] if left is None else [f"{_for_people(left)} left"]

    def _seconds_left(self, finished: int) -> float | None:
        done = finished - self._finished_before
        if not done or finished >= self._total:
            return None
        now = time.monotonic()
        left = (now - self._began) / done * (self._total - finished)
        return max(0.0, min(left, self._clock.end - now))

    def _lines(self, running: list[FrozenTrial]) -> list[str]:
        """A line each of the trials that run, the oldest first."""
        return [_line(trial) for trial in running] or list(filter(None, [self._starting]))


def _rmse(trial: FrozenTrial) -> str:
    found = TrialView(trial).validation_rmse
    return f"{math.nan if found is None else found:.4f}"


def _line(trial: FrozenTrial) -> str:
    view = TrialView(trial)
    name = f"trial {trial.number if view.of_trial is None else view.of_trial}"
    if view.round is not None:
        name += f", round {view.round}"
    name += f", {trial.params.get('solver', 'beginning')}"
    epoch = trial.last_step
    if epoch is None:
        return name
    rmse = math.sqrt(trial.intermediate_values[epoch])
    return f"{name}, epoch {epoch}: validation RMSE {rmse:.4f}"


def _for_people(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
