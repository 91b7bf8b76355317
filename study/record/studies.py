"""Opens a study: made for one set of ratings, or found again and checked to be of the same."""

import hashlib
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from model.splits import Split
from storage.errors import InputError
from storage.lines import shown
from storage.ratings import RatingsTable
from study.record.attributes import FINISHED, StudyView, TrialView
from study.record.beginning import near_study
from study.record.liveness import is_running
from study.record.parameters import SAME_SPACES, SPACE_VERSION, missing
from study.record.record import FINALISTS, Record, is_of_finalists

if TYPE_CHECKING:
    from model.dataset import Ratings


def default_name(table: RatingsTable) -> str:
    """The name of the study of a set of ratings, whatever file they came from."""
    return f"ratings-{table.digest[:10]}"


def identity(
    ratings_digest: str,
    validation: "Ratings",
    *,
    seed: int,
    kinds: Sequence[Split] = (Split.RANDOM,),
) -> dict[str, object]:
    """What every trial of a study has in common, kept in the study's attributes.

    Args:
        ratings_digest: of all ratings.
        validation: those that trials are validated on.
        seed: of the split, the search and the training.
        kinds: of split, that of the trials first.
    """
    digest = hashlib.sha256()
    for column in (validation.user_index, validation.item_index):
        digest.update(np.ascontiguousarray(column.numpy(), dtype="<i8").data)
    return {
        StudyView.seed.name: seed,
        StudyView.ratings_digest.name: ratings_digest,
        StudyView.splits.name: [str(kind) for kind in kinds],
        StudyView.split_digest.name: digest.hexdigest()[:32],
        StudyView.space_version.name: SPACE_VERSION,
    }


def find_study(storage: BaseStorage, name: str, table: RatingsTable, *, about: str) -> Record:
    """The study of that name; `about` says of what data it should be.

    Raises:
        InputError: there is none, or it belongs to other ratings.
    """
    told = table if name == default_name(table) else None
    record = _load(storage, name, f"study '{name}' of {about}", source=about, table=told)
    if record.trials():
        _check(
            record,
            {
                StudyView.ratings_digest.name: table.digest,
                StudyView.space_version.name: SPACE_VERSION,
            },
        )
    return record


def known_study(storage: BaseStorage, name: str) -> Record:
    """The study of that name, of whatever ratings.

    Raises:
        InputError: there is none, or study.run did not make it.
    """
    record = _load(storage, name, f"study '{name}'")
    _check(record, {StudyView.space_version.name: SPACE_VERSION})
    return record


def open_study(
    storage: BaseStorage,
    name: str,
    wanted: Mapping[str, object],
    *,
    about: str,
    sampler: BaseSampler,
    pruner: BasePruner,
) -> Record:
    """The study of that name and identity, made if there is none.

    Args:
        storage: where it is, or will be.
        name: of the study.
        wanted: its identity.
        about: describes its data.
        sampler: proposes what is tried.
        pruner: stops what is hopeless.

    Raises:
        InputError: a study of that name is of another identity.
    """
    if is_of_finalists(name):
        raise InputError(
            f"study '{name}': names that end in {FINALISTS} are kept for the finalists of others"
        )
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        pruner=pruner,
        direction="minimize",
        load_if_exists=True,
    )
    if study.directions != [StudyDirection.MINIMIZE]:
        raise InputError(f"study '{name}': was not made by study.run; choose another study_name=")
    if not study.get_trials(deepcopy=False):
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(["validation MSE"])
        for key, value in {StudyView.data.name: about, **wanted}.items():
            if key not in study.user_attrs:
                study.set_user_attr(key, value)
    record = Record(study, storage)
    _check(record, wanted)
    return record


def check_others(storage: BaseStorage, name: str, *, source: str, is_demonstration: bool) -> None:
    """Whether a study may begin in a database that machines share, which a mix-up would pollute.

    Raises:
        InputError: there is none of that name, but another that is being run, or another at all if
            the data are only the demonstration.
    """
    names = [n for n in optuna.get_all_study_names(storage) if not is_of_finalists(n)]
    if name in names:
        return
    if is_demonstration and names:
        raise InputError(
            "no data= and no ./mat_comp here, but the database holds studies of other ratings: "
            f"{', '.join(sorted(names))}; study_name= begins one of the {source} beside them"
        )
    for other in names:
        if is_running(optuna.load_study(study_name=other, storage=storage)):
            raise InputError(
                f"{source}: study '{other}' is being run in this database, of other ratings; "
                "study_name= begins one of these beside it"
            )


def stored_seed(storage: BaseStorage, name: str) -> int | None:
    """The seed of the study of that name; None if there is no such study, or it has none."""
    try:
        return StudyView(optuna.load_study(study_name=name, storage=storage)).seed
    except KeyError:
        return None


def stored_kinds(storage: BaseStorage, name: str) -> list[Split] | None:
    """The kinds of split of the study of that name; None if there is no such study yet."""
    try:
        view = StudyView(optuna.load_study(study_name=name, storage=storage))
    except KeyError:
        return None
    return view.kinds if view.seed is not None else None


def _load(
    storage: BaseStorage,
    name: str,
    what: str,
    *,
    source: str = "",
    table: RatingsTable | None = None,
) -> Record:
    """The study of that name; `table` is its ratings, of a source, if the name follows from them.

    Raises:
        InputError: there is none; says what there is, and what may have been meant.
    """
    try:
        return Record(optuna.load_study(study_name=name, storage=storage), storage)
    except KeyError:
        names = sorted(optuna.get_all_study_names(storage))
        known = {n: _source(storage, n) for n in names if not is_of_finalists(n)}
        holds = ", ".join(f"{n} of {of}" if of else n for n, of in known.items())
        files = [of for of in known.values() if of and Path(of).exists()]
        similar = files[:1] if table else get_close_matches(name, known, n=1)
        option = f"data={shlex.quote(similar[0])}" if table and similar else "".join(similar)
        hint = f"did you mean {option}?" if similar else "python -m study.run makes it"
        if table and source in files:
            hint = (
                "did you mean other columns=, missing=, items= or users=? "
                f"Or {source} has changed since"
            )
        same = [n for n in known if table and _digest(storage, n) == table.digest]
        if same:
            hint = f"did you mean study_name={shlex.quote(same[0])}?"
        elif table and (near := near_study(storage, table)):
            more = (
                f"of nearly the same ratings is {near}: python -m study.run begins with its best "
                f"settings, setting_of={near} answers with them at once"
            )
            hint = f"{hint}; {more}" if source in files else more
        raise InputError(
            f"{what}: not in this database, which holds: {holds or 'none'}; {hint}"
        ) from None


def _source(storage: BaseStorage, name: str) -> str:
    """What the ratings of a study were read from, if it is known."""
    attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    found = re.match(r"(.+), [\d,]+ ratings, ", str(attributes.get(StudyView.data.name, "")))
    return found[1] if found else ""


def _digest(storage: BaseStorage, name: str) -> object:
    """That of the ratings of a study, if it is known."""
    attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    return attributes.get(StudyView.ratings_digest.name)


def _check(record: Record, wanted: Mapping[str, object]) -> None:
    name = f"study '{record.name}'"
    for key, value in wanted.items():
        found = record.kept(key)
        if key == StudyView.space_version.name and isinstance(found, int):
            found = SAME_SPACES.get(found, found)
        if key == StudyView.splits.name:
            found = [str(kind) for kind in record.kinds]
        if found == value:
            continue
        if key == StudyView.splits.name:
            raise InputError(
                f"{name}: was made with split={' and '.join(record.kinds)}; leave split= out, or "
                "choose another study_name="
            )
        if found is not None and key == StudyView.seed.name:
            raise InputError(
                f"{name}: was made with seed={found}, got seed={value}; leave seed= out, "
                "or choose another study_name="
            )
        if found is not None and key == StudyView.space_version.name:
            raise InputError(
                f"{name}: has search space {found}, not {value}; choose another study_name="
            )
        if found is not None and key == StudyView.ratings_digest.name:
            raise InputError(
                f"{name}: belongs to other ratings, or to these with other items= or users=; "
                "choose another study_name="
            )
        raise InputError(f"{name}: was not made by study.run; choose another study_name=")
    _check_trials(record)


def _check_trials(record: Record) -> None:
    """Raises the InputError of the first trial that something else than study.run has changed."""
    for trial in record.trials(*FINISHED):
        if TrialView.validation_mse.name not in trial.user_attrs:
            continue
        name = f"study '{record.name}', trial {trial.number}"
        for kept in TrialView.OF_A_RESULT:
            value = trial.user_attrs.get(kept.name)
            if not isinstance(value, kept.types):
                got = shown(str(value))
                raise InputError(f"{name}: expected {kept.expected} as its {kept.name}, got {got}")
        if lacks := missing(trial.params):
            raise InputError(f"{name}: lacks the parameter {min(lacks)}")
