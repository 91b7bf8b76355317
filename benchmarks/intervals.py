"""How many held-out ratings lie within the 90 % intervals of a finished study.

    python -m benchmarks.intervals --data FILE [--storage URL] [--truth FILE] [--splits 2]

The intervals are calibrated on one split, as `best_predict --intervals` does, and measured on
others: of models that know neither the ratings that they are measured on, nor were calibrated on
them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.splits import Split
from storage.database import open_storage, parse_storage_url, runs_folder
from storage.lines import read_numbers
from study.answers.ensemble import Ensemble
from study.answers.intervals import Calibration, calibrate
from study.answers.retraining import Without
from study.inputs import load_data
from study.record.seeds import stable_seed
from study.record.studies import default_name, find_study
from study.tuning import DEFAULT_STORAGE


def coverage(
    calibration: Calibration,
    answer: tuple[NDArray[np.float64], NDArray[np.float64]],
    truth: NDArray[np.float64],
) -> str:
    """The share of true ratings inside, and the mean width, of (predictions, spread)."""
    columns = calibration.intervals(*answer)
    inside = (columns["lower"] <= truth) & (truth <= columns["upper"])
    return f"{100 * inside.mean():.1f} % | {(columns['upper'] - columns['lower']).mean():.3f}"


def main() -> None:
    """Prints a row a split, and one for the queries if their truth is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--storage", default=DEFAULT_STORAGE)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--splits", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    url = parse_storage_url(options.storage)
    data = load_data(options.data, runs=runs_folder(url))
    record = find_study(open_storage(url), default_name(data.table), data.table, about=data.source)
    ensemble = Ensemble.of_best(
        record, data, None, folder=runs_folder(url), device=torch.device("cpu")
    )
    calibration = calibrate(ensemble)
    print("| held out | inside | mean width |")
    print("|---|---|---|")
    for number in range(options.splits):
        seed = stable_seed("coverage", number)
        without = Without(Split.RANDOM, seed)
        _, held_out = without.of(data.ratings)
        answer = ensemble.predict(held_out, without=without)
        print(f"| split {number + 1} | {coverage(calibration, answer, held_out.values.numpy())} |")
    if options.truth is not None:
        truth = read_numbers(options.truth, expected=data.table.n_queries)
        print(f"| queries | {coverage(calibration, ensemble.answer(), truth)} |")


if __name__ == "__main__":
    main()
