"""The finalists: the best settings once more, on fresh splits that all of them share.

One validation split chose them, and the best of many trials on it was partly lucky. In each round
the finalists that are left train on the same new split; squared errors are compared rating by
rating, and who is clearly worse than the first is out. It is over when one is left, when the
others are clearly so close that it does not matter, or when enough was compared. What single runs
came to is kept in the study `<name>-finalists`, their predictions beside the database.
"""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from torch import Tensor

from model.dataset import Ratings, split
from model.solvers import Config
from storage.errors import InputError
from storage.files import Arrays
from storage.models import load_model, recipe_path, save_model
from study.best import RANKING, Setting, ranked_settings
from study.objective import Interrupted, Objective, Stop
from study.space import GivenSampler, stable_seed, suggest, to_params
from study.studies import fail_interrupted, finalists_name, n_finished
from study.trials import StudyFailedError, failure_reason

N_FINALISTS = 5
N_ROUNDS = 3
ENOUGH = 50_000  # ratings that all were compared on: more rounds would not tell more
CLEAR = 3.0  # standard errors of the mean difference of squared errors
WORTH = 3e-4  # the share of the RMSE that is worth another model in the average, or a round

Errors = NDArray[np.float64]  # predicted less true, of the ratings of a round's validation


def is_decided(study: optuna.Study) -> bool:
    """Whether there is nothing left to find out: no race is needed, or it is over."""
    ranking = study.user_attrs.get(RANKING, {})
    if ranking.get("of") == n_finished(study):
        return bool(ranking["decided"])
    return len(ranked_settings(study)) < 2


@dataclass(frozen=True, kw_only=True)
class Finalists:
    """Runs the finalists of a study."""

    study: optuna.Study
    storage: BaseStorage
    ratings: Ratings
    folder: Path  # where predictions are kept
    objective: Objective  # of the study: its device, seed, deadline and interrupts
    say: Callable[[str], None]

    def run(self) -> bool:
        """Runs what is left to run and stores with the study who won: whether it is decided.

        When the deadline passes or an interrupt arrives before that, the order is that of the
        rounds that were finished.
        """
        if is_decided(self.study):
            return True
        finalists = ranked_settings(self.study)[:N_FINALISTS]
        study = self._open()
        best_epochs: dict[Config, list[int]] = {setting.config: [] for setting in finalists}
        errors: dict[Config, list[Errors]] = {setting.config: [] for setting in finalists}
        order, running = finalists, finalists
        for number in range(N_ROUNDS):
            seed = stable_seed("finalists", self.objective.study_seed, number)
            training, validation = split(self.ratings, seed=seed)
            found = {}
            for setting in running:
                result = self._result(study, setting, number, training, validation)
                if result is None:
                    return False
                predictions, best_epoch = result
                found[setting.config] = predictions - validation.values.cpu().numpy()
                best_epochs[setting.config].append(best_epoch)
            for config, error in found.items():
                errors[config].append(error)
            if not any(np.isfinite(error).all() for error in found.values()):
                raise StudyFailedError(f"finalists, round {number + 1}: none came to a result")
            running = sorted(running, key=lambda setting: _mse(errors[setting.config]))
            order = running + [setting for setting in order if setting not in running]
            order = sorted(order, key=lambda setting: math.isinf(_mse(errors[setting.config])))
            first = running[0]
            self.say(
                f"Finalists, round {number + 1}: {len(running)} settings on a fresh split, "
                f"trial {first.trial.number} leads, RMSE {_mse(errors[first.config]) ** 0.5:.4f}"
            )
            excess = {
                one.config: _excess(errors[one.config], errors[first.config]) for one in running
            }
            running = [one for one in running if one is first or not excess[one.config].clear]
            matters = any(excess[one.config].matters for one in running if one is not first)
            compared = (number + 1) * len(validation)
            decided = not matters or number + 1 == N_ROUNDS or compared >= ENOUGH
            self._store(order, errors, best_epochs, decided=decided)
            if decided:
                break
        return True

    def _open(self) -> optuna.Study:
        """The study of the single runs.

        Raises:
            InputError: somebody's own study has its name.
        """
        study = optuna.create_study(
            study_name=finalists_name(self.study),
            storage=self.storage,
            pruner=NopPruner(),
            load_if_exists=True,
        )
        if study.get_trials(deepcopy=False) and "finalists_of" not in study.user_attrs:
            raise InputError(f"study '{study.study_name}': was not made by study.run; rename it")
        study.set_user_attr("finalists_of", self.study.study_name)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            fail_interrupted(study, trial.number, "the process that ran it is gone")
        return study

    def _result(
        self,
        study: optuna.Study,
        setting: Setting,
        number: int,
        training: Ratings,
        validation: Ratings,
    ) -> tuple[NDArray[np.float64], int] | None:
        """What a finalist predicts in a round, and its best epoch; None if it was cut."""
        recipe = {
            "params": to_params(setting.config),
            "round": number,
            "seed": self.objective.study_seed,
            "ratings_digest": self.study.user_attrs["ratings_digest"],
        }
        path = recipe_path(self.folder / "finalists", self.study.study_name, recipe)
        if (arrays := load_model(path)) is not None:
            return arrays["predictions"].astype(np.float64), int(arrays["best_epoch"])
        if self.objective.interrupted() or time.monotonic() >= self.objective.deadline:
            return None
        study.sampler = GivenSampler(setting.config)
        trial = study.ask()
        suggest(trial)
        trial.set_user_attr("round", number + 1)
        trial.set_user_attr("of_trial", setting.trial.number)
        try:
            keep = partial(save_model, path, recipe=recipe)
            return self._run(study, trial, training, validation, keep)
        except Interrupted:
            fail_interrupted(study, trial.number, "stopped, to be done again")
            return None
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise StudyFailedError("another process has taken over the study") from error
        except (MemoryError, RuntimeError) as error:
            trial.set_user_attr("failed", failure_reason(error))
            study.tell(trial, state=TrialState.FAIL)
            return np.full(len(validation), math.inf), 1

    def _run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        training: Ratings,
        validation: Ratings,
        keep: Callable[[Arrays], None],
    ) -> tuple[NDArray[np.float64], int]:
        """Trains a finalist; what it predicted is on disk before its trial is told complete.

        Raises:
            Interrupted: it was stopped, or its time was up.
        """
        best: list[Tensor] = []
        objective = replace(
            self.objective,
            training=training.to(self.objective.device),
            validation=validation.to(self.objective.device),
            on_epoch=lambda epoch: None,
            on_best=lambda predictions: best.__setitem__(slice(None), [predictions]),
        )
        try:
            value = objective(trial)
        except optuna.TrialPruned:
            if trial.user_attrs["stopped"] == Stop.TIMEOUT:
                raise Interrupted from None
            study.tell(trial, state=TrialState.PRUNED)  # it diverged: worse than any
            return np.full(len(validation), math.inf), 1
        predictions = best[0].cpu().numpy()
        best_epoch: int = trial.user_attrs["best_epoch"]
        with contextlib.suppress(OSError):
            keep({"predictions": predictions, "best_epoch": np.array(best_epoch)})
        study.tell(trial, value)
        return predictions, best_epoch

    def _store(
        self,
        order: list[Setting],
        errors: dict[Config, list[Errors]],
        best_epochs: dict[Config, list[int]],
        *,
        decided: bool,
    ) -> None:
        """Stores the order, and how many of the first are worth averaging."""
        lists = [errors[setting.config] for setting in order]
        rmse = [_mse(rounds) ** 0.5 for rounds in lists]
        finite = sum(map(math.isfinite, rmse))  # they come first
        gains = [_gain(lists[: n + 1]) for n in range(finite)]
        average = next(n + 1 for n, gain in enumerate(gains) if gain >= max(gains) - WORTH)
        ranking = {
            "of": n_finished(self.study),
            "decided": decided,
            "trials": [setting.trial.number for setting in order],
            "rmse": [round(figure, 6) if math.isfinite(figure) else None for figure in rmse],
            "rounds": [len(rounds) for rounds in lists],
            "best_epochs": [round(median(best_epochs[setting.config])) for setting in order],
            "average": average,
            "average_gain": [round(gain, 6) for gain in gains],
        }
        self.study.set_user_attr(RANKING, ranking)


def _mse(rounds: list[Errors]) -> float:
    return float(np.mean([np.square(errors).mean() for errors in rounds]))


def _gain(lists: list[list[Errors]]) -> float:
    """The share by which the RMSE of the mean prediction is below the first's, in shared rounds."""
    rounds = [np.stack(errors) for errors in zip(*lists, strict=False)]
    first = _mse([errors[0] for errors in rounds])
    average = _mse([errors.mean(0) for errors in rounds])
    return 1 - math.sqrt(average / first) if 0 < first < math.inf else 0.0


@dataclass(frozen=True)
class _Excess:
    """By how much more a setting errs than the first, over the rounds that it was in."""

    share: float  # of the first's mean squared error
    standard_error: float

    @property
    def clear(self) -> bool:
        return self.share > CLEAR * self.standard_error

    @property
    def matters(self) -> bool:
        """Whether it may be more than is worth a round."""
        return self.share + CLEAR * self.standard_error > 2 * WORTH


def _excess(rounds: list[Errors], first: list[Errors]) -> _Excess:
    mine, theirs = np.square(np.concatenate(rounds)), np.square(np.concatenate(first))
    if not np.isfinite(mine).all():
        return _Excess(math.inf, 0.0)
    scale = float(theirs.mean()) or 1.0
    excess = (mine - theirs) / scale
    return _Excess(float(excess.mean()), float(excess.std()) / math.sqrt(len(excess)))
