"""Which trials are stopped early: chosen by evidence, see `benchmarks/pruners.py`."""

import math
from collections.abc import Mapping
from statistics import median

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

INTERVAL = 5  # epochs from one look at the pruner to the next, which costs more than a report
FIRST_EPOCH = {"gibbs": 40, "als": 20, "gradient": 20}  # a good setting may start slowly
FEWEST_TRIALS = 5


class SolverMedianPruner(BasePruner):
    """Stops a trial whose best epoch so far is worse than the median of its solver's trials.

    It compares what the completed trials of the same solver had reached by the same epoch, as soon
    as five of them are complete: an early sweep of a sampler says nothing beside a converged one of
    als. Earlier epochs would select for haste.
    """

    def __init__(self, first_epoch: Mapping[str, int] = FIRST_EPOCH) -> None:
        self._first_epoch = first_epoch

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        solver, epoch = trial.params["solver"], trial.last_step
        if epoch is None or epoch < self._first_epoch[solver]:
            return False
        others = [
            _best_until(epoch, other)
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if other.params["solver"] == solver
        ]
        return len(others) >= FEWEST_TRIALS and _best_until(epoch, trial) > median(others)


def _best_until(epoch: int, trial: FrozenTrial) -> float:
    values = (value for step, value in trial.intermediate_values.items() if step <= epoch)
    return min(values, default=math.inf)
