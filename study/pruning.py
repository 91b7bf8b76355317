"""Which trials are stopped early: chosen by evidence, see `benchmarks/pruners.py`."""

from optuna.pruners import BasePruner, MedianPruner

INTERVAL = 5  # epochs from one look at the pruner to the next, which costs more than a report
FIRST_EPOCH = 20  # a good setting may start slowly: earlier, pruning selects for haste


def make_pruner() -> BasePruner:
    """Stops a trial whose best epoch so far is worse than the median of the completed trials.

    It compares equal epochs, as soon as five trials are complete.
    """
    return MedianPruner(n_startup_trials=5, n_warmup_steps=FIRST_EPOCH)
