"""The settings of a study, best first: by its trials, and by its finalists once they have met."""

import math
from dataclasses import dataclass, replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from model.solvers import SOLVERS, Config, solver_name
from model.splits import Split
from study.record.attributes import FINISHED, Ranking, StudyView, TrialView
from study.record.parameters import to_config
from study.record.record import n_finished


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that a study has tried."""

    trial: FrozenTrial
    config: Config
    best_epoch: int  # of the trial, or the median of the finalist's rounds
    rmse: float  # of the trial, on the study's validation ratings, which chose it
    fresh_rmse: float | None = None  # of the finalist, on fresh splits

    @property
    def was_cut(self) -> bool:
        """Whether the timeout cut its trial, so that this does not tell what it can do."""
        return TrialView(self.trial).was_cut

    @property
    def solver(self) -> str:
        """The name of its solver."""
        return solver_name(self.config)

    @property
    def epochs(self) -> int:
        """How long to train it on every rating."""
        return SOLVERS[self.solver].retraining_epochs or self.best_epoch


def ranked_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that the pruner let go on, best first; only if there are none, the others."""
    found = [
        (mse, trial)
        for trial in study.get_trials(deepcopy=False, states=FINISHED)
        if (mse := TrialView(trial).validation_mse) is not None
    ]
    found.sort(key=lambda one: (one[0], TrialView(one[1]).was_cut))
    trials = [trial for _, trial in found]
    preferred = [
        trial for trial in trials if trial.state is TrialState.COMPLETE or TrialView(trial).was_cut
    ]
    return preferred or trials


def ranked_settings(study: optuna.Study) -> list[Setting]:
    """The distinct settings of the ranked trials, best first."""
    found: dict[Config, Setting] = {}
    for trial in ranked_trials(study):
        view, config = TrialView(trial), to_config(trial.params)
        epoch, rmse = view.best_epoch or 1, math.sqrt(view.validation_mse or 0.0)
        found.setdefault(config, Setting(trial=trial, config=config, best_epoch=epoch, rmse=rmse))
    return list(found.values())


def best_settings(
    study: optuna.Study, n: int | None = None, *, kind: Split = Split.RANDOM
) -> list[Setting]:
    """The n settings to answer with, best first; fewer if the study has not tried as many.

    The order is that of the finalists on splits of that kind, if they have met; the others follow
    by their trials. Without n it is as many as the finalists found worth averaging.
    """
    settings = ranked_settings(study)
    ranking = final_ranking(study, kind=kind)
    if ranking:
        by_config = {setting.config: setting for setting in settings}
        trials = study.get_trials(deepcopy=False)
        met = [by_config.pop(to_config(trials[number].params)) for number in ranking["trials"]]
        found = zip(met, ranking["best_epochs"], ranking["rmse"], strict=True)
        finalists = [
            replace(one, best_epoch=best_epoch, fresh_rmse=rmse) for one, best_epoch, rmse in found
        ]
        settings = [*finalists, *by_config.values()]
    if n is None:
        n = ranking["average"] if ranking else 1
    return settings[:n]


def final_ranking(study: optuna.Study, *, kind: Split = Split.RANDOM) -> Ranking | None:
    """What the finalists came to; None if they have not met, or a better trial came after.

    On splits of that kind, or else on those of the trials' kind.
    """
    ranking = StudyView(study).ranking_on(kind)
    if not ranking:
        return None
    left_out = ranking.get("left_out", ())
    could_meet = (t for t in ranked_trials(study) if t.params["solver"] not in left_out)
    best = next(could_meet, None)
    return ranking if best and best.number in ranking["trials"] else None


def is_decided(study: optuna.Study) -> bool:
    """Whether there is nothing left to find out: no race is needed, or all are over."""
    view, n = StudyView(study), n_finished(study)
    rankings = [view.ranking_on(kind) for kind in view.kinds]
    if all(ranking and ranking["decided"] and ranking["of"] == n for ranking in rankings):
        return True
    return len(ranked_settings(study)) < 2
