"""The README's commands, each run as it stands there, in order, in one folder.

So that this ends, 100 and more trials are a few here. A command that is not run has a reason.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage.mat_comp import read_mat_comp

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MEASUREMENTS = (ROOT / "docs" / "measurements.md").read_text()
NOT_RUN = {
    r"pip install ": "what .ci/run does, in a fresh environment",
    r"python -m pytest": "this is run by it",
    r"\.ci/run": "runs these tests",
    r"python -m benchmarks\.": "minutes to hours each: that its options exist is tested below",
    r"python -m study\.serve": "stays open: tests/test_machines.py starts it",
    r".*(grpc|mysql|postgresql)[+\w]*://": "needs a server: tests/test_machines.py has one",
}
OPTIONS = re.compile(r"--[a-z][\w-]*")


def blocks() -> Iterator[tuple[str, str]]:
    """The language and the text of each block of code."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def steps() -> Iterator[tuple[str, str]]:
    """What is to be run, in order: ("sh", a command) or ("python", a program)."""
    for language, text in blocks():
        if language == "python":
            yield "python", text
        elif language == "sh":
            lines = text.replace("\\\n", " ").splitlines()
            yield from (("sh", part) for line in lines for part in line.split(" && "))
        else:
            yield from (("sh", line) for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE))


def inline() -> list[str]:
    """The commands in the text, that of the measurements too."""
    prose = re.sub(r"^```.*?^```$", "", README + MEASUREMENTS, flags=re.MULTILINE | re.DOTALL)
    return [
        re.sub(r"\s+", " ", code)
        for code in re.findall(r"`(python -m [^`]+)`", prose)
        if "…" not in code
    ]


def is_run(command: str) -> bool:
    return not any(re.match(pattern, command) for pattern in NOT_RUN)


def ended_soon(text: str) -> str:
    return re.sub(r"(--trials |trials=)\d+", r"\g<1>3", text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which the README is followed, with the tables that it shows."""
    draw = np.random.default_rng(0)
    pairs = draw.permutation(312 * 400)[:8420]
    with (tmp_path / "ratings.csv").open("w") as file:
        file.write("rating,movie_id,user_id,note\n")
        for pair in pairs[:8400].tolist():
            user, item = divmod(pair, 400)
            file.write(f"{draw.integers(2, 11) / 2},tt{item:07},uma-{user},\n")
    with (tmp_path / "pairs.csv").open("w") as file:
        file.write("user_id,movie_id\n")
        file.writelines(f"uma-{pair // 400},tt{pair % 400:07}\n" for pair in pairs[8400:].tolist())
    (tmp_path / "mine.csv").write_text("item,rating\n50,5\n172,5\n181,4\n")
    titles = [f"{item}|Night {item} (1995)|01-Jan-1995||http://films|0" for item in range(1, 501)]
    (tmp_path / "u.item").write_text("\n".join(titles) + "\n")
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    programs = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


@pytest.mark.slow
def test_the_readme_can_be_followed(folder: Path, environment: dict[str, str]) -> None:
    n_run = 0
    for kind, text in steps():
        if kind == "sh" and not is_run(text):
            continue
        n_run += 1
        if text.startswith("optuna-dashboard "):
            answers_then_stop(text, folder, environment)
            continue
        words = [sys.executable, "-c"] if kind == "python" else ["bash", "-euo", "pipefail", "-c"]
        done = subprocess.run(
            [*words, ended_soon(text)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), text
    assert n_run >= 8
    assert (folder / "answers.csv").read_text().startswith("user_id,movie_id,prediction\n")


@pytest.mark.slow
def test_commands_in_the_text_have_the_options_that_are_told(environment: dict[str, str]) -> None:
    found = inline()
    assert len(found) > 10
    helps: dict[str, str] = {}
    for command in found:
        module, *_ = command.removeprefix("python -m ").split()
        if module not in helps:
            done = subprocess.run(
                [sys.executable, "-m", module, "--help"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, command
            helps[module] = done.stdout
        known = set(OPTIONS.findall(helps[module]))
        assert set(OPTIONS.findall(command)) <= known, command


def test_the_mat_comp_file_can_be_copied(tmp_path: Path) -> None:
    (text,) = [text for _, text in blocks() if text.startswith("3 4 5\n")]
    (tmp_path / "mat_comp").write_text(text)
    table = read_mat_comp(tmp_path / "mat_comp")
    assert (table.n_ratings, table.n_queries) == (5, 2)


def test_no_exception_is_out_of_date() -> None:
    everything = [text for kind, text in steps() if kind == "sh"] + inline()
    for pattern in ("pip install ", r"python -m pytest", r"python -m benchmarks\."):
        assert any(re.match(pattern, command) for command in everything), pattern


def test_the_readme_tells_every_option_and_exit_code() -> None:
    from study.cli import EXIT_CODES

    for code in re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE):
        assert f"| {code} |" in README


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
