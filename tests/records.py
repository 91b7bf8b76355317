"""Studies in memory, and what runs in them."""

from collections.abc import Callable
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial

from model.solvers import Config
from study.record.attributes import TrialView
from study.record.parameters import to_params
from study.record.record import Record
from study.search.objective import Objective, Trained
from study.search.pruning import SolverMedianPruner
from study.search.sampler import SlotSampler, suggest
from study.workers.clock import Clock
from study.workers.trials import Trials


def new_record(
    sampler: BaseSampler | None = None,
    *,
    name: str = "ratings",
    storage: BaseStorage | None = None,
    seed: int = 0,
) -> Record:
    """A study as study.run makes it."""
    storage = InMemoryStorage() if storage is None else storage
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler or SlotSampler(seed),
        pruner=SolverMedianPruner(),
    )
    study.set_user_attr("seed", seed)
    return Record(study, storage)


def run_trials(
    record: Record,
    objective: Callable[..., Trained] | Objective,
    *,
    total: int,
    deadline: float | None = None,
) -> None:
    """Runs trials until there are so many."""
    clock = Clock() if deadline is None else Clock(end=deadline)
    Trials(record, objective, total=total, clock=clock).run()  # type: ignore[arg-type]


def ask(study: optuna.Study, config: Config | None = None) -> optuna.Trial:
    """A trial of a setting, or of the one that the sampler proposes."""
    sampler = study.sampler
    if config:
        study.sampler = GivenSampler(config)
    trial = study.ask()
    suggest(trial)
    study.sampler = sampler
    return trial


def set_state(record: Record, number: int, state: Any, values: Any = None) -> None:
    """Sets the state of a trial, as another worker may do."""
    trial_id = trial_id_of(record, number)
    record.storage.set_trial_state_values(trial_id, state, values)


def trial_id_of(record: Record, number: int) -> int:
    """The id of a trial in its storage."""
    study_id = record.storage.get_study_id_from_name(record.name)
    return record.storage.get_trial_id_from_study_id_trial_number(study_id, number)


def set_lease(record: Record, number: int, lease: Any) -> None:
    """Writes what stands for a lease into a trial."""
    record.keep_with(number, TrialView.lease, lease)


class GivenSampler(SlotSampler):
    """Proposes the one setting that it is given."""

    def __init__(self, config: Config) -> None:
        super().__init__(0)
        self._config = config

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Its parameters."""
        return to_params(self._config)
