"""What a person sees while trials run: a bar on a terminal, plain lines elsewhere."""

import math
import time
from types import TracebackType

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

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
        self._failed = 0
        console = Console()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("Trials"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.description}"),
                console=console,
            )
            self._task = self._bar.add_task("", total=total, completed=self._finished_before)
        self._trial = 0

    def __enter__(self) -> "StudyProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def on_start(self, trial: optuna.Trial) -> None:
        """Takes note of the trial that begins."""
        self._trial = trial.number

    def on_epoch(self, epoch: Epoch) -> None:
        """Shows how the running trial is doing."""
        if self._bar:
            rmse = math.sqrt(epoch.validation_mse)
            running = f"trial {self._trial} epoch {epoch.number} {rmse:.4f}"
            self._bar.update(self._task, description=f"{self._summary()} | {running}")

    def on_finish(self, trial: FrozenTrial) -> None:
        """Shows what the trial came to."""
        finished = n_finished(self._study)
        if trial.state is TrialState.FAIL:
            self._failed += 1
            self._print(f"trial {trial.number} failed: {trial.user_attrs.get('failed')}")
        if self._bar:
            self._bar.update(self._task, completed=finished, description=self._summary())
        elif trial.state is not TrialState.FAIL:
            rmse = trial.user_attrs.get("validation_rmse", math.nan)
            outcome = f"RMSE {rmse:.4f} at epoch {trial.user_attrs.get('best_epoch', 0)}"
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
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
