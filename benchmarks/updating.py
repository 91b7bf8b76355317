"""How far a model that takes in more ratings falls behind one that is trained with them.

    python -m benchmarks.updating --data FILE [--solver gibbs] [--epochs 60] [--seeds 3]

A twentieth of the ratings is held out at random, and another comes later: the RMSE on the first of
the model before, after it took in the second, and of one that was trained with both. Ratings with
times are tried with and without them.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model.dataset import Ratings
from model.kernels.threads import torch_in_one_thread
from model.solver import Model, mse
from model.solvers import SOLVERS, make_solver
from model.updating import updated
from study.inputs import load_data

SHARE = 0.05


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--solver", choices=tuple(SOLVERS), default="gibbs")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    whole = load_data(options.data, runs=Path("runs")).ratings
    variants = {"ratings alone": replace(whole, times=None)}
    if whole.times is not None:
        variants["with times"] = whole
    print("| | before | taken in | trained with them | seconds to take in | to train |")
    print("|---|---|---|---|---|---|")
    for name, ratings in variants.items():
        with torch_in_one_thread():
            found = [
                list(_row(ratings, options.solver, options.epochs, seed))
                for seed in range(options.seeds)
            ]
        before, after, again, took, trained = (
            statistics.mean(column) for column in zip(*found, strict=True)
        )
        errors = f"{before:.4f} | {after:.4f} | {again:.4f}"
        print(f"| {options.solver}, {name} | {errors} | {took:.1f} | {trained:.1f} |", flush=True)


def _row(ratings: Ratings, solver: str, epochs: int, seed: int) -> Iterator[float]:
    """RMSE before, after and trained with all; seconds to take in and to train."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(ratings)))
    n = int(SHARE * len(ratings))
    test, new, old = (ratings[rows] for rows in (order[:n], order[n : 2 * n], order[2 * n :]))
    both = ratings[order[n:]]
    model, _ = _trained(solver, old, epochs, seed)
    whole, seconds = _trained(solver, both, epochs, seed)
    began = time.perf_counter()
    after = updated(model, old, new, seed=seed)
    took = time.perf_counter() - began
    assert after
    yield from (mse(one, test) ** 0.5 for one in (model, after, whole))
    yield from (took, seconds)


def _trained(solver: str, ratings: Ratings, epochs: int, seed: int) -> tuple[Model, float]:
    began = time.perf_counter()
    made = make_solver(SOLVERS[solver].default, ratings, device=torch.device("cpu"), seed=seed)
    next(epoch for epoch in made.epochs(None) if epoch.number == epochs)
    return made.model, time.perf_counter() - began


if __name__ == "__main__":
    main()
