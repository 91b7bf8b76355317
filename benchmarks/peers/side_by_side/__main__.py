"""Lines, commands, CPU seconds and RMSE of the same job with several libraries, as a table.

    python -m benchmarks.peers.side_by_side --peers PEERS/bin/python --recbole RECBOLE/bin/python

The job: from ratings.csv, whose ids are texts, tuned in 30 trials, to answers.csv with a rating for
each pair of pairs.csv, its ids, and a 90 % interval where the library has any. The ratings are
planted, or those of --data; a tenth of them is held out, and asked for. Each script stands beside
this one. Counted are its lines that hold code, not blanks, comments and the docstring; the
commands that are typed once all is installed; and what they took, on one core, for the sake of
libraries whose threads a busy machine would stall. The environments are those of
`benchmarks/peers/requirements.txt`; without one, its libraries are left out.
"""

import argparse
import ast
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from benchmarks.planted import planted, sizes
from model.dataset import Ratings
from model.splits import split
from study.inputs import load_data

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
N_RATINGS = 100_000


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the job is done, by commands of `python`."""

    name: str
    package: str | None = None  # None for this project
    commands: tuple[str, ...]


WAYS = (
    Way(
        name="this study, its commands",
        commands=(
            "-m study.run --data ratings.csv --trials 30",
            "-m study.best_predict --data ratings.csv --queries pairs.csv --intervals answers.csv",
        ),
    ),
    Way(name="this study, Python", commands=("with_rating_study.py",)),
    Way(name="Surprise", package="scikit-surprise", commands=("with_surprise.py",)),
    Way(name="cornac", package="cornac", commands=("with_cornac.py",)),
    Way(name="LensKit", package="lenskit", commands=("with_lenskit.py",)),
    Way(name="RecBole", package="recbole", commands=("with_recbole.py",)),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="planted ratings if not told")
    parser.add_argument("--peers", metavar="PYTHON", help="of the peers' environment")
    parser.add_argument("--recbole", metavar="PYTHON", help="of the environment of RecBole")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[""], help="how names begin")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ratings = read(options.data)
    print("| library | lines | commands | CPU seconds | RMSE | 90 % intervals |")
    print("|---|---|---|---|---|---|", flush=True)
    for way in WAYS:
        python = options.recbole if way.package == "recbole" else options.peers
        python = python if way.package else sys.executable
        if python and way.name.startswith(tuple(options.only)):
            print(row(way, ratings, python), flush=True)


def read(file: Path | None) -> Ratings:
    """The ratings of a file, or planted ones."""
    if file is None:
        n_users, n_items = sizes(N_RATINGS)
        return planted(N_RATINGS, n_users=n_users, n_items=n_items)
    with tempfile.TemporaryDirectory() as scratch:
        return load_data(file, runs=Path(scratch)).ratings


def row(way: Way, ratings: Ratings, python: str) -> str:
    """What a library took and reached."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = write_job(ratings, folder)
        before = cpu_seconds()
        for command in way.commands:
            run(python, command, folder)
        seconds = cpu_seconds() - before
        answers = csv.read_csv(folder / "answers.csv")
    pairs = zip(answers["user"].to_pylist(), answers["item"].to_pylist(), strict=True)
    asked = np.array([truth.pop(pair) for pair in pairs])
    assert not truth
    rmse = np.sqrt(np.mean((answers["prediction"].to_numpy() - asked) ** 2))
    intervals = "no"
    if "lower" in answers.column_names:
        lower, upper = (answers[end].to_numpy() for end in ("lower", "upper"))
        intervals = f"yes, {np.mean((lower <= asked) & (asked <= upper)):.1%} inside"
    name = f"{way.name} {version(way.package, python)}" if way.package else way.name
    lines = sum(n_lines(HERE / command) for command in way.commands if (HERE / command).exists())
    return f"| {name} | {lines} | {len(way.commands)} | {seconds:.0f} | {rmse:.4f} | {intervals} |"


def write_job(ratings: Ratings, folder: Path) -> dict[tuple[str, str], float]:
    """Writes ratings.csv and pairs.csv: the true ratings of the pairs."""
    training, held_out = split(ratings, seed=1)
    for name, part in {"ratings": training, "pairs": held_out}.items():
        columns = {
            "user": [f"u{index}" for index in part.user_index.tolist()],
            "item": [f"i{index}" for index in part.item_index.tolist()],
        }
        table = pa.table(columns | ({"rating": part.values.numpy()} if part is training else {}))
        csv.write_csv(table, folder / f"{name}.csv")
    pairs = zip(columns["user"], columns["item"], strict=True)
    return dict(zip(pairs, held_out.values.tolist(), strict=True))


def run(python: str, command: str, folder: Path) -> None:
    """Runs a command in the folder of the job; a script is one of those beside this file."""
    first, *rest = shlex.split(command)
    subprocess.run(
        [python, *([first] if first == "-m" else ["-P", str(HERE / first)]), *rest],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def cpu_seconds() -> float:
    """Of all processes that were started and waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def version(package: str, python: str) -> str:
    """The version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def n_lines(script: Path) -> int:
    """The lines of a script that hold code: no blanks, no comments, no docstring."""
    text = script.read_text()
    docstring = ast.parse(text).body[0].end_lineno or 0
    lines = (line.strip() for line in text.splitlines()[docstring:])
    return sum(bool(line) and not line.startswith("#") for line in lines)


if __name__ == "__main__":
    main()
