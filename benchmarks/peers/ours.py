"""Our side of `benchmarks.peers`: how the error falls with the seconds, solver by solver.

    python -m benchmarks.peers.ours --what als --data FILE --truth FILE --runs FOLDER --threads 1

The clock starts with the solver's construction, from ratings that are tensors already, and nothing
is scored while it runs, for that would let caches and threads go cold: the queries are scored in a
second run, which is the same. Before the first a few ratings are trained on, so that what is
compiled on first use is compiled. A line of JSON is printed.

`--what default` is no curve, but the default setting of `gibbs`, which every study tries among its
first, trained on every rating as `study.best_predict` does, to its last sweep.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy import on_queries
from benchmarks.peers.results import Clock, Curve, Record
from benchmarks.studies import CPU
from model.biases import fit_biases
from model.dataset import Ratings
from model.solvers import SOLVERS, Config, GibbsConfig, GradientConfig, make_solver, solver_name
from storage.lines import read_numbers
from study.inputs import Data, load_data
from study.record.seeds import setting_seed

WARM_UP = 2_000  # ratings
WARM_UP_EPOCHS = 2
# Epochs that are scored: all the first ones, and then a few, for a sampler's mean is over many
# sweeps and takes a while each time.
FIRST = 24
SCORED = {32, 48, 64, 96, 128, 192, 260}


def configs() -> dict[str, Config]:
    """The solvers' fixed defaults and smaller ones, by the names of their curves."""
    gibbs, gradient = SOLVERS["gibbs"].default, SOLVERS["gradient"].default
    assert isinstance(gibbs, GibbsConfig)
    assert isinstance(gradient, GradientConfig)
    small = replace(gibbs, likelihood="gaussian", rank=14, n_features=16)
    return {
        "gradient, rank 14": replace(gradient, rank=14),
        "gradient": gradient,
        "als": SOLVERS["als"].default,
        "gibbs, Gaussian, rank 14": small,
        "gibbs, Gaussian": replace(gibbs, likelihood="gaussian"),
        "gibbs, both": replace(gibbs, likelihood="both"),
    }


OURS = ["biases", *configs()]
DEFAULT = "default"  # what is measured beside the curves, and
READING = "reading"  # this too


def curve_of(
    config: Config, data: Data, truth: np.ndarray, *, seed: int, longest: float, clock: Clock
) -> Iterator[tuple[int, float, float]]:
    """Epoch, seconds since the construction began, and RMSE; until `longest` seconds have gone."""
    name = solver_name(config)
    last = SOLVERS[name].retraining_epochs or SOLVERS[name].most_epochs
    ends: list[float] = []
    with clock:
        epochs = make_solver(config, data.ratings, device=CPU, seed=seed).epochs(None)
        while len(ends) < last and clock.elapsed < longest:
            next(epochs)
            ends.append(clock.elapsed)
    solver = make_solver(config, data.ratings, device=CPU, seed=seed)
    for seconds, epoch in zip(ends, solver.epochs(None), strict=False):
        if epoch.number == len(ends) or epoch.number in SCORED or epoch.number <= FIRST:
            yield epoch.number, seconds, on_queries(solver.model.predict, data, truth)


def default_fit(data: Data, truth: np.ndarray, *, seed: int) -> Record:
    """What the default setting takes to be trained as for an answer, and its RMSE."""
    solver = "gibbs"
    config, last = SOLVERS[solver].default, SOLVERS[solver].retraining_epochs
    assert isinstance(config, GibbsConfig)
    assert last is not None
    warm_up(config, data.ratings)
    clock = Clock()
    with clock:
        trained = make_solver(config, data.ratings, device=CPU, seed=setting_seed(seed, config))
        next(epoch for epoch in trained.epochs(None) if epoch.number == last)
    return {
        "about": f"{solver}, {config.likelihood}, rank {config.rank}, {last} sweeps",
        "fit_seconds": clock.seconds,
        "rmse": on_queries(trained.model.predict, data, truth),
        "cpu_share": clock.cpu_seconds / clock.seconds,
    }


def biases_curve(data: Data, truth: np.ndarray, clock: Clock) -> Curve:
    """The one point of biases alone."""
    fit_biases(few(data.ratings))
    with clock:
        model = fit_biases(data.ratings)
    return [(1, clock.seconds, on_queries(model.predict, data, truth))]


def warm_up(config: Config, ratings: Ratings) -> None:
    """Trains on a few of the ratings."""
    epochs = make_solver(config, few(ratings), device=CPU, seed=0).epochs(None)
    for _ in range(WARM_UP_EPOCHS):
        next(epochs)


def few(ratings: Ratings) -> Ratings:
    """Some of the ratings, of the same users and items."""
    return ratings[torch.randperm(len(ratings), generator=torch.Generator())[:WARM_UP]]


def parse_seconds(file: Path) -> dict[str, float]:
    """The seconds from a file to tensors: read as text, and then once more from the cache."""
    with tempfile.TemporaryDirectory() as runs:
        with Clock() as text:
            load_data(file, runs=Path(runs))
        with Clock() as cached:
            load_data(file, runs=Path(runs))
    return {"text": text.seconds, "cached": cached.seconds}


def main() -> None:
    """Prints the curve, or the seconds that reading takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=[*OURS, DEFAULT, READING], required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="are set in the environment already")
    parser.add_argument("--longest", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = load_data(options.data, runs=options.runs)
    truth = read_numbers(options.truth, expected=data.table.n_queries)
    if options.what == READING:
        print(json.dumps(parse_seconds(options.data)))
        return
    if options.what == DEFAULT:
        print(json.dumps(default_fit(data, truth, seed=options.seed)))
        return
    clock = Clock()
    if options.what == "biases":
        curve = biases_curve(data, truth, clock)
    else:
        config = configs()[options.what]
        warm_up(config, data.ratings)
        points = curve_of(
            config, data, truth, seed=options.seed, longest=options.longest, clock=clock
        )
        curve = [*points]
    print(json.dumps({"curve": curve, "cpu_share": clock.cpu_seconds / clock.seconds}))


if __name__ == "__main__":
    main()
