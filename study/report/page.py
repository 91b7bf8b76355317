"""The report: what a study has found, as one HTML file that needs no other file and no network.

Whatever comes from the database is text to the template and to the charts, both of which escape
it; the page's own policy lets a browser run its script and its style sheet alone, by their hashes.
"""

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from storage.files import replacing
from storage.models import file_name
from study.record.record import Record
from study.report import charts, tables
from study.report.findings import FEWEST_FOR_IMPORTANCE, Findings, findings, importances
from study.templates import template

N_SLICES = 2

_TEMPLATES = Path(__file__).parent / "templates"


def report_path(record: Record, runs: Path) -> Path:
    """Where the report of a study lies, beside its database."""
    return runs / f"{file_name(record.name)}.html"


def write_report(record: Record, path: Path) -> None:
    """Writes the report of a study, whole or not at all.

    Raises:
        OSError: the file cannot be written; one that was there stays as it was.
    """
    html = render(findings(record))
    with replacing(path, "wb") as file:
        file.write(html.encode("utf-8", errors="replace"))  # a file's name may not be UTF-8


def render(found: Findings) -> str:
    """The page, as HTML."""
    css, js = ((_TEMPLATES / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    shares = {solver: importances(found.of(solver), solver) for solver in found.solvers()}
    best = found.best
    return template(_TEMPLATES / "report.html").render(
        found=found,
        css=Markup(css),
        js=Markup(js),
        policy=_policy(css, js),
        headline=tables.headline(found),
        tiles=tables.tiles(found),
        gains=tables.gains(found),
        gains_later=tables.gains_later(found),
        context=tables.context(found),
        kinds=tables.kinds(found),
        columns=tables.columns(found),
        scales=tables.scales(found),
        level=charts.level(found.context) if found.context else None,
        errors_by_label=charts.errors_by_label(found),
        finalists=tables.finalists(found),
        setting_json=tables.as_json(best) if best else "",
        setting_python=tables.as_python(best) if best else "",
        history=charts.history(found) if found.scored else None,
        curves=charts.learning_curves(found),
        importances=tables.importances(found, shares),
        too_few=", ".join(solver for solver, share in shares.items() if not share),
        fewest=FEWEST_FOR_IMPORTANCE,
        slices=charts.slices(found, list(shares[best.solver])[:N_SLICES]) if best else [],
        errors=charts.errors_by_count(found.held_out) if found.held_out else [],
        calibration=charts.calibration(found.calibration) if found.calibration else [],
        evaluation=tables.evaluation(found),
        evaluation_groups=tables.evaluation_groups(found),
        spent=tables.spent(found),
        trials=tables.trials(found),
        about=tables.about(found),
        solver_class=charts.solver_class,
    )


def _policy(css: str, js: str) -> str:
    """A content security policy: the page loads nothing, and runs nothing but its own."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (css, js))
    style, script = (base64.b64encode(digest).decode() for digest in digests)
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )
