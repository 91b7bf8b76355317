"""The objective: one setting, trained epoch by epoch, reported, and stopped when it is time."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import optuna
import torch
from torch import Tensor

from model.dataset import Ratings
from model.solver import Epoch, best_epoch
from model.solvers import SOLVERS, Config, make_solver
from storage.reports import report
from study.pruning import INTERVAL
from study.space import stable_seed, to_config, to_params

PATIENCE = 20  # epochs that may pass without progress: factors can take that long to emerge
MOST_SECONDS = 1.0  # between two reports, or an epoch: of quick ones several go at once
PROGRESS = 1e-4  # the share by which the validation MSE has to fall to count as such


class Stop(StrEnum):
    """Why a trial's training ended; stored with the trial."""

    PATIENCE = "no progress"
    EPOCHS = "last epoch"
    TIMEOUT = "timeout"
    PRUNED = "pruned"
    DIVERGED = "diverged"


class Interrupted(Exception):  # noqa: N818
    """The trial was stopped from outside and is to be done again."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The validation MSE of a trial's best epoch."""

    training: Ratings
    validation: Ratings
    device: torch.device
    study_seed: int
    deadline: float = math.inf  # of time.monotonic()
    interrupted: Callable[[], bool] = lambda: False
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_best: Callable[[Tensor], None] = lambda predictions: None

    def __call__(self, trial: optuna.Trial) -> float:
        """Trains, and stores with the trial what came of it.

        Raises:
            optuna.TrialPruned: the pruner or the deadline stopped it, or it diverged.
            Interrupted: it was stopped from outside.
        """
        began = time.monotonic()
        config = to_config(trial.params)
        epochs: list[Epoch] = []
        stop = Stop.EPOCHS
        last_progress = (0, math.inf)  # epoch, validation MSE
        most_epochs = SOLVERS[trial.params["solver"]].most_epochs
        seed = setting_seed(self.study_seed, config)
        unreported: dict[int, float] = {}
        reported = began

        def flush() -> None:
            report(trial, unreported)
            unreported.clear()

        solver = make_solver(config, self.training, device=self.device, seed=seed)
        for epoch in solver.epochs(self.validation):
            if not (math.isfinite(epoch.validation_mse) and math.isfinite(epoch.train_mse)):
                stop = Stop.DIVERGED
                break
            epochs.append(replace(epoch, validation_predictions=None))
            unreported[epoch.number] = epoch.validation_mse
            if epoch.number % INTERVAL == 0 or time.monotonic() - reported >= MOST_SECONDS:
                flush()
                reported = time.monotonic()
            self.on_epoch(epoch)
            if epoch.validation_predictions is not None and best_epoch(epochs) is epochs[-1]:
                self.on_best(epoch.validation_predictions)
            if epoch.validation_mse < (1 - PROGRESS) * last_progress[1]:
                last_progress = (epoch.number, epoch.validation_mse)
            if self.interrupted():
                raise Interrupted
            if epoch.number % INTERVAL == 0 and trial.should_prune():
                stop = Stop.PRUNED
                break
            if epoch.number - last_progress[0] >= PATIENCE:
                stop = Stop.PATIENCE
                break
            if time.monotonic() >= self.deadline:
                stop = Stop.TIMEOUT
                break
            if epoch.number >= most_epochs:
                break
        flush()
        self._store(trial, epochs, stop, time.monotonic() - began)
        best = best_epoch(epochs)
        if best is None or stop in (Stop.PRUNED, Stop.DIVERGED, Stop.TIMEOUT):
            raise optuna.TrialPruned(stop)
        return best.validation_mse

    def _store(self, trial: optuna.Trial, epochs: list[Epoch], stop: Stop, seconds: float) -> None:
        stopped = stop.value
        if stop is Stop.DIVERGED:
            stopped += f" in epoch {len(epochs) + 1}: the error is not finite"
        trial.set_user_attr("stopped", stopped)
        trial.set_user_attr("seconds", round(seconds, 3))
        if best := best_epoch(epochs):
            trial.set_user_attr("best_epoch", best.number)
            trial.set_user_attr("validation_mse", best.validation_mse)
            trial.set_user_attr("validation_rmse", round(math.sqrt(best.validation_mse), 6))


def setting_seed(study_seed: int, config: Config) -> int:
    """The seed of a setting's training, in the study and when it is trained again."""
    return stable_seed("setting", study_seed, to_params(config))
