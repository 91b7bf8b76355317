"""What a study came to, as the note that optuna-dashboard shows on the study's page.

A note that a person has written, changed or emptied stays as it is: a digest of ours is kept beside
it, and only a note that still has one of ours is written anew.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.record.attributes import StudyView, TrialView
from study.record.record import Record
from study.report import tables
from study.report.findings import Findings, findings

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


def keep_note(record: Record, *, report: Path) -> None:
    """Writes the note of a study, unless there is one that is not ours."""
    from optuna_dashboard import get_note, save_note

    there = get_note(record.study)
    ours = record.notes or [_digest("")]
    if _digest(there) not in ours:
        return
    note = as_markdown(findings(record), report=report)
    if note != there:
        # Both are ours until the new one is written, whenever the process may be killed.
        record.keep(StudyView.notes, [_digest(there), _digest(note)])
        save_note(record.study, note)
        record.keep(StudyView.notes, [_digest(note)])


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
    lines += ["", "### How to read the other pages", "", *(f"- {line}" for line in _hints(found))]
    # A path may hold anything; its last part is quoted by storage.models.file_name.
    lines += ["", f"The report with charts is `{report.name}`, beside the database."]
    return "\n".join(lines) + "\n"


def _hints(found: Findings) -> Iterator[str]:
    """What the dashboard shows in a way that may mislead."""
    yield "The values of trials are mean squared errors; an RMSE is the root of one."
    if found.original:
        yield (
            f"Trial {found.original.number} is the setting that all this replaces, far above the "
            'others: "Log y scale" in the history\'s settings tells those apart.'
        )
    if found.best and found.best.trial.number != found.trials_best_number:
        yield (
            f'"Best Trial" there is {found.trials_best_number}, the best on the split of the '
            f"trials; on fresh splits {found.best.trial.number} was better, and is what answers."
        )
    if any(TrialView(trial).was_interrupted for trial in found.trials):
        yield "A failed trial, in red, was interrupted, and its setting was tried again as another."


def _table(columns: dict[str, str], rows: list[dict[str, Any]]) -> list[str]:
    """A table of the columns by their titles; the dashboard leaves no room between cells."""
    table = [list(columns.values()), *([str(row[key]) for key in columns] for row in rows)]
    lines = [f"|{'|'.join(EM_SPACE + cell for cell in cells)}|" for cells in table]
    return [lines[0], "|" + "---:|" * len(columns), *lines[1:]]


def _digest(note: str) -> str:
    return hashlib.sha256(note.encode()).hexdigest()
