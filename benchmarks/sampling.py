"""Whether trials that see a part of the ratings choose as well as trials that see all.

    python -m benchmarks.sampling --data FILE [--seen 200000 inf] [--trials 30] [--seeds 1]

A study by one worker for each number of ratings that trials see. Whatever these saw, its finalists
train on all ratings and meet on the same fresh splits: what the best of them reaches there is
compared.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from study import load, tune
from study.inputs import Data
from study.record.attributes import TrialView


def row(data: Data, seen: float, trials: int, seed: int) -> str:
    """A line of the table: of one study."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("study.workers.joining.SEARCHED_RATINGS", seen),
    ):
        began = time.perf_counter()
        storage = f"sqlite:///{folder}/study.db"
        result = tune(data, trials=trials, workers=1, seed=seed, storage=storage, quiet=True)
        seconds = time.perf_counter() - began
        in_trials = sum(TrialView(trial).seconds or 0.0 for trial in result.record.trials())
        found = result.record.held_out
    if found is None:
        raise SystemExit("expected finalists that met, got too few trials; see --trials")
    n_seen = f"{min(seen, len(data.ratings)):,.0f}"
    splits, rmse = found["splits"], found["rmse"][0]
    return f"| {n_seen} | {seed} | {in_trials:.0f} | {seconds:.0f} | {splits} | {rmse:.4f} |"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--seen", type=float, nargs="+", default=[200_000, math.inf])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    data = load(Path(options.data))
    print("| seen | seed | trials, s | in all, s | splits | RMSE of the best there |")
    print("|---|---|---|---|---|---|", flush=True)
    for seed in range(options.seeds):
        for seen in options.seen:
            print(row(data, seen, options.trials, seed), flush=True)


if __name__ == "__main__":
    main()
