"""Which trials are stopped early."""

from collections.abc import Sequence

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.search.pruning import FEWEST_TRIALS, SolverMedianPruner

FIRST_LOOK = 3


def trial_of(
    curve: Sequence[float], solver: str = "als", state: TrialState = TrialState.COMPLETE
) -> FrozenTrial:
    """A trial that reported these errors, from epoch 1 on."""
    made = create_trial(
        state=state,
        value=min(curve) if state is TrialState.COMPLETE else None,
        params={"solver": solver},
        distributions={"solver": CategoricalDistribution(["als", "gibbs"])},
        intermediate_values=dict(enumerate(curve, 1)),
    )
    made.number = 99
    return made


def is_pruned(curve: Sequence[float], others: Sequence[FrozenTrial]) -> bool:
    study = optuna.create_study()
    study.add_trials(others)
    pruner = SolverMedianPruner({"als": FIRST_LOOK, "gibbs": 100})
    return pruner.prune(study, trial_of(curve, state=TrialState.RUNNING))


# By epoch 3 the median is 5, by the first 9, at the end 1.
OTHERS = [trial_of([8.0 + n / 2, 8.0, 3.0 + n, 1.0]) for n in range(FEWEST_TRIALS)]


@pytest.mark.parametrize(
    ("curve", "pruned"),
    [
        ([9.0, 9.0, 5.1], True),
        ([9.0, 9.0, 4.9], False),
        ([9.0, 9.0, 5.0], False),  # as good as the median
        ([9.0, 4.9, 7.0], False),  # by its best epoch so far
        ([99.0, 99.0], False),  # before the first look
        ([9.0, 9.0, 5.1, 1.1], True),  # by the fourth
        ([9.0, 9.0, 5.1, 1.1, 1.1, 1.1], True),  # others ended before: at their last
        ([9.0, 9.0, 5.1, 0.9, 0.9, 0.9], False),
        ([], False),
    ],
)
def test_the_median_of_what_others_had_reached_by_the_same_epoch(
    curve: list[float], pruned: bool
) -> None:
    assert is_pruned(curve, OTHERS) is pruned


def test_a_few_trials_are_no_measure() -> None:
    assert not is_pruned([9.0, 9.0, 5.1], OTHERS[1:])


def test_what_others_had_reached_is_read_once_a_trial() -> None:
    study = optuna.create_study()
    study.add_trials(OTHERS)
    pruner = SolverMedianPruner({"als": FIRST_LOOK})
    mine = trial_of([9.0, 9.0, 4.9], state=TrialState.RUNNING)
    assert not pruner.prune(study, mine)
    study.add_trials([trial_of([1.0, 1.0, 1.0])] * 9)
    assert not pruner.prune(study, mine)
    mine.number += 1
    assert pruner.prune(study, mine)


def test_others_are_completed_trials_of_the_same_solver() -> None:
    of_another = [trial_of([1.0, 1.0, 1.0], "gibbs")] * FEWEST_TRIALS
    not_complete = [trial_of([1.0, 1.0, 1.0], state=TrialState.PRUNED)] * FEWEST_TRIALS
    assert not is_pruned([9.0, 9.0, 4.9], [*OTHERS, *of_another, *not_complete])
    assert not is_pruned([9.0, 9.0, 5.1], [*of_another, *not_complete])
