"""Optuna's private names that this project uses do what they did."""

from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from storage.database import open_storage, parse_storage_url
from storage.optuna_internals import report

VALUES = {1: 0.9, 2: 0.85, 3: 0.875}


class Looks(BasePruner):
    """Keeps what `Trial.should_prune` shows to a pruner."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.seen = dict(trial.intermediate_values)
        return False


@pytest.fixture(params=["in memory", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    if request.param == "in memory":
        return optuna.create_study(pruner=Looks())
    storage = open_storage(parse_storage_url(f"sqlite:///{tmp_path}/a.db"))
    return optuna.create_study(storage=storage, pruner=Looks())


def test_values_are_those_of_single_reports(study: optuna.Study) -> None:
    one, many = study.ask(), study.ask()
    for step, value in VALUES.items():
        one.report(value, step)
    report(many, {1: VALUES[1]})
    report(many, {})
    report(many, {step: VALUES[step] for step in (2, 3)})
    for trial in (one, many):
        assert not trial.should_prune()
        assert isinstance(study.pruner, Looks)
        assert study.pruner.seen == VALUES
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

    def keep(connection: object) -> None:
        commits.append(connection)

    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", keep)
    try:
        report(trial, {step: 1.0 / step for step in range(1, 101)})
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", keep)
    assert len(commits) == 1


def test_finished_trials_are_read_from_a_cache(tmp_path: Path) -> None:
    storage = open_storage(parse_storage_url(f"sqlite:///{tmp_path}/a.db"))
    study = optuna.create_study(storage=storage)
    for _ in range(3):
        study.tell(study.ask(), 1.0)
    study.get_trials()
    statements: list[str] = []

    def keep(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", keep)
    try:
        assert len(study.get_trials()) == 3
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", keep)
    assert not any("trial_params" in statement for statement in statements)
