"""Predictions of a study's best settings: each trained on every rating, their mean taken."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.biases import fit_biases
from model.dataset import Pairs, Ratings
from model.logarithmic import AnyCompact
from model.solver import Model
from model.solvers import SOLVERS
from model.splits import Split, Without, as_new
from storage.errors import InputError
from study.answers.levels import Levels, Residuals
from study.answers.retraining import calibrating, load_or_train
from study.events import OnEvent, Said, ignored
from study.inputs import Data
from study.record.ranking import Setting, best_settings
from study.record.record import Record

FEW = 10  # ratings; of fewer a sampler's spread is too narrow
LITTLE = 4  # the kind of pair of which little is known


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The settings to answer with, and what they are trained on."""

    settings: list[Setting]
    kind: Split = Split.RANDOM  # of split that tells what is asked
    data: Data
    record: Record
    folder: Path  # beside the database
    device: torch.device
    on_event: OnEvent = ignored
    told: set[tuple[int, bool]] = field(init=False, default_factory=set)  # which models were

    @classmethod
    def of_best(
        cls,
        record: Record,
        data: Data,
        n: int | None,
        *,
        kind: Split = Split.RANDOM,
        folder: Path,
        device: torch.device,
        on_event: OnEvent = ignored,
    ) -> "Ensemble":
        """Of the n best settings, or of as many as the finalists found worth averaging.

        Best on splits of that kind, where the finalists met on such.

        Raises:
            InputError: no trial has finished yet.
        """
        # All ranks have those of the first: more trials may end meanwhile.
        world = data.ratings.world

        def found() -> list[Setting]:
            best = best_settings(record.study, n, kind=kind)
            return _of_several_ranks(best, record, kind=kind) if world.size > 1 and best else best

        settings = world.everyones(world.of_first(found, InputError))[0]
        if not settings:
            raise InputError(
                f"study '{record.name}': no trial has finished yet; python -m study.run goes on"
            )
        return cls(
            settings=settings,
            kind=kind,
            data=data,
            record=record,
            folder=folder,
            device=device,
            on_event=on_event,
        )

    @property
    def solvers(self) -> tuple[str, ...]:
        """The name of that of each model."""
        return tuple(setting.solver for setting in self.settings)

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
        predictions = self.levelled(predictions, self.data.queries, self.data.ratings)
        n_answers = int(np.isfinite(predictions).sum())
        if predictions.shape != (table.n_queries,) or n_answers != table.n_queries:
            raise RuntimeError(f"{table.n_queries:,} pairs, {n_answers:,} answers")
        return predictions, spread

    def kinds(self) -> NDArray[np.int64]:
        """How much is known of the (n_queries,) pairs, as `kinds_of` has it."""
        return kinds_of(*counts_of(self.data.queries, self.data.ratings))

    def predict(
        self, pairs: Pairs, *, without: Without | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The (n,) mean predictions of pairs, and their uncalibrated spread.

        With a split, of models that only know its training ratings; others are new to them.
        """
        if without is not None:
            pairs = as_new(pairs, without.of(self.data.ratings)[0])
        models = self.models(without=without)
        return combined(models, pairs, self.data.known.range)

    def levelled(
        self, predictions: NDArray[np.float64], pairs: Pairs, known: Ratings
    ) -> NDArray[np.float64]:
        """The (n,) predictions for pairs, by models that know these ratings, at their level."""
        blended = self.levels.blended(predictions, pairs, lambda: fit_biases(known))
        shifted = self.levels.applied(blended, *counts_of(pairs, known))
        levelled: NDArray[np.float64] = np.clip(shifted, *self.data.known.range)
        return levelled

    @cached_property
    def levels(self) -> Levels:
        """What predictions are off on average, as the finalists found on splits of the kind.

        Where they met on no such, or the study's ratings are unlike these, each model is trained
        once more.
        """
        held_out = self.data.ratings.world.everyones(self.record.held_out_on(self.kind))[0]
        if self.kind in self.record.kinds and self.record.tells_levels:
            kept = held_out.get("levels") if held_out else None
            return Levels.of(kept) if kept else Levels.none()
        training, validation = self.without.of(self.data.ratings)
        predictions, _ = self.predict(validation, without=self.without)
        biases = fit_biases(training).predict(validation).numpy()
        residuals = Residuals.of(training, validation, predictions, biases=biases)
        return Levels.fitted([residuals], kind=self.kind, std=self.data.ratings.moments.std.item())

    @property
    def without(self) -> Without:
        """The ratings that models do without to show what they are worth."""
        return calibrating(self.kind, self.record)

    def loaded(self) -> Sequence[Model]:
        """The models, which are loaded or trained when one is first asked for."""
        return _Loaded(self)

    def models(self, *, without: Without | None = None) -> Iterator[Model]:
        """The model of each setting, loaded or trained when it is asked for."""
        is_told = without is not None
        for setting in self.settings:
            model, saved = load_or_train(
                setting,
                self.data,
                record=self.record,
                folder=self.folder,
                device=self.device,
                without=without,
            )
            if not (saved or is_told):
                is_told = True
                self._tell_where_kept()
            self._tell(setting, held_out=without is not None, saved=saved)
            yield model

    def _tell_where_kept(self) -> None:
        from model.kernels.compiling import where_kept

        if note := where_kept():
            self.on_event(Said(note))

    def _tell(self, setting: Setting, *, held_out: bool, saved: bool) -> None:
        """Says once of each model that it is there."""
        trial = setting.trial
        if (trial.number, held_out) in self.told:
            return
        self.told.add((trial.number, held_out))
        epochs = "1 epoch" if setting.epochs == 1 else f"{setting.epochs} epochs"
        done = "loaded, trained before" if saved else f"trained for {epochs}"
        cut = ", cut by the timeout" if setting.was_cut else ""
        error = f"validation RMSE {setting.rmse:.4f}{cut}"
        if self.kind in self.record.kinds[1:] and setting.fresh_rmse is not None:
            error = f"RMSE {setting.fresh_rmse:.4f} on such ratings"
        on = ", without held-out ratings" if held_out else f": {error}"
        self.on_event(Said(f"Trial {trial.number}, {setting.solver}{on}, {done}"))


class _Loaded(Sequence[Model]):
    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble

    @cached_property
    def _models(self) -> list[Model]:
        return list(self._ensemble.models())

    def __len__(self) -> int:
        return len(self._ensemble.settings)

    def __getitem__(self, at: Any) -> Any:
        return self._models[at]


def _of_several_ranks(settings: list[Setting], record: Record, *, kind: Split) -> list[Setting]:
    """Those of solvers that ranks can train together; the best of all such if none of these is.

    Raises:
        InputError: the study has none.
    """
    whole = best_settings(record.study, len(record.study.get_trials(deepcopy=False)), kind=kind)
    of_all = [one for one in whole if SOLVERS[one.solver].shares_users]
    if not of_all:
        raise InputError(
            f"study '{record.name}': expected a trial of a solver that several ranks can train, "
            f"such as gibbs, got {', '.join(sorted({one.solver for one in whole}))} alone"
        )
    return [one for one in settings if SOLVERS[one.solver].shares_users] or of_all[:1]


def kinds_of(user_counts: NDArray[np.int64], item_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How much is known of (n,) pairs whose user and item have so many ratings.

    0 much, 1 nothing of the user, 2 nothing of the item, 3 nothing of both, 4 little of either:
    a few ratings.
    """
    found: NDArray[np.int64] = (user_counts == 0) + 2 * (item_counts == 0)
    found[(found == 0) & (np.minimum(user_counts, item_counts) < FEW)] = LITTLE
    return found


def counts_of(pairs: Pairs, known: Ratings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`Ratings.counts` as arrays."""
    of_users, of_items = known.counts(pairs)
    return of_users.numpy(), of_items.numpy()


def combined(
    models: Iterable[Model], pairs: Pairs, within: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The (n,) mean predictions of pairs, and their uncalibrated spread.

    Args:
        models: that answer together.
        pairs: n of them.
        within: the lowest and the highest rating, to which predictions keep.
    """
    means, variances = [], []
    for model in models:
        means.append(_within(model, pairs, within))
        variances.append(np.square(model.std(pairs).numpy()))
    return np.mean(means, axis=0), np.sqrt(np.mean(variances, axis=0))


def mean_of(
    models: Iterable[Model | AnyCompact], pairs: Pairs, within: tuple[float, float]
) -> NDArray[np.float64]:
    """The (n,) mean predictions alone."""
    means: NDArray[np.float64] = np.mean([_within(one, pairs, within) for one in models], axis=0)
    return means


def _within(
    model: Model | AnyCompact, pairs: Pairs, within: tuple[float, float]
) -> NDArray[np.float64]:
    """The (n,) predictions of a model; the plain form does not keep to the range by itself."""
    kept: NDArray[np.float64] = np.clip(model.predict(pairs).numpy(), *within)
    return kept
