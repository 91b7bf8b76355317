"""The original's nine hours: its grid, trained with the loop that one writes first, beside a study.

    python -m benchmarks.grid [--data FILE] [--sample 10000]

Both see the same split of about so many ratings, in one run: planted, or those of a random share of
a file's users for the same share of its items. The grid trains each combination with the loop of
`epoch` until the validation MSE has not improved for 5 epochs, 50 at most. The study takes its own
order, until a trial's validation MSE is as low as the lowest of the grid.

With a file follows the full size, by arithmetic: the grid's hours, over nine, are its author's, on
another machine and other data; beside them stand the seconds in which the study, on all ratings of
the file, comes at least as low as its own first trial, the setting that the author's grid chose.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import torch

from benchmarks.epoch import first_loop
from benchmarks.planted import planted, sizes
from benchmarks.studies import new_record, objective_of, run_trials
from model.dataset import Ratings, index_ratings
from model.kernels.threads import set_n_threads
from model.solvers import ORIGINAL, GradientConfig
from model.splits import split
from study.inputs import load_data
from study.record.attributes import TrialView
from study.search.sampler import SlotSampler

NINE_HOURS = 9 * 3600.0
PATIENCE, MOST_EPOCHS = 5, 50
MOST_TRIALS = 100


def grid() -> list[GradientConfig]:
    """Every combination of values of the four parameters that the original tuned.

    Its author tells which parameters, what was best and how long all took, but not the values that
    were tried: those here lie around the best.
    """
    return [
        replace(
            ORIGINAL,
            rank=rank,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
        )
        for rank, learning_rate, weight_decay, batch_size in itertools.product(
            (10, 25, 50, 100), (1e-3, 3e-3, 1e-2), (1e-5, 1e-4, 1e-3), (500, 1000, 2000)
        )
    ]


@dataclass(frozen=True)
class Search:
    """What a search took and came to."""

    seconds: float
    n_settings: int
    mse: float  # the lowest validation MSE


def first_way(config: GradientConfig, training: Ratings, validation: Ratings) -> float:
    """The lowest validation MSE of a combination."""
    model, epoch = first_loop(training, config)
    lowest, since = math.inf, 0
    for _ in range(MOST_EPOCHS):
        epoch()
        with torch.no_grad():
            predicted = model(validation.user_index, validation.item_index)
        mse = (predicted - validation.values).square().mean().item()
        lowest, since = (mse, 0) if mse < lowest else (lowest, since + 1)
        if since == PATIENCE:
            break
    return lowest


def exhaustive(combinations: Iterable[GradientConfig], parts: tuple[Ratings, Ratings]) -> Search:
    """The grid."""
    began = time.perf_counter()
    found = []
    for config in combinations:
        found.append(first_way(config, *parts))
        print(f"Grid: {len(found)} done, lowest {min(found):.4f}", file=sys.stderr, flush=True)
    return Search(time.perf_counter() - began, len(found), min(found))


def studied(parts: tuple[Ratings, Ratings], enough: Callable[[Sequence[float]], bool]) -> Search:
    """The study, until the validation MSEs of its trials are enough, or they are too many."""
    began = time.perf_counter()
    record, objective = new_record(SlotSampler(0)), objective_of(parts, seed=0)
    for total in itertools.count(1):
        run_trials(record, objective, total=total)
        known = [TrialView(trial).validation_mse for trial in record.trials()]
        found = [math.inf if mse is None else mse for mse in known]
        if enough(found) or total == MOST_TRIALS:
            break
    return Search(time.perf_counter() - began, total, min(found))


def sampled(ratings: Ratings, about: int) -> Ratings:
    """The ratings of some users for some items, as dense as all of them."""
    share = min(math.sqrt(about / len(ratings)), 1.0)
    draw = torch.Generator().manual_seed(0)
    users, items = (
        torch.rand(n, generator=draw)[index] < share
        for n, index in (
            (ratings.n_users, ratings.user_index),
            (ratings.n_items, ratings.item_index),
        )
    )
    few = ratings[users & items]
    return index_ratings(few.user_index, few.item_index, few.values)[0]


def main() -> None:
    """Prints a row a search, and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sample", type=int, default=10_000)
    parser.add_argument("--combinations", type=int, help="of the grid; all if not told")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.manual_seed(0)  # the first loop draws from the global generator
    torch.set_num_threads(1)
    set_n_threads(1)
    data = load_data(options.data, runs=Path("runs")) if options.data else None
    n_users, n_items = sizes(options.sample)
    few = (
        sampled(data.ratings, options.sample)
        if data
        else planted(options.sample, n_users=n_users, n_items=n_items)
    )
    parts = split(few, seed=0)
    theirs = exhaustive(grid()[: options.combinations], parts)
    ours = studied(parts, lambda found: found[-1] <= theirs.mse)
    print("| search | ratings | seconds | settings | lowest validation MSE |")
    print("|---|---|---|---|---|")

    def row(name: str, ratings: Ratings | None, search: Search) -> None:
        n_ratings = f"{len(ratings):,}" if ratings else "the original's"
        mse = f"{search.mse:.4f}" if math.isfinite(search.mse) else "–"
        n_settings = search.n_settings or "all"
        print(f"| {name} | {n_ratings} | {search.seconds:,.1f} | {n_settings} | {mse} |")

    row("the original's grid and loop", few, theirs)
    row("this study, until as low", few, ours)
    if data:
        full = studied(
            split(data.ratings, seed=0), lambda found: len(found) > 1 and min(found[1:]) <= found[0]
        )
        row("the original's grid, as its author says", None, Search(NINE_HOURS, 0, math.inf))
        row("this study, until as low as its first trial", data.ratings, full)
    print(f"\nRatio, measured in the same run: {theirs.seconds / ours.seconds:,.0f}")
    if data:
        print(f"Ratio, nine hours to what was measured: {NINE_HOURS / full.seconds:,.0f}")


if __name__ == "__main__":
    main()
