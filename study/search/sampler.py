"""What is tried next: a few settings first, then a TPE that learns each solver apart.

A trial's draws depend on the study's seed and the trial's slot, and on nothing else; which of the
first settings comes when depends on whether there is a timeout too.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from model.solvers import ORIGINAL, SOLVERS, WIDE, Config
from study.record.attributes import NOT_NEEDED, StudyView, TrialView
from study.record.beginning import MOST
from study.record.parameters import (
    SOLVER,
    fixed,
    is_original,
    is_whole,
    searched,
    space,
    to_config,
    to_params,
)
from study.record.seeds import stable_seed

# What the first trials try, in this order; the sampler goes on from there.
FIRST_SETTINGS: list[Config] = [ORIGINAL, *(entry.default for entry in SOLVERS.values()), WIDE]
# The same where there is a timeout, or where a study begins with known settings.
QUICKEST_FIRST: list[Config] = [
    SOLVERS["gradient"].default,
    SOLVERS["gibbs"].default,
    WIDE,
    *(one.default for name, one in SOLVERS.items() if name not in ("gradient", "gibbs")),
    ORIGINAL,
]


def suggest(trial: optuna.Trial) -> Config:
    """The setting that the sampler proposes for a trial."""
    solver = trial.suggest_categorical("solver", SOLVER.choices)
    for name, distribution in space(str(solver)).items():
        match distribution:
            case FloatDistribution(low=low, high=high, log=log):
                trial.suggest_float(name, low, high, log=log)
            case IntDistribution(low=low, high=high, log=log):
                trial.suggest_int(name, low, high, log=log)
            case CategoricalDistribution(choices=choices):
                trial.suggest_categorical(name, choices)
    return to_config(trial.params)


def slot(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> int:
    """The trial's place among the settings of its study, from 0, by all trials of the study.

    A trial that does an interrupted one again has the same, so the same seed and parameters.
    """
    while (again := TrialView(trial).retry_of) is not None:
        trial = trials[again]
    return sum(
        other.number < trial.number
        and TrialView(other).retry_of is None
        and TrialView(other).interrupted != NOT_NEEDED
        for other in trials
    )


class SlotSampler(BaseSampler):
    """What the study begins with, FIRST_SETTINGS, then TPE.

    The random numbers of TPE follow from (study seed, slot) alone.

    TPE chooses the solver by the trials of all, and the solver's parameters together by the trials
    of that solver. Left to itself it would split good trials from bad ones over all solvers, and a
    solver that is never among the good would be drawn at random. A pruned trial is known by its
    best epoch, like every other. A sampler that is merely seeded once draws its first points again
    after every restart.
    """

    def __init__(self, study_seed: int, *, hurry: bool = False) -> None:
        """The sampler of a study; in a hurry, the first settings come quickest first."""
        self._study_seed = study_seed
        self._first_settings = QUICKEST_FIRST if hurry else FIRST_SETTINGS

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {"solver": SOLVER} | {
            name: distribution for solver in SOLVERS for name, distribution in space(solver).items()
        }

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if is_whole(TrialView(trial).given):
            return {}
        return self.propose(study, trial)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise ValueError(f"{param_name}: expected a parameter of the solver that was proposed")

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """The parameters of the setting to try: a whole one, whatever its solver has."""
        trials = study.get_trials(deepcopy=False)
        place = slot(trials, trial)
        others = [
            other
            for other in trials
            if other.number != trial.number and not TrialView(other).was_interrupted
        ]
        first = self._first(study) if place < len(self._first_settings) + MOST else []
        if place < len(first):
            settings, tried = list(map(to_params, first)), [other.params for other in others]
            # Those that have just begun take their own, whoever dies in the same instant.
            choosing = (o for o in others if o.state is TrialState.RUNNING)
            places = {slot(trials, one) for one in choosing if not is_whole(one.params)} - {place}
            kept = [one for number, one in enumerate(settings) if number not in places]
            untried = [one for one in [settings[place], *kept] if one not in tried]
            if untried:
                return untried[0]
        known = [
            other
            for other in others
            if is_whole(other.params)
            and not is_original(other.params)
            and (other.state is TrialState.RUNNING or TrialView(other).validation_mse is not None)
        ]
        solver = self._tpe(known, {"solver": SOLVER}, place)["solver"]
        own = [other for other in known if other.params["solver"] == solver]
        return {
            "solver": solver,
            **self._tpe(own, searched(solver), place),
            **fixed(solver),
        }

    def _first(self, study: optuna.Study) -> list[Config]:
        """The settings that come first: those that the study begins with, then ours; after known
        ones the quickest of ours first.
        """
        begins = StudyView(study).begins_with
        known = [to_config(params) for params in begins["settings"]] if begins else []
        ours = QUICKEST_FIRST if known else self._first_settings
        return list(dict.fromkeys([*known, *ours]))

    def _tpe(
        self, trials: Iterable[FrozenTrial], space: dict[str, BaseDistribution], place: int
    ) -> dict[str, Any]:
        """What TPE proposes in a space after these trials; one that runs counts as a bad one."""
        seed = stable_seed("sampler", self._study_seed, place, sorted(space))
        tpe = TPESampler(seed=seed, n_startup_trials=0, constant_liar=True)
        known = optuna.create_study(sampler=tpe)
        known.add_trials(
            create_trial(
                state=TrialState.RUNNING if running else TrialState.COMPLETE,
                params={name: trial.params[name] for name in space},
                distributions=space,
                value=None if running else TrialView(trial).validation_mse,
            )
            for trial in trials
            for running in [trial.state is TrialState.RUNNING]
        )
        return known.ask(space).params
