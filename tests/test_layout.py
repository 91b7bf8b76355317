"""Which room may import what: the directions of the design, held with the imports themselves."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("storage", "model", "study")
FORBIDDEN = {
    "storage": {"model", "study", "torch", "benchmarks", "tests"},
    "model": {"storage", "study", "optuna", "benchmarks", "tests"},
    "study": {"benchmarks", "tests"},
}


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(source: str, room: str) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import, wherever in the source it stands."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
            case ast.ImportFrom():
                package = (node.module or "").partition(".")[0]
                yield node.lineno, room if node.level else package
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")):
                yield node.lineno, "an import by a call"


def breaches(source: str, room: str, forbidden: set[str]) -> list[tuple[int, str]]:
    return [found for found in imports(source, room) if found[1] in forbidden]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    assert files_of(room)
    forbidden = FORBIDDEN[room] | {"an import by a call"}
    for path in files_of(room):
        assert breaches(path.read_text(), room, forbidden) == [], path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import study", ["study"]),
        ("import os, study.run as run", ["study"]),
        ("from study import run", ["study"]),
        ("from study.run import main", ["study"]),
        ("def f():\n    from study.run import main", ["study"]),
        ("if TYPE_CHECKING:\n    import study.run", ["study"]),
        ("import importlib\nimportlib.import_module('study')", ["an import by a call"]),
        ("__import__('study')", ["an import by a call"]),
        ("from . import study\nimport studying\nfrom storage.study import x", []),
    ],
)
def test_an_import_is_seen_wherever_it_stands(source: str, found: list[str]) -> None:
    forbidden = {"study", "an import by a call"}
    assert [package for _, package in breaches(source, "storage", forbidden)] == found


def test_the_way_of_the_data_is_taken() -> None:
    packages = {
        room: {name for path in files_of(room) for _, name in imports(path.read_text(), room)}
        for room in ROOMS
    }
    assert {"model", "storage", "optuna", "torch"} <= packages["study"]
    assert {"optuna", "sqlalchemy", "safetensors"} <= packages["storage"]
    assert packages["model"] - set(sys.stdlib_module_names) <= {
        "model",
        "numpy",
        "torch",
        "numba",
        "llvmlite",
    }


@pytest.mark.parametrize("room", ROOMS)
def test_there_is_no_drawer_for_everything(room: str) -> None:
    names = {path.stem for path in files_of(room)}
    assert not names & {"util", "utils", "helpers", "common", "misc"}
    for path in files_of(room):
        assert len(path.read_text().splitlines()) <= 320, path
