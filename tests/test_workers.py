"""Several workers of one study: exact totals, and what happens when one of them dies."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import optuna
import psutil
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from benchmarks.chaos import planted
from storage.database import open_storage, parse_storage_url
from storage.errors import InputError
from storage.sources import Sources
from study import tune
from study.workers import team
from study.workers.clock import Clock
from study.workers.job import Job
from study.workers.joining import _folder_lock
from study.workers.team import WorkerError

URL = "sqlite:///runs/study.db"
RUN = [sys.executable, "-m", "study.run"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a mat_comp file whose trials are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    planted(tmp_path / "mat_comp", n_users=60, n_items=40)
    return tmp_path


def trials() -> list[FrozenTrial]:
    storage = open_storage(parse_storage_url(URL))
    name = min(optuna.get_all_study_names(storage), key=len)  # not that of the finalists
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def states() -> Counter[TrialState]:
    return Counter(trial.state for trial in trials())


def n_finished() -> int:
    return states()[TrialState.COMPLETE] + states()[TrialState.PRUNED]


@contextmanager
def started(*arguments: str, after: int = 2) -> Iterator["subprocess.Popen[str]"]:
    """A run with workers that has finished so many trials."""
    process = subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if f"| {after} of " in line:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    main = psutil.Process(process.pid)
    found = main.children(recursive=True)
    return [child for child in found if child.parent() != main]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_many_workers_finish_exactly_as_many_trials_as_were_asked_for() -> None:
    called = subprocess.run(
        [*RUN, "--trials", "6", "--workers", "2"], capture_output=True, text=True, check=True
    )
    assert called.stderr == ""
    assert " | 6 of 6, best " in called.stdout
    found = trials()
    assert len(found) == 6
    assert n_finished() == 6
    assert len({trial.system_attrs["lease"]["pid"] for trial in found}) == 2
    assert len({str(trial.params) for trial in found}) == 6


@pytest.mark.slow
def test_a_long_path_of_temporary_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = folder / ("x" * 100)  # no socket has a name in it
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    called = subprocess.run(
        [*RUN, "--trials", "2", "--workers", "2"], capture_output=True, text=True, check=False
    )
    assert (called.returncode, called.stderr) == (0, "")


@pytest.mark.slow
def test_a_worker_that_ends_is_replaced_and_its_trial_done_again() -> None:
    """One is killed, one is terminated and hands its trial back."""
    with started("--trials", "8", "--workers", "2") as process:
        killed, terminated = workers_of(process)
        killed.kill()
        terminated.terminate()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Time is up" not in out
    assert n_finished() == 8
    assert states()[TrialState.RUNNING] == states()[TrialState.WAITING] == 0
    failed = [trial for trial in trials() if trial.state is TrialState.FAIL]
    assert len(failed) <= 2
    for trial in failed:
        why = trial.user_attrs["interrupted"]
        assert why == "stopped by hand" or f"trial {trial.number}: {why}; its setting" in out
        (again,) = (t for t in trials() if t.user_attrs.get("retry_of") == trial.number)
        assert trial.params in ({}, again.params)


@pytest.mark.slow
def test_ctrl_c_hands_back_what_runs_and_the_same_command_goes_on() -> None:
    with started("--trials", "500", "--workers", "2") as process:
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopping after the epochs that run; Ctrl-C once more ends at once\n" in out
    finished = n_finished()
    assert f"Stopped by hand after {finished} of 500 trials: the same command goes on" in out
    assert states()[TrialState.RUNNING] == 0
    handed_back = states()[TrialState.WAITING]
    assert handed_back <= 2
    subprocess.run([*RUN, "--trials", f"{finished + 2}"], capture_output=True, check=True)
    assert n_finished() == finished + 2
    assert states()[TrialState.WAITING] == 0


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them() -> None:
    with started("--trials", "50", "--workers", "2") as process:
        left = workers_of(process)
        process.kill()
    psutil.wait_procs(left, timeout=10)
    assert not [worker for worker in left if worker.is_running()]
    assert states()[TrialState.RUNNING] == 0  # they handed back what they ran


@pytest.mark.slow
def test_two_commands_share_a_study() -> None:
    command = [*RUN, "--trials", "8", "--workers", "1"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [err for _, err in ends] == [""] * 3
    assert n_finished() == 8
    assert len(trials()) == 8
    leaders = {re.findall(r"trial (\d+) is first", out)[0] for out, _ in ends}
    assert len(leaders) == 1


def dies(job: Job, pipe: object) -> None:
    """Takes the place of a worker's life."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_keep_dying_end_the_study(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "_work", dies)
    job = Job(
        storage=URL,
        study_name="any",
        total=3,
        sources=Sources(data=None),
        folder=folder,
        device="cpu",
        seed=0,
        clock=Clock(end=0.0, n_workers=2),
    )
    with pytest.raises(WorkerError, match="workers died in a row, at last by SIGKILL"):
        team._run_workers(job, 2, look=lambda: None, n_done=lambda: 0, interrupted=lambda: False)


def test_a_folder_that_cannot_hold_a_lock_is_done_without(folder: Path) -> None:
    with _folder_lock(folder)():
        pass
    with _folder_lock(folder / "nowhere")():
        pass


def test_there_are_as_many_workers_as_cores_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(team, "n_threads", lambda: 8)
    memory = SimpleNamespace(available=16_000_000_000)
    monkeypatch.setattr(team.psutil, "virtual_memory", lambda: memory)
    cpu = torch.device("cpu")
    few, many = team.suitable_workers(100_000, cpu), team.suitable_workers(10**6, cpu)
    assert few == 8
    assert 1 < many < 8
    assert team.suitable_workers(10**7, cpu) == 1
    assert team.suitable_workers(100_000, torch.device("cuda")) == 1


@pytest.mark.slow
def test_a_process_that_may_start_none_works_alone() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_tune, (None,)) == "<Result: 1 trials, done"
        assert pool.apply(_tune, (2,)) == (
            "workers: expected 1, got 2 in a daemonic process, which may start no others"
        )


def _tune(workers: int | None) -> str:
    try:
        return repr(tune("mat_comp", trials=1, workers=workers, quiet=True)).partition(";")[0]
    except InputError as error:
        return str(error)
