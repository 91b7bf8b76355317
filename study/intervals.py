"""Intervals in which nine ratings of ten lie, calibrated on ratings that were held out.

A sampler says how far a rating may be from its prediction, user by user and item by item; of als
and gradient every pair has the same spread. Either is scaled by the errors on a fresh split
(split conformal prediction: Lei et al. 2018, Distribution-Free Predictive Inference for
Regression, sec. 2 and 5.2): the interval is the prediction ± q spread, with q the 90 % quantile
of |error| / spread.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.dataset import split
from study.predict import Ensemble
from study.space import stable_seed

COVERAGE = 0.9


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What an uncalibrated spread comes to."""

    std_factor: float
    quantile: float  # q
    lowest: float
    highest: float

    def intervals(
        self, predictions: NDArray[np.float64], spread: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """The columns prediction, std, lower and upper, within the range of the ratings."""
        return {
            "prediction": predictions,
            "std": self.std_factor * spread,
            "lower": np.maximum(predictions - self.quantile * spread, self.lowest),
            "upper": np.minimum(predictions + self.quantile * spread, self.highest),
        }


def calibrate(ensemble: Ensemble) -> Calibration:
    """The calibration of an ensemble, trained once more without a tenth of the ratings."""
    seed = stable_seed("calibration", ensemble.study.user_attrs["seed"])
    ratings = ensemble.data.ratings
    _, held_out = split(ratings, seed=seed)
    predictions, spread = ensemble.predict(
        held_out.user_index, held_out.item_index, split_seed=seed
    )
    score = np.abs(predictions - held_out.values.numpy()) / spread
    level = min(1.0, math.ceil((len(score) + 1) * COVERAGE) / len(score))
    return Calibration(
        std_factor=float(np.sqrt(np.square(score).mean())),
        quantile=float(np.quantile(score, level, method="inverted_cdf")),
        lowest=float(ratings.values.min()),
        highest=float(ratings.values.max()),
    )
