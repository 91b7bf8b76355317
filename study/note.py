"""What a study came to, as the note that optuna-dashboard shows on the study's page.

A note that a person has written, changed or emptied stays as it is: a digest of ours is kept beside
it, and only a note that still has one of ours is written anew.
"""

import hashlib
from pathlib import Path

import optuna

from study import tables
from study.findings import Findings, findings

DIGESTS = "rating-study:note"  # the system attribute with the digests of our last two notes


def keep_note(study: optuna.Study, *, report: Path) -> None:
    """Writes the note of a study, unless there is one that is not ours."""
    from optuna_dashboard import save_note
    from optuna_dashboard._note import get_note_from_system_attrs, note_ver_key

    storage = study._storage
    kept = storage.get_study_system_attrs(study._study_id)
    there = get_note_from_system_attrs(kept, None)["body"]
    ours = kept.get(DIGESTS, [])[-1:]
    if note_ver_key(None) in kept and _digest(there) not in kept.get(DIGESTS, []):
        return
    note = as_markdown(findings(study), report=report)
    if note != there:
        # Both are ours until the new one is written, whenever the process may be killed.
        storage.set_study_system_attr(study._study_id, DIGESTS, [*ours, _digest(note)])
        save_note(study, note)


def as_markdown(found: Findings, *, report: Path) -> str:
    """The note: figures and our own words only, nothing that came from elsewhere."""
    lines = [f"## {tables.headline(found)}", ""]
    for tile in tables.tiles(found):
        lines.append(f"- {tile['name']}: **{tile['figure']}**, {tile['note']}")
    if found.best:
        number, solver = found.best.trial.number, found.best.solver
        lines += ["", f"### The best setting: trial {number}, {solver}", ""]
        lines += ["```json", tables.as_json(found.best), "```"]
    if rows := tables.finalists(found):
        lines += ["", "### Finalists, on fresh splits", ""]
        lines += _table(["trial", "solver", "rmse", "splits", "epochs"], rows)
    if rows := tables.spent(found):
        lines += ["", "### Where the time went", ""]
        lines += _table(["name", "time", "trials", "pruned", "epochs", "epoch", "rmse"], rows)
    # A path may hold anything; its last part is quoted by storage.models.file_name.
    lines += ["", f"The report with charts is `{report.name}`, beside the database."]
    return "\n".join(lines) + "\n"


def _table(columns: list[str], rows: list[dict[str, object]]) -> list[str]:
    head = ["|" + "|".join(columns) + "|", "|" + "---|" * len(columns)]
    return head + ["|" + "|".join(str(row[column]) for column in columns) + "|" for row in rows]


def _digest(note: str) -> str:
    return hashlib.sha256(note.encode()).hexdigest()
