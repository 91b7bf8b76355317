"""Ratings without structure, where nothing beats their mean, or biases: what answers come to.

    python -m benchmarks.noise [--trials 12] [--seeds 3] [--kinds stars coins biases]

Stars are drawn evenly from 1 to 5, coins from 0 and 1, whoever rates whatever; biases are stars of
users and items that all rate, or are rated, higher or lower. A tenth of all pairs is rated, and up
to 4,000 others are asked for. A study at its defaults answers, by one worker. The ratio is that of
its RMSE to that of the mean of the ratings, which no prediction is better than but by chance, or of
biases alone where there are some; beside it that of the same models as they are, and of biases
alone. Cells are means over the seeds, and their range.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.biases import fit_biases
from model.kernels.threads import set_n_threads
from study.inputs import Data
from study.result import Result
from study.tuning import load, tune

SIZES = (60, 400, 1_200, 5_000)
BIASES = "biases"
LEVELS = {"stars": 5, "coins": 2, BIASES: 5}
STD, NOISE = 0.5, 1.0  # of users and items, each, and of a single rating
DENSITY = 0.1
MOST_ASKED = 4_000

Column = NDArray[np.float64]
Rated = dict[str, NDArray[Any]]  # columns user, item, rating


def noise(n_ratings: int, *, kind: str, seed: int) -> tuple[Rated, Rated]:
    """Ratings, and others to be predicted, as columns."""
    n_levels = LEVELS[kind]
    draw = np.random.default_rng([seed, n_ratings, n_levels])
    n_pairs = round(n_ratings / DENSITY)
    n_items = round((n_pairs / 1.5) ** 0.5)
    n_users = n_pairs // n_items
    pairs = draw.permutation(n_users * n_items)[: n_ratings + MOST_ASKED]
    users, items = np.divmod(pairs, n_items)
    if kind == BIASES:
        of_users, of_items = draw.normal(0, STD, n_users), draw.normal(0, STD, n_items)
        means = (1 + n_levels) / 2 + of_users[users] + of_items[items]
        ratings = np.rint(means + draw.normal(0, NOISE, len(pairs))).clip(1, n_levels)
    else:
        ratings = draw.integers(n_levels, size=len(pairs)) + (n_levels > 2)
    columns = {"user": users, "item": items, "rating": ratings}
    known, asked = slice(n_ratings), slice(n_ratings, None)
    return (
        {name: column[known] for name, column in columns.items()},
        {name: column[asked] for name, column in columns.items()},
    )


def answered(
    known: Rated, asked: Rated, *, kind: str, trials: int, folder: Path, seed: int
) -> Iterator[float]:
    """The ratios to the RMSE of the best that there is: of the answers, of the models as they are,
    of biases.
    """
    found, data = studied(known, asked, trials=trials, folder=folder, seed=seed)
    ensemble = found.answer(data).ensemble
    truth = asked["rating"].astype(float)
    mean = known["rating"].mean()
    biases = fit_biases(data.ratings).predict(data.queries).numpy()
    ways = ensemble.answer()[0], ensemble.predict(data.queries)[0], biases
    best = biases if kind == BIASES else mean
    return (rmse(way - truth) / rmse(best - truth) for way in ways)


def studied(
    known: Rated, asked: Rated, *, trials: int, folder: Path, seed: int
) -> tuple[Result, Data]:
    """A study of ratings at its defaults, by one worker, and what else is asked for."""
    found = tune(
        load(known),
        trials=trials,
        workers=1,
        seed=seed,
        storage=f"sqlite:///{folder}/study.db",
        quiet=True,
    )
    data = found.asked({name: asked[name] for name in ("user", "item")})
    return found, data


def rmse(errors: Column) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.square(errors).mean()))


def main() -> None:
    """Prints a row for each size and kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", choices=LEVELS, default=[*LEVELS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_n_threads(1)
    print("| ratings | | the answer | the models as they are | biases alone |")
    print("|---|---|---|---|---|")
    for kind in options.kinds:
        for size in SIZES:
            rows = []
            for seed in range(options.seeds):
                known, asked = noise(size, kind=kind, seed=seed)
                with tempfile.TemporaryDirectory() as folder:
                    of = answered(
                        known,
                        asked,
                        kind=kind,
                        trials=options.trials,
                        folder=Path(folder),
                        seed=seed,
                    )
                    rows.append([*of])
            cells = [
                f"{np.mean(column):.4f} ({np.min(column):.3f} to {np.max(column):.3f})"
                for column in zip(*rows, strict=True)
            ]
            print(f"| {size:,} | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
