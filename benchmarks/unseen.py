"""How well pairs are predicted whose user, or item, has no rating in the training.

    python -m benchmarks.unseen --data FOLDER [--times 3] [--held-back 300] [--seed 0]

FOLDER has `ratings.csv` with times, and `items.csv`. Its ratings alone are split at random, by the
latest of each user's, and by the last fifth of all, several times: drawn anew, or each time of the
training ratings of the time before, so that what was later is not there. The default setting of
`gibbs` learns from the training ratings. Levels are those of `study.answers.levels`, of three
splits of the same kind of the training ratings, each with a training of its own. Beside both stands
the mean of the other side, the user's of a new item and the item's of a new user, as if it had five
more ratings that are average. Cells are the mean of predicted less true, and the RMSE.

Then so many items, drawn at random, are held back whole: with what the table tells of them, and
without; levels are those of one split by items.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ranking import trained
from model.biases import fit_biases
from model.dataset import Ratings
from model.factorization import Factorization
from model.splits import Split, as_new, split
from storage.sources import Sources
from study.answers.ensemble import counts_of
from study.answers.levels import Levels, Residuals
from study.inputs import load_data

N_SPLITS = 3  # that levels are read off
FIFTH = 0.2
SHRINKAGE = 5.0  # ratings
SOLVER = "gibbs"

Column = NDArray[np.float64]
Parts = tuple[Ratings, Ratings]  # training, and what is held out
Splitter = Callable[[Ratings, int], Parts]  # of ratings, and how much further back


@dataclass(frozen=True, kw_only=True)
class Case:
    """What was held out in one split, and what is predicted of it."""

    training: Ratings
    held_out: Ratings
    predicted: Column  # (n,) by the default setting

    @cached_property
    def biases(self) -> Factorization:
        """Biases alone."""
        return fit_biases(self.training)

    @cached_property
    def residuals(self) -> Residuals:
        """True less predicted, and how many ratings there were to learn from."""
        biases = self.biases.predict(self.held_out).numpy()
        return Residuals.of(self.training, self.held_out, self.predicted, biases=biases)

    def levelled(self, levels: Levels) -> Column:
        """The (n,) predictions with levels."""
        counts = self.residuals
        blended = levels.blended(self.predicted, self.held_out, lambda: self.biases)
        shifted = levels.applied(blended, counts.user_counts, counts.item_counts)
        clipped: Column = np.clip(shifted, *_range(self.training))
        return clipped

    @property
    def of_other_side(self) -> Column:
        """The (n,) means of the side that is known, shrunk; of all if neither is."""
        values, mean = self.training.values, self.training.values.mean()
        found = []
        for own, rows, n in (
            (self.training.user_index, self.held_out.user_index, self.training.n_users),
            (self.training.item_index, self.held_out.item_index, self.training.n_items),
        ):
            total = torch.bincount(own, values - mean, minlength=n)
            counts = torch.bincount(own, minlength=n)
            found.append((mean + total / (counts + SHRINKAGE))[rows].numpy())
        is_new_item = counts_of(self.held_out, self.training)[1] == 0
        means: Column = np.where(is_new_item, found[0], found[1])
        return means


def case_of(parts: Parts, seed: int) -> Case:
    """The default setting trained on the first part, for the second."""
    training, held_out = parts
    predicted = trained(SOLVER, training, seed).predict(as_new(held_out, training))
    return Case(training=training, held_out=held_out, predicted=predicted.numpy())


def last_fifth(ratings: Ratings, number: int) -> Parts:
    """The last fifth of all in time; of higher numbers that of the training of the one before."""
    assert ratings.times is not None
    order = torch.from_numpy(np.argsort(ratings.times.numpy(), kind="stable"))
    for _ in range(number + 1):
        order, held_out = order.tensor_split([round((1 - FIFTH) * len(order))])
    return ratings[order.sort().values], ratings[held_out.sort().values]


def latest_tenth(ratings: Ratings, number: int, *, seed: int) -> Parts:
    """The latest tenth of each user's ratings; of higher numbers likewise."""
    return split(ratings, seed=seed, kind=Split.LATEST, window=number)


def series(
    ratings: Ratings, splitter: Splitter, *, kind: Split, times: int, seed: int
) -> list[tuple[Case, Levels]]:
    """Splits by time, each further back, with levels of the three that come before it."""
    cases = [case_of(splitter(ratings, number), seed) for number in range(times + N_SPLITS)]
    return [
        (case, levels_of(cases[number + 1 : number + 1 + N_SPLITS], kind))
        for number, case in enumerate(cases[:times])
    ]


def drawn(
    ratings: Ratings, *, kind: Split, times: int, n_splits: int, seed: int
) -> Iterator[tuple[Case, Levels]]:
    """Splits drawn at random, with levels of others of their training ratings."""
    for number in range(times):
        first = seed + 100 * number
        case = case_of(split(ratings, seed=first, kind=kind), seed)
        again = (first + 1 + more for more in range(n_splits))
        cases = [case_of(split(case.training, seed=one, kind=kind), seed) for one in again]
        yield case, levels_of(cases, kind)


def levels_of(cases: Sequence[Case], kind: Split) -> Levels:
    """Those that a study keeps of splits of a kind."""
    std = float(cases[0].training.values.std(correction=0))
    return Levels.fitted([case.residuals for case in cases], kind=kind, std=std)


def rows_of(cases: Sequence[tuple[Case, Levels]]) -> Iterator[str]:
    """The cells of known pairs, new users and new items, of all cases together."""
    counts = [counts_of(case.held_out, case.training) for case, _ in cases]
    of_users, of_items = (np.concatenate(side) for side in zip(*counts, strict=True))
    truth = np.concatenate([case.held_out.values.numpy() for case, _ in cases])
    ways = [
        np.concatenate([case.levelled(levels) for case, levels in cases]),
        np.concatenate([case.predicted for case, _ in cases]),
        np.concatenate([case.of_other_side for case, _ in cases]),
    ]
    for name, here in (
        ("all", of_users >= 0),
        ("both known", (of_users > 0) & (of_items > 0)),
        ("new user", of_users == 0),
        ("new item", of_items == 0),
    ):
        if not here.any():
            continue
        errors = [(way - truth)[here] for way in ways]
        is_mean = name.startswith("new")
        cells = [f"{error.mean():+.3f}, {rmse(error):.4f}" for error in errors]
        yield f"{name} | {here.sum():,} | {' | '.join(cells if is_mean else [*cells[:2], '–'])}"


def rmse(errors: Column) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.square(errors).mean()))


def whole_items(ratings: Ratings, n_items: int, seed: int) -> Parts:
    """The ratings of all but n items drawn at random, and of these."""
    rated = np.unique(ratings.item_index.numpy())
    chosen = np.random.default_rng(seed).choice(rated, n_items, replace=False)
    out = torch.isin(ratings.item_index, torch.from_numpy(chosen))
    return ratings[~out], ratings[out]


def held_back(ratings: Ratings, n_items: int, seed: int) -> tuple[Case, Levels]:
    """Items held back whole, with levels of one split by items."""
    case = case_of(whole_items(ratings, n_items, seed), seed)
    again = case_of(split(case.training, seed=seed, kind=Split.ITEMS), seed)
    return case, levels_of([again], Split.ITEMS)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--held-back", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    times, seed, n_items = options.times, options.seed, options.held_back
    source = Sources(data=options.data / "ratings.csv")
    ratings = load_data(source, runs=Path("runs")).ratings
    source = replace(source, items=options.data / "items.csv")
    described = load_data(source, runs=Path("runs")).ratings

    print("| held out | pairs | ratings | with levels | without | mean of the other side |")
    print("|---|---|---|---|---|---|")

    def show(name: str, cases: Sequence[tuple[Case, Levels]]) -> None:
        for row in rows_of(cases):
            print(f"| {name} | {row} |", flush=True)

    draws = drawn(ratings, kind=Split.RANDOM, times=times, n_splits=N_SPLITS, seed=seed)
    show(f"a tenth at random, {times} times", [*draws])
    for name, kind, splitter in (
        ("the latest tenth of each user", Split.LATEST, partial(latest_tenth, seed=seed)),
        ("the last fifth of all", Split.TIME, last_fifth),
    ):
        cases = series(ratings, splitter, kind=kind, times=times, seed=seed)
        show(name, cases[:1])
        show(f"{name}, {times} times", cases)
    show(f"{n_items} items, with the table", [held_back(described, n_items, seed)])
    show(f"{n_items} items, without", [held_back(ratings, n_items, seed)])


def _range(ratings: Ratings) -> tuple[float, float]:
    return float(ratings.values.min()), float(ratings.values.max())


if __name__ == "__main__":
    main()
