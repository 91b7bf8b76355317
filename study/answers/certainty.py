"""How predictions of models become answers: at their level, within the range, and how sure."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from study.answers.ensemble import kinds_of
from study.answers.intervals import Calibration
from study.answers.levels import Levels
from study.answers.lists import Recommendations

Column = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """What held-out ratings told of the predictions of models."""

    levels: Levels
    calibration: Calibration | None  # None where spreads are told as they are
    range: tuple[float, float]  # of the ratings

    def columns(
        self, means: Column, spreads: Column, counts: tuple[Counts, Counts]
    ) -> dict[str, Column]:
        """The columns prediction, std and, if calibrated, lower and upper of n pairs.

        Args:
            means: (n,) predictions of models.
            spreads: (n,) standard deviations.
            counts: (n,) ratings of the users, and of the items.
        """
        means = np.clip(self.levels.applied(means, *counts), *self.range)
        if self.calibration is None:
            return {"prediction": means, "std": spreads}
        return self.calibration.intervals(means, spreads, kinds_of(*counts))

    def of_list(self, found: Recommendations) -> Recommendations:
        """The list, which is at its level, with calibrated intervals if there are any."""
        if self.calibration is None:
            return found
        counts = np.full(len(found), found.n_rated), found.counts
        columns = self.calibration.intervals(found.predictions, found.stds, kinds_of(*counts))
        return replace(found, stds=columns["std"], lower=columns["lower"], upper=columns["upper"])
