"""Opens a study: made for one set of ratings, or found again and checked to be of the same."""

import contextlib
import hashlib
import socket
import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import optuna
import psutil
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from model.dataset import Ratings
from storage.errors import InputError
from storage.ratings import RatingsTable
from study.pruning import SolverMedianPruner
from study.space import INTERRUPTED_BY, SPACE_VERSION, SlotSampler

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
FINALISTS = "-finalists"  # what the name of a study of finalists ends with
WATCH_SECONDS = 30.0
CLOCK_SECONDS = 2.0  # by which the start of a process may seem to move


def default_name(table: RatingsTable) -> str:
    """The name of the study of a set of ratings, whatever file they came from."""
    return f"ratings-{table.digest[:10]}"


def finalists_name(study: optuna.Study) -> str:
    """The name of the study that holds the runs of a study's finalists."""
    return study.study_name + FINALISTS


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


def find_study(storage: BaseStorage, name: str, table: RatingsTable, *, about: str) -> optuna.Study:
    """The study of that name; `about` says of what data it should be.

    Raises:
        InputError: there is none, or it belongs to other ratings.
    """
    study = _load(storage, name, f"study '{name}' of {about}")
    if study.get_trials(deepcopy=False):
        _check(study, {"ratings_digest": table.digest, "space_version": SPACE_VERSION})
    return study


def known_study(storage: BaseStorage, name: str) -> optuna.Study:
    """The study of that name, of whatever ratings.

    Raises:
        InputError: there is none, or study.run did not make it.
    """
    study = _load(storage, name, f"study '{name}'")
    _check(study, {"space_version": SPACE_VERSION})
    return study


def open_study(
    storage: BaseStorage,
    name: str,
    wanted: Mapping[str, object],
    *,
    about: str,
    hurry: bool = False,
) -> optuna.Study:
    """The study of that name and identity, made if there is none.

    Args:
        storage: where it is, or will be.
        name: of the study.
        wanted: its identity.
        about: describes its data.
        hurry: whether the quickest of the first settings come first.

    Raises:
        InputError: a study of that name is of another identity.
    """
    seed = wanted["seed"]
    assert isinstance(seed, int)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=SlotSampler(seed, hurry=hurry),
        pruner=SolverMedianPruner(),
        direction="minimize",
        load_if_exists=True,
    )
    if study.directions != [StudyDirection.MINIMIZE]:
        raise InputError(f"study '{name}': was not made by study.run; choose another --study-name")
    if not study.get_trials(deepcopy=False):
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(["validation MSE"])
        for key, value in {"data": about, **wanted}.items():
            if key not in study.user_attrs:
                study.set_user_attr(key, value)
    _check(study, wanted)
    return study


def stored_seed(storage: BaseStorage, name: str) -> int | None:
    """The seed of the study of that name; None if there is no such study, or it has none."""
    try:
        return optuna.load_study(study_name=name, storage=storage).user_attrs.get("seed")
    except KeyError:
        return None


def take_over(study: optuna.Study, *, say: Callable[[str], None]) -> None:
    """Makes this process the one that runs the study, and fails trials left by a dead one.

    Raises:
        InputError: another process that is alive runs the study.
    """
    if is_running(study):
        runner = study.user_attrs["runner"]
        who = f"study '{study.study_name}': process {runner['pid']} on {runner['host']}"
        if runner["host"] != socket.gethostname():
            say(f"{who} was running it: watching for {WATCH_SECONDS:.0f} seconds if it still does")
        if runner["host"] == socket.gethostname() or _moves_on(study):
            raise InputError(f"{who} is running it")
    study.set_user_attr("runner", _this_process())
    if study.user_attrs["runner"] != _this_process():
        raise InputError(f"study '{study.study_name}': another process has just begun to run it")
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        fail_interrupted(study, trial.number, "the process that ran it is gone")


def is_running(study: optuna.Study) -> bool:
    """Whether a process runs the study, as far as can be told: of another machine it cannot."""
    runner = study.user_attrs.get("runner")
    if not runner or runner["host"] != socket.gethostname():
        return bool(runner)
    try:
        process = psutil.Process(runner["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:  # dead, and not yet waited for
            return False
        return bool(abs(process.create_time() - runner["started"]) < CLOCK_SECONDS)
    except psutil.NoSuchProcess:
        return False


def fail_interrupted(study: optuna.Study, number: int, reason: str) -> None:
    """Tells a running trial failed through no fault of its setting: it is to be done again."""
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    study._storage.set_trial_user_attr(trial_id, INTERRUPTED_BY, reason)
    study.tell(number, state=TrialState.FAIL)


def let_go(study: optuna.Study) -> None:
    """Tells that this process does not run the study any more."""
    if study.user_attrs["runner"] == _this_process():
        study.set_user_attr("runner", None)


def n_finished(study: optuna.Study) -> int:
    """The number of trials that are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def _load(storage: BaseStorage, name: str, what: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = sorted(optuna.get_all_study_names(storage))
        known = ", ".join(n for n in names if not n.endswith(FINALISTS)) or "none"
        raise InputError(
            f"{what}: not in this database, which holds: {known}; "
            "python -m study.run makes it from the same options"
        ) from None


def _check(study: optuna.Study, wanted: Mapping[str, object]) -> None:
    for key, value in wanted.items():
        found = study.user_attrs.get(key)
        if found == value:
            continue
        name = f"study '{study.study_name}'"
        match key:
            case "seed" if found is not None:
                raise InputError(
                    f"{name}: was made with --seed {found}, got --seed {value}; leave --seed out, "
                    "or choose another --study-name"
                )
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


def _moves_on(study: optuna.Study) -> bool:
    """Whether the trials of the study change while they are watched."""
    before = _reports(study)
    until = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(1.0)
        if _reports(study) != before:
            return True
    return False


def _reports(study: optuna.Study) -> list[int]:
    """The numbers of reports of every trial, those of the finalists too."""
    trials = study.get_trials(deepcopy=False)
    with contextlib.suppress(KeyError):
        finalists = optuna.load_study(study_name=finalists_name(study), storage=study._storage)
        trials = trials + finalists.get_trials(deepcopy=False)
    return [len(trial.intermediate_values) for trial in trials]
