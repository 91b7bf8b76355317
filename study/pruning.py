"""Which trials are stopped early: chosen by `benchmarks/pruners.py`."""

from optuna.pruners import BasePruner, PercentilePruner


def make_pruner() -> BasePruner:
    """Stops a trial whose best epoch so far is worse than the median of the completed trials."""
    return PercentilePruner(50.0, n_startup_trials=5, n_warmup_steps=5)
