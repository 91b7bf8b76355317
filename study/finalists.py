"""The finalists: the best settings once more, on fresh splits that all of them share.

One validation split chose them, and the best of many trials on it was partly lucky. In each round
the finalists that are left train on the same new split; squared errors are compared rating by
rating, and who is clearly worse than the first is out. It is over when one is left, or when the
others are clearly so close that it does not matter. What single runs came to is kept in the study
`<name>-finalists`, their predictions beside the database.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from torch import Tensor

from model.dataset import Ratings, split
from model.solvers import Config
from storage.files import write_arrays
from storage.models import load_model, recipe_path
from study.best import RANKING, Setting, ranked_settings
from study.objective import Interrupted, Objective, Stop
from study.space import GivenSampler, stable_seed, suggest, to_params
from study.studies import fail_interrupted, n_finished

N_FINALISTS = 5
N_ROUNDS = 3
CLEAR = 3.0  # standard errors of the mean difference of squared errors
WORTH = 3e-4  # the share of the RMSE that is worth another model in the average, or a round

Errors = NDArray[np.float64]  # predicted less true, of the ratings of a round's validation


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
        before = self.study.user_attrs.get(RANKING, {})
        if before.get("of") == n_finished(self.study) and before["decided"]:
            return True
        finalists = ranked_settings(self.study)[:N_FINALISTS]
        if len(finalists) < 2:
            return True
        study = self._open()
        errors: dict[Config, list[Errors]] = {setting.config: [] for setting in finalists}
        order, running = finalists, finalists
        for number in range(N_ROUNDS):
            seed = stable_seed("finalists", self.objective.study_seed, number)
            training, validation = split(self.ratings, seed=seed)
            found = {}
            for setting in running:
                predictions = self._predictions(study, setting, number, training, validation)
                if predictions is None:
                    return False
                found[setting.config] = predictions - validation.values.cpu().numpy()
            for config, error in found.items():
                errors[config].append(error)
            running = sorted(running, key=lambda setting: _mse(errors[setting.config]))
            order = running + [setting for setting in order if setting not in running]
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
            decided = not matters or number + 1 == N_ROUNDS
            self._store(order, errors, decided=decided)
            if decided:
                break
        return True

    def _open(self) -> optuna.Study:
        study = optuna.create_study(
            study_name=f"{self.study.study_name}-finalists",
            storage=self.storage,
            pruner=NopPruner(),
            load_if_exists=True,
        )
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            fail_interrupted(study, trial.number, "the process that ran it is gone")
        return study

    def _predictions(
        self,
        study: optuna.Study,
        setting: Setting,
        number: int,
        training: Ratings,
        validation: Ratings,
    ) -> NDArray[np.float64] | None:
        """What a finalist predicts in a round, now or before; None if it was cut."""
        recipe = {
            "params": to_params(setting.config),
            "round": number,
            "seed": self.objective.study_seed,
            "ratings_digest": self.study.user_attrs["ratings_digest"],
        }
        path = recipe_path(self.folder / "finalists", self.study.study_name, recipe)
        if (arrays := load_model(path)) is not None:
            return arrays["predictions"].astype(np.float64)
        best: list[Tensor] = []
        study.sampler = GivenSampler(setting.config)
        trial = study.ask()
        suggest(trial)
        trial.set_user_attr("round", number + 1)
        trial.set_user_attr("of_trial", setting.trial.number)
        objective = replace(
            self.objective,
            training=training.to(self.objective.device),
            validation=validation.to(self.objective.device),
            on_epoch=lambda epoch: None,
            on_best=lambda predictions: best.__setitem__(slice(None), [predictions]),
        )
        try:
            value = objective(trial)
        except (Interrupted, optuna.TrialPruned) as stop:
            if isinstance(stop, Interrupted) or str(stop) == Stop.TIMEOUT:
                fail_interrupted(study, trial.number, "stopped, to be done again")
                return None
            study.tell(trial, state=TrialState.PRUNED)  # it diverged: worse than any
            return np.full(len(validation), math.inf)
        except (MemoryError, RuntimeError) as error:
            trial.set_user_attr("failed", " ".join(str(error).split()) or type(error).__name__)
            study.tell(trial, state=TrialState.FAIL)
            return np.full(len(validation), math.inf)
        predictions = best[0].cpu().numpy()
        with contextlib.suppress(OSError):
            write_arrays(path, {"predictions": predictions}, recipe)
        study.tell(trial, value)
        return predictions

    def _store(
        self, order: list[Setting], errors: dict[Config, list[Errors]], *, decided: bool
    ) -> None:
        """Stores the order, and how many of the first are worth averaging."""
        lists = [errors[setting.config] for setting in order]
        gains = [_gain(lists[: n + 1]) for n in range(len(lists))]
        best = max(gains)
        average = next(n + 1 for n, gain in enumerate(gains) if gain >= best - WORTH)
        rmse = [round(_mse(errors[setting.config]) ** 0.5, 6) for setting in order]
        ranking = {
            "of": n_finished(self.study),
            "decided": decided,
            "trials": [setting.trial.number for setting in order],
            "rmse": rmse,
            "rounds": [len(rounds) for rounds in lists],
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
