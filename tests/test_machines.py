"""Studies that machines share through a proxy: the same commands, and who may join."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from records import set_lease

from storage.database import open_storage, parse_storage_url
from storage.errors import InputError, UnreachableError
from storage.proxy import serve_proxy
from storage.sources import Sources
from study import best_predict, run, serve, serve_database
from study.record.record import Record
from study.search.sampler import SlotSampler, suggest
from study.workers.clock import Clock
from study.workers.job import Job
from study.workers.joining import join_anew

MAT_COMP = "3 4 9\n1 1 5\n1 2 3\n1 3 4\n2 1 4\n2 2 2\n2 4 5\n3 1 1\n3 3 2\n3 4 3\n1\n3 2\n"
PORT = 20_000 + os.getpid() % 12_000  # below those that systems give to who asks for any
URL = f"grpc://localhost:{PORT}"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    few_epochs: None, outcome_of: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Calls a command on a machine, a folder: its exit code, standard output and error."""

    def run_it(
        machine: str, command: Callable[[list[str]], None], *arguments: object
    ) -> tuple[int, str, str]:
        folder = tmp_path / machine
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        return outcome_of(command, *arguments, "--storage", URL)

    for machine in ("a", "b", "c"):
        (tmp_path / machine).mkdir()
    for machine in ("a", "b"):
        (tmp_path / machine / "mat_comp").write_text(MAT_COMP)
    (tmp_path / "c" / "mat_comp").write_text(MAT_COMP.replace("1 1 5", "1 1 4"))
    return run_it


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[optuna.storages.BaseStorage]:
    """The storage behind a proxy that listens, a process of its own."""
    pytest.importorskip("grpc")
    url = f"sqlite:///{tmp_path}/served/study.db"
    storage = open_storage(parse_storage_url(url))
    command = [sys.executable, "-m", "study.serve_database", "--storage", url, "--port", str(PORT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == f"Serving: {url} at {URL}, Ctrl-C ends\n"
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("localhost", PORT)):
            break
    yield storage
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


@pytest.mark.slow
def test_machines_go_on_with_the_same_study(call: Call, proxy: optuna.storages.BaseStorage) -> None:
    code, out, err = call("a", run.main, "--trials", 3)
    assert (code, err) == (0, "")
    assert f"0 of 3 trials finished, {URL}" in out
    code, out, err = call("b", run.main, "--trials", 6)
    assert (code, err) == (0, "")
    assert "3 of 6 trials finished" in out
    code, _, err = call("b", best_predict.main)
    assert (code, err) == (0, "")
    assert len(Path("mat_comp_ans").read_text().splitlines()) == 1
    study, _ = (
        optuna.load_study(study_name=name, storage=proxy)
        for name in sorted(optuna.get_all_study_names(proxy))
    )
    assert [trial.state for trial in study.trials].count(TrialState.FAIL) == 0
    assert len(study.trials) == 6
    assert all(trial.intermediate_values for trial in study.trials)


@pytest.mark.slow
def test_a_machine_without_the_data_or_with_others_is_refused(
    call: Call, proxy: optuna.storages.BaseStorage
) -> None:
    assert call("a", run.main, "--trials", 1)[0] == 0
    (name,) = optuna.get_all_study_names(proxy)
    code, _, err = call("without", run.main, "--trials", 2)
    assert code == 2
    assert "no --data and no ./mat_comp here, but the database holds studies of other" in err
    assert f"ratings: {name}; --study-name begins one of the built-in demo" in err
    code, _, err = call("c", run.main, "--trials", 2, "--study-name", name)
    assert code == 2
    assert f"study '{name}': belongs to other ratings" in err

    study = optuna.load_study(study_name=name, storage=proxy, sampler=SlotSampler(0))
    trial = study.ask()
    suggest(trial)
    lease = {"host": "a", "machine": "another", "pid": 1, "started": 1.0, "beat": 1}
    set_lease(Record(study, proxy), trial.number, lease)
    code, _, err = call("c", run.main, "--trials", 1)
    assert code == 2
    assert f"mat_comp: study '{name}' is being run in this database, of other ratings" in err
    study.tell(trial.number, state=TrialState.FAIL)
    assert call("c", run.main, "--trials", 1)[0] == 0  # nobody runs the other one
    assert len(optuna.get_all_study_names(proxy)) == 2


@pytest.mark.parametrize(
    "text", ["grpc://u:secret@host:1", "grpc://host:1/name", "grpc://host?x=secret", "grpc://"]
)
def test_an_address_is_host_and_port(text: str) -> None:
    with pytest.raises(InputError, match="expected grpc://host:port") as error:
        parse_storage_url(text)
    assert "secret" not in str(error.value)


def test_where_nobody_answers(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc")
    monkeypatch.setattr("storage.proxy.ANSWER_SECONDS", 0.2)
    code, _, err = call("a", run.main)
    assert code == 2
    assert err.startswith(f"study.run: {URL}: no answer in ")
    assert err.endswith("python -m study.serve_database starts a proxy\n")


def test_a_proxy_is_not_served_again(call: Call) -> None:
    code, _, err = call("a", serve_database.main)
    assert code == 2
    assert err == f"study.serve_database: --storage: expected a database, got {URL}, a proxy\n"


def test_an_address_that_is_taken(tmp_path: Path, proxy: optuna.storages.BaseStorage) -> None:
    with pytest.raises(InputError, match="cannot be listened on"):
        serve_proxy(proxy, "256.256.256.256", PORT)


def test_ctrl_c_while_it_starts_to_serve_ends_it(tmp_path: Path) -> None:
    """GRPC waits for ever where its own start is interrupted, which a slow one shows surely."""
    pytest.importorskip("grpc")
    program = f"""
import grpc, os, signal, sys, threading, time
from study import serve_database
begin = threading.Thread.start
def start(thread):
    if "_serve" in repr(thread._target):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    begin(thread)
threading.Thread.start = start
serve_database.main(["--storage", "sqlite:///study.db", "--port", "{PORT}"])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(serve_database.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "\nstudy.serve_database: stopped at once\n")


def test_a_worker_that_begins_while_the_database_is_away_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mat_comp").write_text(MAT_COMP)
    url = f"sqlite:///{tmp_path}/study.db"
    open_storage(parse_storage_url(url))
    away = [UnreachableError("connection refused")] * 2

    def open_when_back(*arguments: Any, **named: Any) -> optuna.storages.BaseStorage:
        if away:
            raise away.pop()
        return open_storage(*arguments, **named)

    monkeypatch.setattr("study.workers.joining.open_storage", open_when_back)
    monkeypatch.setattr("study.workers.joining.AGAIN_SECONDS", 0.0)
    job = Job(
        storage=url,
        study_name="any",
        total=1,
        sources=Sources(data=Path("mat_comp")),
        folder=tmp_path,
        device="cpu",
        seed=0,
        clock=Clock(end=0.0),
    )
    assert join_anew(job, interrupted=lambda: False).record.name == "any"
    assert away == []
    away += [UnreachableError("connection refused")]
    with pytest.raises(UnreachableError):
        join_anew(job, interrupted=lambda: True)


def test_which_of_the_servers_is_meant_is_asked(call: Call) -> None:
    code, out, err = call("a", serve.main)
    assert (code, out) == (2, "")
    assert err == (
        "study.serve: expected python -m study.serve_model, which answers with a saved model, or "
        "python -m study.serve_database, which shares the database of studies\n"
    )
