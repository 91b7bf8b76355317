"""The answer of a study: its best settings, trained again on every rating."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from model.dataset import Ids, Ratings
from model.factorization import Factorization
from model.gradient import Gradient, GradientConfig
from model.solver import Solver
from storage.models import load_model, model_path, save_model
from study.objective import Stop, setting_seed
from study.space import to_config
from study.studies import FINISHED


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """A setting to train on every rating, for the epochs that its best trial took."""

    trial: FrozenTrial
    config: GradientConfig
    epochs: int
    seed: int


def ranked_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that the pruner let go on, best first; only if there are none, the others."""
    trials = sorted(
        (
            trial
            for trial in study.get_trials(deepcopy=False, states=FINISHED)
            if "validation_mse" in trial.user_attrs
        ),
        key=lambda trial: trial.user_attrs["validation_mse"],
    )
    preferred = [
        trial
        for trial in trials
        if trial.state is TrialState.COMPLETE or trial.user_attrs["stopped"] == Stop.TIMEOUT
    ]
    return preferred or trials


def best_retrainings(study: optuna.Study, n: int) -> list[Retraining]:
    """The n best distinct settings of the study; fewer if it has not tried as many."""
    found: dict[GradientConfig, Retraining] = {}
    for trial in ranked_trials(study):
        config = to_config(trial.params)
        retraining = Retraining(
            trial=trial,
            config=config,
            epochs=trial.user_attrs["best_epoch"],
            seed=setting_seed(study.user_attrs["seed"], config),
        )
        found.setdefault(config, retraining)
    return list(found.values())[:n]


def train(retraining: Retraining, ratings: Ratings, *, device: torch.device) -> Factorization:
    """The model of a setting after its epochs on all the ratings."""
    solver: Solver = Gradient(retraining.config, ratings, device=device, seed=retraining.seed)
    for epoch in solver.epochs(validation=None):
        if epoch.number >= retraining.epochs:
            break
    return solver.model.cpu()


def load_or_train(
    retraining: Retraining,
    ratings: Ratings,
    users: Ids,
    items: Ids,
    *,
    folder: Path,
    study: optuna.Study,
    device: torch.device,
) -> tuple[Factorization, bool]:
    """The model of a setting, and whether it was found saved from before."""
    recipe = {
        "config": asdict(retraining.config),
        "epochs": retraining.epochs,
        "seed": retraining.seed,
        "ratings_digest": study.user_attrs["ratings_digest"],
    }
    path = model_path(folder, study.study_name, recipe)
    if (arrays := load_model(path)) is not None:
        model = Factorization(len(users), len(items), retraining.config.rank)
        model.load_state_dict(_tensors(arrays, model))
        return model, True
    model = train(retraining, ratings, device=device)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    ids = {"user_ids": users.values, "item_ids": items.values}
    with contextlib.suppress(OSError):  # the answer matters more than to have it again
        save_model(path, arrays | ids, recipe)
    return model, False


def _tensors(
    arrays: Mapping[str, NDArray[np.generic]], model: Factorization
) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(arrays[name].copy()) for name in model.state_dict()}
