"""Predictions of a study's best settings: each trained on every rating, their mean taken."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from torch import Tensor

from storage.errors import InputError
from study.best import Setting, best_settings, load_or_train
from study.inputs import Data


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The settings to answer with, and what they are trained on."""

    settings: list[Setting]
    data: Data
    study: optuna.Study
    folder: Path
    device: torch.device
    say: Callable[[str], None] = print

    @classmethod
    def of_best(
        cls, study: optuna.Study, data: Data, n: int | None, *, folder: Path, device: torch.device
    ) -> "Ensemble":
        """Of the n best settings, or of as many as the finalists found worth averaging.

        Raises:
            InputError: no trial has finished yet.
        """
        settings = best_settings(study, n)
        if not settings:
            raise InputError(
                f"study '{study.study_name}': no trial has finished yet; "
                "python -m study.run goes on"
            )
        return cls(settings=settings, data=data, study=study, folder=folder, device=device)

    def answer(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The (n_queries,) predictions and their uncalibrated spread."""
        table = self.data.table
        users = self.data.users.index(table.query_user_ids)
        items = self.data.items.index(table.query_item_ids)
        return self.predict(users, items)

    def predict(
        self, users: Tensor, items: Tensor, *, split_seed: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The (n,) mean predictions of pairs of indices, and their uncalibrated spread.

        With a split's seed, of models that only know that split's training ratings.
        """
        lowest, highest = self.data.table.ratings.min(), self.data.table.ratings.max()
        means, variances = [], []
        for setting in self.settings:
            model, saved = load_or_train(
                setting,
                self.data,
                folder=self.folder,
                study=self.study,
                device=self.device,
                split_seed=split_seed,
            )
            self._tell(setting, held_out=split_seed is not None, saved=saved)
            # The plain form does not keep to the range by itself.
            means.append(np.clip(model.predict(users, items).numpy(), lowest, highest))
            variances.append(np.square(model.std(users, items).numpy()))
        return np.mean(means, axis=0), np.sqrt(np.mean(variances, axis=0))

    def _tell(self, setting: Setting, *, held_out: bool, saved: bool) -> None:
        trial = setting.trial
        done = "loaded, trained before" if saved else f"trained for {setting.epochs} epochs"
        rmse = trial.user_attrs["validation_rmse"]
        on = ", for the intervals" if held_out else f": validation RMSE {rmse:.4f}"
        self.say(f"Trial {trial.number}, {setting.solver}{on}, {done}")
