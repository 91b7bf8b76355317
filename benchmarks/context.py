"""What times and descriptions bring to the default setting, and to peers that can use them.

    python -m benchmarks.context --data FOLDER [--seeds 3] [--peers-python PEERS/bin/python]

FOLDER has `ratings.csv` and `queries.csv` with times, `items.csv`, `users.csv`, and `truth`. The
default setting of `gibbs` learns from every rating, as for an answer, and is scored on the truth:
of ratings alone, with their times, with what the tables tell, and with both. Peers are given each
user's days as categories, for which `myFM` has a place, and the same numbers that our tables come
to; `benchmarks/peers/requirements.txt` tells how they are installed.

Seconds are those of a processor, in one thread, and so do not count what else runs. What a sweep
costs is the median over sweeps of all four, one after the other in one process; of a peer, whose
iterations are as many, what its whole fit takes.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy import on_queries
from benchmarks.peers.__main__ import Bench, RunError
from benchmarks.peers.ours import warm_up
from benchmarks.peers.settings import in_context
from benchmarks.studies import CPU
from model.kernels.threads import set_n_threads
from model.solvers import SOLVERS, make_solver
from storage.lines import read_numbers
from storage.sources import Sources
from study.inputs import Data, load_data, with_pairs

SOLVER = "gibbs"
ALONE, BOTH = "ratings alone", "both"
WAYS = {  # whether times are used, and tables
    ALONE: (False, False),
    "times": (True, False),
    "descriptions": (False, True),
    BOTH: (True, True),
}
SWEEPS, FIRST = 40, 5  # that are measured, and before these


@dataclass
class Row:
    """What the fits of one row came to, one of each seed."""

    rmse: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    times: str = "1.00"  # what it costs beside ratings alone
    failure: str = ""

    def cells(self) -> str:
        """RMSE, seconds and cost, for people."""
        if self.failure or not self.rmse:
            return f"failed: {self.failure} | – | –"
        mean, spread = statistics.mean(self.rmse), statistics.pstdev(self.rmse)
        seconds = statistics.median(self.seconds)
        return f"{mean:.4f} ± {spread:.4f} | {seconds:.3g} | {self.times}"


def load(folder: Path, runs: Path) -> dict[str, Data]:
    """The ratings and queries of a folder, by what is used of them."""
    tables = Sources(
        data=folder / "ratings.csv", items=folder / "items.csv", users=folder / "users.csv"
    )
    found = {}
    for name, (has_times, has_tables) in WAYS.items():
        source = tables if has_tables else replace(tables, items=None, users=None)
        data = with_pairs(load_data(source, runs=runs), folder / "queries.csv", runs=runs)
        if not has_times:
            data = replace(
                data,
                ratings=replace(data.ratings, times=None),
                table=replace(data.table, times=None, query_times=None),
            )
        found[name] = data
    return found


def fitted(data: Data, truth: np.ndarray, seed: int) -> tuple[float, float]:
    """RMSE and seconds of the default setting."""
    began = time.process_time()
    solver = make_solver(SOLVERS[SOLVER].default, data.ratings, device=CPU, seed=seed)
    last = SOLVERS[SOLVER].retraining_epochs
    next(epoch for epoch in solver.epochs(None) if epoch.number == last)
    seconds = time.process_time() - began
    return on_queries(solver.model.predict, data, truth), seconds


def sweep_costs(ways: dict[str, Data]) -> dict[str, float]:
    """How many times a sweep of ratings alone one takes, by what is used."""
    running = {
        name: make_solver(SOLVERS[SOLVER].default, data.ratings, device=CPU, seed=0).epochs(None)
        for name, data in ways.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(FIRST + SWEEPS):
        for name, epochs in running.items():
            began = time.process_time()
            next(epochs)
            seconds[name].append(time.process_time() - began)
    medians = {name: statistics.median(taken[FIRST:]) for name, taken in seconds.items()}
    return {name: median / medians[ALONE] for name, median in medians.items()}


def ours(ways: dict[str, Data], truth: np.ndarray, seeds: int) -> Iterator[tuple[str, Row]]:
    """The four rows, all of a seed before the next."""
    warm_up(SOLVERS[SOLVER].default, ways[BOTH].ratings)
    rows = {name: Row() for name in ways}
    for seed in range(seeds):
        for name, data in ways.items():
            rmse, seconds = fitted(data, truth, seed)
            rows[name].rmse.append(rmse)
            rows[name].seconds.append(seconds)
            print(f"{name}, seed {seed}: {rmse:.4f}", file=sys.stderr, flush=True)
    for name, cost in sweep_costs(ways).items():
        rows[name].times = f"{cost:.2f}"
    return ((f"ours, {name}", row) for name, row in rows.items())


def theirs(bench: Bench, seeds: int) -> Iterator[tuple[str, Row]]:
    """A row a peer; what it costs is told beside the one before, which does without."""
    rows = {name: Row() for name in in_context(bench.data.table.n_ratings, bench.threads)}
    for seed in range(seeds):
        for name, row in rows.items():
            try:
                record = bench.peer(name, seed)
            except RunError as error:
                row.failure = str(error)
                continue
            row.rmse.append(record["rmse"])
            row.seconds.append(record["fit_seconds"] * record["cpu_share"])
            print(f"{name}, seed {seed}: {record['rmse']:.4f}", file=sys.stderr, flush=True)
    for name, row in rows.items():
        alone = rows[name.partition(", with ")[0]]
        if row.seconds and alone.seconds:
            cost = statistics.median(row.seconds) / statistics.median(alone.seconds)
            row.times = f"{cost:.2f}"
    return iter(sorted(rows.items()))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peers-python", type=Path, help="of the peers' environment")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds of a peer's fit")
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_n_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = load(options.data, folder)
        truth = read_numbers(options.data / "truth", expected=ways[BOTH].table.n_queries)
        print("| | RMSE | seconds a fit | a sweep, times |\n|---|---|---|---|")
        for row, found in ours(ways, truth, options.seeds):
            print(f"| {row} | {found.cells()} |", flush=True)
        if options.peers_python is None:
            return
        bench = Bench(
            data=ways[BOTH],
            truth=truth,
            truth_file=options.data / "truth",
            folder=folder,
            peers_python=options.peers_python.absolute(),
            threads=1,
            longest=0.0,
            limit=options.limit,
        )
        for row, found in theirs(bench, options.seeds):
            print(f"| {row} | {found.cells()} |", flush=True)


if __name__ == "__main__":
    main()
