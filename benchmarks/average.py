"""What averaging the K best settings of a finished study gains, on its validation ratings.

python -m benchmarks.average --data FILE [--storage URL] [--largest 8]
"""

import argparse
import math
import time
from pathlib import Path

import torch

from model.dataset import split
from storage.database import open_storage, parse_storage_url, runs_folder
from study.best import best_retrainings, train
from study.cli import DEFAULT_STORAGE
from study.inputs import load_data
from study.studies import default_name, find_study


def main() -> None:
    """Prints a row a K: validation RMSE of the mean prediction, seconds of training so far."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--storage", default=DEFAULT_STORAGE)
    parser.add_argument("--largest", type=int, default=8)
    options = parser.parse_args()
    url = parse_storage_url(options.storage)
    data = load_data(options.data, runs=runs_folder(url))
    study = find_study(open_storage(url), default_name(data.table), data.table, about=data.source)
    training, validation = split(data.ratings, seed=study.user_attrs["seed"])
    total = torch.zeros(len(validation), dtype=torch.float64)
    print("| K | validation RMSE | seconds |")
    print("|---|---|---|")
    began = time.perf_counter()
    for k, retraining in enumerate(best_retrainings(study, options.largest), start=1):
        model = train(retraining, training, device=torch.device("cpu"))
        total += model.predict(validation.user_index, validation.item_index)
        rmse = math.sqrt((total / k - validation.values).square().mean().item())
        print(f"| {k} | {rmse:.4f} | {time.perf_counter() - began:.1f} |", flush=True)


if __name__ == "__main__":
    main()
