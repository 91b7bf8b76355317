"""What a study has found: the figures that its report, and its note on the dashboard, show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from model.solvers import SOLVERS
from study.record.attributes import (
    FINISHED,
    Calibrated,
    ContextFound,
    Errors,
    Evaluated,
    HeldOut,
    Ranking,
    TrialView,
)
from study.record.liveness import is_running
from study.record.parameters import is_original, searched
from study.record.ranking import Setting, best_settings, final_ranking
from study.record.record import Record, finalists_name

MEAN, BIASES = "the mean rating", "biases alone"
FEWEST_FOR_IMPORTANCE = 10  # trials of a solver
FEWEST_TOP = 5  # of them that count as its best; Optuna advises no fewer


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the trials of a solver, or the runs of the finalists, took and came to."""

    name: str
    trials: int
    pruned: int
    epochs: int
    seconds: float
    rmse: float | None  # of the best


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A study, read once."""

    record: Record
    trials: Sequence[FrozenTrial]  # all of them, in their order
    settings: list[Setting]  # to answer with, best first
    ranking: Ranking | None  # of the finalists
    finalists: Sequence[FrozenTrial]  # their runs
    running: bool

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record.name

    @property
    def scored(self) -> list[FrozenTrial]:
        """The trials that came to an RMSE."""
        return [trial for trial in self.trials if rmse(trial) is not None]

    @property
    def tuned(self) -> list[FrozenTrial]:
        """The same without the original's setting, which lies outside of what is searched."""
        return [trial for trial in self.scored if not is_original(trial.params)]

    @property
    def best(self) -> Setting | None:
        """The first of the settings; None if no trial came to a result."""
        return self.settings[0] if self.settings else None

    @property
    def best_rmse(self) -> float:
        """That of the best setting on the validation ratings; NaN if there is none."""
        return self.best.rmse if self.best else math.nan

    @property
    def splits(self) -> str:
        """The fresh splits that the best setting was held against, for people."""
        n = self.held_out["splits"] if self.held_out else 0
        return "a fresh split" if n == 1 else f"{n} fresh splits"

    @property
    def trials_best_number(self) -> int | None:
        """The trial of the lowest value, as Optuna has it."""
        try:
            return self.record.study.best_trial.number
        except ValueError:  # none is complete
            return None

    @property
    def original_is_worse_than_a_constant(self) -> bool:
        """Whether the original's setting lost to the mean rating, on the same ratings."""
        theirs, mean = self.original_rmse, self.record.mean_rmse
        return theirs is not None and mean is not None and theirs > mean

    @property
    def original(self) -> FrozenTrial | None:
        """The trial of the setting that this project replaces."""
        return original_trial(self.trials)

    @property
    def original_rmse(self) -> float | None:
        """What it reached; None if it was not tried, or is itself the best."""
        if not self.original or self.original is (self.best and self.best.trial):
            return None
        return rmse(self.original)

    @cached_property
    def biases_rmse(self) -> float | None:
        """The validation RMSE of biases alone."""
        return self.record.biases_rmse

    @cached_property
    def held_out(self) -> HeldOut | None:
        """How the best setting did on fresh splits; None if it is not known of this one."""
        found = self.record.held_out
        if found and self.best and found["trial"] == self.best.trial.number:
            return found
        return None

    @cached_property
    def later(self) -> HeldOut | None:
        """How the best setting of later ratings did on such; None if finalists met on none."""
        return self.record.later_held_out if len(self.record.kinds) > 1 else None

    @cached_property
    def context(self) -> ContextFound | None:
        """What times and descriptions brought the best setting; None if that is not known."""
        found = self.record.context
        return found if found and self.best and found["trial"] == self.best.trial.number else None

    @cached_property
    def calibration(self) -> Calibrated | None:
        """How well intervals held; None if nobody asked for them yet."""
        return self.record.calibration

    @cached_property
    def evaluation(self) -> Evaluated | None:
        """How the last test that was scored came out; None if nobody scored one yet."""
        return self.record.evaluation

    @property
    def failed(self) -> list[FrozenTrial]:
        """The trials that failed through their setting, not those that were interrupted."""
        fails = [trial for trial in self.trials if trial.state is TrialState.FAIL]
        return [trial for trial in fails if not TrialView(trial).was_interrupted]

    @property
    def n_finished(self) -> int:
        """The number of trials that are complete or pruned."""
        return sum(trial.state in FINISHED for trial in self.trials)

    @property
    def n_pruned(self) -> int:
        """The number of trials that are pruned."""
        return sum(trial.state is TrialState.PRUNED for trial in self.trials)

    def of(self, solver: str) -> list[FrozenTrial]:
        """A solver's trials that came to an RMSE, without the original's setting."""
        return [trial for trial in self.tuned if trial.params["solver"] == solver]

    def solvers(self) -> list[str]:
        """The solvers that were tried, in the order of their registry."""
        tried = {trial.params.get("solver") for trial in self.trials}
        return [solver for solver in SOLVERS if solver in tried]

    def spent(self) -> list[Spent]:
        """What each solver took, the original's setting included, and what the finalists did."""
        found = []
        for solver in self.solvers():
            own = [trial for trial in self.trials if trial.params.get("solver") == solver]
            found.append(_spent(solver, own))
        if self.finalists:
            # Their errors are of other splits.
            found.append(replace(_spent("finalists", self.finalists), rmse=None))
        return found


def findings(record: Record) -> Findings:
    """Reads a study, and that of its finalists."""
    study, storage = record.study, record.storage
    finalists: list[FrozenTrial] = []
    if finalists_name(record.name) in optuna.get_all_study_names(storage):
        runs = optuna.load_study(study_name=finalists_name(record.name), storage=storage)
        finalists = runs.get_trials(deepcopy=False)
    settings = best_settings(study)
    return Findings(
        record=record,
        trials=record.trials(),
        settings=settings,
        ranking=final_ranking(study) if settings else None,
        finalists=finalists,
        running=is_running(study),
    )


def for_nothing(held_out: Errors) -> tuple[str, float]:
    """What is the better of what comes for nothing, biases alone or the mean rating: its RMSE."""
    mean, biases = held_out.get("mean_rmse", math.inf), held_out["biases_rmse"]
    return (MEAN, mean) if mean < biases else (BIASES, biases)


def has_gained(held_out: HeldOut) -> bool:
    """Whether it can be told that the setting is better than what comes for nothing."""
    gain = held_out.get("gain")  # which a version before did not keep
    return gain is None or gain[1] > 0


def rmse(trial: FrozenTrial) -> float | None:
    """The validation RMSE of a trial's best epoch; None if it has none."""
    mse = TrialView(trial).validation_mse
    finished = trial.state in FINISHED
    return math.sqrt(mse) if finished and mse is not None and math.isfinite(mse) else None


def seconds(trial: FrozenTrial) -> float:
    """What a trial's training took; 0 if it did not end."""
    return TrialView(trial).seconds or 0.0


def epochs(trial: FrozenTrial) -> int:
    """The number of epochs that a trial was trained for."""
    return len(trial.intermediate_values)


def best_epoch(trial: FrozenTrial) -> int:
    """The epoch in which a trial that came to an RMSE was best."""
    return TrialView(trial).best_epoch or 1


def original_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial of the setting that this project replaces; the better, if it was tried again."""
    found = [(error, trial) for trial in trials if (error := rmse(trial)) is not None]
    return min(
        (one for one in found if is_original(one[1].params)),
        key=lambda one: one[0],
        default=(0.0, None),
    )[1]


def importances(trials: Sequence[FrozenTrial], solver: str) -> dict[str, float]:
    """The share of each searched parameter in getting among the best of a solver's trials.

    By PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255) of these trials, which
    compares where the best tenth lies (of few trials the best five) with where all of them do. The
    most important comes first; empty if there are too few trials to tell.
    """
    if len(trials) < FEWEST_FOR_IMPORTANCE:
        return {}
    space = searched(solver)
    study = optuna.create_study()
    study.add_trials(
        create_trial(
            params={name: trial.params[name] for name in space},
            distributions=space,
            value=TrialView(trial).validation_mse,
        )
        for trial in trials
    )
    top = max(0.1, FEWEST_TOP / len(trials))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _spent(name: str, trials: Sequence[FrozenTrial]) -> Spent:
    return Spent(
        name=name,
        trials=len(trials),
        pruned=sum(trial.state is TrialState.PRUNED for trial in trials),
        epochs=sum(map(epochs, trials)),
        seconds=sum(map(seconds, trials)),
        rmse=min((error for trial in trials if (error := rmse(trial)) is not None), default=None),
    )
