"""The note on the dashboard: ours is kept up to date, a person's is left alone."""

from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from planted_studies import HOSTILE, failed, full, trial

from model.solvers import SOLVERS
from storage.database import open_storage, parse_storage_url
from study.record.parameters import to_params
from study.report.findings import findings
from study.report.note import as_markdown, keep_note


def test_the_note_of_the_dashboard(tmp_path: Path) -> None:
    storage = open_storage(parse_storage_url(f"sqlite:///{tmp_path}/study.db"))
    record = full(storage, HOSTILE, n=12, data=HOSTILE)
    study, path = record.study, Path("runs") / "a.html"
    keep_note(record, report=path)
    first = get_note(study)
    assert first == as_markdown(findings(record), report=path)
    assert "RMSE of the best: **0.8601**, 95 % interval 0.841 to 0.879" in first
    assert "<" not in first
    assert len(record.notes or []) == 1

    study.add_trial(trial(to_params(SOLVERS["als"].default), 0.95, place=61))
    keep_note(record, report=path)
    assert get_note(study) != first  # ours is kept up to date
    save_note(study, "what I think of it")
    keep_note(record, report=path)
    assert get_note(study) == "what I think of it"
    save_note(study, "")
    keep_note(record, report=path)
    assert get_note(study) == ""


def test_the_note_tells_what_the_dashboard_shows_otherwise() -> None:
    record = full(n=12)
    found, best = findings(record), record.study.best_trial.number
    assert found.best
    assert found.best.trial.number != best  # the finalists chose another
    record.study.add_trial(failed(70, interrupted="its worker died"))
    note = as_markdown(findings(record), report=Path("a.html"))
    assert "Trial 0 is the setting that all this replaces" in note
    assert f'"Best Trial" there is {best}, the best on the split of the trials' in note
    assert f"on fresh splits {found.best.trial.number} was better" in note
    assert "in red, was interrupted" in note
    assert "in red" not in as_markdown(found, report=Path("a.html"))


@pytest.mark.parametrize("at", ["before the note", "behind the note"])
def test_a_note_is_ours_whenever_the_process_that_writes_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    record, path = full(n=12), Path("runs") / "a.html"

    def save(study: optuna.Study, note: str) -> None:
        if at == "behind the note":
            save_note(study, note)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("optuna_dashboard.save_note", save)
        keep_note(record, report=path)
    record.study.set_user_attr("biases_rmse", 0.95)
    keep_note(record, report=path)
    assert get_note(record.study) == as_markdown(findings(record), report=path)
