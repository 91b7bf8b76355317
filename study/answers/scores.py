"""How far predictions are from the truth, and how sure that figure is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f}  (95 % interval {self.low:.4f} to {self.high:.4f})"


def score(
    predicted: NDArray[np.float64], truth: NDArray[np.float64], user_ids: NDArray[np.int32]
) -> dict[str, Figure]:
    """RMSE, MAE and MSE of (n,) predictions.

    The interval resamples whole users, whose ratings stand or fall together: with single ratings
    it would come out too narrow.
    """
    error = predicted - truth
    _, user_index = np.unique(user_ids, return_inverse=True)
    n_users = int(user_index.max()) + 1
    sums = np.stack(
        [
            np.bincount(user_index, weights=weights, minlength=n_users)
            for weights in (error**2, np.abs(error), np.ones_like(error))
        ]
    )  # (3, n_users): squared errors, absolute errors, ratings
    draw, shares = np.random.default_rng(0), np.full(n_users, 1 / n_users)
    resampled = [sums @ draw.multinomial(n_users, shares) for _ in range(RESAMPLES)]

    def figure(values: NDArray[np.float64]) -> Figure:
        """The first value is that of the data, the others are of the resamples."""
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(values[1:], [tail, 1 - tail])
        return Figure(value=float(values[0]), low=float(low), high=float(high))

    squared, absolute, count = np.stack([sums.sum(1), *resampled], axis=1)
    return {
        "RMSE": figure(np.sqrt(squared / count)),
        "MAE": figure(absolute / count),
        "MSE": figure(squared / count),
    }
