"""The answer of a study: its best settings, trained again on every rating."""

import contextlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from model.dataset import Ratings, split
from model.factorization import Factorization
from model.solver import Model
from model.solvers import SOLVERS, Config, make_solver, solver_name
from storage.errors import InputError
from storage.models import load_model, recipe_path, save_model
from study.inputs import Data
from study.objective import Stop, setting_seed
from study.space import to_config, to_params
from study.studies import FINISHED

RANKING = "finalists"  # the attribute of a study that holds what its finalists came to


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that a study has tried."""

    trial: FrozenTrial
    config: Config
    best_epoch: int  # of the trial, or the median of the finalist's rounds
    rmse: float  # of the trial's validation; of one that the timeout cut, that of the finalists

    @property
    def was_cut(self) -> bool:
        """Whether the timeout cut its trial, so that this does not tell what it can do."""
        return was_cut(self.trial)

    @property
    def solver(self) -> str:
        """The name of its solver."""
        return solver_name(self.config)

    @property
    def epochs(self) -> int:
        """How long to train it on every rating."""
        return SOLVERS[self.solver].retraining_epochs or self.best_epoch


def was_cut(trial: FrozenTrial) -> bool:
    """Whether the timeout cut the trial."""
    return trial.user_attrs.get("stopped") == Stop.TIMEOUT


def ranked_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that the pruner let go on, best first; only if there are none, the others."""
    trials = sorted(
        (
            trial
            for trial in study.get_trials(deepcopy=False, states=FINISHED)
            if "validation_mse" in trial.user_attrs
        ),
        key=lambda trial: (trial.user_attrs["validation_mse"], was_cut(trial)),
    )
    preferred = [trial for trial in trials if trial.state is TrialState.COMPLETE or was_cut(trial)]
    return preferred or trials


def ranked_settings(study: optuna.Study) -> list[Setting]:
    """The distinct settings of the ranked trials, best first."""
    found: dict[Config, Setting] = {}
    for trial in ranked_trials(study):
        config = to_config(trial.params)
        best: int = trial.user_attrs["best_epoch"]
        rmse = math.sqrt(trial.user_attrs["validation_mse"])
        found.setdefault(config, Setting(trial=trial, config=config, best_epoch=best, rmse=rmse))
    return list(found.values())


def best_settings(study: optuna.Study, n: int | None = None) -> list[Setting]:
    """The n settings to answer with, best first; fewer if the study has not tried as many.

    The order is that of the finalists, if they have met; the others follow by their trials. Without
    n it is as many as the finalists found worth averaging.
    """
    settings = ranked_settings(study)
    ranking = final_ranking(study)
    if ranking:
        by_config = {setting.config: setting for setting in settings}
        trials = study.get_trials(deepcopy=False)
        met = [by_config.pop(to_config(trials[number].params)) for number in ranking["trials"]]
        found = zip(met, ranking["best_epochs"], ranking["rmse"], strict=True)
        finalists = [
            replace(one, best_epoch=best_epoch, rmse=rmse if rmse and one.was_cut else one.rmse)
            for one, best_epoch, rmse in found
        ]
        settings = [*finalists, *by_config.values()]
    if n is None:
        n = ranking["average"] if ranking else 1
    return settings[:n]


def final_ranking(study: optuna.Study) -> dict[str, Any] | None:
    """What the finalists came to; None if they have not met, or a better trial came after."""
    ranking: dict[str, Any] | None = study.user_attrs.get(RANKING)
    if not ranking:
        return None
    return ranking if ranked_trials(study)[0].number in ranking["trials"] else None


def load_or_train(
    setting: Setting,
    data: Data,
    *,
    folder: Path,
    study: optuna.Study,
    device: torch.device,
    split_seed: int | None = None,
) -> tuple[Model, bool]:
    """The model of a setting, of every rating, and whether it was found saved from before.

    With a split's seed it is the model of that split's training ratings.
    """
    recipe = {
        "params": to_params(setting.config),
        "epochs": setting.epochs,
        "seed": setting_seed(study.user_attrs["seed"], setting.config),
        "ratings_digest": study.user_attrs["ratings_digest"],
        "split_seed": split_seed,
    }
    path = recipe_path(folder / "models", study.study_name, recipe)
    kind = SOLVERS[setting.solver].model
    if (arrays := load_model(path)) is not None:
        state = {n: torch.from_numpy(a.copy()) for n, a in arrays.items() if not n.endswith("_ids")}
        return kind.from_state(state), True
    ratings = data.ratings if split_seed is None else split(data.ratings, seed=split_seed)[0]
    state = {
        name: tensor.detach().cpu()
        for name, tensor in _train(setting, ratings, study, device).state_dict().items()
    }
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    ids = {"user_ids": data.users.values, "item_ids": data.items.values}
    with contextlib.suppress(OSError):  # the answer matters more than to have it again
        save_model(path, arrays | ids, recipe)
    return kind.from_state(state), False


def _train(setting: Setting, ratings: Ratings, study: optuna.Study, device: torch.device) -> Model:
    seed = setting_seed(study.user_attrs["seed"], setting.config)
    solver = make_solver(setting.config, ratings.to(device), device=device, seed=seed)
    for epoch in solver.epochs(validation=None):
        if not math.isfinite(epoch.train_mse):
            raise InputError(
                f"trial {setting.trial.number}: diverged in epoch {epoch.number} on all the "
                "ratings; more --trials may find a better one"
            )
        if epoch.number >= setting.epochs:
            break
    if isinstance(solver.model, Factorization):
        solver.model.spread.fill_(setting.trial.user_attrs["validation_mse"] ** 0.5)
    return solver.model
