"""The contract of a solver: what it is built from, what an epoch says, which epoch is the best.

A solver is built from (config, training ratings, device, seed). It never prints, measures time,
or stops: whoever asks for the next epoch decides.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from model.dataset import Ratings
from model.factorization import Factorization


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the training ratings came to, in squared rating units."""

    number: int  # from 1
    train_mse: float  # of each batch before its update, of unclipped predictions
    validation_mse: float  # NaN without validation ratings


class Solver(Protocol):
    """Trains a factorization; `model` can predict after every epoch."""

    model: Factorization

    def epochs(self, validation: Ratings | None) -> Iterator[Epoch]:
        """Trains an epoch each time it is asked for one, without end."""
        ...


def best_epoch(epochs: Iterable[Epoch]) -> Epoch | None:
    """The first epoch of the lowest validation MSE; None if no epoch has a finite one.

    A trial's value, the epochs of its retraining and what is reported of it all follow from this.
    """
    finite = (epoch for epoch in epochs if math.isfinite(epoch.validation_mse))
    return min(finite, key=lambda epoch: epoch.validation_mse, default=None)
