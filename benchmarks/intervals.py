"""How many held-out ratings lie within the 90 % intervals of a finished study.

    python -m benchmarks.intervals --data FILE [--items FILE] [--users FILE] [--queries FILE]
        [--storage URL] [--truth FILE] [--splits 2]

The intervals are calibrated on one split, as `best_predict --intervals` does for such queries, and
measured on others: of models that know neither the ratings that they are measured on, nor were
calibrated on them. Of a kind of split that time decides there are no others: then the queries alone
tell, if their truth is given. Pairs are told apart by how many ratings their user and their item
have to learn from.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.dataset import Pairs, Ratings
from model.splits import Split, Without
from storage.database import open_storage, parse_storage_url, runs_folder
from storage.lines import read_numbers
from storage.sources import Sources
from study.answers.asked import kind_asked
from study.answers.ensemble import FEW, Ensemble, counts_of, kinds_of
from study.answers.intervals import Calibration, calibrate
from study.answers.levels import LATER
from study.inputs import Data, load_data, with_pairs
from study.record.record import Record
from study.record.seeds import stable_seed
from study.record.studies import default_name, find_study
from study.tuning import DEFAULT_STORAGE

Column = NDArray[np.float64]


def coverage(
    calibration: Calibration,
    answer: tuple[Column, Column],
    truth: Column,
    pairs: Pairs,
    known: Ratings,
) -> Iterator[str]:
    """The share of true ratings inside, and the mean width, of kinds of pairs.

    Args:
        calibration: of the intervals.
        answer: (n,) predictions and spreads.
        truth: (n,) ratings.
        pairs: n of them.
        known: the ratings that the models know.
    """
    columns = calibration.intervals(*answer, kinds_of(*counts_of(pairs, known)))
    inside = (columns["lower"] <= truth) & (truth <= columns["upper"])
    width = columns["upper"] - columns["lower"]
    users, items = (
        torch.bincount(index, minlength=n + 1)[pairs_index].numpy()
        for index, n, pairs_index in (
            (known.user_index, known.n_users, pairs.user_index),
            (known.item_index, known.n_items, pairs.item_index),
        )
    )
    for name, here in (
        ("all", users >= 0),
        (f"user and item with {FEW} ratings or more", (users >= FEW) & (items >= FEW)),
        (f"user with 1 to {FEW - 1}", (users > 0) & (users < FEW)),
        (f"item with 1 to {FEW - 1}", (items > 0) & (items < FEW)),
        ("user without any", users == 0),
        ("item without any", items == 0),
    ):
        if here.any():
            share, mean = 100 * inside[here].mean(), width[here].mean()
            yield f"{name} | {here.sum():,} | {share:.1f} % | {mean:.3f}"


def load(options: argparse.Namespace, runs: Path) -> Data:
    """The ratings with their queries."""
    source = Sources(data=options.data, items=options.items, users=options.users)
    data = load_data(source, runs=runs)
    return with_pairs(data, options.queries, runs=runs) if options.queries else data


def answers_of(record: Record, data: Data, kind: Split, folder: Path) -> Ensemble:
    """What answers queries of that kind."""
    device = torch.device("cpu")
    return Ensemble.of_best(record, data, None, kind=kind, folder=folder, device=device)


def main() -> None:
    """Prints rows for each split, and for the queries if their truth is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--items", type=Path)
    parser.add_argument("--users", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--storage", default=DEFAULT_STORAGE)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--splits", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    url = parse_storage_url(options.storage)
    folder = runs_folder(url)
    data = load(options, folder)
    record = find_study(open_storage(url), default_name(data.table), data.table, about=data.source)
    kind = kind_asked(data, record.kinds)
    ensemble = answers_of(record, data, kind, folder)
    calibration = calibrate(ensemble)
    print(f"Calibrated on the split {kind}, {calibration.n_ratings:,} ratings\n")
    print("| held out | pairs | ratings | inside | mean width |\n|---|---|---|---|---|")

    def show(name: str, rows: Iterator[str]) -> None:
        for row in rows:
            print(f"| {name} | {row} |", flush=True)

    for number in range(0 if kind in LATER else options.splits):
        without = Without(kind, stable_seed("coverage", number))
        training, held_out = without.of(data.ratings)
        predictions, spread = ensemble.predict(held_out, without=without)
        answer = ensemble.levelled(predictions, held_out, training), spread
        truth = held_out.values.numpy()
        name = f"split {number + 1}, {kind}"
        show(name, coverage(calibration, answer, truth, held_out, training))
    if options.truth is not None:
        truth = read_numbers(options.truth, expected=data.table.n_queries)
        rows = coverage(calibration, ensemble.answer(), truth, data.queries, data.ratings)
        show("queries", rows)


if __name__ == "__main__":
    main()
