"""A setting trained again, on every rating, or loaded if that was done before."""

import contextlib
import math
from pathlib import Path
from typing import NamedTuple

import torch

from model.dataset import Ratings
from model.factorization import Factorization
from model.solver import Model
from model.solvers import make_solver, model_class
from model.splits import Split, split
from storage.errors import InputError
from storage.models import load_model, recipe_path, save_model
from study.inputs import Data
from study.record.parameters import to_params
from study.record.ranking import Setting
from study.record.record import Record
from study.record.seeds import setting_seed

FORMAT = 3  # of what is saved of a model: raise it when a solver keeps something else


class Without(NamedTuple):
    """A split, whose validation ratings a model is not to know."""

    kind: Split
    seed: int

    def of(self, ratings: Ratings) -> tuple[Ratings, Ratings]:
        """Training and validation ratings."""
        return split(ratings, seed=self.seed, kind=self.kind)


def load_or_train(
    setting: Setting,
    data: Data,
    *,
    record: Record,
    folder: Path,
    device: torch.device,
    without: Without | None = None,
) -> tuple[Model, bool]:
    """The model of a setting, of every rating, and whether it was found saved from before.

    With a split it is the model of that split's training ratings.

    Raises:
        InputError: it diverges on these ratings.
    """
    seed = setting_seed(record.seed or 0, setting.config)
    recipe = {
        "format": FORMAT,
        "params": to_params(setting.config),
        "epochs": setting.epochs,
        "seed": seed,
        "ratings_digest": record.ratings_digest,
        "split_seed": without.seed if without else None,
    }
    if without and without.kind is not Split.RANDOM:
        recipe["split"] = without.kind
    path = recipe_path(folder / "models", record.name, recipe)
    kind = model_class(setting.solver)
    if (arrays := load_model(path)) is not None:
        state = {n: torch.from_numpy(a.copy()) for n, a in arrays.items() if "_ids" not in n}
        return kind.from_state(state), True
    ratings = without.of(data.ratings)[0] if without else data.ratings
    model = _train(setting, ratings, seed=seed, device=device)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    ids = {"user_ids": data.users.values, "item_ids": data.items.values}
    with contextlib.suppress(OSError):  # the answer matters more than to have it again
        save_model(path, arrays | ids, recipe)
    return kind.from_state(state), False


def _train(setting: Setting, ratings: Ratings, *, seed: int, device: torch.device) -> Model:
    solver = make_solver(setting.config, ratings.to(device), device=device, seed=seed)
    for epoch in solver.epochs(validation=None):
        if not math.isfinite(epoch.train_mse):
            raise InputError(
                f"trial {setting.trial.number}: diverged in epoch {epoch.number} on all the "
                "ratings; more trials= may find a better one"
            )
        if epoch.number >= setting.epochs:
            break
    if isinstance(solver.model, Factorization):
        solver.model.spread.fill_(setting.rmse)
    return solver.model
