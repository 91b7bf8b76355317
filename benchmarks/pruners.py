"""Which pruner: the error that whole studies reach under each, and the epochs that they take.

    python -m benchmarks.pruners --data FILE [--trials 60] [--seeds 3]

Every study runs for real, with TPE in the loop, on one thread and with its trials in memory.
"""

import argparse
import statistics
import time
from pathlib import Path

import optuna
import torch
from optuna.pruners import BasePruner, MedianPruner, NopPruner

from benchmarks.studies import new_record, objective_of, run_trials
from model.splits import split
from study.inputs import Data, load_data
from study.record.ranking import ranked_settings
from study.search.pruning import SolverMedianPruner
from study.search.sampler import SlotSampler


def pruners() -> dict[str, BasePruner]:
    """The candidates; steps are epochs."""

    def median_of_solver(gibbs: int, others: int) -> BasePruner:
        return SolverMedianPruner({"gibbs": gibbs, "als": others, "gradient": others})

    return {
        "none": NopPruner(),
        "median of all solvers, from epoch 20": MedianPruner(n_warmup_steps=20),
        "median of the solver, from epoch 10": median_of_solver(10, 10),
        "median of the solver, from epoch 20": median_of_solver(20, 20),
        "median of the solver, gibbs from sweep 40": SolverMedianPruner(),
    }


def run_study(
    data: Data, pruner: BasePruner, *, trials: int, seed: int
) -> tuple[float, int, float]:
    """The best validation RMSE, the epochs and the seconds of a study."""
    record = new_record(SlotSampler(seed), pruner)
    objective = objective_of(split(data.ratings, seed=seed), seed=seed)
    began = time.perf_counter()
    run_trials(record, objective, total=trials)
    seconds = time.perf_counter() - began
    # The first trial is the same under every pruner.
    epochs = sum(len(trial.intermediate_values) for trial in record.trials()[1:])
    return ranked_settings(record.study)[0].rmse, epochs, seconds


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
