"""What Optuna offers no public name for: all of its private names that this project uses.

`cached`: Optuna puts a cache before a database when it makes a study, out of reach of a storage
that stands before the cache, as `patience` does; so the cache is asked for here.

`report`: a trial reports one value a call, each a transaction that costs as much as many an epoch.
This writes the rows that `Trial.report` writes, several in one transaction and under the same
check, where the storage is a database; elsewhere it calls `Trial.report`. The values are put into
the trial's own copy too, from which `Trial.should_prune` reads.

`tests/test_optuna_internals.py` fails when one of them is changed.
"""

from collections.abc import Mapping

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialModel
from optuna.storages._rdb.storage import _create_scoped_session

from storage.patience import PatientStorage


def cached(storage: RDBStorage) -> BaseStorage:
    """The storage behind a cache of its finished trials."""
    return get_storage(storage)


def report(trial: optuna.Trial, values: Mapping[int, float]) -> None:
    """Reports finite values by their steps, none of which was reported before.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: the trial was told finished.
        optuna.exceptions.StorageInternalError: the database failed.
    """
    storage = getattr(trial.storage, "_backend", trial.storage)
    if not isinstance(storage, RDBStorage) or not values:
        for step, value in values.items():
            trial.report(value, step)
        return
    trial_id = trial._trial_id
    finite = TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    rows = [
        {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": value,
            "intermediate_value_type": finite,
        }
        for step, value in values.items()
    ]

    def insert() -> None:
        # Values that are there already were written before an answer got lost, all or none.
        with _create_scoped_session(storage.scoped_session, ignore_integrity_error=True) as session:
            found = TrialModel.find_or_raise_by_id(trial_id, session)
            storage.check_trial_is_updatable(trial_id, found.state)  # type: ignore[arg-type]
            session.execute(sqlalchemy.insert(TrialIntermediateValueModel), rows)

    patient = trial.storage
    if isinstance(patient, PatientStorage):
        patient.wait_for(insert)
    else:
        insert()
    trial._cached_frozen_trial.intermediate_values.update(values)
