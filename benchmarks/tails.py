"""Ratings with heavy tails: what learning them by their logarithms brings.

    python -m benchmarks.tails [--sizes 5000 20000] [--noise 0.5 1 1.5] [--trials 4] [--seeds 2]

Logarithms of ratings are planted: user, item and four factors, and normal noise of that standard
deviation. As many others are asked for, and a study at its defaults answers, by one worker: once
with logarithms where the ratings ask for them, once without ever. The figures are RMSE divided by
that of the mean of the ratings; means over the seeds.
"""

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.noise import Rated, rmse, studied
from model.biases import fit_biases
from model.kernels.threads import set_n_threads

PER_USER, PER_ITEM = 25, 50  # ratings, half of them known
FEWEST_ITEMS = 60
RANK = 4
LEVEL, SPREAD = 3.0, 0.5  # of logarithms: their mean, and the standard deviation of each part


def heavy_tailed(n_ratings: int, *, noise: float, seed: int) -> tuple[Rated, Rated]:
    """Log-normal ratings, and as many others to be predicted, as columns."""
    draw = np.random.default_rng([seed, n_ratings])
    n_users, n_items = 2 * n_ratings // PER_USER, max(2 * n_ratings // PER_ITEM, FEWEST_ITEMS)
    pairs = draw.permutation(n_users * n_items)[: 2 * n_ratings]
    users, items = np.divmod(pairs, n_items)
    product = draw.normal(size=(n_users, RANK)) @ draw.normal(size=(RANK, n_items)) / RANK**0.5
    signal = draw.normal(size=n_users)[users] + draw.normal(size=n_items)[items]
    logs = LEVEL + SPREAD * (signal + product[users, items]) + noise * draw.normal(size=len(users))
    columns = {"user": users, "item": items, "rating": np.exp(logs)}
    known, asked = slice(n_ratings), slice(n_ratings, None)
    return (
        {name: column[known] for name, column in columns.items()},
        {name: column[asked] for name, column in columns.items()},
    )


def answered(
    known: Rated, asked: Rated, *, trials: int, seed: int, logarithms: bool = True
) -> tuple[float, float]:
    """The RMSE of biases and of a study's answers, over that of the mean of the ratings."""
    never = patch("model.logarithmic.has_heavy_tail", return_value=False)
    with tempfile.TemporaryDirectory() as folder, nullcontext() if logarithms else never:
        found, data = studied(known, asked, trials=trials, folder=Path(folder), seed=seed)
        answers = found.answer(data).predictions
    truth = asked["rating"]
    biases = fit_biases(data.ratings).predict(data.queries).numpy()
    mean = rmse(known["rating"].mean() - truth)
    return rmse(biases - truth) / mean, rmse(answers - truth) / mean


def main() -> None:
    """Prints a row for each size and noise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.5, 1.0, 1.5])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_n_threads(1)
    print("| ratings | noise | biases | without logarithms | with logarithms |")
    print("|---|---|---|---|---|")
    for size in options.sizes:
        for noise in options.noise:
            rows = []
            for seed in range(options.seeds):
                known, asked = heavy_tailed(size, noise=noise, seed=seed)
                biases, ours = answered(known, asked, trials=options.trials, seed=seed)
                _, theirs = answered(
                    known, asked, trials=options.trials, seed=seed, logarithms=False
                )
                rows.append([biases, theirs, ours])
            cells = " | ".join(f"{np.mean(column):.4f}" for column in zip(*rows, strict=True))
            print(f"| {size:,} | {noise:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
