"""A study in its database: what is read of it and written to it, by name and type."""

from typing import Any, cast

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from study.record.attributes import (
    FINISHED,
    NOT_NEEDED,
    PARTS,
    Attribute,
    StudyView,
    TrialView,
    Value,
)

PART = 60_000  # characters, which every database takes in one attribute
FINALISTS = "-finalists"  # what the name of a study of finalists ends with


class Record(StudyView):
    """A study, and the storage that it is kept in."""

    tells_levels = True  # whether what its finalists were off on average holds for what is asked

    def __init__(self, study: optuna.Study, storage: BaseStorage) -> None:
        super().__init__(study)
        self.storage = storage
        self._id = storage.get_study_id_from_name(study.study_name)

    @property
    def name(self) -> str:
        return self.study.study_name

    def kept(self, name: str) -> object:
        """The value of that name, of either kind."""
        found = super().kept(name)
        if found is None:
            found = self.storage.get_study_system_attrs(self._id).get(name)
        return found

    def keep(self, attribute: Attribute[Value], value: Value) -> None:
        """Keeps a value with the study."""
        if attribute.internal:
            self.storage.set_study_system_attr(self._id, attribute.name, cast(Any, value))
        else:
            self.study.set_user_attr(attribute.name, value)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials in the order of their numbers, or those in these states; to be read alone."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def trial(self, number: int) -> FrozenTrial:
        """The trial of that number, as it is by now."""
        return self.storage.get_trial(self._trial_id(number))

    def keep_with(self, number: int, attribute: Attribute[Value], value: Value) -> None:
        """Keeps a value with a trial.

        Raises:
            optuna.exceptions.UpdateFinishedTrialError: it is finished.
        """
        trial_id = self._trial_id(number)
        if attribute.internal:
            self.storage.set_trial_system_attr(trial_id, attribute.name, cast(Any, value))
        else:
            self.storage.set_trial_user_attr(trial_id, attribute.name, value)

    def keep_text(self, number: int, text: str) -> None:
        """Keeps a long text with a trial, in parts.

        Raises:
            optuna.exceptions.UpdateFinishedTrialError: it is finished.
        """
        for n, start in enumerate(range(0, len(text), PART)):
            part = text[start : start + PART]
            self.storage.set_trial_system_attr(self._trial_id(number), f"{PARTS}_{n}", part)

    def finish(self, number: int, state: TrialState, value: float | None = None) -> FrozenTrial:
        """Tells a running trial finished; the value of a pruned one is its last report.

        Raises:
            optuna.exceptions.UpdateFinishedTrialError: another worker did so before.
        """
        try:
            return self.study.tell(number, value, state)
        except ValueError:
            if self.trial(number).state.is_finished():
                raise UpdateFinishedTrialError from None
            raise

    def withdraw(self, number: int) -> None:
        """Ends a trial that was begun although others were quicker: it is not done again."""
        self.keep_with(number, TrialView.interrupted, NOT_NEEDED)
        self.finish(number, TrialState.FAIL)

    def _trial_id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self._id, number)


class Borrowed(Record):
    """A study whose settings answer for other ratings, and which learns nothing of these."""

    def __init__(self, record: Record, *, ratings_digest: str, are_near: bool) -> None:
        """The study of a record.

        Args:
            record: of the study.
            ratings_digest: of the ratings that it is to answer for.
            are_near: whether they are nearly its own.
        """
        super().__init__(record.study, record.storage)
        self.tells_levels = are_near
        self._ratings_digest = ratings_digest

    def kept(self, name: str) -> object:
        """The value of that name, of the study; but the digest is that of the other ratings, and
        errors on unlike ones tell nothing.
        """
        if name == StudyView.ratings_digest.name:
            return self._ratings_digest
        errors = (StudyView.held_out.name, StudyView.later_held_out.name)
        return None if name in errors and not self.tells_levels else super().kept(name)

    def keep(self, attribute: Attribute[Value], value: Value) -> None:
        """Keeps nothing."""


def text_of(trial: FrozenTrial) -> str:
    """The long text that is kept with a trial."""
    names = [name for name in trial.system_attrs if name.startswith(f"{PARTS}_")]
    names.sort(key=lambda name: int(name.removeprefix(f"{PARTS}_")))
    return "".join(trial.system_attrs[name] for name in names)


def n_finished(study: optuna.Study) -> int:
    """The number of trials that are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def finalists_name(study_name: str) -> str:
    """The name of the study that holds the runs of a study's finalists."""
    return study_name + FINALISTS


def is_of_finalists(study_name: str) -> bool:
    """Whether a study of that name holds the runs of another's finalists."""
    return study_name.endswith(FINALISTS)
