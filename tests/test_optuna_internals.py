"""Several intermediate values at once: what Optuna's own reports leave, in one transaction."""

from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from storage.database import open_storage, parse_storage_url
from storage.optuna_internals import report

VALUES = {1: 0.9, 2: 0.85, 3: 0.875}


@pytest.fixture(params=["in memory", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    if request.param == "in memory":
        return optuna.create_study()
    return optuna.create_study(
        storage=open_storage(parse_storage_url(f"sqlite:///{tmp_path}/a.db"))
    )


def test_values_are_those_of_single_reports(study: optuna.Study) -> None:
    one, many = study.ask(), study.ask()
    for step, value in VALUES.items():
        one.report(value, step)
    report(many, {1: VALUES[1]})
    report(many, {})
    report(many, {step: VALUES[step] for step in (2, 3)})
    for trial in (one, many):
        assert trial._get_latest_trial().intermediate_values == VALUES
        study.tell(trial, 0.85)
    first, second = study.get_trials()
    assert first.intermediate_values == second.intermediate_values == VALUES


def test_a_finished_trial_takes_none(study: optuna.Study) -> None:
    trial = study.ask()
    study.tell(trial.number, state=TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        report(trial, VALUES)
    assert study.get_trials()[0].intermediate_values == {}


def test_a_hundred_values_are_one_transaction(tmp_path: Path) -> None:
    storage = open_storage(parse_storage_url(f"sqlite:///{tmp_path}/a.db"))
    trial = optuna.create_study(storage=storage).ask()
    commits: list[object] = []
    engine = storage._backend.engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "commit", commits.append)
    report(trial, {step: 1.0 / step for step in range(1, 101)})
    assert len(commits) == 1
