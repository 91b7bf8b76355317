"""Every attribute that a study and its trials keep in the database: its name, type and writer.

What people may want to read are user attributes, which the dashboard shows. What only programs
read are system attributes. A view reads them by name and type:

    TrialView(trial).best_epoch   # int, or None if it is not kept
    TrialView.best_epoch.name     # "best_epoch"
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, Literal, NotRequired, Protocol, TypedDict, TypeVar, cast, overload

import optuna
from optuna.trial import FrozenTrial, TrialState

from model.splits import Split

Value = TypeVar("Value")

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
NOT_NEEDED = "there were enough"  # why a trial ended that was begun when others were quicker
PARTS = "predictions"  # the system attributes predictions_0, … of a run: what it predicted
GIVEN = "fixed_params"  # Optuna's own: the parameters that a trial waits with


class Stop(StrEnum):
    """Why a trial's training ended."""

    PATIENCE = "no progress"
    EPOCHS = "last epoch"
    TIMEOUT = "timeout"
    PRUNED = "pruned"
    DIVERGED = "diverged"


class Holder(TypedDict, total=False):
    """Who runs a trial, and a counter that shows that it lives."""

    host: str
    machine: str
    pid: int
    started: float  # seconds after the machine
    beat: int


class Ranking(TypedDict):
    """What the finalists came to, best first in each list."""

    of: int  # finished trials that the study had
    decided: bool
    trials: list[int]
    rmse: list[float | None]  # on the fresh splits; None if it diverged
    rounds: list[int]
    best_epochs: list[int]
    average: int  # of how many the mean is worth it
    average_gain: list[float]  # by which share the mean of the first n is below the first
    left_out: NotRequired[list[str]]  # solvers that those who ran it, several ranks, cannot train


class Errors(TypedDict):
    """The RMSE of the best setting, with its 95 % interval, and of what comes for nothing."""

    ratings: int
    rmse: list[float]
    biases_rmse: float
    mean_rmse: NotRequired[float]  # of the mean rating, for every pair


# The same of ratings whose user, or item, has from so many to so many.
GroupErrors = TypedDict(
    "GroupErrors",
    {
        "from": int,
        "to": int,
        "ratings": int,
        "rmse": list[float],
        "biases_rmse": float,
        "mean_rmse": NotRequired[float],
    },
)


class LabelErrors(Errors):
    """The same of ratings whose item, or user, has a label, or that come so long after."""

    side: str  # empty of those by time
    column: str
    label: str


class Shifts(TypedDict):
    """By how much ratings were above predictions: of all, and by how many their row has."""

    all: float
    by_user: list[float]
    by_item: list[float]
    weight: NotRequired[float]  # of models beside biases alone; one if it is not kept
    slope: NotRequired[float]  # of ratings on predictions, above the mean; one if it is not kept
    mean: NotRequired[float]  # then, that of the ratings


class HeldOut(Errors):
    """How the best setting did on the fresh splits of the finalists."""

    trial: int
    splits: int
    average: NotRequired[int]  # settings whose mean prediction `levels` are of
    gain: NotRequired[list[float]]  # over the better of both, a share, with its 95 % interval
    by_user: list[GroupErrors]
    by_item: list[GroupErrors]
    by_label: NotRequired[list[LabelErrors]]
    levels: NotRequired[Shifts]
    # Of splits by time: the mean of what came last, biases of the last year, and by time ahead.
    recent_mean_rmse: NotRequired[float]
    recent_biases_rmse: NotRequired[float]
    by_ahead: NotRequired[list[LabelErrors]]


LeftOut = Literal["nothing", "times", "descriptions", "either"]


class ColumnFound(TypedDict):
    """What a column of a table explains, as `model.explained.Column` has it."""

    side: str
    name: str
    share: float
    labels: Sequence[str]
    effects: Sequence[float]


class ScaleFound(TypedDict):
    """The effects of time at one scale, as `model.explained.Scale` has it."""

    side: str
    seconds: float
    std: float


class ContextFound(TypedDict):
    """What times and descriptions brought the best setting, and what they explain."""

    trial: int
    rmse: dict[str, dict[LeftOut, float]]  # by kind of split, without what
    columns: NotRequired[Sequence[ColumnFound]]
    scales: NotRequired[Sequence[ScaleFound]]
    times: NotRequired[Sequence[float]]
    level: NotRequired[Sequence[float]]


class Calibrated(TypedDict):
    """How well intervals held on ratings that were held out."""

    trials: list[int]
    ratings: int
    width: float
    levels: list[list[float]]
    by_std: list[dict[str, float]]


class EvaluatedGroup(TypedDict):
    """How predictions did on a part of a test."""

    by: str
    label: str
    ratings: int
    rmse: list[float | None]  # and its 95 % interval, here and below, if there is one
    bias: float
    coverage: float | None
    ndcg: float | None


class Evaluated(TypedDict):
    """How predictions did on a test, as `answers.evaluation.Evaluation` has it."""

    source: str
    ratings: int
    users: int
    lists: int  # for so many users
    figures: dict[str, list[float | None]]
    groups: list[EvaluatedGroup]


class Drawn(TypedDict):
    """Some of many, drawn at random."""

    of: int  # how many there are
    hashes: str  # of those drawn, 64 bits each, in order, in base64


class Sample(TypedDict):
    """A sample of ratings, as `study.record.likeness` draws it."""

    users: Drawn
    items: Drawn
    ratings: Drawn


class Beginning(TypedDict):
    """What a study begins with."""

    study: str  # whose best settings its first trials try; empty if it begins anew
    settings: list[dict[str, Any]]  # their parameters, best first
    note: NotRequired[str]  # for people: what it does not begin with, and why


class View(Protocol):
    """What attributes are read of."""

    def kept(self, name: str) -> object:
        """The value of that name; None if there is none."""
        ...


class Attribute(Generic[Value]):
    """A value that is kept under a name. Of a view it is the value, or None if it is not there."""

    def __init__(self, name: str, expected: str, *types: type, internal: bool = False) -> None:
        """An attribute.

        Args:
            name: that it is kept under.
            expected: what it is, for people.
            types: that its values have.
            internal: whether it is a system attribute.
        """
        self.name = name
        self.expected = expected
        self.types = types
        self.internal = internal

    @overload
    def __get__(self, view: None, owner: type) -> "Attribute[Value]": ...
    @overload
    def __get__(self, view: View, owner: type) -> Value | None: ...
    def __get__(self, view: View | None, owner: type) -> "Attribute[Value] | Value | None":
        return self if view is None else cast(Value | None, view.kept(self.name))


class TrialView:
    """What is kept with a trial."""

    # By the objective, of a trial that ended.
    validation_mse = Attribute[float]("validation_mse", "a number", float, int)  # of its best epoch
    validation_rmse = Attribute[float]("validation_rmse", "a number", float, int)
    best_epoch = Attribute[int]("best_epoch", "a whole number", int)
    stopped = Attribute[str]("stopped", "a text", str)  # begins with a Stop
    seconds = Attribute[float]("seconds", "a number", float, int)

    # By who runs it, or sees that its worker died.
    failed = Attribute[str]("failed", "a text", str)  # why, for good
    interrupted = Attribute[str]("interrupted", "a text", str)  # why, through no fault of its own
    retry_of = Attribute[int]("retry_of", "a whole number", int)  # the trial that it does again
    died = Attribute[bool]("died", "a yes or no", bool, internal=True)  # its worker
    lease = Attribute[Holder]("lease", "a lease", dict, internal=True)

    # By who begins a run of a finalist.
    task = Attribute[str]("task", "a digest", str)  # everything that its result follows from
    round = Attribute[int]("round", "a whole number", int)  # from 1
    split = Attribute[str]("split", "a kind of split", str)  # random if it is not kept
    of_trial = Attribute[int]("of_trial", "a whole number", int)  # whose setting it has

    OF_A_RESULT = (validation_mse, validation_rmse, best_epoch, stopped, seconds)

    def __init__(self, trial: FrozenTrial) -> None:
        self.trial = trial

    def kept(self, name: str) -> object:
        """The value of that name, wherever a version of this project has kept it."""
        trial = self.trial
        return trial.user_attrs.get(name, trial.system_attrs.get(name))

    @property
    def was_cut(self) -> bool:
        """Whether the timeout cut it, so that it does not tell what its setting can do."""
        return self.stopped == Stop.TIMEOUT

    @property
    def was_interrupted(self) -> bool:
        """Whether it ended with its worker, not by what it tried."""
        return self.trial.state is TrialState.FAIL and self.interrupted is not None

    @property
    def given(self) -> Mapping[str, Any]:
        """The parameters that it was made with, if it waited for its turn."""
        given: Mapping[str, Any] = self.trial.system_attrs.get(GIVEN, {})
        return given


class StudyView:
    """What is kept with a study."""

    # By who makes it: its identity.
    data = Attribute[str]("data", "a text", str)  # describes the ratings
    seed = Attribute[int]("seed", "a whole number", int)
    ratings_digest = Attribute[str]("ratings_digest", "a digest", str)
    split_digest = Attribute[str]("split_digest", "a digest", str)
    space_version = Attribute[str]("space_version", "a digest", str)
    # Kinds of split: that of the trials, and of further ones on which finalists meet; random alone
    # if it is not kept.
    splits = Attribute[list[str]]("splits", "kinds of split", list)
    begins_with = Attribute[Beginning]("begins_with", "a beginning", dict)
    sample = Attribute[Sample]("rating-study:sample", "a sample", dict, internal=True)

    # By the finalists, and when a run ends.
    ranking = Attribute[Ranking]("finalists", "a ranking", dict)  # on the kind of the trials
    later_ranking = Attribute[Ranking]("finalists_latest", "a ranking", dict)  # on `latest` besides
    biases_rmse = Attribute[float]("biases_rmse", "a number", float)  # on the validation ratings
    mean_rmse = Attribute[float]("mean_rmse", "a number", float)  # of the mean rating, on the same
    held_out = Attribute[HeldOut]("held_out", "errors", dict)  # on the kind of the trials
    later_held_out = Attribute[HeldOut]("held_out_latest", "errors", dict)  # on `latest` besides
    context = Attribute[ContextFound]("context", "what times and descriptions brought", dict)
    finalists_of = Attribute[str]("finalists_of", "a text", str)  # of a study of runs: whose

    # By who calibrates intervals, by who scores a test, and by who writes the note.
    calibration = Attribute[Calibrated]("calibration", "a calibration", dict)
    evaluation = Attribute[Evaluated]("evaluation", "an evaluation", dict)  # the last
    notes = Attribute[list[str]]("rating-study:note", "digests", list, internal=True)

    def __init__(self, study: optuna.Study) -> None:
        self.study = study

    def kept(self, name: str) -> object:
        """The value of that name."""
        return self.study.user_attrs.get(name)

    @cached_property
    def kinds(self) -> list[Split]:
        """The kinds of split on which finalists meet; the first is that of the trials. They stay,
        so that they are read once.
        """
        return [Split(name) for name in self.splits or [Split.RANDOM]]

    def ranking_of(self, kind: Split) -> Attribute[Ranking]:
        """What keeps a ranking on splits of a kind; those of the trials' kind if on no other."""
        return StudyView.later_ranking if kind in self.kinds[1:] else StudyView.ranking

    def held_out_of(self, kind: Split) -> Attribute[HeldOut]:
        """What keeps errors on splits of a kind; on those of the trials' kind if on no other."""
        return StudyView.later_held_out if kind in self.kinds[1:] else StudyView.held_out

    def ranking_on(self, kind: Split) -> Ranking | None:
        """What the finalists came to on splits of a kind, or else on those of the trials' kind."""
        return self.ranking_of(kind).__get__(self, type(self))

    def held_out_on(self, kind: Split) -> HeldOut | None:
        """How the best setting did on splits of a kind, or else on those of the trials' kind."""
        return self.held_out_of(kind).__get__(self, type(self))
