"""What a person sees while trials run: a bar on a terminal, plain lines elsewhere."""

import math
import time
from types import TracebackType

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from model.solver import Epoch
from study.best import ranked_trials
from study.studies import n_finished


class StudyProgress:
    """Follows the trials of a study; a context manager around `run_trials`."""

    def __init__(self, study: optuna.Study, *, total: int, deadline: float) -> None:
        self._study = study
        self._total = total
        self._deadline = deadline
        self._began = time.monotonic()
        self._finished_before = n_finished(study)
        self._running = ""  # the trial that runs
        self._live: Live | None = None
        self._bar = Progress(
            TextColumn("Trials"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        self._task = self._bar.add_task("", total=total, completed=self._finished_before)
        console = Console(highlight=False)
        if console.is_terminal:
            self._live = Live(self._bar, console=console, refresh_per_second=8, transient=True)

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

    def on_start(self, trial: optuna.Trial) -> None:
        """Takes note of the trial that begins."""
        self._running = f"trial {trial.number}, {trial.params['solver']}"

    def on_epoch(self, epoch: Epoch) -> None:
        """Shows how the running trial is doing, on a terminal."""
        if self._live:
            rmse = math.sqrt(epoch.validation_mse)
            now = f"{self._running}, epoch {epoch.number}: validation RMSE {rmse:.4f}"
            self._live.update(Group(self._bar, Text(f"       {now}", style="dim")))

    def on_finish(self, trial: FrozenTrial) -> None:
        """Shows what the trial came to."""
        finished = n_finished(self._study)
        self._bar.update(self._task, completed=finished, description=self._summary())
        if trial.state is TrialState.FAIL:
            self._print(f"trial {trial.number} failed: {trial.user_attrs.get('failed')}")
        elif not self._live:
            rmse = trial.user_attrs.get("validation_rmse", math.nan)
            outcome = f"{trial.params['solver']:<8}  RMSE {rmse:.4f}"
            outcome += f" at epoch {trial.user_attrs.get('best_epoch', 0)}"
            if trial.state is TrialState.PRUNED:
                outcome += f", {trial.user_attrs['stopped']}"
            self._print(f"{finished}/{self._total}  {outcome} | {self._summary()}")

    def _summary(self) -> str:
        best = ranked_trials(self._study)[:1]
        pruned = len(self._study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
        parts = [f"best {best[0].user_attrs['validation_rmse']:.4f}"] if best else []
        parts.append(f"{pruned} pruned")
        if (left := self._seconds_left()) is not None:
            parts.append(f"{_clock(left)} left")
        return ", ".join(parts)

    def _seconds_left(self) -> float | None:
        finished = n_finished(self._study)
        done = finished - self._finished_before
        if not done:
            return None
        now = time.monotonic()
        left = (now - self._began) / done * (self._total - finished)
        return max(0.0, min(left, self._deadline - now))

    def _print(self, line: str) -> None:
        if self._live:
            self._live.console.print(line, markup=False)
        else:
            print(line, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
