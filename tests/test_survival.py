"""What a process of its own shows: kill -9, Ctrl-C, folders with modules of our names, start-up."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from benchmarks.chaos import planted
from storage.database import open_storage, parse_storage_url
from study.workers import processes

URL = "sqlite:///runs/study.db"
TOTAL = 10
ROOT = Path(__file__).resolve().parent.parent
RUN = [sys.executable, "-m", "study.run", "--workers", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a mat_comp file whose trials take some tenths of a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    planted(tmp_path / "mat_comp")
    return tmp_path


def trials() -> list[FrozenTrial]:
    storage = open_storage(parse_storage_url(URL))
    name = min(optuna.get_all_study_names(storage), key=len)  # not that of the finalists
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def finished() -> list[FrozenTrial]:
    return [t for t in trials() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def start_and_wait_for(n_finished: int) -> "subprocess.Popen[str]":
    """A run of TOTAL trials that has finished at least so many, and is in the middle of another.

    Of a trial that has only just begun nobody knows yet whose it is.
    """
    process = subprocess.Popen([*RUN, "--trials", str(TOTAL)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if f"| {n_finished} of {TOTAL}, " in line:
            break
    while process.poll() is None:
        if any(t.state is TrialState.RUNNING and t.intermediate_values for t in trials()):
            break
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_killed_study_goes_on_as_if_nothing_had_happened(folder: Path) -> None:
    process = start_and_wait_for(3)
    process.kill()
    process.wait()
    before = finished()
    assert 3 <= len(before) < TOTAL

    again = subprocess.run(
        [*RUN, "--trials", str(TOTAL)], capture_output=True, text=True, check=True
    )
    assert f"{len(before)} of {TOTAL} trials finished" in again.stdout
    after = finished()
    assert len(after) == TOTAL
    assert not [trial for trial in trials() if trial.state is TrialState.RUNNING]
    assert after[: len(before)] == before

    Path("runs/study.db").rename("broken.db")
    for journal in Path("runs").glob("study.db-*"):
        journal.unlink()
    subprocess.run([*RUN, "--trials", str(TOTAL)], capture_output=True, check=True)
    assert [(t.params, t.intermediate_values) for t in finished()] == [
        (t.params, t.intermediate_values) for t in after
    ]


@pytest.mark.slow
def test_ctrl_c_ends_after_the_epoch_and_says_how_to_go_on(folder: Path) -> None:
    process = start_and_wait_for(2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"Stopped by hand after \d+ of \d+ trials: the same command goes on", out)
    assert all(trial.state is not TrialState.RUNNING for trial in trials())


@pytest.mark.slow
def test_ctrl_c_while_it_starts_is_one_line(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "study.run", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 20
    while not psutil.Process(process.pid).children() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.3)  # what it started imports by now
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert (out, err) == ("", "\nstudy.run: stopped at once\n")


def test_ctrl_c_while_a_process_starts_waits_and_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), processes._no_ctrl_c():
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # of other threads, any takes it
        inside = True
    assert inside


@pytest.mark.slow
@pytest.mark.parametrize("module", ["study.run", "study.best_predict"])
def test_modules_of_the_users_do_not_take_our_place(folder: Path, module: str) -> None:
    for name in ("model", "storage"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    (folder / "model.py").write_text("raise SystemExit('the wrong module')")
    called = subprocess.run(
        [sys.executable, "-m", module, "--storage", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert called.returncode == 2
    assert "expected a database URL" in called.stderr


@pytest.mark.slow
def test_a_study_py_of_the_users_does_not_take_our_place_in_workers(folder: Path) -> None:
    for name in ("model", "storage", "study"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    script = folder / "bin" / "rating-study"  # an installed command has its own folder on its path
    script.parent.mkdir()
    script.write_text("from study.run import main\nif __name__ == '__main__':\n    main()\n")
    called = subprocess.run(
        [sys.executable, str(script), "--trials", "1", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (called.returncode, called.stderr) == (0, "")
    assert "wrong module" not in called.stdout


def test_help_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from study import run\n"
        "try: run.main(['--help'])\n"
        "except SystemExit: print({'torch', 'optuna', 'numpy', 'sqlalchemy'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("Usage: python -m study.run")
    assert shown.stdout.endswith("set()\n")
    assert max(map(len, shown.stdout.splitlines())) <= 80
