"""What times and descriptions brought: the best setting once more without them, on the same splits.

On the first split that its finalists met on, of each kind, the setting is trained with all that is
known, without times, without descriptions and without either, for as many epochs each.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from typing import cast

from model.dataset import Ratings
from model.explained import explained
from model.logarithmic import Logarithmic
from model.posterior import Posterior
from model.solver import Solver
from model.solvers import make_solver
from model.splits import Split
from study.events import OnEvent, Said
from study.record.attributes import ContextFound, StudyView, Without
from study.record.ranking import Setting, best_settings, final_ranking
from study.record.seeds import setting_seed
from study.workers.finalists import Finalists

ON = {  # which ratings are held out
    Split.RANDOM: "at random",
    Split.LATEST: "on each user's latest",
    Split.TIME: "on the last of all",
}


def record_context(
    finalists: Finalists, ratings: Ratings, *, go_on: Callable[[], bool], on_event: OnEvent
) -> None:
    """Stores with the study what times and descriptions brought its best setting.

    Nothing is done where it is stored already, where there are neither, where the finalists have
    not met or the solver uses none; and nothing is stored if it has to stop.

    Args:
        finalists: of the study.
        ratings: all of them.
        go_on: whether there is time for more.
        on_event: told what they brought.
    """
    record = finalists.record
    if not final_ranking(record.study) or not has_context(ratings):
        return
    best = best_settings(record.study, 1)[0]
    if best.solver != "gibbs" or (record.context and record.context["trial"] == best.trial.number):
        return
    found: ContextFound = {"trial": best.trial.number, "rmse": {}}
    for kind in record.kinds:
        training, validation = finalists.split(0, kind=kind)
        for name, variant in _variants(training).items():
            if not go_on():
                return
            solver, rmse = _trained(finalists, best, variant, validation)
            found["rmse"].setdefault(kind, {})[name] = round(rmse, 6)
            if variant is training and kind is record.kinds[0]:
                assert isinstance(solver.model, Posterior | Logarithmic)
                said = cast(ContextFound, asdict(explained(solver.model, training)))
                found.update(said)
    record.keep(StudyView.context, found)
    for split, one in found["rmse"].items():
        brought = f"RMSE {one['either']:.4f} -> {one['nothing']:.4f}, {ON[Split(split)]}"
        on_event(Said(f"Times and descriptions: {brought}"))


def has_context(ratings: Ratings) -> bool:
    """Whether anything is known beside users, items and ratings."""
    return ratings.times is not None or bool(ratings.user_descriptions or ratings.item_descriptions)


def _variants(training: Ratings) -> dict[Without, Ratings]:
    """The ratings with all that is known of them, and with less."""
    timeless = replace(training, times=None)
    bare = replace(training, user_descriptions=(), item_descriptions=())
    found: dict[Without, Ratings] = {"nothing": training}
    if training.times is not None and has_context(timeless):
        found |= {"times": timeless, "descriptions": bare}
    return found | {"either": replace(bare, times=None)}


def _trained(
    finalists: Finalists, setting: Setting, training: Ratings, validation: Ratings
) -> tuple[Solver, float]:
    """The setting trained on ratings, and its validation RMSE in its last epoch."""
    context, config = finalists.context, setting.config
    solver = make_solver(
        config,
        training.to(context.device),
        device=context.device,
        seed=setting_seed(context.study_seed, config),
    )
    epochs = islice(solver.epochs(validation.to(context.device)), setting.best_epoch)
    *_, last = epochs
    return solver, math.sqrt(last.validation_mse)
