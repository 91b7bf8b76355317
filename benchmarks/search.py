"""How often, and how soon, a search comes within 0.5 % of the best RMSE that any search found.

    python -m benchmarks.search [--data FILE] [--trials 100] [--seeds 10]

Beside the study's own search: the same without its first settings, random search over the same
space, and the exhaustive grid of `benchmarks.grid`, which this project replaces, in random order.
Of a seed all of them see the same split. Without a file the ratings are planted: 200 users, 150
items, 6,000 ratings, rank 4.
"""

import argparse
import itertools
import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial

from benchmarks.grid import grid
from benchmarks.studies import new_record, objective_of, run_trials, tried
from model.dataset import Ratings, index_ratings
from model.splits import split
from study.inputs import load_data
from study.record.attributes import TrialView
from study.record.parameters import SOLVER, fixed, searched
from study.record.seeds import stable_seed
from study.search.sampler import FIRST_SETTINGS, SlotSampler, slot

CLOSE = 1.005


class Another(SlotSampler):
    """Another search than the study's: a setting for each place, by a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.seed = seed

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """The parameters for the trial's place."""
        place = slot(study.get_trials(deepcopy=False), trial)
        found = self.setting(place)
        return super().propose(study, trial) if found is None else found

    def setting(self, place: int) -> dict[str, Any] | None:
        """The parameters for a place; those of the study's search if None."""
        raise NotImplementedError


class FromChance(Another):
    """The study's search, begun with random settings instead of known ones."""

    def setting(self, place: int) -> dict[str, Any] | None:
        if place >= len(FIRST_SETTINGS):
            return None
        return random_setting(stable_seed(self.seed, place))


class Random(Another):
    """A random solver, at a random setting."""

    def setting(self, place: int) -> dict[str, Any]:
        return random_setting(stable_seed(self.seed, place))


SEARCHES: dict[str, Callable[[int], SlotSampler]] = {
    "this study": SlotSampler,
    "… without its first settings": FromChance,
    "random search": Random,
}
GRID = "the original's grid"


def random_setting(seed: int) -> dict[str, Any]:
    """Parameters drawn evenly, or evenly on a logarithmic axis, from the searched space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    solver = study.ask({"solver": SOLVER}).params["solver"]
    drawn = study.ask(searched(solver)).params
    return {"solver": solver, **drawn, **fixed(solver)}


def planted(seed: int) -> Ratings:
    """Ratings of rank 4 with biases and noise, each user more or less predictable."""
    draw = np.random.default_rng(seed)
    n_users, n_items, rank = 200, 150, 4
    signal = (
        draw.normal(0, 0.5, (n_users, 1))
        + draw.normal(0, 0.5, n_items)
        + draw.normal(0, 0.7, (n_users, rank)) @ draw.normal(0, 0.7, (rank, n_items))
    )
    users, items = np.divmod(draw.choice(n_users * n_items, 6000, replace=False), n_items)
    noise = draw.gamma(4, 0.2, n_users)[users] * draw.normal(size=6000)
    return index_ratings(users, items, signal[users, items] + noise)[0]


def best_so_far(sampler: SlotSampler, ratings: Ratings, *, trials: int, seed: int) -> list[float]:
    """The lowest validation RMSE after each trial of a study."""
    record = new_record(sampler)
    run_trials(record, objective_of(split(ratings, seed=seed), seed=seed), total=trials)
    found = [TrialView(trial).validation_mse for trial in record.trials()]
    values = [math.inf if mse is None else math.sqrt(mse) for mse in found]
    return list(itertools.accumulate(values, min))


def best_of_grid(ratings: Ratings, *, trials: int, seed: int) -> list[float]:
    """The same of as many combinations of the grid, in random order."""
    combinations = grid()
    random.Random(seed).shuffle(combinations)
    parts = split(ratings, seed=seed)
    best = [tried(config, parts, seed=seed) for config in combinations[:trials]]
    values = [math.sqrt(epoch.validation_mse) if epoch else math.inf for epoch in best]
    return list(itertools.accumulate(values, min))


def main() -> None:
    """Prints a row a search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    curves: dict[str, list[list[float]]] = {name: [] for name in (*SEARCHES, GRID)}
    for seed in range(options.seeds):
        data = options.data
        ratings = load_data(data, runs=Path("runs")).ratings if data else planted(seed)
        for name, make in SEARCHES.items():
            curve = best_so_far(make(seed), ratings, trials=options.trials, seed=seed)
            curves[name].append(curve)
        curves[GRID].append(best_of_grid(ratings, trials=options.trials, seed=seed))
    best = [min(curve[-1] for curve in of_seed) for of_seed in zip(*curves.values(), strict=True)]
    print("| search | within 0.5 % | trials until then, median | best RMSE, mean |")
    print("|---|---|---|---|")
    for name, of_search in curves.items():
        reached = [
            next((n for n, rmse in enumerate(curve, start=1) if rmse <= CLOSE * lowest), None)
            for curve, lowest in zip(of_search, best, strict=True)
        ]
        hits = [n for n in reached if n is not None]
        soon = f"{statistics.median(hits):.0f}" if hits else "–"
        mean = statistics.mean(curve[-1] for curve in of_search)
        print(f"| {name} | {len(hits)} of {len(reached)} | {soon} | {mean:.4f} |")


if __name__ == "__main__":
    main()
