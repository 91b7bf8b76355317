"""The documents beside what they speak of: commands, options, names, paths, links, anchors.

Whatever a page names exists, and every option and every name for users has its place in a page. The
slow tests run the pages' commands as they stand there, each page in a folder of its own. So that
this ends, 10 and more trials are a few here. A command that is not run has a reason.
"""

import ast
import builtins
import inspect
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import study
from storage.mat_comp import read_mat_comp
from study import (
    best_predict,
    evaluate,
    export,
    forget,
    recommend,
    run,
    serve_database,
    serve_model,
)
from study.cli import EXIT_CODES, SCRIPTS
from study.held import Model
from study.report import __main__ as report
from study.result import Result

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
}
FOLLOWED = {page: text for page, text in PAGES.items() if page != "CHANGELOG.md"}  # of now
COMMANDS = {
    "study.run": run.run,
    "study.best_predict": best_predict.best_predict,
    "study.evaluate": evaluate.evaluate,
    "study.recommend": recommend.recommend,
    "study.report": report.report,
    "study.export": export.export,
    "study.forget": forget.forget,
    "study.serve_database": serve_database.serve_database,
    "study.serve_model": serve_model.serve_model,
}
ALONE = (  # which need no study
    *("study.export", "study.forget", "study.serve_model", "study.serve_database"),
)
NOT_RUN = {
    r"pip install ": "what .ci/run does, in a fresh environment",
    r"python -m pytest": "this is run by it",
    r"\.ci/run": "runs these tests",
    r"(ruff|mypy)\b": "run by .ci/run",
    r"python docs/make\.py": "minutes, and needs a Chromium",
    r"python -m benchmarks\.": "minutes to hours each: that its options exist is tested below",
    r"python -m study\.serve_database": "stays open: tests/test_machines.py starts it",
    r"(python -m study\.serve_model|rating-serve)": "stays open: tests/test_service.py starts it",
    r"curl ": "asks what stays open: tests/test_service.py asks the same",
    r"torchrun ": "several processes: tests/test_ranks.py starts them",
    r".*(grpc|mysql|postgresql)[+\w]*://": "needs a server: tests/test_machines.py has one",
}
OTHERS = {  # options of programs that are not ours
    "--port": "of optuna-dashboard and the commands that serve",
    "--extra-index-url": "of pip",
    "--check": "of ruff",
    **dict.fromkeys(
        ["--standalone", "--nnodes", "--nproc-per-node", "--rdzv-backend"], "of torchrun"
    ),
    **dict.fromkeys(["--rdzv-endpoint", "--rdzv-id", "--max-restarts"], "of torchrun"),
    **dict.fromkeys(["--nodes", "--ntasks-per-node", "--cpus-per-task"], "of Slurm"),
}
ADDED = {
    "model/means.py": "the recipe for a solver adds it",
    "tests/test_means.py": "and who follows it writes this",
}
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def blocks(text: str) -> list[tuple[str, str]]:
    """The language and the text of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section_of(page: str, heading: str) -> str:
    """What stands below a heading of the second level."""
    _, found, rest = PAGES[page].partition(f"\n## {heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def prose(text: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def inline(text: str) -> list[str]:
    """What stands between backticks in the text, on one line each."""
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose(text))]


def shell_lines(text: str) -> Iterator[str]:
    """The commands of the blocks, in their order."""
    for language, block in blocks(text):
        if language == "sh":
            lines = block.replace("\\\n", " ").splitlines()
            commands = (re.sub(r"(^|\s+)# .*", "", line) for line in lines)
            yield from (part for line in commands if line for part in line.split(" && "))
        else:
            yield from re.findall(r"^\$ (.*)$", block, re.MULTILINE)


def named(text: str) -> list[str]:
    """Every command of ours that a page names with what it is called with."""
    ours = re.compile(rf"(python -m (study|benchmarks)\.|({'|'.join(SCRIPTS.values())})\b)")
    lines = [*shell_lines(text), *inline(text)]
    parts = [part.strip() for line in lines for part in line.split(" && ")]
    return [part for part in parts if ours.match(part) and "…" not in part]


def all_named() -> list[tuple[str, str]]:
    return [(page, command) for page, text in PAGES.items() for command in named(text)]


def command_of(name: str) -> click.Command:
    """The command of a module, with the options that it has."""
    made = click.Command(name, params=[*reversed(COMMANDS[name].__click_params__)])
    made = click.version_option("")(made)
    made.context_settings = {"help_option_names": ["-h", "--help"]}
    return made


def options_of(name: str) -> set[str]:
    made = command_of(name)
    params = made.get_params(click.Context(made, help_option_names=["-h", "--help"]))
    return {option for param in params for option in param.opts}


def benchmark_options(module: str) -> set[str]:
    """The options of a benchmark, as its source adds them."""
    path = ROOT / module.replace(".", "/")
    path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    calls = re.findall(r'add_argument\(\s*"(--[\w-]+)"(.*)', path.read_text())
    return {option for option, rest in calls if "SUPPRESS" not in rest}


@pytest.mark.parametrize(("page", "command"), all_named())
def test_a_command_is_valid(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    words = words[: next((n for n, word in enumerate(words) if word in ("|", ">")), None)]
    words = [word for word in words if not re.fullmatch(r"\[.*|.*\]", word)]
    if words[0] in SCRIPTS.values():
        module = next(name for name, script in SCRIPTS.items() if script == words[0])
        given = words[1:]
    else:
        module, given = words[2], words[3:]
    if module.startswith("benchmarks"):
        assert set(OPTION.findall(command)) <= benchmark_options(module)
        return
    # Placeholders of numbers and of what is one of a few.
    given = ["1" if word in ("N", "W", "I", "K", "R") else word for word in given]
    try:
        command_of(module).make_context(module, given)
    except click.exceptions.Exit as done:
        assert done.exit_code == 0
    except click.MissingParameter:
        assert not given  # where a command is only named


def test_commands_are_found() -> None:
    found = [command for _, command in all_named()]
    assert len(found) > 40
    assert "python -m study.run --trials 100" in found
    assert any(command.startswith("python -m benchmarks.accuracy --data") for command in found)
    assert "rating-study" in found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_place_and_no_other_is_told(name: str) -> None:
    def rows(text: str) -> dict[str, str]:
        cells = re.findall(r"^\| (`-.*?`) \| (.*) \|$", text, re.MULTILINE)
        told = [(re.findall(r"`(--?[\w-]+)", first), about) for first, about in cells]
        return {option: about for names, about in told for option in names}

    own = set(rows(section_of("docs/commands.md", name)))
    shared = {
        option
        for option, about in rows(section_of("docs/commands.md", "All commands")).items()
        if f"not of `{name}`" not in about
        and (name not in ALONE or re.search(f"`{name}`.* too", about))
    }
    assert own | shared == options_of(name)
    assert not own & shared


@pytest.mark.parametrize(
    ("page", "option"),
    sorted({(p, o) for p, text in FOLLOWED.items() for o in OPTION.findall(text)}),
)
def test_an_option_is_one_of_some_command(page: str, option: str) -> None:
    ours = {one for name in COMMANDS for one in options_of(name)}
    modules = re.findall(r"python -m (benchmarks(?:\.\w+)+)", FOLLOWED[page])
    theirs = {one for module in modules for one in benchmark_options(module)}
    assert option in ours | theirs | set(OTHERS)


@pytest.mark.parametrize("name", study.__all__)
def test_every_name_for_users_is_documented(name: str) -> None:
    assert re.search(rf"`{name}[(`]", PAGES["docs/python.md"])
    found = getattr(study, name)
    if inspect.isfunction(found):
        section = section_of("docs/python.md", name)
        if "as `tune` does" in section:
            section += section_of("docs/python.md", "tune")
        for parameter in inspect.signature(found).parameters:
            assert re.search(rf"\b{parameter}\b", section), parameter


def members(kind: type) -> list[str]:
    """What a class has."""
    fields = getattr(kind, "__dataclass_fields__", {})
    return [*fields, *(name for name in vars(kind) if name[0] != "_" and name not in fields)]


INNER = ("record", "on_event", "known", "solvers", "models", "compact", "levels", "calibration")
INNER += ("predictor",)


@pytest.mark.parametrize(
    ("kind", "section", "name"),
    [
        (kind, section, name)
        for kind, section in ((Result, "A result"), (Model, "A model to hold"))
        for name in members(kind)
        if name not in INNER
    ],
)
def test_all_of_a_class_is_documented(kind: type, section: str, name: str) -> None:
    assert re.search(rf"`({kind.__name__}\.)?{name}[(`]", section_of("docs/python.md", section))


@pytest.mark.parametrize("page", FOLLOWED)
def test_what_is_named_of_python_exists(page: str) -> None:
    text = FOLLOWED[page]
    for name in re.findall(r"\bresult\.(\w+)", text):
        assert name in members(Result)
    for name in re.findall(r"\bmodel\.(\w+)\(", text):
        assert name in members(Model)
    for name in re.findall(r"\b\w+Error\b", text):
        assert name in study.__all__ or hasattr(builtins, name)
    for imported in re.findall(r"^from study import (.*)$", text, re.MULTILINE):
        assert set(imported.split(", ")) <= set(study.__all__)
    for language, block in blocks(text):
        if language == "python" and "recipe:" not in text:
            ast.parse(block)
    for name, arguments in re.findall(r"`(load|tune|find)\(([^`]*)\)`", text):
        told = re.findall(r"\b(\w+)=", arguments)
        assert set(told) <= set(inspect.signature(getattr(study, name)).parameters)
    for kind, heading in ((Result, "A result"), (Model, "A model to hold")):
        table = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        for name, arguments in re.findall(r"^\| `(\w+)\(([^`]*)\)`", table, re.MULTILINE):
            told = [one.partition("=")[0] for one in arguments.split(", ")]
            names = set(inspect.signature(getattr(kind, name)).parameters)
            assert set(told) - {"…"} <= names | ({"user"} if "users" in names else set())


def paths() -> list[tuple[str, str]]:
    """Every path of the repository that a page names in its text."""
    tops = r"(study|model|storage|tests|benchmarks|docs)/[\w./-]*|\.ci/run|\.github/[\w./-]*"
    found = {
        (page, code)
        for page, text in FOLLOWED.items()
        for code in inline(text)
        if re.fullmatch(tops, code)
    }
    return sorted(found)


@pytest.mark.parametrize(("page", "path"), paths())
def test_a_path_exists(page: str, path: str) -> None:
    assert (ROOT / path).exists() is (path not in ADDED)


def links() -> list[tuple[str, str]]:
    """Every link of a page that does not leave the repository."""
    found = [
        (page, target)
        for page, text in PAGES.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(text))
    ]
    return [(page, target) for page, target in found if not re.match(r"\w+:", target)]


def anchors(text: str) -> set[str]:
    """What its headings are called in links, as GitHub does it."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), links())
def test_a_link_leads_somewhere(page: str, target: str) -> None:
    name, _, anchor = target.partition("#")
    path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
    assert path.exists()
    assert path.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(path.read_text())


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = {"README.md"}, ["README.md"]
    while waiting:
        page = waiting.pop()
        for source, target in links():
            if source != page:
                continue
            path = ((ROOT / page).parent / target.partition("#")[0]).resolve()
            name = str(path.relative_to(ROOT))
            if name in PAGES and name not in reached:
                reached.add(name)
                waiting.append(name)
    assert reached == set(PAGES)
    assert len(PAGES["README.md"].splitlines()) <= 140  # all else has a page


def test_the_one_line_that_tests_is_found_by_who_runs_it() -> None:
    line = next(one for one in PAGES["README.md"].splitlines() if "python -m pytest" in one)
    assert line == "pip install -e '.[test]' && python -m pytest -n auto"
    assert "grep -m1 -F 'python -m pytest' README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_mat_comp_file_can_be_copied(tmp_path: Path) -> None:
    found = blocks(PAGES["docs/formats.md"])
    (text,) = [text for _, text in found if text.startswith("3 4 5\n")]
    (tmp_path / "mat_comp").write_text(text)
    table = read_mat_comp(tmp_path / "mat_comp")
    assert (table.n_ratings, table.n_queries) == (5, 2)


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_no_exception_is_out_of_date(pattern: str) -> None:
    everything = [line for text in FOLLOWED.values() for line in shell_lines(text)]
    everything += [code for text in FOLLOWED.values() for code in inline(text)]
    assert any(re.match(pattern, command) for command in everything)


@pytest.mark.parametrize("code", re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE))
def test_every_exit_code_is_told(code: str) -> None:
    assert f"| {code} |" in PAGES["docs/commands.md"]


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_every_script_is_told_and_completes(script: str) -> None:
    page = PAGES["docs/commands.md"]
    variable = f"_{script}_complete".replace("-", "_").upper()
    assert f"`{script}`" in page
    assert variable in page


@pytest.mark.parametrize(
    "module",
    sorted(
        {m for text in FOLLOWED.values() for m in re.findall(r"-m (benchmarks(?:\.\w+)+)", text)}
    ),
)
def test_a_benchmark_answers_for_help(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    for name in (module, f"{module}.__main__"):  # another may have imported it
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    shown = capsys.readouterr()
    assert (exit_.value.code, shown.err) == (0, "")
    assert benchmark_options(module) <= set(OPTION.findall(shown.out))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which a page is followed, with the tables that pages show."""
    draw = np.random.default_rng(0)
    pairs = draw.permutation(312 * 400)[:8420]
    lines = ["rating,movie_id,user_id,note"]
    for pair in pairs[:8400].tolist():
        user, item = divmod(pair, 400)
        lines.append(f"{draw.integers(2, 11) / 2},tt{item:07},uma-{user},")
    (tmp_path / "ratings.csv").write_text("\n".join([*lines, ""]))
    (tmp_path / "ratings").mkdir()
    for number, some in enumerate((lines[1:4000], lines[4000:])):
        part = tmp_path / "ratings" / f"{number}.csv"
        part.write_text("\n".join([lines[0], *some, ""]))
    lines += ["3.5,tt0000007,uma-new,", "4.5,tt0000017,uma-new,"]
    (tmp_path / "ratings-2.csv").write_text("\n".join([*lines, ""]))
    (tmp_path / "today.csv").write_text("\n".join([lines[0], *lines[-2:], ""]))
    later = [f"4.5,tt{pair % 400:07},uma-{pair // 400}," for pair in pairs[8400:].tolist()]
    (tmp_path / "next-week.csv").write_text("\n".join([lines[0], *later, ""]))
    with (tmp_path / "pairs.csv").open("w") as file:
        file.write("user_id,movie_id\n")
        file.writelines(f"uma-{pair // 400},tt{pair % 400:07}\n" for pair in pairs[8400:].tolist())
    genres = ["Drama|War", "Comedy", "Crime|Drama", "Romance", "Comedy|Romance"]
    with (tmp_path / "items.csv").open("w") as file:
        file.write("movie_id,title,year,genres,country\n")
        for item in range(400):
            more = f"{1950 + item % 70},{genres[item % 5]},{['FR', '', 'US', 'IT'][item % 4]}"
            file.write(f"tt{item:07},Film {item},{more}\n")
    (tmp_path / "mine.csv").write_text("item,rating\n50,5\n172,5\n181,4\n")
    titles = [f"{item}|Night {item} (1995)|01-Jan-1995||http://films|0" for item in range(1, 501)]
    (tmp_path / "u.item").write_text("\n".join(titles) + "\n")
    return tmp_path


@pytest.fixture(scope="module")
def first_run(once: Callable[..., Any]) -> Path:
    """A folder with what the README's first command leaves."""

    def made(folder: Path) -> Path:
        command = shlex.split(ended_soon(RUN["README.md"][0]))
        done = subprocess.run(
            command, cwd=folder, env=of_the_root(), capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return folder

    found: Path = once("first_run", made)
    return found


@pytest.fixture
def environment() -> dict[str, str]:
    return of_the_root()


def of_the_root() -> dict[str, str]:
    """An environment in which the commands are those of this folder."""
    programs = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


def is_run(command: str) -> bool:
    return not any(re.match(pattern, command) for pattern in NOT_RUN)


def ended_soon(text: str) -> str:
    short = re.sub(r"(--trials |trials=)\d+", r"\g<1>2", text)
    if short.startswith("python -m study.run ") and "--trials" not in short:
        short += " --trials 2"
    return short


RUN = {page: [line for line in shell_lines(PAGES[page]) if is_run(line)] for page in FOLLOWED}
PROGRAMS = {
    page: "".join(block for language, block in blocks(text) if language == "python")
    for page, text in FOLLOWED.items()
    if "recipe:" not in text
}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if RUN[page] or PROGRAMS.get(page)])
def test_a_page_can_be_followed(
    page: str, first_run: Path, folder: Path, environment: dict[str, str]
) -> None:
    """Its commands in their order, then the Python of all its blocks as one program."""

    def follow(*words: str) -> None:
        done = subprocess.run(
            [*words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), words[-1]

    bash = "bash", "-euo", "pipefail", "-c"
    shutil.copytree(first_run, folder, dirs_exist_ok=True)
    for line in RUN[page][page == "README.md" :]:
        if line.startswith("optuna-dashboard "):
            answers_then_stop(line, folder, environment)
        else:
            follow(*bash, ended_soon(line))
    if program := PROGRAMS.get(page):
        follow(sys.executable, "-c", ended_soon(program))
    if page in ("README.md", "docs/formats.md"):
        assert (folder / "answers.csv").read_text().startswith("user_id,movie_id,prediction\n")


def test_pages_are_followed() -> None:
    assert len(RUN["README.md"]) == 5
    assert len([page for page in RUN if RUN[page] or PROGRAMS.get(page)]) >= 5


def answers_then_stop(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Starts a server on a free port, asks it for its first page, and stops it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command.split(), "--port", str(port)],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/dashboard/") as page:
                    assert page.status == 200
                return
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
    finally:
        process.terminate()
        process.wait()
