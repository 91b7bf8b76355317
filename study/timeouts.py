"""How trials and finalists share a timeout."""

import math
import time
from dataclasses import dataclass

import optuna

from study.best import ranked_settings
from study.finalists import N_FINALISTS
from study.studies import n_finished

# What a round of finalists takes: so many seconds, and times what its trials took.
ROUND_SECONDS, ROUND_SLACK = 1.0, 1.5


@dataclass(frozen=True, kw_only=True)
class Timeout:
    """The time that a study has, or has left."""

    study: optuna.Study
    seconds: float = math.inf
    deadline: float = math.inf  # when they are over, of time.monotonic()
    n_workers: int = 1  # that share the work
    times_ratings: float = 1.0  # how many a finalist sees, beside a trial

    def trials_end(self) -> float:
        """When trials are to end, of time.monotonic(): early enough for one round to follow.

        If that would take more than half of the time, or is not known yet, they have all of it.
        """
        settings = ranked_settings(self.study)[:N_FINALISTS] if math.isfinite(self.seconds) else []
        if len(settings) < 2:
            return self.deadline
        took = [setting.trial.duration for setting in settings]
        seconds = [duration.total_seconds() if duration else 0.0 for duration in took]
        longest = max(*seconds, sum(seconds) / self.n_workers)
        needed = ROUND_SECONDS + ROUND_SLACK * longest * self.times_ratings
        return self.deadline - needed if needed <= self.seconds / 2 else self.deadline

    def is_for_finalists(self, total: int) -> bool:
        """Whether it is their time: `total` trials are finished, or have had their share."""
        in_time = self.trials_end() <= time.monotonic() < self.deadline
        return in_time or n_finished(self.study) >= total
