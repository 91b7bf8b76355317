"""What a study came to, as the note that optuna-dashboard shows on the study's page.

A note that a person has written, changed or emptied stays as it is: a digest of ours is kept beside
it, and only a note that still has one of ours is written anew.
"""

import hashlib
from pathlib import Path
from typing import Any

import optuna

from study import tables
from study.findings import Findings, findings

DIGESTS = "rating-study:note"  # the system attribute with the digests of our last two notes
EM_SPACE = "\u2003"
FINALISTS = {
    "trial": "trial",
    "solver": "solver",
    "rmse": "RMSE",
    "splits": "splits",
    "epochs": "epochs",
}
SPENT = {
    "name": "solver",
    "time": "time",
    "trials": "trials",
    "pruned": "pruned",
    "epochs": "epochs",
    "epoch": "per epoch",
    "rmse": "best RMSE",
}


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
        lines += _table(FINALISTS, rows)
    if rows := tables.spent(found):
        lines += ["", "### Where the time went", ""]
        lines += _table(SPENT, rows)
    # A path may hold anything; its last part is quoted by storage.models.file_name.
    lines += ["", f"The report with charts is `{report.name}`, beside the database."]
    return "\n".join(lines) + "\n"


def _table(columns: dict[str, str], rows: list[dict[str, Any]]) -> list[str]:
    """A table of the columns by their titles; the dashboard leaves no room between cells."""
    table = [list(columns.values()), *([str(row[key]) for key in columns] for row in rows)]
    lines = [f"|{'|'.join(EM_SPACE + cell for cell in cells)}|" for cells in table]
    return [lines[0], "|" + "---:|" * len(columns), *lines[1:]]


def _digest(note: str) -> str:
    return hashlib.sha256(note.encode()).hexdigest()
