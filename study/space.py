"""The search space, and a TPE sampler whose draws depend on the study's seed and a trial's slot."""

import hashlib
import json
from collections.abc import Mapping
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
from optuna.trial import FrozenTrial, TrialState

from model.gradient import ORIGINAL, GradientConfig

INTERRUPTED_BY = "interrupted"  # the attribute of a trial that ended with its process
SPACE_VERSION = 1  # raise it with every change below: a study keeps the space it began with

# Where the sampler looks: ratings are standardized, so that the ranges hold on any scale.
SEARCHED: dict[str, BaseDistribution] = {
    "gradient_rank": IntDistribution(2, 128, log=True),
    "gradient_learning_rate": FloatDistribution(3e-3, 5e-2, log=True),
    "gradient_learning_rate_decay": FloatDistribution(0.92, 1.0),
    "gradient_weight_decay": FloatDistribution(1e-2, 0.3, log=True),
    "gradient_bias_decay": FloatDistribution(1e-3, 0.1, log=True),
    "gradient_batch_size": IntDistribution(250, 8000, log=True),
    "gradient_initial_scale": FloatDistribution(1e-3, 0.3, log=True),
}
FIXED = {"gradient_form": "biased"}
# What a trial may be: the same, wide enough for ORIGINAL.
SPACE: dict[str, BaseDistribution] = SEARCHED | {
    "gradient_form": CategoricalDistribution(("biased", "plain")),
    "gradient_learning_rate": FloatDistribution(1e-3, 5e-2, log=True),
    "gradient_weight_decay": FloatDistribution(1e-5, 0.3, log=True),
    "gradient_initial_scale": FloatDistribution(1e-3, 1.0, log=True),
}

DEFAULT = GradientConfig(
    rank=64,
    learning_rate=0.015,
    learning_rate_decay=0.97,
    weight_decay=0.055,
    bias_decay=0.02,
    batch_size=2000,
    initial_scale=0.02,
)
# With FIRST_SETTINGS among them, five are enough for TPE to begin with: from Optuna's default of
# ten, 20 trials ended 0.1 % worse, and 40 the same (MovieLens-100K u1, three seeds).
STARTUP_TRIALS = 5
# What the first trials try, in this order; the sampler goes on from there.
FIRST_SETTINGS = {"original": ORIGINAL, "default": DEFAULT}


def to_params(config: GradientConfig) -> dict[str, Any]:
    """The parameters of SPACE that stand for a setting."""
    fields = {f"gradient_{name}": value for name, value in asdict(config).items()}
    return {name: fields[name] for name in SPACE}


def to_config(params: Mapping[str, Any]) -> GradientConfig:
    """The setting that parameters of SPACE stand for."""
    fields = {name.removeprefix("gradient_"): value for name, value in params.items()}
    optimizer = ORIGINAL.optimizer if fields["form"] == "plain" else DEFAULT.optimizer
    return GradientConfig(**fields, optimizer=optimizer)


def stable_seed(*parts: object) -> int:
    """A 32-bit seed: a digest of the parts, the same on every machine and in every process."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def slot(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The trial's place among the trials of its study that were not interrupted, from 0.

    A trial that does an interrupted one again has the same slot, so the same seed and parameters.
    """
    return sum(
        other.number < trial.number and not was_interrupted(other)
        for other in study.get_trials(deepcopy=False)
    )


def was_interrupted(trial: FrozenTrial) -> bool:
    """Whether the trial ended with its process, not by what it tried."""
    return trial.state is TrialState.FAIL and INTERRUPTED_BY in trial.user_attrs


class SlotSampler(BaseSampler):
    """FIRST_SETTINGS, then TPE, whose random numbers follow from (study seed, slot) alone.

    A sampler that is merely seeded once draws its first points again after every restart.
    """

    def __init__(self, study_seed: int) -> None:
        self._study_seed = study_seed
        self._slot = 0
        self._tpe = TPESampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._slot = slot(study, trial)
        seed = stable_seed("sampler", self._study_seed, self._slot)
        self._tpe = TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return SPACE

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._slot < len(FIRST_SETTINGS):
            return to_params(list(FIRST_SETTINGS.values())[self._slot])
        return self._tpe.sample_relative(study, trial, SEARCHED) | FIXED

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._tpe.sample_independent(study, trial, param_name, SEARCHED[param_name])
