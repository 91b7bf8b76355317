"""What a study begins with: the best settings of one of nearly the same ratings."""

from collections.abc import Sequence
from itertools import chain, zip_longest

import optuna
from optuna.storages import BaseStorage

from model.splits import Split
from storage.ratings import RatingsTable
from study.record.attributes import Beginning, StudyView
from study.record.likeness import Hashed, Known
from study.record.parameters import is_same_space, to_params
from study.record.ranking import best_settings
from study.record.record import Record, is_of_finalists

MOST = 5  # settings: as many as meet in the final
ANEW: Beginning = {"study": "", "settings": []}


def begin(
    record: Record, ratings: Known, *, kinds: Sequence[Split], fresh: bool = False
) -> Beginning:
    """What a study begins with, settled and kept when it is made, and never after.

    Args:
        record: of the study.
        ratings: of the study, as of `Hashed`.
        kinds: of split on which its settings are to do well.
        fresh: whether it is to begin anew in any case.
    """
    kept = record.begins_with
    if kept is None and not record.trials():
        kept = ANEW if fresh else _beginning(record, ratings, kinds)
        record.keep(StudyView.sample, ratings.sample())
        record.keep(StudyView.begins_with, kept)
    return kept or ANEW


def near_study(storage: BaseStorage, table: RatingsTable) -> str:
    """The study of nearly the same ratings that has settings to answer with; empty if none has."""
    near, _ = _near(storage, Hashed(table))
    return next((record.name for record in near if best_settings(record.study, 1)), "")


def _beginning(record: Record, ratings: Known, kinds: Sequence[Split]) -> Beginning:
    """The best settings of the study that has most ratings in common.

    Of ratings that were studied before it is none: a second study of them is to differ.
    """
    digest = StudyView.ratings_digest.name
    for other in record.storage.get_all_studies():
        is_same = other.user_attrs.get(digest) == record.ratings_digest
        if is_same and other.study_name != record.name:
            return ANEW
    near, note = _near(record.storage, ratings)
    for known in near:
        of_kinds = [best_settings(known.study, MOST, kind=kind) for kind in kinds]
        ranked = filter(None, chain.from_iterable(zip_longest(*of_kinds)))
        configs = list(dict.fromkeys(setting.config for setting in ranked))[:MOST]
        if configs:
            settings = [to_params(config) for config in configs]
            return {"study": known.name, "settings": settings}
    return {**ANEW, "note": note} if note else ANEW


def _near(storage: BaseStorage, ratings: Known) -> tuple[list[Record], str]:
    """The studies of nearly the same ratings, most in common first, then newest; and which another
    search space keeps from being among them, for people.
    """
    found: list[tuple[int, str]] = []
    note = ""
    for other in storage.get_all_studies():
        name, kept = other.study_name, {**other.system_attrs, **other.user_attrs}
        sample = None if is_of_finalists(name) else kept.get(StudyView.sample.name)
        shared = ratings.shared_with(sample)
        if shared and is_same_space(kept.get(StudyView.space_version.name)):
            found.append((shared, name))
        elif shared:
            note = f"{name} is of nearly the same ratings, but of another search space"
    found.sort(key=lambda one: one[0])
    names = [name for _, name in reversed(found)]  # of equal ones the newest first
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return [Record(study, storage) for study in studies], note
