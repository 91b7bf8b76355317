"""A model's card: what it is of, how it came about, and how good it was on ratings held out."""

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from storage.times import day_of
from study.answers.ensemble import Ensemble
from study.record.parameters import to_params
from study.record.seeds import setting_seed

PACKAGES = ("rating-study", "torch", "numpy", "numba", "optuna")


def card_of(ensemble: Ensemble) -> dict[str, Any]:
    """The card of the settings that answer, as JSON takes it."""
    record, data = ensemble.record, ensemble.data
    held_out = record.held_out_on(ensemble.kind)
    figures = {
        name: held_out[name]
        for name in ("splits", "ratings", "rmse", "biases_rmse", "mean_rmse")
        if held_out and name in held_out
    }
    return {
        "made": day_of(time.time()),
        "data": data.summary,
        "ratings_digest": record.ratings_digest,
        "study": record.name,
        "settings": [
            {
                "trial": setting.trial.number,
                "params": to_params(setting.config),
                "epochs": setting.epochs,
                "seed": setting_seed(record.seed or 0, setting.config),
                "validation_rmse": round(setting.rmse, 6),
            }
            for setting in ensemble.settings
        ],
        "answers_like": str(ensemble.kind),  # the split that levels and intervals were found on
        "held_out": figures,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its sources
        return "unknown"
