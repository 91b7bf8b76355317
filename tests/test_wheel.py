"""The wheel: built, installed in an environment of its own, and used away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.chaos import planted

ROOT = Path(__file__).resolve().parent.parent
TAKEN = ("study", "model", "storage", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout stays as it is."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in TAKEN:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (built,) = out.glob("*.whl")
    return built


Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program of an environment that has the wheel: what it prints.

    What the wheel depends on is that of this environment, which a .pth file leads to; the wheel
    itself comes first.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    install = ["install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    planted(elsewhere / "mat_comp", n_users=60, n_items=40)
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}

    def run_it(program: str, *arguments: str) -> str:
        return subprocess.run(
            [home / "bin" / program, *arguments],
            cwd=elsewhere,
            env={**environment, "NUMBA_CACHE_DIR": str(elsewhere / "numba")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    return run_it


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = content.read(metadata).decode()
    for package in ("study", "model", "storage"):
        ours = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert ours | {f"{package}/py.typed"} <= names
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "study").glob("*/templates/*")}
    assert templates <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "study",
        "model",
        "storage",
    }
    assert "License-Expression: MIT" in told
    assert "Typing :: Typed" in told


def test_it_works_elsewhere(run: Run) -> None:
    code = "import study, model, storage; print(study.__file__, model.__file__, storage.__file__)"
    assert str(ROOT) not in run("python", "-c", code)
    found = json.loads(run("rating-study", "--trials", "2", "--json", "--quiet"))
    assert found["trials"] == 2
    told = json.loads(run("rating-predict", "--json", "--quiet"))
    assert told["predictions"] == 1
    assert "Report: runs/" in run("rating-report")


def test_its_dependencies_agree(run: Run) -> None:
    assert "No broken requirements found" in run("python", "-m", "pip", "check")
