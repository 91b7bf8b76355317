"""A setting trained again, on every rating, or loaded if that was done before."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from model.dataset import UNKNOWN, Ids, Ratings
from model.factorization import Factorization
from model.solver import Model, Solver
from model.solvers import load_state, make_solver
from model.splits import Split, Without
from model.users import joined, of_users
from model.world import World
from storage.errors import InputError
from storage.models import (
    file_name,
    ids_of,
    load_model,
    recipe_of,
    recipe_path,
    save_model,
    saved_parts,
)
from study.answers.checkpoints import Checkpoints, final_path
from study.inputs import Data
from study.record.parameters import to_params
from study.record.ranking import Setting, best_settings
from study.record.record import Record
from study.record.seeds import setting_seed, stable_seed

MOST = 10  # settings that may answer: those that meet in the final, of few ratings
FORMAT = 5  # of what is saved of a model: raise it when a solver keeps something else


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

    Each of several ranks has a file of its own, of its users. It does not matter how many ranks
    have saved it. With a split it is the model of that split's training ratings.

    Raises:
        InputError: it diverges on these ratings.
    """
    seed = setting_seed(record.seed or 0, setting.config)
    world = data.ratings.world
    recipe = _recipe(setting, record, seed=seed, without=without, shard=_shard(data.ratings))
    path = recipe_path(folder / "models", record.name, recipe)
    others = world.everyones(saved_parts(path.parent, record.name, recipe))[0]
    for parts in ([path], *(those for those in others if those != [path])):
        model = _of_parts(parts, setting.solver, data)
        if all(world.everyones(model is not None)) and model is not None:
            return model, True
    ratings = without.of(data.ratings)[0] if without else data.ratings
    checkpoints = Checkpoints(path, recipe, world)
    model = train(setting, ratings, seed=seed, device=device, checkpoints=checkpoints)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    ids = {"user_ids": data.users.values, "item_ids": data.items.values}
    with contextlib.suppress(OSError):  # the answer matters more than to have it again
        save_model(path, arrays | ids, recipe)
    checkpoints.forget()
    return load_state(setting.solver, state), False


def _of_parts(paths: Sequence[Path], solver: str, data: Data) -> Model | None:
    """The model of all users of the data, of files that have some of them each; None if not all."""
    models: list[Model] = []
    n_found, places = 0, torch.full((len(data.users),), UNKNOWN)
    for path in paths:
        arrays = load_model(path)
        if arrays is None or not {"user_ids", "item_ids"} <= arrays.keys():
            return None
        if not np.array_equal(data.items.values, ids_of(arrays["item_ids"])):
            return None
        ids = ids_of(arrays["user_ids"])
        state = {n: torch.from_numpy(a.copy()) for n, a in arrays.items() if "_ids" not in n}
        model: Model | None = load_state(solver, state)
        if np.array_equal(data.users.values, ids):
            return model
        rows = Ids(ids).index(data.users.values) if len(ids) else torch.full_like(places, UNKNOWN)
        found = rows != UNKNOWN
        if found.any() or not models:
            model = model and of_users(model, rows[found])
            if model is None:
                return None
            models.append(model)
            places[found] = torch.arange(n_found, n_found := n_found + int(found.sum()))
    if (places == UNKNOWN).any():
        return None
    whole = joined(models)
    return whole and of_users(whole, places)


def is_unused(path: Path, *, record: Record, folder: Path) -> bool:
    """Whether a saved model is of a study and its ratings, but of none of the settings that may
    answer, nor of one of these without the ratings that tell what it is worth.
    """
    if recipe_of(path).get("ratings_digest") != record.ratings_digest:
        return False
    if not path.name.startswith(f"{file_name(record.name)}-"):
        return False
    settings = [
        one for kind in record.kinds for one in best_settings(record.study, MOST, kind=kind)
    ]
    splits = [None, *(calibrating(kind, record) for kind in Split)]
    shard = recipe_of(path).get("shard")
    for setting in settings:
        seed = setting_seed(record.seed or 0, setting.config)
        for without in splits:
            recipe = _recipe(setting, record, seed=seed, without=without, shard=shard)
            final = recipe_path(folder / "models", record.name, recipe)
            if path == final or (final_path(path) == final and not final.exists()):
                return False
    return True


def calibrating(kind: Split, record: Record) -> Without:
    """The ratings that models do without to show what they are worth."""
    return Without(kind, stable_seed("calibration", record.seed))


def _shard(ratings: Ratings) -> Mapping[str, int] | None:
    """Which of all users the ratings of one of several ranks are of."""
    world = ratings.world
    if world.size == 1:
        return None
    first = int(ratings.users[0]) if ratings.n_users else 0
    n = {"first_user": first, "n_users": ratings.n_users}
    return {"rank": world.rank, "ranks": world.size, **n}


def _recipe(
    setting: Setting,
    record: Record,
    *,
    seed: int,
    without: Without | None,
    shard: object,
) -> dict[str, object]:
    """Everything that a model follows from."""
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
    if shard:
        recipe["shard"] = shard
    return recipe


def train(
    setting: Setting,
    ratings: Ratings,
    *,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints | None = None,
) -> Model:
    """The model of a setting, trained as what answers is; from where it was stopped, if it was.

    Raises:
        InputError: it diverges on these ratings.
    """
    solver = make_solver(setting.config, ratings.to(device), device=device, seed=seed)
    n_done = checkpoints.restore(solver) if checkpoints else 0
    with checkpoints.catching() if checkpoints else contextlib.nullcontext():
        if n_done < setting.epochs:
            _train(solver, setting, ratings.world, checkpoints)
    if isinstance(solver.model, Factorization):
        solver.model.spread.fill_(setting.rmse)
    return solver.model


def _train(solver: Solver, setting: Setting, world: World, checkpoints: Checkpoints | None) -> None:
    """Trains to the last epoch.

    Raises:
        InputError: it diverges.
    """
    for epoch in solver.epochs(validation=None):
        if not all(world.everyones(math.isfinite(epoch.train_mse))):
            raise InputError(
                f"trial {setting.trial.number}: diverged in epoch {epoch.number} on all the "
                "ratings; more trials= may find a better one"
            )
        if epoch.number >= setting.epochs:
            return
        if checkpoints:
            checkpoints.after(epoch.number, solver)
