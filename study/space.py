"""The search space, conditional on the solver, and a TPE sampler that learns each solver apart.

A trial's draws depend on the study's seed and the trial's slot, and on nothing else; which of the
first settings comes when depends on whether there is a timeout too.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
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

from model.als import ALSConfig
from model.gibbs import GibbsConfig
from model.gradient import ORIGINAL, GradientConfig
from model.solvers import SOLVERS, Config, solver_name

INTERRUPTED_BY = "interrupted"  # the attribute of a trial that ended with its worker
NOT_NEEDED = "there were enough"  # its value, if others were quicker to begin the last trials
RETRY_OF = "retry_of"  # the attribute of a trial that does an interrupted one again: its number
SLOT, DEATHS = "slot", "deaths"  # system attributes of such a trial
DIED = "died"  # the system attribute of a trial whose worker is dead
TASK = "task"  # the system attribute of a run of a finalist
SPACE_VERSION = 3  # raise it with every change of what a trial may be: a study keeps its space

SOLVER = CategoricalDistribution(tuple(SOLVERS))
# Where the sampler looks: ratings are standardized, so that the ranges hold on any scale.
SEARCHED: dict[str, dict[str, BaseDistribution]] = {
    "gibbs": {
        "gibbs_rank": IntDistribution(2, 96, log=True),
        "gibbs_likelihood": CategoricalDistribution(("gaussian", "ordinal", "both")),
        "gibbs_noise_dof": FloatDistribution(5.0, 100.0, log=True),
        "gibbs_n_features": IntDistribution(8, 256, log=True),
        "gibbs_degree_power": FloatDistribution(0.2, 0.6),
        "gibbs_spectrum_power": FloatDistribution(0.5, 2.0),
    },
    "als": {
        "als_rank": IntDistribution(2, 128, log=True),
        "als_weight_decay": FloatDistribution(1e-2, 1.0, log=True),
        "als_bias_decay": FloatDistribution(1e-3, 0.3, log=True),
    },
    "gradient": {
        "gradient_rank": IntDistribution(2, 128, log=True),
        "gradient_learning_rate": FloatDistribution(3e-3, 1e-1, log=True),
        "gradient_learning_rate_decay": FloatDistribution(0.7, 1.0),
        "gradient_weight_decay": FloatDistribution(1e-2, 0.3, log=True),
        "gradient_bias_decay": FloatDistribution(1e-3, 0.1, log=True),
        "gradient_initial_scale": FloatDistribution(1e-3, 0.3, log=True),
    },
}
# What a trial may be: the same, wide enough for ORIGINAL.
SPACE: dict[str, dict[str, BaseDistribution]] = SEARCHED | {
    "gradient": SEARCHED["gradient"]
    | {
        "gradient_form": CategoricalDistribution(("biased", "plain")),
        "gradient_learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "gradient_weight_decay": FloatDistribution(1e-5, 0.3, log=True),
        "gradient_initial_scale": FloatDistribution(1e-3, 1.0, log=True),
    }
}
FIXED = {"gradient": {"gradient_form": "biased"}}
PARAMETERS = ["solver", *(name for space in SPACE.values() for name in space)]

DEFAULTS: dict[str, Config] = {
    "gibbs": GibbsConfig(rank=24, noise_dof=20.0, n_features=64),
    "als": ALSConfig(rank=16, weight_decay=0.1, bias_decay=0.05),
    "gradient": GradientConfig(
        rank=46,  # with a bias and a one, whole vectors
        learning_rate=0.045,
        learning_rate_decay=0.8,
        weight_decay=0.045,
        bias_decay=0.02,
        initial_scale=0.01,
    ),
}
# Of gibbs once more, better where there are many ratings and slower everywhere.
WIDE = GibbsConfig(rank=48, noise_dof=20.0, n_features=128, degree_power=0.45, spectrum_power=1.0)
# What the first trials try, in this order; the sampler goes on from there.
FIRST_SETTINGS: list[Config] = [ORIGINAL, *DEFAULTS.values(), WIDE]
QUICKEST_FIRST: list[Config] = [
    DEFAULTS["gradient"],
    DEFAULTS["gibbs"],
    WIDE,
    DEFAULTS["als"],
    ORIGINAL,
]


def to_params(config: Config) -> dict[str, Any]:
    """The parameters that stand for a setting: `solver`, and its own under its name."""
    solver = solver_name(config)
    fields = {f"{solver}_{name}": value for name, value in asdict(config).items()}
    return {"solver": solver} | {name: fields[name] for name in SPACE[solver]}


def to_config(params: Mapping[str, Any]) -> Config:
    """The setting that parameters stand for."""
    solver = params["solver"]
    fields = {name.removeprefix(f"{solver}_"): params[name] for name in SPACE[solver]}
    if fields.get("form") == "plain":
        fields |= {"optimizer": ORIGINAL.optimizer, "batch_size": ORIGINAL.batch_size}
    config: Config = SOLVERS[solver].config(**fields)
    return config


def suggest(trial: optuna.Trial) -> Config:
    """The setting that the sampler proposes for a trial."""
    solver = trial.suggest_categorical("solver", SOLVER.choices)
    for name, distribution in SPACE[str(solver)].items():
        match distribution:
            case FloatDistribution(low=low, high=high, log=log):
                trial.suggest_float(name, low, high, log=log)
            case IntDistribution(low=low, high=high, log=log):
                trial.suggest_int(name, low, high, log=log)
            case CategoricalDistribution(choices=choices):
                trial.suggest_categorical(name, choices)
    return to_config(trial.params)


def stable_seed(*parts: object) -> int:
    """A 32-bit seed: a digest of the parts, the same on every machine and in every process."""
    return int(stable_digest(*parts)[:8], 16)


def stable_digest(*parts: object) -> str:
    """32 hexadecimal digits that follow from the parts, the same everywhere."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_whole(params: Mapping[str, Any]) -> bool:
    """Whether they are all parameters of a setting."""
    return "solver" in params and params.keys() >= SPACE[params["solver"]].keys()


def slot(trials: Iterable[FrozenTrial], trial: FrozenTrial) -> int:
    """The trial's place among the settings of its study, from 0, by all trials of the study.

    A trial that does an interrupted one again has the same, so the same seed and parameters.
    """
    if SLOT in trial.system_attrs:
        return int(trial.system_attrs[SLOT])
    return sum(
        other.number < trial.number
        and RETRY_OF not in other.user_attrs
        and other.user_attrs.get(INTERRUPTED_BY) != NOT_NEEDED
        for other in trials
    )


def was_interrupted(trial: FrozenTrial) -> bool:
    """Whether the trial ended with its worker, not by what it tried."""
    return trial.state is TrialState.FAIL and INTERRUPTED_BY in trial.user_attrs


class _SettingSampler(BaseSampler):
    """Proposes a whole setting at once, whatever parameters its solver has."""

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """The parameters of the setting to try."""
        raise NotImplementedError

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {"solver": SOLVER} | {
            name: distribution for space in SPACE.values() for name, distribution in space.items()
        }

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if is_whole(trial.system_attrs.get("fixed_params", {})):
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


class GivenSampler(_SettingSampler):
    """Proposes the one setting that it is given."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        return to_params(self._config)


class SlotSampler(_SettingSampler):
    """FIRST_SETTINGS, then TPE, whose random numbers follow from (study seed, slot) alone.

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

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False)
        place = slot(trials, trial)
        others = [
            other for other in trials if other.number != trial.number and not was_interrupted(other)
        ]
        if place < len(self._first_settings):
            earlier = [other for other in others if other.number < trial.number]
            tried = [other.params for other in earlier]
            untried = [s for s in map(to_params, self._first_settings) if s not in tried]
            # Those that have just begun take theirs in the order of their numbers.
            choosing = sum(
                other.state is TrialState.RUNNING and not is_whole(other.params)
                for other in earlier
            )
            if choosing < len(untried):
                return untried[choosing]
        known = [
            other
            for other in others
            if is_whole(other.params)
            and other.params.get("gradient_form") != ORIGINAL.form
            and (other.state is TrialState.RUNNING or "validation_mse" in other.user_attrs)
        ]
        solver = self._tpe(known, {"solver": SOLVER}, place)["solver"]
        own = [other for other in known if other.params["solver"] == solver]
        return {
            "solver": solver,
            **self._tpe(own, SEARCHED[solver], place),
            **FIXED.get(solver, {}),
        }

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
                value=None if running else trial.user_attrs["validation_mse"],
            )
            for trial in trials
            for running in [trial.state is TrialState.RUNNING]
        )
        return known.ask(space).params
