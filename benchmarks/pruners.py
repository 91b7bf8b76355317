"""Which pruner: the error that whole studies reach under each, and the epochs that they take.

    python -m benchmarks.pruners --data FILE [--trials 60] [--seeds 3]

Every study runs for real, with TPE in the loop, on one thread and with its trials in memory.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import optuna
import torch
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from model.dataset import split
from study.best import ranked_trials
from study.inputs import Data, load_data
from study.objective import MAX_EPOCHS, Objective
from study.space import SlotSampler
from study.trials import run_trials


def pruners() -> dict[str, BasePruner]:
    """The candidates; steps are epochs."""
    return {
        "none": NopPruner(),
        "median, from epoch 5": MedianPruner(n_warmup_steps=5),
        "median, from epoch 20": MedianPruner(n_warmup_steps=20),
        "worst quarter, from epoch 20": PercentilePruner(75.0, n_warmup_steps=20),
        "median, patience 10": PatientPruner(MedianPruner(n_warmup_steps=5), patience=10),
        "successive halving": SuccessiveHalvingPruner(min_resource=5, reduction_factor=3),
        "hyperband": HyperbandPruner(min_resource=5, max_resource=MAX_EPOCHS, reduction_factor=3),
    }


def run_study(
    data: Data, pruner: BasePruner, *, trials: int, seed: int
) -> tuple[float, int, float]:
    """The best validation RMSE, the epochs and the seconds of a study."""
    training, validation = split(data.ratings, seed=seed)
    study = optuna.create_study(sampler=SlotSampler(seed), pruner=pruner)
    objective = Objective(
        training=training, validation=validation, device=torch.device("cpu"), study_seed=seed
    )
    began = time.perf_counter()
    run_trials(study, objective, total=trials)
    seconds = time.perf_counter() - began
    # The first trial is the same under every pruner.
    epochs = sum(len(trial.intermediate_values) for trial in study.get_trials()[1:])
    best = ranked_trials(study)[0]
    return math.sqrt(best.user_attrs["validation_mse"]), epochs, seconds


def main() -> None:
    """Prints a table, a row a pruner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    data = load_data(options.data, runs=Path("runs"))
    print("| pruner | best RMSE, mean | worst seed | epochs | seconds |")
    print("|---|---|---|---|---|")
    for name, pruner in pruners().items():
        results = [
            run_study(data, pruner, trials=options.trials, seed=seed)
            for seed in range(options.seeds)
        ]
        rmse, epochs, seconds = zip(*results, strict=True)
        print(
            f"| {name} | {statistics.mean(rmse):.4f} | {max(rmse):.4f} "
            f"| {statistics.mean(epochs):,.0f} | {statistics.mean(seconds):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
