"""What a person sees while a study runs: the bar of a terminal, the lines of a log."""

import re
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from records import new_record, set_state

from study.drawing import Drawing
from study.record.attributes import TrialView
from study.record.parameters import SOLVER
from study.record.record import Record
from study.workers.clock import Clock
from study.workers.progress import Follower
from study.workers.race import Standing


def add(study: optuna.Study, rmse: float | None) -> None:
    """Adds a trial that came to this RMSE; one that runs if there is none."""
    found = {"validation_mse": rmse**2, "validation_rmse": rmse, "best_epoch": 7} if rmse else {}
    study.add_trial(
        create_trial(
            state=TrialState.COMPLETE if rmse else TrialState.RUNNING,
            value=rmse and rmse**2,
            params={"solver": "als"},
            distributions={"solver": SOLVER},
            user_attrs=found | {"stopped": "last epoch"},
        )
    )


def follow(record: Record, drawing: Drawing, *, total: int, standing: Any = None) -> Follower:
    runs = SimpleNamespace(record=new_record(name="ratings-finalists"))
    finalists: Any = SimpleNamespace(look=lambda: standing, runs=runs)
    return Follower(record, finalists, clock=Clock(), total=total, n_workers=2, on_event=drawing)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True)
def all_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.workers.progress.is_decided", lambda _: False)


def last_frame(capsys: pytest.CaptureFixture[str]) -> str:
    """What a terminal showed last, without the colours."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out)


def test_a_log_names_trials_by_their_numbers_and_counts_those_that_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = new_record()
    with Drawing() as drawing:
        follower = follow(record, drawing, total=3)
        for rmse in (0.9, 0.8):
            add(record.study, rmse)
            follower.look()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("trial 0, als       RMSE 0.9000 | 1 of 3, best 0.9000, 0:0")
    assert second.startswith("trial 1, als       RMSE 0.8000 | 2 of 3, best 0.8000, 0:0")


def test_a_line_of_a_trial_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    record = new_record()
    add(record.study, 0.8)
    for _ in range(99):
        add(record.study, None)
    with Drawing() as drawing:
        follower = follow(record, drawing, total=102)
        record.keep_with(99, TrialView.validation_rmse, 0.9)
        record.keep_with(99, TrialView.stopped, "pruned")
        set_state(record, 99, TrialState.PRUNED, [0.81])
        follower._began -= 100.0
        follower.look()
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"trial 99, als       RMSE 0.9000, pruned \| 2 of 102, best 0.8000, 2:4\d:\d\d left", line
    )
    assert len(line) <= 80


def test_a_bar_says_that_workers_start_until_a_trial_runs(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record()
    drawing = Drawing()
    follower = follow(record, drawing, total=3)
    with drawing:
        follower.look()
    out = last_frame(capsys)
    assert "0 of 3 done" in out
    assert "starting 2 workers…" in out
    add(record.study, None)
    with drawing:
        follower.look()
    out = last_frame(capsys)
    assert "starting" not in out
    assert "trial 0, als" in out
    set_state(record, 0, TrialState.COMPLETE, [1.0])
    with drawing:
        follower.look()
    assert "starting" not in last_frame(capsys).rpartition("1 of 3 done")[2]


def test_finalists_have_a_bar_of_their_own(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    record = new_record()
    for rmse in (0.9, 0.8):
        add(record.study, rmse)
    racing = Standing(
        rounds=[], ranking=None, decided=False, number=1, n_racing=5, missing=[None] * 2
    )
    with Drawing() as drawing:
        follow(record, drawing, total=2, standing=racing).look()
    out = last_frame(capsys)
    assert re.search(r"Finalists .* 3 of 5 runs, round 2 of at most 3", out)
    assert "Trials" not in out


def test_an_interrupt_is_answered_once(capsys: pytest.CaptureFixture[str]) -> None:
    follower = follow(new_record(), Drawing(), total=2)
    follower.say_stopping()
    follower.say_stopping()
    said = "Stopping after the epochs that run; Ctrl-C once more ends at once\n"
    assert capsys.readouterr().out == said


def test_what_is_quiet_draws_nothing(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    record = new_record()
    with Drawing(quiet=True) as drawing, drawing.status("Reading…"):
        follower = follow(record, drawing, total=2)
        add(record.study, 0.9)
        follower.look()
        follower.say_stopping()
    assert capsys.readouterr() == ("", "")
