"""What a person sees while a study runs: the bar of a terminal, the lines of a log."""

import re
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from study.progress import StudyProgress
from study.race import Standing
from study.space import SOLVER
from study.timeouts import Timeout


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


def follow(study: optuna.Study, *, total: int, standing: Any = None) -> StudyProgress:
    runs = optuna.create_study()
    finalists: Any = SimpleNamespace(look=lambda: standing, runs=runs)
    timeout = Timeout(study=study)
    return StudyProgress(study, finalists, timeout=timeout, total=total, n_workers=2)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True)
def all_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.progress.is_decided", lambda _: False)


def last_frame(capsys: pytest.CaptureFixture[str]) -> str:
    """What a terminal showed last, without the colours."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out)


def test_a_log_names_trials_by_their_numbers_and_counts_those_that_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = optuna.create_study()
    with follow(study, total=3) as progress:
        for rmse in (0.9, 0.8):
            add(study, rmse)
            progress.look()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("trial 0, als       RMSE 0.9000 at epoch 7 | 1 of 3 done, ")
    assert second.startswith("trial 1, als       RMSE 0.8000 at epoch 7 | 2 of 3 done, ")
    assert "best by validation 0.8000" in second


def test_a_bar_says_that_workers_start_until_a_trial_runs(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.create_study()
    with follow(study, total=3) as progress:
        progress.look()
    out = last_frame(capsys)
    assert "0 of 3 done" in out
    assert "starting 2 workers…" in out
    add(study, None)
    with progress:
        progress.look()
    out = last_frame(capsys)
    assert "starting" not in out
    assert "trial 0, als" in out
    study._storage.set_trial_state_values(0, TrialState.COMPLETE, [1.0])
    with progress:
        progress.look()
    assert "starting" not in last_frame(capsys).rpartition("1 of 3 done")[2]


def test_finalists_have_a_bar_of_their_own(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.create_study()
    for rmse in (0.9, 0.8):
        add(study, rmse)
    racing = Standing(
        rounds=[], ranking=None, decided=False, number=1, n_racing=5, missing=[None] * 2
    )
    with follow(study, total=2, standing=racing) as progress:
        progress.look()
    out = last_frame(capsys)
    assert re.search(r"Finalists .* 3 of 5 runs, round 2 of at most 3", out)
    assert "Trials" not in out


def test_an_interrupt_is_answered_once(capsys: pytest.CaptureFixture[str]) -> None:
    with follow(optuna.create_study(), total=2) as progress:
        progress.say_stopping()
        progress.say_stopping()
    said = "Stopping after the epochs that run; Ctrl-C once more ends at once\n"
    assert capsys.readouterr().out == said
