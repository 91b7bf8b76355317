"""Lines, CPU seconds and RMSE of the same job with several libraries, as a table.

    python -m benchmarks.side_by_side --data FILE --peers PEERS/bin/python

A tenth of the ratings is held out, and asked for; nothing else of the data is used. PEERS is the
environment of `benchmarks/peers-requirements.txt`. Each script stands beside this one.
"""

import argparse
import ast
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from model.dataset import split
from study.inputs import Data, load_data

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LIBRARIES = ("rating_study", "surprise", "cornac", "lenskit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--peers", required=True, metavar="PYTHON", help="of the peers' environment"
    )
    parser.add_argument("--only", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = load_data(options.data, runs=Path(scratch))
    print("| library | lines | CPU seconds | RMSE | intervals |\n|---|---|---|---|---|")
    for library in options.only:
        python = sys.executable if library == "rating_study" else options.peers
        print(row(library, data, python), flush=True)


def row(library: str, data: Data, python: str) -> str:
    """What a library took and reached."""
    script = HERE / f"with_{library}.py"
    with tempfile.TemporaryDirectory() as scratch:
        truth = write_job(data, Path(scratch))
        before = cpu_seconds()
        subprocess.run(
            [python, "-P", script],
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds = cpu_seconds() - before
        answers = csv.read_csv(Path(scratch) / "answers.csv")
    asked = {(u, i): r for u, i, r in zip(*truth, strict=True)}
    columns = [answers[name].to_pylist() for name in ("user", "item", "prediction")]
    errors = [asked.pop((u, i)) - r for u, i, r in zip(*columns, strict=True)]
    assert not asked
    rmse = float(np.sqrt(np.mean(np.square(errors))))
    intervals = "yes" if "lower" in answers.column_names else "no"
    return f"| {library} | {n_lines(script)} | {seconds:.0f} | {rmse:.4f} | {intervals} |"


def write_job(data: Data, folder: Path) -> tuple[list[int], list[int], list[float]]:
    """Writes ratings.csv and pairs.csv: the users, items and true ratings of the pairs."""
    training, held_out = split(data.ratings, seed=1)
    for name, part in {"ratings": training, "pairs": held_out}.items():
        columns = {
            "user": data.users.values[part.user_index.numpy()],
            "item": data.items.values[part.item_index.numpy()],
        }
        if part is training:
            columns["rating"] = part.values.numpy()
        csv.write_csv(pa.table(columns), folder / f"{name}.csv")
    return (*(columns[name].tolist() for name in ("user", "item")), held_out.values.tolist())


def cpu_seconds() -> float:
    """Of all processes that were started and waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def n_lines(script: Path) -> int:
    """The lines of a script that hold code."""
    text = script.read_text()
    docstring = ast.parse(text).body[0].end_lineno or 0
    return sum(bool(line.strip()) for line in text.splitlines()[docstring:])


if __name__ == "__main__":
    main()
