"""Which trials are stopped early: chosen by evidence, see `benchmarks/pruners.py`."""

from collections.abc import Mapping
from itertools import accumulate
from statistics import median

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from model.solvers import SOLVERS

INTERVAL = 5  # epochs from one look at the pruner to the next, which costs more than a report
FEWEST_TRIALS = 5


class SolverMedianPruner(BasePruner):
    """Stops a trial whose best epoch so far is worse than the median of its solver's trials.

    It compares what the completed trials of the same solver had reached by the same epoch, as soon
    as five of them are complete: an early sweep of a sampler says nothing beside a converged one of
    als. Earlier epochs would select for haste.
    """

    def __init__(self, first_looks: Mapping[str, int] | None = None) -> None:
        """The pruner; `first_looks` are the epochs of the solvers' entries if not told."""
        self._first_looks = first_looks or {name: one.first_look for name, one in SOLVERS.items()}
        self._known: tuple[int, list[list[float]]] = (-1, [])

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        solver, epoch = trial.params["solver"], trial.last_step
        if epoch is None or epoch < self._first_looks[solver]:
            return False
        others = [curve[min(epoch, len(curve)) - 1] for curve in self._curves(study, trial)]
        return len(others) >= FEWEST_TRIALS and _best_so_far(trial)[-1] > median(others)

    def _curves(self, study: optuna.Study, trial: FrozenTrial) -> list[list[float]]:
        """Those of the completed trials of the trial's solver, as they are at its first look."""
        if self._known[0] != trial.number:
            completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            solver = trial.params["solver"]
            curves = [_best_so_far(one) for one in completed if one.params["solver"] == solver]
            self._known = trial.number, [curve for curve in curves if curve]
        return self._known[1]


def _best_so_far(trial: FrozenTrial) -> list[float]:
    """The lowest value until each of its steps, which count from 1 without a gap."""
    values = trial.intermediate_values
    return list(accumulate((values[step] for step in sorted(values)), min))
