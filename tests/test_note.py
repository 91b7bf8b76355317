"""The note on the dashboard: ours is kept up to date, a person's is left alone."""

from pathlib import Path

from optuna_dashboard import get_note, save_note
from planted_studies import HOSTILE, full, trial

from storage.database import open_storage, parse_storage_url
from study.findings import findings
from study.note import DIGESTS, as_markdown, keep_note
from study.space import DEFAULTS, to_params


def test_the_note_of_the_dashboard(tmp_path: Path) -> None:
    storage = open_storage(parse_storage_url(f"sqlite:///{tmp_path}/study.db"))
    study = full(storage, HOSTILE, n=12, data=HOSTILE)
    path = Path("runs") / "a.html"
    keep_note(study, report=path)
    first = get_note(study)
    assert first == as_markdown(findings(study), report=path)
    assert "RMSE of the best: **0.8601**, 95 % interval 0.841 to 0.879" in first
    assert "<" not in first
    assert len(study._storage.get_study_system_attrs(study._study_id)[DIGESTS]) == 1

    study.add_trial(trial(to_params(DEFAULTS["als"]), 0.95, place=61))
    keep_note(study, report=path)
    assert get_note(study) != first  # ours is kept up to date
    save_note(study, "what I think of it")
    keep_note(study, report=path)
    assert get_note(study) == "what I think of it"
    save_note(study, "")
    keep_note(study, report=path)
    assert get_note(study) == ""
