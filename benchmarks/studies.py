"""Studies in memory whose trials this process runs, one after another, without finalists."""

import optuna
import torch
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage

from model.dataset import Ratings
from study.record.record import Record
from study.search.objective import Context, Objective
from study.search.pruning import SolverMedianPruner
from study.workers.trials import Trials


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
    context = Context(device=torch.device("cpu"), study_seed=seed)
    return Objective(context=context, training=training, validation=validation)


def run_trials(record: Record, objective: Objective, *, total: int) -> None:
    """Runs trials until so many are finished."""
    Trials(record, objective, total=total).run()
