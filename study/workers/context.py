"""What times and descriptions brought: the best setting once more without them, on the same splits.

On the first split that its finalists met on, of each kind, the setting is trained with all that is
known, without times, without descriptions and without either, for as many epochs each.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from typing import cast

import torch

from model.dataset import Ratings
from model.explained import Explained, explained
from model.logarithmic import Logarithmic
from model.posterior import Posterior
from model.solvers import SOLVERS, make_solver
from model.splits import Split, Without
from study.events import OnEvent, Said
from study.record.attributes import ContextFound, LeftOut, StudyView
from study.record.ranking import Setting, best_settings, final_ranking
from study.record.seeds import setting_seed
from study.workers.crew import Crew
from study.workers.finalists import Finalists

ON = {  # which ratings are held out
    Split.RANDOM: "at random",
    Split.LATEST: "on each user's latest",
    Split.TIME: "on the last of all",
}


def record_context(finalists: Finalists, *, go_on: Callable[[], bool], on_event: OnEvent) -> None:
    """Stores with the study what times and descriptions brought its best setting.

    Nothing is done where it is stored already, where there are neither, where the finalists have
    not met or the solver uses none; and nothing is stored if it has to stop.

    Args:
        finalists: of the study.
        go_on: whether there is time for more.
        on_event: told what they brought.
    """
    record, ratings = finalists.record, finalists.crew.ratings
    if not final_ranking(record.study) or not has_context(ratings):
        return
    best = best_settings(record.study, 1)[0]
    is_known = record.context and record.context["trial"] == best.trial.number
    if is_known or not SOLVERS[best.solver].uses_context:
        return
    found: ContextFound = {"trial": best.trial.number, "rmse": {}}
    for kind in record.kinds:
        for name in _variants(ratings):
            if not go_on():
                return
            is_first = not found["rmse"]
            rmse, said = finalists.crew.all(
                _trained,
                best,
                finalists.without(0, kind=kind),
                name,
                device=finalists.context.device,
                seed=setting_seed(finalists.context.study_seed, best.config),
                is_explained=is_first,
            )
            found["rmse"].setdefault(kind, {})[name] = round(rmse, 6)
            if said:
                found.update(cast(ContextFound, asdict(said)))
    record.keep(StudyView.context, found)
    for split, one in found["rmse"].items():
        brought = f"RMSE {one['either']:.4f} -> {one['nothing']:.4f}, {ON[Split(split)]}"
        on_event(Said(f"Times and descriptions: {brought}"))


def has_context(ratings: Ratings) -> bool:
    """Whether anything is known beside users, items and ratings."""
    return ratings.times is not None or bool(ratings.user_descriptions or ratings.item_descriptions)


def _variants(training: Ratings) -> dict[LeftOut, Ratings]:
    """The ratings with all that is known of them, and with less."""
    timeless = replace(training, times=None)
    bare = replace(training, user_descriptions=(), item_descriptions=())
    found: dict[LeftOut, Ratings] = {"nothing": training}
    if training.times is not None and has_context(timeless):
        found |= {"times": timeless, "descriptions": bare}
    return found | {"either": replace(bare, times=None)}


def _trained(
    crew: Crew,
    setting: Setting,
    without: Without,
    name: LeftOut,
    *,
    device: torch.device,
    seed: int,
    is_explained: bool,
) -> tuple[float, Explained | None]:
    """The validation RMSE of a setting in its last epoch, trained on the ratings with less known of
    them, and what the model says of what is.
    """
    training, validation = without.of(crew.ratings)
    training = _variants(training)[name]
    solver = make_solver(setting.config, training.to(device), device=device, seed=seed)
    *_, last = islice(solver.epochs(validation.to(device)), setting.best_epoch)
    said = None
    if is_explained:
        assert isinstance(solver.model, Posterior | Logarithmic)
        said = explained(solver.model, training)
    return math.sqrt(last.validation_mse), said
