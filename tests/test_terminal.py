"""What the commands print, and to whom: --help, --quiet, --json, hints, pipes that end."""

import contextlib
import io
import json
import os
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from study import best_predict, recommend, run, serve_database
from study.cli import EXIT_CODES, SCRIPTS
from study.report import __main__ as report

Outcome = tuple[int, str, str]
Call = Callable[..., Outcome]
COMMANDS = {"run": run, "best_predict": best_predict, "report": report}


@pytest.fixture
def call(
    few_epochs: None, outcome_of: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Calls a command in a folder with a mat_comp: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    pairs = draw.permutation(30 * 20)[:420]
    lines = [f"{p // 20 + 1} {p % 20 + 1} {draw.integers(1, 6)}" for p in pairs[:400]]
    lines += ["20", *(f"{p // 20 + 1} {p % 20 + 1}" for p in pairs[400:])]
    Path("mat_comp").write_text("\n".join(["30 20 400", *lines]) + "\n")
    Path("truth").write_text("3\n" * 20)

    return outcome_of


def test_json_is_all_of_standard_output(call: Call) -> None:
    code, out, err = call(run.main, "--trials", "3", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["trials"] == 3
    assert found["ended"] == "done"
    assert found["study"].startswith("ratings-")
    assert found["best_setting"]["solver"] in ("gradient", "als", "gibbs")
    assert 0 < found["validation_rmse"] < 9
    assert all(Path(path).exists() for path in found["files"].values())
    assert "Data: mat_comp, 400 ratings" in err  # for people
    assert " | 3 of 3, best " in err

    code, out, err = call(
        best_predict.main, "--truth", "truth", "--intervals", "sure.csv", "--json", "--quiet"
    )
    assert code == 0
    assert err.startswith("study.best_predict: intervals that rest on 40 held-out ratings may")
    told = json.loads(out)
    assert told["study"] == found["study"]
    assert told["trials"][0] == found["best_trial"]
    assert told["validation_rmse"] == found["validation_rmse"]
    assert told["predictions"] == 20
    assert told["files"] == {"out": "mat_comp_ans", "intervals": "sure.csv", "model": None}
    truth, answers = np.loadtxt("truth"), np.loadtxt("mat_comp_ans")
    rmse = np.sqrt(np.mean((truth - answers) ** 2))
    assert told["score"]["rmse"]["value"] == pytest.approx(rmse, abs=1e-6)
    score = told["score"]["rmse"]
    assert score["low"] - 1e-6 <= rmse <= score["high"] + 1e-6

    code, out, err = call(report.main, "--out", "page.html", "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"study": found["study"], "files": {"report": "page.html"}}


def test_quiet_is_silent_until_something_is_wrong(call: Call) -> None:
    assert call(run.main, "--trials", "1", "--quiet") == (0, "", "")
    assert call(best_predict.main, "--quiet") == (0, "", "")
    assert len(Path("mat_comp_ans").read_text().splitlines()) == 20
    code, out, err = call(run.main, "--data", "mat_compp", "--quiet", "--json")
    assert (code, out) == (2, "")
    assert err == "study.run: mat_compp: no such file; did you mean mat_comp?\n"


def test_json_tells_why_a_study_ended(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = call(run.main, "--timeout", "0", "--json", "--quiet")
    assert (code, json.loads(out)["ended"]) == (0, "time is up")

    def fail(*_: object, **named: object) -> float:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("study.search.objective.Objective.__call__", fail)
    code, out, err = call(run.main, "--trials", "9", "--json", "--quiet")
    assert (code, json.loads(out)["ended"]) == (1, "failed")
    assert err == "study.run: 3 trials in a row failed: out of luck\n"


@pytest.mark.parametrize(
    ("command", "options", "hint"),
    [
        ("run", "--trails 5", "Did you mean '--trials'?"),
        ("run", "--time-out=5", "Did you mean '--timeout'?"),
        ("best_predict", "--interval x", "Did you mean '--intervals'?"),
        ("run", "--data mat_com", "did you mean mat_comp?"),
        ("run", "--data ml100k", "did you mean ml-100k?"),
        ("run", "--storage runs/study.db", "did you mean sqlite:///runs/study.db?"),
        ("report", "--storage sqlite:///study.db", "did you mean --storage sqlite:///runs/study."),
        ("report", "--study-name rating-mine", "did you mean ratings-mine?"),
    ],
)
def test_what_was_meant_is_suggested(call: Call, command: str, options: str, hint: str) -> None:
    assert call(run.main, "--trials", "1", "--study-name", "ratings-mine", "--quiet")[0] == 0
    code, out, err = call(COMMANDS[command].main, *options.split())
    assert (code, out) == (2, "")
    assert hint in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", [run, best_predict, recommend, report, serve_database])
def test_help_teaches_in_80_columns(
    command: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit_:
        command.main(["--help"])  # type: ignore[attr-defined]
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    if command is not serve_database:
        assert "examples:\n    python -m study." in out
        assert out.endswith(textwrap.indent(EXIT_CODES, "  "))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        pytest.param(["--trials", "400", "--workers", "1"], marks=pytest.mark.slow),
    ],
)
def test_a_pipe_that_ends_is_no_traceback(call: Call, arguments: list[str]) -> None:
    root = Path(run.__file__).parent.parent
    buffered = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-m", "study.run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**buffered, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if arguments != ["--help"]:
        process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_a_stream_that_is_no_file_can_be_printed_to(call: Call) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as stream, pytest.raises(SystemExit):
        run.main(["--trials", "1"])
    assert " | 1 of 1, best " in stream.getvalue()


def test_commands_go_by_the_name_that_they_were_called_by(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as usage:
        run.main(["--help"])
    assert usage.getvalue().startswith("Usage: python -m study.run [OPTIONS]")
    assert call(run.main, "--trails")[2].startswith("study.run: No such option")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rating-study"])
    assert "Next: rating-predict\n" in call(run.main, "--trials", "1")[1]
    for wrong in (["--trails"], ["--data", "nothing"]):
        assert call(run.main, *wrong)[2].startswith("rating-study: ")
    told = call(best_predict.main, "--study-name", "other")[2]
    assert told.startswith("rating-predict: ")
    assert told.endswith("; rating-study makes it\n")
    with contextlib.redirect_stdout(io.StringIO()) as usage, pytest.raises(SystemExit):
        best_predict.main(["--help"])
    assert usage.getvalue().startswith("Usage: rating-predict [OPTIONS]")
    assert "python -m" not in usage.getvalue()


def test_every_script_is_known_by_its_name() -> None:
    project = tomllib.loads((Path(run.__file__).parent.parent / "pyproject.toml").read_text())
    named = project["project"]["scripts"]
    assert {
        place.partition(":")[0].removesuffix(".__main__"): script for script, place in named.items()
    } == SCRIPTS
