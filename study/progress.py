"""What a person sees while a study runs: bars on a terminal, plain lines elsewhere.

All of it is read from the database, so that it shows the work of every worker, on every machine.
"""

import math
import time
from types import TracebackType
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from study.best import ranked_trials
from study.cli import printable
from study.finalists import Finalists, is_decided
from study.race import N_ROUNDS
from study.space import DIED, INTERRUPTED_BY
from study.studies import FINISHED
from study.timeouts import Timeout

MOST_LINES = 8  # of trials that run


class StudyProgress:
    """Follows a study; a context manager around the work."""

    def __init__(
        self,
        study: optuna.Study,
        finalists: Finalists,
        *,
        timeout: Timeout,
        total: int,
        n_workers: int = 1,
    ) -> None:
        self._study = study
        self._finalists = finalists
        self._total = total
        self._timeout = timeout
        self._starting = f"starting {n_workers} workers…" if n_workers > 1 else "starting…"
        self._stopping = False
        self._began = time.monotonic()
        trials = study.get_trials(deepcopy=False)
        self._told = {trial.number for trial in trials if trial.state.is_finished()}
        self._finished_before = sum(trial.state in FINISHED for trial in trials)
        self._summarized = (-1, "")  # how many were finished, and what was said of them
        self._rounds_told = 0
        self._race_is_over = self._finished_before >= total and is_decided(study)
        self._console = Console(highlight=False)
        self._bar = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(separator=" of "),
            TextColumn("{task.description}"),
        )
        self._task = self._bar.add_task("", what="Trials")
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(
                self._bar, console=self._console, refresh_per_second=8, transient=True
            )

    def __enter__(self) -> "StudyProgress":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        line = printable(line)
        if self._live:
            self._console.print(line, markup=False)
        else:
            print(line, flush=True)

    def say_stopping(self) -> None:
        """Says, once, that an interrupt was heard."""
        if not self._stopping:
            self._stopping = True
            self.say("Stopping after the epochs that run; Ctrl-C once more ends at once")

    def look(self) -> None:
        """Shows how the study is doing by now."""
        trials = self._study.get_trials(deepcopy=False)
        finished = [trial for trial in trials if trial.state in FINISHED]
        summary = self._summary(finished)
        new = [t for t in trials if t.state.is_finished() and t.number not in self._told]
        count = len(finished) - sum(trial.state in FINISHED for trial in new)
        for trial in new:
            self._told.add(trial.number)
            count += trial.state in FINISHED
            self._tell(trial, f"{count} of {self._total} done, {summary}")
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        shown: dict[str, Any] = {
            "what": "Trials",
            "completed": len(finished),
            "total": self._total,
            "description": f"done, {summary}",
        }
        quiet = not running and not self._race_is_over  # or it need not be asked of the database
        if quiet and self._timeout.is_for_finalists(self._total):
            shown, running = self._look_at_finalists()
        if running or new:
            self._starting = ""
        if self._live:
            self._bar.update(self._task, **shown)
            self._live.update(Group(self._bar, *_lines(running, self._starting)))

    def _look_at_finalists(self) -> tuple[dict[str, Any], list[FrozenTrial]]:
        """Tells the rounds that are done since: what the bar shows, the runs that go on."""
        now = self._finalists.look()
        for done in now.rounds[self._rounds_told :]:
            self.say(
                f"Finalists, round {done.number + 1}: {done.n_settings} settings on a fresh split, "
                f"trial {done.leader.trial.number} leads, RMSE {done.rmse:.4f}"
            )
        self._rounds_told = len(now.rounds)
        self._race_is_over = now.decided
        shown = {
            "what": "Finalists",
            "completed": now.n_racing - len(now.missing),
            "total": now.n_racing,
            "description": f"runs, round {now.number + 1} of at most {N_ROUNDS}",
        }
        if now.decided:
            return shown, []
        states = (TrialState.RUNNING,)
        return shown, self._finalists.runs.get_trials(deepcopy=False, states=states)

    def _tell(self, trial: FrozenTrial, summary: str) -> None:
        if trial.state is TrialState.FAIL:
            if "failed" in trial.user_attrs:
                self.say(f"trial {trial.number} failed: {trial.user_attrs['failed']}")
            elif DIED in trial.system_attrs:
                reason = trial.user_attrs[INTERRUPTED_BY]
                self.say(f"trial {trial.number}: {reason}; its setting is tried again")
        elif not self._live:
            outcome = f"trial {trial.number}, {trial.params['solver']:<8}  RMSE {_rmse(trial)}"
            outcome += f" at epoch {trial.user_attrs.get('best_epoch', 0)}"
            if trial.state is TrialState.PRUNED:
                outcome += f", {trial.user_attrs['stopped']}"
            self.say(f"{outcome} | {summary}")

    def _summary(self, finished: list[FrozenTrial]) -> str:
        if self._summarized[0] != len(finished):
            best = ranked_trials(self._study)[:1]
            pruned = sum(trial.state is TrialState.PRUNED for trial in finished)
            parts = [f"best by validation {_rmse(best[0])}"] if best else []
            self._summarized = len(finished), ", ".join([*parts, f"{pruned} pruned"])
        left = self._seconds_left(len(finished))
        return self._summarized[1] + ("" if left is None else f", {_clock(left)} left")

    def _seconds_left(self, finished: int) -> float | None:
        done = finished - self._finished_before
        if not done or finished >= self._total:
            return None
        now = time.monotonic()
        left = (now - self._began) / done * (self._total - finished)
        return max(0.0, min(left, self._timeout.deadline - now))


def _rmse(trial: FrozenTrial) -> str:
    return f"{trial.user_attrs.get('validation_rmse', math.nan):.4f}"


def _lines(running: list[FrozenTrial], starting: str) -> list[Text]:
    """A line each of the trials that run, the oldest first, of many the first few."""
    lines = [_line(trial) for trial in running[:MOST_LINES]] or list(filter(None, [starting]))
    if len(running) > MOST_LINES:
        lines.append(f"and {len(running) - MOST_LINES} more")
    return [Text(f"       {printable(line)}", style="dim") for line in lines]


def _line(trial: FrozenTrial) -> str:
    attributes = trial.user_attrs
    name = f"trial {attributes.get('of_trial', trial.number)}"
    if "round" in attributes:
        name += f", round {attributes['round']}"
    name += f", {trial.params.get('solver', 'beginning')}"
    epoch = trial.last_step
    if epoch is None:
        return name
    rmse = math.sqrt(trial.intermediate_values[epoch])
    return f"{name}, epoch {epoch}: validation RMSE {rmse:.4f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
