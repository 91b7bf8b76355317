"""What is kept beside a database of one person: models, parsed files, finalists' predictions."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import BaseStorage

from model.dataset import UNKNOWN, Ids
from storage.cache import kept_table
from storage.models import recipe_of, user_ids_of
from storage.ratings import IdArray
from study.record.attributes import StudyView
from study.record.record import finalists_name


@dataclass(kw_only=True)
class Removed:
    """What has gone."""

    files: list[str] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)  # whose finalists' predictions

    def __bool__(self) -> bool:
        return bool(self.files or self.studies)

    def __str__(self) -> str:
        if not self:
            return "nothing that is kept beside the database has them"
        text = f"{len(self.files):,} models and parsed files"
        if self.studies:
            text += f", and the finalists' predictions of {', '.join(self.studies)}"
        return text


def remove_traces(user: str, folder: Path, storage: BaseStorage | None) -> Removed:
    """Removes what has a user: how much that was.

    All of it is made again when it is needed, by the ratings that there are then.

    Args:
        user: the id, as a text.
        folder: beside the database.
        storage: the database, if there is one.
    """
    removed, digests = Removed(), set[object]()
    studies: dict[str, optuna.Study] = {}
    if storage is not None:
        names = optuna.get_all_study_names(storage)
        studies = {one: optuna.load_study(study_name=one, storage=storage) for one in names}
    studied = {StudyView(study).ratings_digest for study in studies.values()}
    for path in sorted((folder / "models").glob("*.safetensors")):
        ids, recipe = user_ids_of(path), recipe_of(path)
        if "unfinished" in recipe or (ids is not None and _has(ids, user)):
            digests.add(recipe.get("ratings_digest"))
            path.unlink()
            removed.files.append(str(path))
    for path in sorted((folder / "cache").glob("*")):
        table = kept_table(path)
        if table is None:
            continue
        # Of no study: a command may have read users as items, and refused them.
        sides = [table.users] if table.digest in studied else [table.users, table.items]
        if any(_has(ids, user) for ids in sides):
            digests.add(table.digest)
            path.unlink()
            removed.files.append(str(path))
    for name, study in studies.items():
        runs = finalists_name(name)
        if storage is not None and runs in studies and StudyView(study).ratings_digest in digests:
            optuna.delete_study(study_name=runs, storage=storage)
            removed.studies.append(name)
    return removed


def _has(ids: IdArray, user: str) -> bool:
    return int(Ids(ids).index(np.asarray([user]))[0]) != UNKNOWN
