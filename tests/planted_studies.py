"""Studies as study.run leaves them, without the training."""

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from model.solvers import ORIGINAL, SOLVERS
from study.record.attributes import Stop, StudyView
from study.record.parameters import SOLVER, SPACE_VERSION, searched, space, to_params
from study.record.record import Record, finalists_name

HOSTILE = "<script>alert(1)</script>"
BEGAN = datetime(2026, 1, 2, 3, 4)


def trial(
    params: dict[str, Any],
    rmse: float,
    *,
    place: int,
    state: TrialState = TrialState.COMPLETE,
    n_epochs: int = 30,
    **attributes: Any,
) -> FrozenTrial:
    """A trial that fell to an RMSE in its last epoch but three."""
    best = max(1, n_epochs - 3)
    curve = {n: rmse**2 * (1 + 0.3 * abs(math.log(best / n))) for n in range(1, n_epochs + 1)}
    user_attrs = {
        "validation_mse": rmse**2,
        "validation_rmse": round(rmse, 6),
        "best_epoch": best,
        "seconds": 0.5,
        "stopped": Stop.PATIENCE if state is TrialState.COMPLETE else Stop.PRUNED,
    }
    one = create_trial(
        state=state,
        params=params,
        distributions={"solver": SOLVER, **space(params["solver"])},
        value=rmse**2,
        intermediate_values=curve,
        user_attrs=user_attrs | attributes,
    )
    one.datetime_start = BEGAN + timedelta(seconds=place)
    one.datetime_complete = BEGAN + timedelta(seconds=place + 0.5)
    return one


def failed(place: int, **attributes: str) -> FrozenTrial:
    one = trial(to_params(SOLVERS["als"].default), 1.0, place=place)
    one.state, one.values, one.user_attrs = TrialState.FAIL, None, dict(attributes)
    one.intermediate_values = {}
    return one


def some_trials(n: int, seed: int = 0) -> list[FrozenTrial]:
    """The original's setting, the defaults, and random settings; the rank matters most."""
    draw = np.random.default_rng(seed)
    trials = [trial(to_params(ORIGINAL), 1.25, place=0, n_epochs=200)]
    for place in range(1, n):
        solver = ["gibbs", "gibbs", "gibbs", "als", "gradient"][place % 5]
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed + place))
        params = {**to_params(SOLVERS[solver].default), **study.ask(searched(solver)).params}
        far = abs(math.log(params[f"{solver}_rank"] / 20))
        level = {"gibbs": 0.87, "als": 0.92, "gradient": 0.9}[solver]
        rmse = level + 0.03 * far + 0.002 * draw.random()
        pruned = far > 0.9 and place > 5
        state = TrialState.PRUNED if pruned else TrialState.COMPLETE
        n_epochs = 40 if pruned else 100
        trials.append(trial(params, rmse, place=place, state=state, n_epochs=n_epochs))
    return trials


def finals(trials: list[FrozenTrial]) -> dict[str, Any]:
    """A ranking in which the second best of the trials wins."""
    done = [n for n, one in enumerate(trials) if one.state is TrialState.COMPLETE]
    first, second, *others = sorted(done, key=lambda n: trials[n].user_attrs["validation_mse"])
    order = [second, first, *others[:3]]
    return {
        "of": len(trials),
        "decided": True,
        "trials": order,
        "rmse": [0.8601 + 0.001 * place for place in range(len(order) - 1)] + [None],
        "rounds": [2] * len(order),
        "best_epochs": [97] * len(order),
        "average": 2,
        "average_gain": [0.0, 0.0012],
    }


def some_groups() -> list[dict[str, Any]]:
    return [
        {"from": 1, "to": 9, "ratings": 210, "rmse": [1.01, 0.93, 1.09], "biases_rmse": 1.05},
        {"from": 10, "to": 99, "ratings": 990, "rmse": [0.88, 0.86, 0.9], "biases_rmse": 0.95},
    ]


def plant(
    storage: Any,
    name: str,
    trials: list[FrozenTrial],
    **attributes: Any,
) -> Record:
    storage = InMemoryStorage() if storage is None else storage
    study = optuna.create_study(study_name=name, storage=storage)
    about = "planted, 500 ratings"
    identity = {"data": about, "seed": 0, "ratings_digest": "abc", "space_version": SPACE_VERSION}
    for key, value in (identity | attributes).items():
        study.set_user_attr(key, value)
    study.add_trials(trials)
    return Record(study, storage)


def full(storage: Any = None, name: str = "mine", n: int = 60, **attributes: Any) -> Record:
    """A study of which everything is known."""
    trials = some_trials(n)
    ranking = finals(trials)
    held_out = {
        "trial": ranking["trials"][0],
        "splits": 2,
        "ratings": 1200,
        "rmse": [0.8601, 0.8412, 0.8787],
        "biases_rmse": 0.96,
        "mean_rmse": 1.21,
        "by_user": some_groups(),
        "by_item": some_groups(),
    }
    calibration = {
        "trials": [1],
        "ratings": 1000,
        "width": 2.8765,
        "levels": [[0.5, 0.497], [0.9, 0.9034]],
        "by_std": [
            {"std": 0.8, "rmse": 0.79, "ratings": 500},
            {"std": 1.1, "rmse": 1.2, "ratings": 500},
        ],
    }
    group = {"by": "age of the user", "ratings": 345, "rmse": [0.91, 0.87, 0.95], "bias": -0.0123}
    evaluation = {
        "source": HOSTILE,
        "ratings": 1234,
        "users": 56,
        "lists": 48,
        "figures": {"rmse": [0.8765, 0.86, 0.89], "bias": [-0.02, None, None]},
        "groups": [
            {**group, "label": HOSTILE, "coverage": 0.887, "ndcg": 0.2468},
            {**group, "label": "old", "coverage": None, "ndcg": None},
        ],
    }
    known: dict[str, Any] = {
        StudyView.ranking.name: ranking,
        StudyView.evaluation.name: evaluation,
        StudyView.held_out.name: held_out,
        StudyView.calibration.name: calibration,
        StudyView.biases_rmse.name: 0.9411,
        StudyView.mean_rmse.name: 1.2,
    }
    record = plant(storage, name, trials, **(known | attributes))
    runs = optuna.create_study(study_name=finalists_name(name), storage=record.storage)
    runs.add_trials([trial(to_params(SOLVERS["gibbs"].default), 0.86, place=99)])
    return record
