"""Leases: who is called dead, and when, and what becomes of a trial whose worker is."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from records import new_record, set_lease

from study.record.attributes import TrialView
from study.record.liveness import _machine, _started, is_running, this_worker
from study.record.record import Record
from study.search.sampler import slot, suggest
from study.workers.leases import MOST_DEATHS, Lease, Watch, give_up

ELSEWHERE = {"host": "elsewhere", "machine": "another", "pid": 1, "started": 1.0, "beat": 1}


@pytest.fixture
def record() -> Record:
    return new_record()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Moves the watcher's clock on by so many seconds."""
    now = [0.5]  # a machine that has just begun
    monkeypatch.setattr("study.workers.leases.time.monotonic", lambda: now[0])
    yield lambda seconds: now.__setitem__(0, now[0] + seconds)


def running(record: Record, lease: Any, *, whole: bool = True) -> int:
    """Makes a trial that runs under a lease: its number."""
    trial = record.study.ask()
    if whole:
        suggest(trial)
    if lease is not None:
        set_lease(record, trial.number, lease)
    return trial.number


def states(record: Record) -> list[TrialState]:
    return [trial.state for trial in record.study.get_trials()]


def test_a_setting_that_was_written_since_it_was_looked_at_is_tried_again(record: Record) -> None:
    running(record, None)
    trial = record.study.ask()
    first, looked_at = record.study.get_trials()
    suggest(trial)
    for dead in (looked_at, first):
        assert give_up(record, dead, "gone", died=True)
    again = record.study.ask()
    suggest(again)
    assert again.params == trial.params


def test_a_counter_that_stands_still_is_a_death_and_one_that_moves_is_not(
    record: Record, clock: Callable[[float], None]
) -> None:
    moves, stands = running(record, ELSEWHERE), running(record, ELSEWHERE)
    watch = Watch(seconds=20.0)
    for second in range(20):
        assert watch.look(record) == []
        set_lease(record, moves, ELSEWHERE | {"beat": second // 5})
        clock(1.0)
    (dead,) = watch.look(record)
    assert dead.number == stands
    reason = "its worker on elsewhere fell silent"
    assert record.study.get_trials()[1].user_attrs["interrupted"] == reason
    assert states(record) == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]


def test_a_counter_that_stood_longer_than_it_may_at_the_next_look_is_a_death(
    record: Record, clock: Callable[[float], None]
) -> None:
    running(record, ELSEWHERE)
    watch = Watch(seconds=20.0)
    for _ in range(7):
        assert watch.look(record) == []
        clock(3.0)
    assert len(watch.look(record)) == 1


def test_time_in_which_nobody_could_look_kills_nobody(
    record: Record, clock: Callable[[float], None]
) -> None:
    running(record, ELSEWHERE)
    watch = Watch(seconds=20.0)
    watch.look(record)
    clock(1.0)
    watch.look(record)
    clock(600.0)  # the database was gone, and the worker could not beat either
    assert watch.look(record) == []
    dead = []
    for _ in range(14):
        assert dead == []
        clock(1.0)
        dead = watch.look(record)
    assert len(dead) == 1


def test_without_a_lease_a_trial_has_as_long(
    record: Record, clock: Callable[[float], None]
) -> None:
    running(record, None)
    watch = Watch(seconds=3.0)
    looks = []
    for _ in range(5):
        looks.append(len(watch.look(record)))
        clock(1.0)
    assert looks == [0, 0, 0, 1, 0]


def test_on_the_same_machine_a_death_is_seen_at_once(record: Record) -> None:
    me = this_worker(1)
    parent = psutil.Process(os.getppid())
    alive = [
        running(record, me),
        running(record, me | {"pid": parent.pid, "started": _started(parent)}),
        running(record, ELSEWHERE),
    ]
    dead = [
        running(record, me | {"pid": 2**22 - 1}),
        running(record, me | {"started": me["started"] - 100}),  # its number was given again
    ]
    found = {trial.number for trial in Watch().look(record)}
    assert found == set(dead)
    assert found.isdisjoint(alive)
    assert is_running(record.study)


def test_a_finished_trial_is_not_running_whoever_lives(record: Record) -> None:
    number = running(record, this_worker(1))
    assert is_running(record.study)
    record.finish(number, TrialState.FAIL)
    assert not is_running(record.study)


def test_a_process_that_is_dead_and_not_waited_for_is_gone(record: Record) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        process = psutil.Process(child.pid)
        running(record, this_worker(1) | {"pid": child.pid, "started": _started(process)})
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.status() == psutil.STATUS_ZOMBIE
        assert len(Watch().look(record)) == 1


@pytest.mark.parametrize(
    "lease",
    [
        "text",
        [1],
        this_worker(1) | {"pid": "x"},
        this_worker(1) | {"pid": -5},
        this_worker(1) | {"started": None},
        {"machine": this_worker(1)["machine"]},
    ],
)
def test_what_is_no_lease_is_none(
    record: Record, clock: Callable[[float], None], lease: Any
) -> None:
    running(record, lease)
    watch = Watch(seconds=1.0)
    assert watch.look(record) == []
    assert is_running(record.study)
    clock(1.0)
    assert len(watch.look(record)) == 1


def test_processes_of_another_user_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = this_worker(1)["machine"]
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    _machine.cache_clear()
    theirs = this_worker(1)["machine"]
    monkeypatch.undo()
    _machine.cache_clear()
    assert theirs != mine == this_worker(1)["machine"]


def test_a_clock_that_is_set_kills_nobody(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    running(record, this_worker(1))
    create_time, boot_time = psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time() + 3600)
    assert Watch().look(record) == []


def test_a_process_of_the_same_number_in_another_container_is_not_looked_for(
    record: Record,
) -> None:
    running(record, this_worker(1) | {"machine": "a container", "pid": 2**22 - 1, "beat": 1})
    assert Watch().look(record) == []


def test_a_dead_workers_setting_waits_to_be_tried_again(record: Record) -> None:
    for _ in range(2):
        running(record, None)
    dead = record.study.get_trials()[0]
    assert give_up(record, dead, "gone", died=True)
    again, new = record.study.ask(), record.study.ask()
    for trial in (again, new):
        suggest(trial)
    assert again.params == dead.params
    assert again.user_attrs["retry_of"] == 0
    assert (
        slot(record.study.get_trials(deepcopy=False), record.study.get_trials()[again.number]) == 0
    )
    assert slot(record.study.get_trials(deepcopy=False), record.study.get_trials()[new.number]) == 2
    assert new.params not in [trial.params for trial in record.study.get_trials()[:3]]


def test_a_trial_without_all_its_parameters_gets_them_anew(record: Record) -> None:
    running(record, None, whole=False)
    assert give_up(record, record.study.get_trials()[0], "gone", died=True)
    again = record.study.ask()
    suggest(again)
    assert again.params["gradient_form"] == "plain"  # the first setting


def test_a_setting_that_kills_its_workers_is_not_tried_for_ever(record: Record) -> None:
    for death in range(MOST_DEATHS):
        trial = record.study.ask()
        suggest(trial)
        assert trial.number == death
        assert give_up(record, record.study.get_trials()[-1], "process 7 is gone", died=True)
    assert states(record) == [TrialState.FAIL] * MOST_DEATHS
    reason = f"its worker died {MOST_DEATHS} times, at last: process 7 is gone"
    assert record.study.get_trials()[-1].user_attrs["failed"] == reason


def test_a_trial_that_is_handed_back_again_and_again_stays(record: Record) -> None:
    for _ in range(MOST_DEATHS + 1):
        trial = record.study.ask()
        suggest(trial)
        assert give_up(record, record.study.get_trials()[-1], "stopped by hand")
    assert states(record)[-1] is TrialState.WAITING


def test_only_one_of_those_who_see_a_death_acts(record: Record) -> None:
    running(record, None)
    dead = record.study.get_trials()[0]
    assert give_up(record, dead, "gone", died=True)
    assert not give_up(record, dead, "gone", died=True)
    assert states(record) == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_finished_meanwhile_stays_finished(record: Record) -> None:
    trial = record.study.ask()
    suggest(trial)
    before: FrozenTrial = record.study.get_trials()[0]
    record.study.tell(trial, 1.0)
    assert not give_up(record, before, "fell silent", died=True)
    assert states(record) == [TrialState.COMPLETE]


def test_a_worker_advances_its_counter_and_learns_that_it_lost(record: Record) -> None:
    def wait_for(condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 5
        while not condition() and time.monotonic() < until:
            time.sleep(0.01)
        assert condition()

    def beat() -> int:
        return TrialView(record.trial(0)).lease["beat"]

    with Lease(record, seconds=0.02) as lease:
        number = running(record, None)
        lease.sign(number)
        first = beat()
        assert TrialView(record.trial(0)).lease["pid"] == os.getpid()
        with lease.on(number):
            wait_for(lambda: beat() > first + 2)
            assert not lease.lost()
            assert Watch(seconds=0.0).look() == []
            give_up(record, record.trial(0), "fell silent", died=True)
            wait_for(lease.lost)
        with pytest.raises(UpdateFinishedTrialError):
            record.keep_with(number, TrialView.failed, "late")
        other = running(record, None)
        with lease.on(other):
            assert not lease.lost()


def test_a_step_of_the_counter_that_has_begun_is_done_before_the_lease_ends(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, done = threading.Event(), threading.Event()

    def write_slowly(*_: object) -> None:
        begun.set()
        time.sleep(0.1)
        done.set()

    with Lease(record, seconds=0.2) as lease, lease.on(running(record, None)):
        monkeypatch.setattr(record, "keep_with", write_slowly)
        assert begun.wait(5)
    assert done.is_set()


def test_a_database_that_fails_for_a_while_does_not_stop_the_counter(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, failures = record.keep_with, iter([OSError("gone")] * 2)
    done = threading.Event()

    def fail_twice(*arguments: Any) -> None:
        for error in failures:
            raise error
        keep(*arguments)
        done.set()

    with Lease(record, seconds=0.01) as lease, lease.on(running(record, None)):
        monkeypatch.setattr(record, "keep_with", fail_twice)
        assert done.wait(5)
    assert TrialView(record.trial(0)).lease["beat"] >= 1
