"""Opens a study: made for one set of ratings, or found again and checked to be of the same."""

import hashlib
import re
import shlex
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from model.dataset import Ratings
from storage.errors import InputError
from storage.lines import shown
from storage.ratings import RatingsTable
from study.leases import is_running
from study.pruning import SolverMedianPruner
from study.space import SPACE, SPACE_VERSION, SlotSampler

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Of a finished trial that has any, as the objective leaves them: types, and what they are called.
ATTRIBUTES: dict[str, tuple[tuple[type, ...], str]] = {
    "validation_mse": ((float, int), "a number"),
    "validation_rmse": ((float, int), "a number"),
    "best_epoch": ((int,), "a whole number"),
    "stopped": ((str,), "a text"),
    "seconds": ((float, int), "a number"),
}
FINALISTS = "-finalists"  # what the name of a study of finalists ends with


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
    source = about if name == default_name(table) else ""
    study = _load(storage, name, f"study '{name}' of {about}", source=source)
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
    if name.endswith(FINALISTS):
        raise InputError(
            f"study '{name}': names that end in {FINALISTS} are kept for the finalists of others"
        )
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


def check_others(storage: BaseStorage, name: str, *, source: str, is_demonstration: bool) -> None:
    """Whether a study may begin in a database that machines share, which a mix-up would pollute.

    Raises:
        InputError: there is none of that name, but another that is being run, or another at all if
            the data are only the demonstration.
    """
    names = [n for n in optuna.get_all_study_names(storage) if not n.endswith(FINALISTS)]
    if name in names:
        return
    if is_demonstration and names:
        raise InputError(
            "no --data and no ./mat_comp here, but the database holds studies of other ratings: "
            f"{', '.join(sorted(names))}; --study-name begins one of the {source} beside them"
        )
    for other in names:
        if is_running(optuna.load_study(study_name=other, storage=storage)):
            raise InputError(
                f"{source}: study '{other}' is being run in this database, of other ratings; "
                "--study-name begins one of these beside it"
            )


def stored_seed(storage: BaseStorage, name: str) -> int | None:
    """The seed of the study of that name; None if there is no such study, or it has none."""
    try:
        return optuna.load_study(study_name=name, storage=storage).user_attrs.get("seed")
    except KeyError:
        return None


def n_finished(study: optuna.Study) -> int:
    """The number of trials that are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def _load(storage: BaseStorage, name: str, what: str, *, source: str = "") -> optuna.Study:
    """The study of that name; `source` is that of the data if the name follows from them.

    Raises:
        InputError: there is none; says what there is, and what may have been meant.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = sorted(optuna.get_all_study_names(storage))
        known = {n: _source(storage, n) for n in names if not n.endswith(FINALISTS)}
        holds = ", ".join(f"{n} of {of}" if of else n for n, of in known.items())
        files = [of for of in known.values() if of and Path(of).exists()]
        similar = files[:1] if source else get_close_matches(name, known, n=1)
        option = f"--data {shlex.quote(similar[0])}" if source and similar else "".join(similar)
        hint = f"did you mean {option}?" if similar else "python -m study.run makes it"
        if source in files:
            hint = f"did you mean other --columns or --missing? Or {source} has changed since"
        raise InputError(
            f"{what}: not in this database, which holds: {holds or 'none'}; {hint}"
        ) from None


def _source(storage: BaseStorage, name: str) -> str:
    """What the ratings of a study were read from, if it is known."""
    attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    found = re.match(r"(.+), [\d,]+ ratings, ", str(attributes.get("data", "")))
    return found[1] if found else ""


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
    _check_trials(study)


def _check_trials(study: optuna.Study) -> None:
    """Raises the InputError of the first trial that something else than study.run has changed."""
    for trial in study.get_trials(deepcopy=False, states=FINISHED):
        if "validation_mse" not in trial.user_attrs:
            continue
        name = f"study '{study.study_name}', trial {trial.number}"
        for key, (kind, expected) in ATTRIBUTES.items():
            value = trial.user_attrs.get(key)
            if not isinstance(value, kind):
                got = shown(str(value))
                raise InputError(f"{name}: expected {expected} as its {key}, got {got}")
        needed = {"solver", *SPACE.get(str(trial.params.get("solver")), ("a known solver",))}
        if missing := needed - set(trial.params):
            raise InputError(f"{name}: lacks the parameter {min(missing)}")
