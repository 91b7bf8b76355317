"""The recipe for a solver: its blocks put where CONTRIBUTING.md says, and a study run with it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECIPE = re.compile(r"^<!-- recipe: ([^\n]*) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Ratings of biases and noise, which the means fit best. So that the winner is sure, als, which may
# come to the same, is left out, and the others train for an epoch only.
PROGRAM = """
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from model.solvers import SOLVERS

del SOLVERS["als"]
for name, entry in SOLVERS.items():
    if name != "means":
        SOLVERS[name] = replace(entry, most_epochs=1, retraining_epochs=None)

from study import find, tune

draw = np.random.default_rng(0)
users, items = np.divmod(draw.permutation(60 * 40)[:1500], 40)
signal = 3 + draw.normal(size=60)[users] + draw.normal(size=40)[items]
known, asked = slice(1400), slice(1400, None)
ratings = {"user": users[known], "item": items[known]}
ratings["rating"] = (signal + draw.normal(0, 0.3, 1500))[known]

tune(ratings, trials=20, workers=1, device="cpu", quiet=True)
result = find(ratings, device="cpu", quiet=True)
pairs = {"user": users[asked], "item": items[asked]}
answers = result.predict(pairs, intervals=True, average=1)
print(json.dumps({
    "trials": [
        [t.state.name, t.params["solver"], t.params.get("means_shrinkage")]
        for t in result.study.trials
    ],
    "best": result.best_setting,
    "rmse": float(np.sqrt(np.mean((answers["prediction"] - signal[asked]) ** 2))),
    "sure": float(np.mean((answers["lower"] < signal[asked]) & (signal[asked] < answers["upper"]))),
    "spread": float(np.std(signal[asked])),
    "liked": len(result.recommend(5, items=3)),
    "new": len(result.newcomer({1: 3.0, 2: 5.0}).recommend(items=3)),
    "alike": len(result.similar(7, items=3)),
    "report": "means" in result.report().read_text(),
}), flush=True)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[1], "-k", "means"]))  # the contract
"""


def put_in_place(house: Path) -> list[str]:
    """Follows the recipe in a copy of the packages: the places that it names."""
    places = RECIPE.findall((ROOT / "CONTRIBUTING.md").read_text())
    for place, block in places:
        name, _, where = place.partition(", ")
        path = house / name
        if not where:
            assert not path.exists()
            path.write_text(block)
            continue
        before, registry, after = path.read_text().partition("\nSOLVERS: ")
        assert registry
        if where == "above SOLVERS":
            path.write_text(f"{before}\n\n{block}\n{registry}{after}")
        else:
            assert where == "at the end of SOLVERS"
            entries, end, rest = after.partition("\n}\n")
            path.write_text(f"{before}{registry}{entries}\n{block.rstrip()}{end}{rest}")
    return [place for place, _ in places]


def test_what_a_file_is_said_to_have_it_has() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`(\w+)` (?:of|in|\()\s*`([\w/]+\.py)`", text)
    named += re.findall(r"`(\w+)`\s+\(`([\w/]+\.py)`", text)
    assert len(named) > 5
    for name, path in named:
        made = rf"^(def|class) {name}\b|^{name}\b.*="
        assert re.search(made, (ROOT / path).read_text(), re.MULTILINE), (name, path)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the packages, with what was compiled of them."""
    for package in ("study", "model", "storage"):
        shutil.copytree(ROOT / package, tmp_path / "house" / package)
    return tmp_path / "house"


@pytest.mark.slow
def test_a_solver_is_one_file_and_one_entry(house: Path, tmp_path: Path) -> None:
    assert put_in_place(house) == [
        "model/means.py",
        "model/solvers.py, above SOLVERS",
        "model/solvers.py, at the end of SOLVERS",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ROOT / "tests/test_solvers.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(house)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    line, _, contract = done.stdout.partition("\n")
    assert contract.startswith("......")
    found = json.loads(line)
    trials = [(state, shrinkage) for state, name, shrinkage in found["trials"] if name == "means"]
    states = [state for state, _ in trials]
    assert set(states) <= {"COMPLETE", "PRUNED"}
    assert states.count("COMPLETE") >= 3
    assert 5.0 in {shrinkage for _, shrinkage in trials}  # its default
    assert all(0.1 <= shrinkage <= 100 for _, shrinkage in trials)
    assert len({shrinkage for _, shrinkage in trials}) > 2  # and what was searched
    assert found["best"]["solver"] == "means"
    assert found["rmse"] < 0.2 < found["spread"]
    assert found["sure"] > 0.9
    assert (found["liked"], found["new"], found["alike"]) == (3, 3, 3)
    assert found["report"]
