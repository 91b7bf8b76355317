"""Opens a study: made for one set of ratings, or found again and checked to be of the same."""

import hashlib
import socket
import time
import warnings
from collections.abc import Mapping

import numpy as np
import optuna
import psutil
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from model.dataset import Ratings
from storage.errors import InputError
from storage.ratings import RatingsTable
from study.pruning import make_pruner
from study.space import SPACE_VERSION, SlotSampler

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
WATCH_SECONDS = 30.0


def default_name(table: RatingsTable) -> str:
    """The name of the study of a set of ratings, whatever file they came from."""
    return f"ratings-{table.digest[:10]}"


def identity(table: RatingsTable, validation: Ratings, *, seed: int) -> dict[str, object]:
    """What every trial of a study has in common, kept in the study's attributes."""
    digest = hashlib.sha256()
    for column in (validation.user_index, validation.item_index):
        digest.update(np.ascontiguousarray(column.numpy(), dtype="<i8").data)
    return {
        "seed": seed,
        "ratings_digest": table.digest,
        "split_digest": digest.hexdigest()[:32],
        "space_version": SPACE_VERSION,
    }


def find_study(storage: BaseStorage, name: str, table: RatingsTable) -> optuna.Study:
    """The study of that name.

    Raises:
        InputError: there is none, or it belongs to other ratings.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        known = ", ".join(sorted(optuna.get_all_study_names(storage))) or "none"
        raise InputError(
            f"study '{name}': not in this database, which holds: {known}; "
            "python -m study.run makes it"
        ) from None
    _check(study, {"ratings_digest": table.digest, "space_version": SPACE_VERSION})
    return study


def open_study(
    storage: BaseStorage, name: str, wanted: Mapping[str, object], *, about: str
) -> optuna.Study:
    """The study of that name and identity, made if there is none; `about` describes its data.

    Raises:
        InputError: a study of that name is of another identity.
    """
    seed = wanted["seed"]
    assert isinstance(seed, int)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=SlotSampler(seed),
        pruner=make_pruner(),
        direction="minimize",
        load_if_exists=True,
    )
    if not study.get_trials(deepcopy=False):
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(["validation MSE"])
        for key, value in {"data": about, **wanted}.items():
            study.set_user_attr(key, value)
    _check(study, wanted)
    return study


def stored_seed(storage: BaseStorage, name: str) -> int | None:
    """The seed of the study of that name; None if there is no such study, or it has none."""
    try:
        return optuna.load_study(study_name=name, storage=storage).user_attrs.get("seed")
    except KeyError:
        return None


def take_over(study: optuna.Study) -> None:
    """Makes this process the one that runs the study, and fails trials left by a dead one.

    Raises:
        InputError: another process that is alive runs the study.
    """
    runner = study.user_attrs.get("runner") or {}
    if runner and _is_alive(study, runner):
        raise InputError(
            f"study '{study.study_name}': process {runner['pid']} on {runner['host']} is running it"
        )
    study.set_user_attr("runner", _this_process())
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        give_up(study, trial._trial_id, "the process that ran it is gone")
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def give_up(study: optuna.Study, trial_id: int, reason: str) -> None:
    """Marks a running trial as one to be done again."""
    study._storage.set_trial_user_attr(trial_id, "interrupted", reason)


def let_go(study: optuna.Study) -> None:
    """Tells that no process runs the study any more."""
    study.set_user_attr("runner", None)


def n_finished(study: optuna.Study) -> int:
    """The number of trials that are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def _check(study: optuna.Study, wanted: Mapping[str, object]) -> None:
    for key, value in wanted.items():
        found = study.user_attrs.get(key)
        if found == value:
            continue
        name = f"study '{study.study_name}'"
        match key:
            case "seed" if found is not None:
                raise InputError(f"{name}: was made with --seed {found}, got --seed {value}")
            case "ratings_digest" if found is not None:
                raise InputError(f"{name}: belongs to other ratings; choose another --study-name")
            case "space_version" if found is not None:
                raise InputError(
                    f"{name}: has search space {found}, not {value}; choose another --study-name"
                )
        raise InputError(f"{name}: was not made by study.run; choose another --study-name")


def _this_process() -> dict[str, object]:
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def _is_alive(study: optuna.Study, runner: Mapping[str, object]) -> bool:
    """On this machine the process tells; a runner elsewhere is alive if its trials move on."""
    if runner["host"] == socket.gethostname():
        try:
            started = psutil.Process(int(str(runner["pid"]))).create_time()
        except psutil.NoSuchProcess:
            return False
        return bool(abs(started - float(str(runner["started"]))) < 2.0)
    before = _reports(study)
    until = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(1.0)
        if _reports(study) != before:
            return True
    return False


def _reports(study: optuna.Study) -> tuple[int, int]:
    trials = study.get_trials(deepcopy=False)
    return len(trials), sum(len(trial.intermediate_values) for trial in trials)
