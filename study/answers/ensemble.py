"""Predictions of a study's best settings: each trained on every rating, their mean taken."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.dataset import UNKNOWN, Pairs
from model.solver import Model
from storage.errors import InputError
from study.answers.retraining import load_or_train
from study.events import OnEvent, Said, ignored
from study.inputs import Data
from study.record.ranking import Setting, best_settings
from study.record.record import Record


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The settings to answer with, and what they are trained on."""

    settings: list[Setting]
    data: Data
    record: Record
    folder: Path  # beside the database
    device: torch.device
    on_event: OnEvent = ignored

    @classmethod
    def of_best(
        cls,
        record: Record,
        data: Data,
        n: int | None,
        *,
        folder: Path,
        device: torch.device,
        on_event: OnEvent = ignored,
    ) -> "Ensemble":
        """Of the n best settings, or of as many as the finalists found worth averaging.

        Raises:
            InputError: no trial has finished yet.
        """
        settings = best_settings(record.study, n)
        if not settings:
            raise InputError(
                f"study '{record.name}': no trial has finished yet; python -m study.run goes on"
            )
        return cls(
            settings=settings,
            data=data,
            record=record,
            folder=folder,
            device=device,
            on_event=on_event,
        )

    def described(self, *, wanted: int) -> str:
        """Of how many settings the mean is, and how much worse than the first any of them is."""
        n, text = len(self.settings), f"Average: of {len(self.settings)}"
        if n < wanted:
            text += "; the study has no more settings that the pruner let go on"
        if n == 1:
            return text
        rmse = {one.trial.number: one.rmse for one in self.settings}
        worst, first = max(rmse, key=lambda number: rmse[number]), next(iter(rmse.values()))
        excess = 100 * (rmse[worst] / first - 1) if first else 0.0
        return (
            f"{text}; validation RMSE of the worst, trial {worst}: {excess:.1f} % above the first"
        )

    def answer(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The (n_queries,) predictions and their uncalibrated spread.

        Raises:
            RuntimeError: there are more or fewer, or one is no number.
        """
        table = self.data.table
        predictions, spread = self.predict(self.data.queries)
        n_answers = int(np.isfinite(predictions).sum())
        if predictions.shape != (table.n_queries,) or n_answers != table.n_queries:
            raise RuntimeError(f"{table.n_queries:,} pairs, {n_answers:,} answers")
        return predictions, spread

    def kinds(self) -> NDArray[np.int64]:
        """What is unknown of the (n_queries,) pairs: 0 nothing, 1 the user, 2 the item, 3 both."""
        pairs = self.data.queries
        users, items = pairs.user_index == UNKNOWN, pairs.item_index == UNKNOWN
        return users.numpy() + 2 * items.numpy().astype(np.int64)

    def predict(
        self, pairs: Pairs, *, split_seed: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The (n,) mean predictions of pairs, and their uncalibrated spread.

        With a split's seed, of models that only know that split's training ratings.
        """
        models = self.models(split_seed=split_seed)
        return combined(models, pairs, self.data.table.ratings)

    def models(self, *, split_seed: int | None = None) -> Iterator[Model]:
        """The model of each setting, loaded or trained when it is asked for."""
        for setting in self.settings:
            model, saved = load_or_train(
                setting,
                self.data,
                record=self.record,
                folder=self.folder,
                device=self.device,
                split_seed=split_seed,
            )
            self._tell(setting, held_out=split_seed is not None, saved=saved)
            yield model

    def _tell(self, setting: Setting, *, held_out: bool, saved: bool) -> None:
        trial = setting.trial
        epochs = "1 epoch" if setting.epochs == 1 else f"{setting.epochs} epochs"
        done = "loaded, trained before" if saved else f"trained for {epochs}"
        cut = ", cut by the timeout" if setting.was_cut else ""
        on = ", for the intervals" if held_out else f": validation RMSE {setting.rmse:.4f}{cut}"
        self.on_event(Said(f"Trial {trial.number}, {setting.solver}{on}, {done}"))


def combined(
    models: Iterable[Model], pairs: Pairs, ratings: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The (n,) mean predictions of pairs, and their uncalibrated spread.

    Args:
        models: that answer together.
        pairs: n of them.
        ratings: whose range the predictions keep to.
    """
    lowest, highest = ratings.min(), ratings.max()
    means, variances = [], []
    for model in models:
        # The plain form does not keep to the range by itself.
        means.append(np.clip(model.predict(pairs).numpy(), lowest, highest))
        variances.append(np.square(model.std(pairs).numpy()))
    return np.mean(means, axis=0), np.sqrt(np.mean(variances, axis=0))
