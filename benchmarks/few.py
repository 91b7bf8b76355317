"""Few ratings: how far apart studies of the same ratings end that differ in their seed alone.

    python -m benchmarks.few [--sizes 2000 5000 20000 50000] [--seeds 10] [--trials 100]

Ratings are planted, as many again are asked for, and a study at its defaults answers, by one
worker. A row has the mean RMSE of the answers, its standard deviation over the seeds, and how far
it is above the best that a single setting comes to: of the ten best of every seed, by the truth.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.noise import Column, Rated, rmse, studied
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


def ended(
    known: Rated, asked: Rated, *, trials: int, folder: Path, seed: int
) -> tuple[float, int, float, list[float]]:
    """What a study comes to: its RMSE, the models averaged, seconds, RMSE of single settings."""
    began = time.perf_counter()
    found, data = studied(known, asked, trials=trials, folder=folder, seed=seed)
    truth: Column = asked["rating"]
    answers = found.answer(data)
    seconds = time.perf_counter() - began
    n_models = len(answers.ensemble.settings)

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

    return rmse(answers.predictions - truth), n_models, seconds, [*alone()]


def main() -> None:
    """Prints a row a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 5_000, 20_000, 50_000])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_n_threads(1)
    print("| ratings | RMSE | between seeds | above the best setting | models | seconds |")
    print("|---|---|---|---|---|---|")
    for size in options.sizes:
        known, asked = known_and_asked(size)
        rows = []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder)
                rows.append(ended(known, asked, trials=options.trials, folder=path, seed=seed))
        ends, n_models, seconds, alone = zip(*rows, strict=True)
        mean, spread = statistics.mean(ends), statistics.stdev(ends) if len(ends) > 1 else 0.0
        above = 100 * (mean / min(min(of_seed) for of_seed in alone) - 1)
        cells = (
            f"{size:,} | {mean:.4f} | {spread:.4f} | {above:+.2f} % | "
            f"{statistics.mean(n_models):.1f} | {statistics.median(seconds):.0f}"
        )
        print(f"| {cells} |", flush=True)


if __name__ == "__main__":
    main()
