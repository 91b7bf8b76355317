"""A storage whose database goes away: what is waited for, what is not, and nothing done twice."""

import sqlite3
from collections.abc import Callable

import optuna
import pytest
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from storage.patience import PatientStorage, why_unreachable


class GoneError(Exception):
    """What a driver says of a connection."""

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def operational(original: BaseException, *, lost: bool = False) -> StorageInternalError:
    error = StorageInternalError("the commit failed")
    error.__cause__ = sqlalchemy.exc.OperationalError(
        "SELECT 1", {}, original, connection_invalidated=lost
    )
    return error


GONE = operational(GoneError("connection\nrefused"))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr("storage.patience.time.sleep", pauses.append)
    return pauses


def fails(times: int, error: Exception, then: Callable[..., object]) -> Callable[..., object]:
    """A function that raises an error so often, and is another then."""
    left = [error] * times

    def function(*arguments: object, **named: object) -> object:
        if left:
            raise left.pop()
        return then(*arguments, **named)

    return function


def test_it_waits_with_growing_pauses_and_says_so_once_a_time(no_pauses: list[float]) -> None:
    said: list[str] = []
    inner = InMemoryStorage()
    storage = PatientStorage(inner, on_wait=said.append)
    study_id = inner.create_new_study([optuna.study.StudyDirection.MINIMIZE], "name")
    for _ in range(2):
        inner.get_study_name_from_id = fails(9, GONE, lambda _: "name")  # type: ignore[method-assign, assignment]
        assert storage.get_study_name_from_id(study_id) == "name"
    assert said == ["connection refused"] * 2
    assert no_pauses[:9] == sorted(no_pauses[:9])
    assert no_pauses[0] < 1 < no_pauses[8] <= 10


@pytest.mark.parametrize("why", ["it lasts too long", "somebody stops it"])
def test_it_does_not_wait_for_ever(why: str) -> None:
    storage = PatientStorage(
        InMemoryStorage(),
        seconds=-1.0 if why == "it lasts too long" else 600.0,
        give_up=lambda: why == "somebody stops it",
    )
    with pytest.raises(StorageInternalError):
        storage.wait_for(fails(1, GONE, lambda: None))


@pytest.mark.parametrize(
    "error",
    [
        GONE,
        operational(GoneError("server closed the connection", "57P01"), lost=True),
        operational(GoneError("deadlock detected", "40P01")),
        operational(sqlite3.OperationalError("database is locked")),
    ],
)
def test_a_database_that_comes_back_is_worth_waiting_for(error: Exception) -> None:
    assert why_unreachable(error)
    assert why_unreachable(error.__cause__ or error)


@pytest.mark.parametrize(
    "error",
    [
        operational(GoneError("could not extend file: No space left on device", "53100")),
        operational(GoneError("password authentication failed", "28P01")),
        operational(GoneError("no such table", "42P01")),
        operational(sqlite3.OperationalError("database or disk is full")),
        operational(sqlite3.OperationalError("attempt to write a readonly database")),
        KeyError("no such study"),
        UpdateFinishedTrialError("finished"),
        OSError("no space left"),
    ],
)
def test_other_errors_are_not(error: Exception) -> None:
    assert why_unreachable(error) == ""
    with pytest.raises(type(error)):
        PatientStorage(InMemoryStorage()).wait_for(fails(1, error, lambda: None))


def id_of(study: optuna.Study, storage: InMemoryStorage, trial: optuna.Trial) -> int:
    study_id = storage.get_study_id_from_name(study.study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)


def told_but_the_answer_was_lost(
    state: TrialState, value: float | None, asked: tuple[TrialState, float | None]
) -> bool:
    """Whether a trial that was told a state counts as told, when asked again for one."""
    inner = InMemoryStorage()
    study = optuna.create_study(storage=inner)
    trial = study.ask()
    before = inner.set_trial_state_values

    def tell(trial_id: int, state: TrialState, values: list[float] | None = None) -> bool:
        inner.set_trial_state_values = before  # type: ignore[method-assign]
        before(trial_id, told, None if value is None else [value])
        raise GONE

    told = state
    inner.set_trial_state_values = tell  # type: ignore[method-assign, assignment]
    wanted, wanted_value = asked
    values = None if wanted_value is None else [wanted_value]
    return PatientStorage(inner).set_trial_state_values(id_of(study, inner, trial), wanted, values)


def test_a_trial_told_just_before_the_connection_broke_is_told() -> None:
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert told_but_the_answer_was_lost(complete, 0.5, (complete, 0.5))
    assert told_but_the_answer_was_lost(fail, None, (fail, None))
    with pytest.raises(UpdateFinishedTrialError):  # somebody else told it
        told_but_the_answer_was_lost(fail, None, (complete, 0.5))
    with pytest.raises(UpdateFinishedTrialError):
        told_but_the_answer_was_lost(complete, 0.4, (complete, 0.5))


def test_a_trial_that_was_finished_before_is_not_told_again() -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    study.tell(trial, 0.5)
    with pytest.raises(UpdateFinishedTrialError):
        PatientStorage(storage).set_trial_state_values(
            id_of(study, storage, trial), TrialState.COMPLETE, [0.5]
        )
