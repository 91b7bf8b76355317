"""Leases: who is called dead, and when, and what becomes of a trial whose worker is."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import psutil
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.leases import (
    LEASE,
    MOST_DEATHS,
    Lease,
    Watch,
    _machine,
    _started,
    give_up,
    is_running,
    this_worker,
)
from study.space import SlotSampler, slot, suggest

ELSEWHERE = {"host": "elsewhere", "machine": "another", "pid": 1, "started": 1.0, "beat": 1}


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(sampler=SlotSampler(0))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Moves the watcher's clock on by so many seconds."""
    now = [1000.0]
    monkeypatch.setattr("study.leases.time.monotonic", lambda: now[0])
    yield lambda seconds: now.__setitem__(0, now[0] + seconds)


def running(study: optuna.Study, lease: dict[str, Any] | None, *, whole: bool = True) -> int:
    """Makes a trial that runs under a lease: its id."""
    trial = study.ask()
    if whole:
        suggest(trial)
    if lease is not None:
        beat(study, trial._trial_id, lease)
    return trial._trial_id


def beat(study: optuna.Study, trial_id: int, lease: dict[str, Any]) -> None:
    study._storage.set_trial_system_attr(trial_id, LEASE, lease)


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials()]


def test_a_counter_that_stands_still_is_a_death_and_one_that_moves_is_not(
    study: optuna.Study, clock: Callable[[float], None]
) -> None:
    moves, stands = running(study, ELSEWHERE), running(study, ELSEWHERE)
    watch = Watch(seconds=20.0)
    for second in range(20):
        assert watch.look(study) == []
        beat(study, moves, ELSEWHERE | {"beat": second // 5})
        clock(1.0)
    (dead,) = watch.look(study)
    assert dead._trial_id == stands
    reason = "its worker on elsewhere fell silent"
    assert study.get_trials()[1].user_attrs["interrupted"] == reason
    assert states(study) == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]


def test_time_in_which_nobody_could_look_kills_nobody(
    study: optuna.Study, clock: Callable[[float], None]
) -> None:
    running(study, ELSEWHERE)
    watch = Watch(seconds=20.0)
    watch.look(study)
    clock(1.0)
    watch.look(study)
    clock(600.0)  # the database was gone, and the worker could not beat either
    assert watch.look(study) == []
    dead = []
    for _ in range(14):
        assert dead == []
        clock(1.0)
        dead = watch.look(study)
    assert len(dead) == 1


def test_without_a_lease_a_trial_has_as_long(
    study: optuna.Study, clock: Callable[[float], None]
) -> None:
    running(study, None)
    watch = Watch(seconds=3.0)
    looks = []
    for _ in range(5):
        looks.append(len(watch.look(study)))
        clock(1.0)
    assert looks == [0, 0, 0, 1, 0]


def test_on_the_same_machine_a_death_is_seen_at_once(study: optuna.Study) -> None:
    me = this_worker() | {"beat": 1}
    parent = psutil.Process(os.getppid())
    alive = [
        running(study, me),
        running(study, me | {"pid": parent.pid, "started": _started(parent)}),
        running(study, ELSEWHERE),
    ]
    dead = [
        running(study, me | {"pid": 2**22 - 1}),
        running(study, me | {"started": me["started"] - 100}),  # its number was given again
    ]
    found = {trial._trial_id for trial in Watch().look(study)}
    assert found == set(dead)
    assert found.isdisjoint(alive)
    assert is_running(study)


@pytest.mark.parametrize(
    "lease",
    [
        "text",
        [1],
        this_worker() | {"pid": "x"},
        this_worker() | {"pid": -5},
        this_worker() | {"started": None},
        {"machine": this_worker()["machine"]},
    ],
)
def test_what_is_no_lease_is_none(
    study: optuna.Study, clock: Callable[[float], None], lease: Any
) -> None:
    running(study, lease)
    watch = Watch(seconds=1.0)
    assert watch.look(study) == []
    assert is_running(study)
    clock(1.0)
    assert len(watch.look(study)) == 1


def test_processes_of_another_user_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = this_worker()["machine"]
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    _machine.cache_clear()
    theirs = this_worker()["machine"]
    monkeypatch.undo()
    _machine.cache_clear()
    assert theirs != mine == this_worker()["machine"]


def test_a_clock_that_is_set_kills_nobody(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(study, this_worker() | {"beat": 1})
    create_time, boot_time = psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time() + 3600)
    assert Watch().look(study) == []


def test_a_process_of_the_same_number_in_another_container_is_not_looked_for(
    study: optuna.Study,
) -> None:
    running(study, this_worker() | {"machine": "a container", "pid": 2**22 - 1, "beat": 1})
    assert Watch().look(study) == []


def test_a_dead_workers_setting_waits_to_be_tried_again(study: optuna.Study) -> None:
    for _ in range(2):
        running(study, None)
    dead = study.get_trials()[0]
    assert give_up(study, dead, "gone", died=True)
    again, new = study.ask(), study.ask()
    for trial in (again, new):
        suggest(trial)
    assert again.params == dead.params
    assert again.user_attrs["retry_of"] == 0
    assert slot(study.get_trials(deepcopy=False), study.get_trials()[again.number]) == 0
    assert slot(study.get_trials(deepcopy=False), study.get_trials()[new.number]) == 2
    assert new.params not in [trial.params for trial in study.get_trials()[:3]]


def test_a_trial_without_all_its_parameters_gets_them_anew(study: optuna.Study) -> None:
    running(study, None, whole=False)
    assert give_up(study, study.get_trials()[0], "gone", died=True)
    again = study.ask()
    suggest(again)
    assert again.params["gradient_form"] == "plain"  # the first setting


def test_a_setting_that_kills_its_workers_is_not_tried_for_ever(study: optuna.Study) -> None:
    for death in range(MOST_DEATHS):
        trial = study.ask()
        suggest(trial)
        assert trial.number == death
        assert give_up(study, study.get_trials()[-1], "process 7 is gone", died=True)
    assert states(study) == [TrialState.FAIL] * MOST_DEATHS
    reason = f"its worker died {MOST_DEATHS} times, at last: process 7 is gone"
    assert study.get_trials()[-1].user_attrs["failed"] == reason


def test_a_trial_that_is_handed_back_again_and_again_stays(study: optuna.Study) -> None:
    for _ in range(MOST_DEATHS + 1):
        trial = study.ask()
        suggest(trial)
        assert give_up(study, study.get_trials()[-1], "stopped by hand")
    assert states(study)[-1] is TrialState.WAITING


def test_only_one_of_those_who_see_a_death_acts(study: optuna.Study) -> None:
    running(study, None)
    dead = study.get_trials()[0]
    assert give_up(study, dead, "gone", died=True)
    assert not give_up(study, dead, "gone", died=True)
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_finished_meanwhile_stays_finished(study: optuna.Study) -> None:
    trial = study.ask()
    suggest(trial)
    before: FrozenTrial = study.get_trials()[0]
    study.tell(trial, 1.0)
    assert not give_up(study, before, "fell silent", died=True)
    assert states(study) == [TrialState.COMPLETE]


def test_a_worker_advances_its_counter_and_learns_that_it_lost(study: optuna.Study) -> None:
    def wait_for(condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 5
        while not condition() and time.monotonic() < until:
            time.sleep(0.01)
        assert condition()

    with Lease(study._storage, seconds=0.02) as lease:
        new = create_trial(state=TrialState.RUNNING, system_attrs={LEASE: lease.words()})
        trial_id = study._storage.create_new_trial(study._study_id, new)
        first = study.get_trials()[0].system_attrs[LEASE]
        assert first["pid"] == os.getpid()
        with lease.on(trial_id):
            wait_for(lambda: study.get_trials()[0].system_attrs[LEASE]["beat"] > first["beat"] + 2)
            assert not lease.lost
            assert Watch(seconds=0.0).look() == []
            give_up(study, study.get_trials()[0], "fell silent", died=True)
            wait_for(lambda: lease.lost)
        with pytest.raises(UpdateFinishedTrialError):
            study._storage.set_trial_user_attr(trial_id, "late", True)
        other = running(study, None)
        with lease.on(other):
            assert not lease.lost
