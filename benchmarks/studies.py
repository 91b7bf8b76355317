"""Trials alone, without finalists: of a study in memory, or a single setting's.

All of them run in this process, one after another.
"""

import math
from dataclasses import replace

import optuna
import torch
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage

from model.dataset import Ratings
from model.solver import Epoch, best_epoch
from model.solvers import SOLVERS, Config, make_solver, solver_name
from study.record.record import Record
from study.search.objective import PATIENCE, Context, Objective
from study.search.pruning import SolverMedianPruner
from study.workers.trials import Trials

CPU = torch.device("cpu")


def new_record(sampler: BaseSampler, pruner: BasePruner | None = None) -> Record:
    """A study without trials, with the pruner of `study.run` if none is told."""
    storage = InMemoryStorage()
    study = optuna.create_study(
        study_name="study",
        storage=storage,
        sampler=sampler,
        pruner=pruner or SolverMedianPruner(),
    )
    return Record(study, storage)


def objective_of(parts: tuple[Ratings, Ratings], *, seed: int) -> Objective:
    """The objective on a processor, of training and validation ratings."""
    training, validation = parts
    context = Context(device=CPU, study_seed=seed)
    return Objective(context=context, training=training, validation=validation)


def run_trials(record: Record, objective: Objective, *, total: int) -> None:
    """Runs trials until so many are finished."""
    Trials(record, objective, total=total).run()


def tried(config: Config, parts: tuple[Ratings, Ratings], *, seed: int) -> Epoch | None:
    """The best epoch of a setting, trained as in a trial that nothing prunes; None if it has none.

    Args:
        config: the setting.
        parts: training and validation ratings.
        seed: of the training.
    """
    training, validation = parts
    most_epochs = SOLVERS[solver_name(config)].most_epochs
    epochs: list[Epoch] = []
    for epoch in make_solver(config, training, device=CPU, seed=seed).epochs(validation):
        if not (math.isfinite(epoch.validation_mse) and math.isfinite(epoch.train_mse)):
            break
        epochs.append(replace(epoch, validation_predictions=None))
        best = best_epoch(epochs)
        if best and epoch.number in (best.number + PATIENCE, most_epochs):
            break
    return best_epoch(epochs)
