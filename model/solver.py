"""The contract of a solver: what it is built from, what an epoch says, which epoch is the best.

A solver is built from (config, training ratings, device, seed). It never prints, measures time,
or stops: whoever asks for the next epoch decides.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from model.dataset import Pairs, Ratings
from model.world import World


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the training ratings came to, in squared rating units."""

    number: int  # from 1
    train_mse: float  # while it went on, of unclipped predictions; of a single pass afterwards
    validation_mse: float  # NaN without validation ratings
    # (n_validation,) float64, clipped, that validation_mse is of; None without
    validation_predictions: Tensor | None = field(default=None, repr=False, compare=False)


class Model(Protocol):
    """Predicts ratings, in rating units.

    What it is asked for, and answers with, is on the CPU while it is saved, folded in or held; on
    the solver's device while it is trained.
    """

    def predict(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 predicted ratings of pairs; index -1 is who has no ratings."""
        ...

    def std(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 spread of the ratings of pairs, up to a factor that they share."""
        ...

    def similarity(self, item: int) -> Tensor:
        """The (n_items,) float32 similarities, -1 to 1, of every item to one."""
        ...

    def fold_in(
        self, item_index: Tensor, values: Tensor, *, seed: int, about: Tensor | None = None
    ) -> Self:
        """The model of one user, of index 0, who gave (n,) values to (n,) items; no training.

        Without ratings, where n is 0, it is that of somebody of whom nothing is known. `about` is
        what is known of the user besides: the (l,) labels of all descriptions.
        """
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """All of the model, on any device; its class brings it back."""
        ...


class ModelClass(Protocol):
    """A class of models, as an `Entry` names it."""

    def from_state(self, state: Mapping[str, Tensor]) -> Model:
        """The model that a state was taken of, on the CPU."""
        ...


class Solver(Protocol):
    """Trains a model, which can predict after every epoch."""

    @property
    def model(self) -> Model:
        """As it is after the last epoch."""
        ...

    def epochs(self, validation: Ratings | None) -> Iterator[Epoch]:
        """Trains an epoch each time it is asked for one, without end."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A solver that can go on where another one, made of the same, was stopped."""

    def state(self) -> dict[str, Tensor]:
        """What its next epochs follow from, beside what it was made of; of this rank."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a state: `epochs(None)` counts on from the epoch that it was of."""
        ...


def measured(
    number: int, train_mse: float, predictions: Tensor | None, validation: Ratings | None
) -> Epoch:
    """An epoch whose validation error is that of (n_validation,) predictions."""
    if predictions is None or validation is None:
        return Epoch(number=number, train_mse=train_mse, validation_mse=math.nan)
    return Epoch(
        number=number,
        train_mse=train_mse,
        validation_mse=mean_squared_error(predictions, validation.values, validation.world),
        validation_predictions=predictions,
    )


def mean_squared_error(predictions: Tensor, truth: Tensor, world: World) -> float:
    """Of the (n,) predictions of all ranks."""
    total = (predictions - truth).square().sum()
    total, n = world.sum(torch.stack([total, total.new_tensor(len(truth))])).unbind()
    return (total / n).item()


def mse(model: Model, ratings: Ratings) -> float:
    """The mean squared error of a model on ratings."""
    return (model.predict(ratings) - ratings.values).square().mean().item()


def best_epoch(epochs: Iterable[Epoch]) -> Epoch | None:
    """The first epoch of the lowest validation MSE; None if no epoch has a finite one.

    A trial's value, the epochs of its retraining and what is reported of it all follow from this.
    """
    finite = (epoch for epoch in epochs if math.isfinite(epoch.validation_mse))
    return min(finite, key=lambda epoch: epoch.validation_mse, default=None)
