"""Which room may import what: the directions of the design, held with the imports themselves."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BY_A_CALL = "an import by a call"
# What of this project each room may import: whole rooms, or modules. Its own come on top.
MAY: dict[str, set[str]] = {
    "storage": set(),
    "model.kernels": {"model.dataset", "model.world"},
    "model": {"model.kernels"},
    "study.events": set(),
    "study.templates": set(),
    "study.sides": {"storage", "model"},
    "study.known": {"storage", "model", "study.sides"},
    "study.shards": {"storage", "model.world", "model.selection"},
    "study.inputs": {
        *("storage", "model", "study.events", "study.shards", "study.sides", "study.known"),
    },
    "study.record": {"storage", "model"},
    "study.search": {"storage", "model", "study.record"},
    "study.answers": {
        *("storage", "model", "study.record", "study.inputs", "study.known", "study.events"),
    },
    "study.workers": {
        *("storage", "model", "study.record", "study.search", "study.answers"),
        *("study.inputs", "study.known", "study.events"),
    },
    "study.report": {"storage", "model", "study.record", "study.answers", "study.templates"},
    "study.report.__main__": {"storage", "study.record", "study.report", "study.inputs"}
    | {"study.cli", "study.options", "study.drawing"},
    "study.drawing": {"storage", "study.events"},
    "study.held_file": {"storage", "model", "study.known"},
    "study.person": {"storage", "model", "study.answers", "study.inputs", "study.known"},
    "study.held": {
        *("storage", "model", "study.answers", "study.inputs", "study.known"),
        *("study.held_file", "study.person"),
    },
    "study.service": {
        *("storage", "model.kernels", "model.dataset", "study.held", "study.answers.lists"),
        *("study.answers.explanations", "study.known", "study.events", "study.templates"),
    },
    "study.cards": {"storage", "study.record", "study.answers"},
    "study.result": {"storage", "model", "study"},
    "study.tuning": {"storage", "model", "study"},
    "study": {"storage", "model", "study"},
}
COMMANDS = {
    "study.run",
    "study.best_predict",
    "study.recommend",
    "study.serve",
    "study.export",
    "study.forget",
}
COMMANDS |= {"study.evaluate", "study.report.__main__", "study.serve_database"}
COMMANDS |= {"study.serve_model"}
OUTSIDE = {  # packages that belong to some rooms alone
    "optuna": ("storage", "study"),
    "torch": ("model", "study"),
    "sqlalchemy": ("storage", "study.cli", "study.tuning", "study.report"),
    "numba": ("model.kernels",),
    "click": ("study",),
    "fastapi": ("study.service",),
    "uvicorn": ("study.serve_model",),
    "rich": ("study.drawing", "study.recommend"),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_of(path): path
    for top in ("storage", "model", "study")
    for path in sorted((ROOT / top).rglob("*.py"))
}


def imports(source: str) -> Iterator[str]:
    """The module of every import, wherever in the source it stands."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=module, level=0):
                whole = [f"{module}.{alias.name}" for alias in node.names]
                yield from (name if name in MODULES else str(module) for name in whole)
            case ast.ImportFrom():
                yield "a relative import"
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")):
                yield BY_A_CALL


def room_of(module: str) -> str:
    """The room with rules that a module is in: the innermost."""
    names = module.split(".")
    found = (".".join(names[:n]) for n in range(len(names), 0, -1))
    return next(name for name in found if name in MAY)


def is_in(module: str, rooms: set[str] | tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def breaches(module: str, source: str) -> list[str]:
    """What a module imports that its room may not."""
    room, found = room_of(module), []
    for name in dict.fromkeys(imports(source)):
        top = name.partition(".")[0]
        if name in (BY_A_CALL, "a relative import") or top in ("benchmarks", "tests"):
            found.append(name)
        elif top in ("storage", "model", "study"):
            if not is_in(name, MAY[room] | {room}):
                found.append(name)
        elif top in OUTSIDE and not is_in(module, OUTSIDE[top]):
            found.append(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_it_may(module: str) -> None:
    assert breaches(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("storage.files", "import study", ["study"]),
        ("storage.files", "import os, study.run as run", ["study.run"]),
        ("storage.files", "from study import run", ["study.run"]),
        ("storage.files", "def f():\n    from study.run import main", ["study.run"]),
        ("storage.files", "if TYPE_CHECKING:\n    import study.run", ["study.run"]),
        ("storage.files", "import importlib\nimportlib.import_module('x')", [BY_A_CALL]),
        ("storage.files", "__import__('study')", [BY_A_CALL]),
        ("storage.files", "from . import errors", ["a relative import"]),
        ("storage.files", "import studying\nfrom storage.study import x", []),
        ("storage.files", "import torch", ["torch"]),
        ("model.als", "import optuna", ["optuna"]),
        ("model.kernels.simd", "from model.als import ALS", ["model.als"]),
        ("study.record.record", "from study.search import sampler", ["study.search.sampler"]),
        ("study.answers.lists", "from study.workers.team import run_job", ["study.workers.team"]),
        ("study.workers.team", "from study.cli import complain", ["study.cli"]),
        ("study.report.page", "from study.search.sampler import suggest", ["study.search.sampler"]),
        ("study.run", "from study.cli import complain", []),
    ],
)
def test_an_import_is_seen_wherever_it_stands(module: str, source: str, found: list[str]) -> None:
    assert breaches(module, source) == found


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {
        module: {name for name in imports(path.read_text()) if name in MODULES} - {module}
        for module, path in MODULES.items()
    }
    arrows["study"] = set()  # its face imports lazily what is asked for by name
    assert sum(map(len, arrows.values())) > 300
    assert list(TopologicalSorter(arrows).static_order())


def test_nothing_but_commands_imports_the_command_line() -> None:
    for module, path in MODULES.items():
        if {"study.cli", "study.options"} & {*imports(path.read_text())}:
            assert module in COMMANDS
    assert "study.cli" in imports(MODULES["study.run"].read_text())


def test_nothing_below_the_drawing_prints() -> None:
    for module, path in MODULES.items():
        if module in ("study.cli", "study.drawing"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="print")):
                    pytest.fail(f"{module}:{node.lineno} prints")
                case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"):
                    pytest.fail(f"{module}:{node.lineno} uses a stream of the process")


def test_every_package_is_listed_and_says_what_it_is_for() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    packages = [name for name, path in MODULES.items() if path.name == "__init__.py"]
    assert len(packages) == 10
    for package in packages:
        assert f'    "{package}",\n' in listed
        assert ast.get_docstring(ast.parse(MODULES[package].read_text()))


def test_the_way_of_the_data_is_taken() -> None:
    packages: dict[str, set[str]] = {"storage": set(), "model": set(), "study": set()}
    for module, path in MODULES.items():
        found = {name.partition(".")[0] for name in imports(path.read_text())}
        packages[module.partition(".")[0]] |= found
    assert {"model", "storage", "optuna", "torch"} <= packages["study"]
    assert {"optuna", "sqlalchemy", "safetensors"} <= packages["storage"]
    outside = packages["model"] - set(sys.stdlib_module_names)
    assert outside == {"model", "numpy", "torch", "numba", "llvmlite"}


def test_there_is_no_drawer_for_everything() -> None:
    names = {module.rpartition(".")[2] for module in MODULES}
    assert not names & {"util", "utils", "helpers", "common", "misc"}
