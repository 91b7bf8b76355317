"""Few ratings: how far apart studies of the same ratings end that differ in their seed alone.

    python -m benchmarks.few --json FILE [--sizes 2000 5000 20000 50000] [--seeds 10] [--trials 30]

Ratings are planted, as many again are asked for, and a study at its defaults answers, by one
worker. A row has the mean RMSE of the answers, its standard deviation over the seeds, and how far
it is above the best that a single setting comes to: of the ten best of every seed, by the truth.
What the file of records has is not measured again, so that a run that was cut goes on.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.noise import Column, Rated, rmse, studied
from benchmarks.peers.results import Record, read_records
from benchmarks.planted import planted
from model.kernels.threads import set_n_threads
from study.answers.ensemble import Ensemble
from study.record.ranking import best_settings

PER_USER, PER_ITEM = 15, 30  # ratings, half of them known
FEWEST_ITEMS = 100
N_SINGLE = 10


def known_and_asked(n_ratings: int) -> tuple[Rated, Rated]:
    """Planted ratings, and as many others, as columns."""
    n_users, n_items = 2 * n_ratings // PER_USER, max(2 * n_ratings // PER_ITEM, FEWEST_ITEMS)
    ratings = planted(2 * n_ratings, n_users=n_users, n_items=n_items)
    columns = {"user": ratings.user_index, "item": ratings.item_index, "rating": ratings.values}
    order = np.random.default_rng(0).permutation(2 * n_ratings)
    known, asked = np.sort(order[:n_ratings]), np.sort(order[n_ratings:])
    arrays = {name: column.numpy() for name, column in columns.items()}
    return (
        {name: column[known] for name, column in arrays.items()},
        {name: column[asked] for name, column in arrays.items()},
    )


def ended(known: Rated, asked: Rated, *, trials: int, seed: int) -> Record:
    """What a study comes to: its RMSE, the models averaged, seconds, RMSE of single settings."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found, data = studied(known, asked, trials=trials, folder=Path(folder), seed=seed)
        truth: Column = asked["rating"]
        answers = found.answer(data)
        seconds = time.process_time() - began

        def alone() -> Iterator[float]:
            for setting in best_settings(found.study, N_SINGLE):
                one = Ensemble(
                    settings=[setting],
                    data=data,
                    record=found.record,
                    folder=found.folder,
                    device=found.device,
                )
                yield rmse(one.predict(data.queries)[0] - truth)

        return {
            "rmse": rmse(answers.predictions - truth),
            "averaged": len(answers.ensemble.settings),
            "seconds": seconds,
            "alone": [*alone()],
        }


def row_of(size: int, records: list[Record]) -> str:
    """The row of a table, of the records of all seeds of a size."""
    ends = [record["rmse"] for record in records]
    mean, spread = statistics.mean(ends), statistics.stdev(ends) if len(ends) > 1 else 0.0
    above = 100 * (mean / min(min(record["alone"]) for record in records) - 1)
    averaged = statistics.mean(record["averaged"] for record in records)
    seconds = statistics.median(record["seconds"] for record in records)
    return (
        f"| {size:,} | {len(ends)} | {mean:.4f} | {spread:.4f} | {above:+.2f} % | "
        f"{averaged:.1f} | {seconds:.0f} |"
    )


def main() -> None:
    """Measures what is not in the file of records yet; prints a row a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="records")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 5_000, 20_000, 50_000])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_n_threads(1)
    before = read_records([options.json]) if options.json.exists() else []
    print("| ratings | seeds | RMSE | between seeds | above the best setting | models | seconds |")
    print("|---|---|---|---|---|---|---|")
    for size in options.sizes:
        known, asked = known_and_asked(size)
        records = []
        for seed in range(options.seeds):
            key: Record = {"size": size, "seed": seed, "trials": options.trials}
            record = next((one for one in before if key.items() <= one.items()), None)
            if record is None:
                record = key | ended(known, asked, trials=options.trials, seed=seed)
                with options.json.open("a") as lines:
                    print(json.dumps(record), file=lines)
            records.append(record)
        print(row_of(size, records), flush=True)


if __name__ == "__main__":
    main()
