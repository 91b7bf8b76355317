"""How quickly a model that is held answers, beside Surprise and implicit on the same ratings.

    python -m study.best_predict --data FILE --save-model some.model
    python -m benchmarks.serving --model some.model [--truth FILE --queries FILE]
        [--peers-python PEERS/bin/python]

Medians of many calls, in this process; memory is what the process has beyond that before it was
loaded. With the true ratings of queries (a mat_comp file, or a table of pairs, and a rating a line)
the RMSE of the compact form and that of the draws are told. The peers need an environment with
scikit-surprise and implicit; each is fitted by its own defaults, and what it takes to answer is
measured.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.peers.serving import median_ms
from model.dataset import Pairs
from study.held import Model
from study.inputs import load_data

MANY = 1_000_000
ITEMS = 10_000  # of one user


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--queries", type=Path, help="a mat_comp file with queries")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--peers-python", type=Path)
    options = parser.parse_args()
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    model = Model.load(options.model)
    loaded = time.perf_counter() - began
    draw = np.random.default_rng(0)
    known = model.known
    users = draw.choice(known.users.values, MANY)
    items = draw.choice(known.items.values, MANY)
    pairs = {known.user_name: users, known.item_name: items}

    def one(**arguments: bool) -> Callable[[int], object]:
        return lambda n: model.predict(
            {name: ids[n : n + 1] for name, ids in pairs.items()}, **arguments
        )

    rows = Pairs(
        user_index=torch.full((ITEMS,), 3), item_index=torch.arange(ITEMS) % len(known.items)
    )
    person = {str(item): known.range[1] for item in known.items.values[:5]}
    newcomer = model.newcomer(person)
    first = str(known.items.values[0])
    print(f"{model.card['data']}; {model.card['settings'][0]['params']['solver']}\n")
    print("| | |\n|---|---|")
    print(f"| loaded | {loaded:.2f} s, {options.model.stat().st_size / 1e6:,.0f} MB |")
    work: dict[str, tuple[Callable[[int], object], int]] = {
        "a pair": (one(), 200),
        "a pair, with its interval": (one(intervals=True), 200),
        "a pair, by the draws": (one(exact=True), 20),
        f"{ITEMS:,} items of a user": (lambda n: model.answers(rows), 50),
        "a list of ten": (lambda n: model.recommend(users[n].item()), 100),
        f"{MANY:,} pairs": (lambda n: model.predict(pairs), 3),
        f"{MANY:,} pairs, with intervals": (lambda n: model.predict(pairs, intervals=True), 3),
        f"lists of all {int((known.user_counts > 0).sum()):,} users": (
            lambda n: model.recommend(),
            3,
        ),
        "similar items": (lambda n: model.similar(items[n].item()), 50),
        "somebody new, by five ratings": (lambda n: model.newcomer(person), 10),
        "their list": (lambda n: newcomer.recommend(), 10),
        "why": (lambda n: model.explain(users[n].item(), first), 10),
    }
    for name, (call, n) in work.items():
        print(f"| {name} | {median_ms(call, n):,.2f} ms |", flush=True)
    print(f"| memory | {(process.memory_info().rss - before) / 1e6:,.0f} MB |")
    if options.queries and options.truth:
        _tell_errors(model, options.queries, np.loadtxt(options.truth))
    if options.peers_python:
        _tell_peers(model, options.peers_python)


def _tell_errors(model: Model, queries: Path, truth: np.ndarray) -> None:
    table = load_data(queries, runs=Path("runs")).table
    pairs = {
        model.known.user_name: table.query_user_ids,
        model.known.item_name: table.query_item_ids,
    }
    quick, exact = (
        np.asarray(model.predict(pairs, exact=one)["prediction"]) for one in (False, True)
    )
    for name, predicted in (("compact form", quick), ("draws", exact)):
        print(f"| RMSE of the {name} | {np.sqrt(np.square(predicted - truth).mean()):.5f} |")
    print(f"| their mean difference | {np.abs(quick - exact).mean():.4f} |")


def _tell_peers(model: Model, python: Path) -> None:
    ratings = model.known.ratings
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.npz"
        np.savez(
            path,
            users=ratings.user_index.numpy(),
            items=ratings.item_index.numpy(),
            values=ratings.values.numpy(),
        )
        done = subprocess.run(
            [str(python.absolute()), "-m", "benchmarks.peers.serving", str(path)],
            check=True,
            capture_output=True,
            text=True,
        )
    for name, ms in json.loads(done.stdout.splitlines()[-1]).items():
        print(f"| {name} | {ms:,.3f} ms |")


if __name__ == "__main__":
    main()
