"""The example notebook, executed in a folder of its own; --write keeps what it gave.

python -m tests.test_notebook --write
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra: notebook")
nbclient = pytest.importorskip("nbclient", reason="needs the extra: notebook")

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "example.ipynb"


def executed(folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs that its cells give now."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    there = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        resources = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(
            notebook, timeout=300, resources=resources, kernel_name="python3", record_timing=False
        ).execute()
    finally:
        os.environ.pop("PYTHONPATH")
        if there is not None:
            os.environ["PYTHONPATH"] = there
    return notebook


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell shows at its end."""
    return [
        "".join(one["data"]["text/plain"] for one in cell.outputs if "data" in one)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.slow
def test_the_notebook_gives_what_it_shows(tmp_path: Path) -> None:
    now, then = shown(executed(tmp_path)), shown(nbformat.read(NOTEBOOK, as_version=4))
    assert len(now) == len(then)
    for new, old in zip(now, then, strict=True):
        assert new, "a cell shows nothing"
        # Figures may differ in their last digits from one machine to another.
        assert re.sub(r"\d", "", new).split() == re.sub(r"\d", "", old).split()
    assert 0.8 < float(now[4]) < 0.9


def test_the_notebook_is_kept_with_outputs_and_without_paths() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(shown(notebook))
    assert not re.search(r"/(home|root|opt|tmp|work)/", NOTEBOOK.read_text())
    for cell in notebook.cells:
        assert all(one.output_type != "error" for one in cell.get("outputs", []))


if __name__ == "__main__" and "--write" in sys.argv:
    with tempfile.TemporaryDirectory() as scratch:
        nbformat.write(executed(Path(scratch)), NOTEBOOK)
