"""The objective: one setting, trained epoch by epoch, reported, and stopped when it is time."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace

import optuna
import torch
from torch import Tensor

from model.dataset import Ratings
from model.solver import Epoch, best_epoch
from model.solvers import SOLVERS, Config, make_solver
from storage.optuna_internals import report
from study.record.attributes import Stop, TrialView
from study.record.parameters import to_config
from study.record.seeds import setting_seed
from study.search.pruning import INTERVAL

PATIENCE = 20  # epochs that may pass without progress: factors can take that long to emerge
MOST_SECONDS = 1.0  # between two reports, or an epoch: of quick ones several go at once
PROGRESS = 1e-4  # the share by which the validation MSE has to fall to count as such


class Interrupted(Exception):  # noqa: N818
    """The trial was stopped through no fault of its setting and is to be done again."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all training of a study shares."""

    device: torch.device
    study_seed: int
    interrupted: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a trial came to, in its best epoch."""

    validation_mse: float
    # (n_validation,) float64, clipped; not of that epoch if another was asked for
    predictions: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The validation MSE of a trial's best epoch."""

    context: Context
    training: Ratings
    validation: Ratings

    def __call__(
        self,
        trial: optuna.Trial,
        *,
        deadline: float = math.inf,
        lost: Callable[[], bool] = lambda: False,
    ) -> Trained:
        """Trains, and stores with the trial what came of it, as `trained` says."""
        epochs = self._epochs(to_config(trial.params))
        return trained(trial, epochs, context=self.context, deadline=deadline, lost=lost)

    def _epochs(self, config: Config) -> Generator[Epoch, None, None]:
        device, seed = self.context.device, setting_seed(self.context.study_seed, config)
        solver = make_solver(config, self.training, device=device, seed=seed)
        yield from solver.epochs(self.validation)


def trained(
    trial: optuna.Trial,
    epochs: Generator[Epoch, None, None],
    *,
    context: Context,
    epochs_of_answer: int | None = None,
    deadline: float = math.inf,
    lost: Callable[[], bool] = lambda: False,
) -> Trained:
    """Asks for epochs as long as it is worth it, and stores with the trial what came of them.

    Args:
        trial: with all parameters of its setting.
        epochs: of that setting, which are closed at the end.
        context: of the study's training.
        epochs_of_answer: after how many epochs predictions are asked for, whatever they err:
            training does not end before; those of the best epoch if not told.
        deadline: of time.monotonic().
        lost: whether the trial is somebody else's by now.

    Raises:
        optuna.TrialPruned: the pruner or the deadline stopped it, or it diverged.
        Interrupted: it was stopped from outside.
    """
    began = time.monotonic()
    done: list[Epoch] = []
    predictions: Tensor | None = None
    stop = Stop.EPOCHS
    last_progress = (0, math.inf)  # epoch, validation MSE
    most_epochs = SOLVERS[trial.params["solver"]].most_epochs
    unreported: dict[int, float] = {}
    reported = began

    def flush() -> None:
        report(trial, unreported)
        unreported.clear()

    with closing(epochs):
        for epoch in epochs:
            if not (math.isfinite(epoch.validation_mse) and math.isfinite(epoch.train_mse)):
                stop = Stop.DIVERGED
                break
            done.append(replace(epoch, validation_predictions=None))
            unreported[epoch.number] = epoch.validation_mse
            if epoch.number % INTERVAL == 0 or time.monotonic() - reported >= MOST_SECONDS:
                flush()
                reported = time.monotonic()
            if (
                best_epoch(done) is done[-1]
                if epochs_of_answer is None
                else epoch.number <= epochs_of_answer
            ):
                predictions = epoch.validation_predictions
            if epoch.validation_mse < (1 - PROGRESS) * last_progress[1]:
                last_progress = (epoch.number, epoch.validation_mse)
            if lost() or context.interrupted():
                raise Interrupted("stopped by hand")
            if epoch.number % INTERVAL == 0 and trial.should_prune():
                stop = Stop.PRUNED
                break
            wanted = max(last_progress[0] + PATIENCE, epochs_of_answer or 0)
            if epoch.number >= wanted:
                stop = Stop.PATIENCE
                break
            if time.monotonic() >= deadline:
                stop = Stop.TIMEOUT
                break
            if epoch.number >= most_epochs:
                break
    flush()
    _store(trial, done, stop, time.monotonic() - began)
    best = best_epoch(done)
    if best is None or stop in (Stop.PRUNED, Stop.DIVERGED, Stop.TIMEOUT):
        raise optuna.TrialPruned(stop)
    return Trained(validation_mse=best.validation_mse, predictions=predictions)


def _store(trial: optuna.Trial, epochs: list[Epoch], stop: Stop, seconds: float) -> None:
    stopped = stop.value
    if stop is Stop.DIVERGED:
        stopped += f" in epoch {len(epochs) + 1}: the error is not finite"
    found: dict[str, object] = {
        TrialView.stopped.name: stopped,
        TrialView.seconds.name: round(seconds, 3),
    }
    if best := best_epoch(epochs):
        found |= {
            TrialView.best_epoch.name: best.number,
            TrialView.validation_mse.name: best.validation_mse,
            TrialView.validation_rmse.name: round(math.sqrt(best.validation_mse), 6),
        }
    for name, value in found.items():
        trial.set_user_attr(name, value)
