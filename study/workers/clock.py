"""How long a study may take, and how its trials and finalists share that time."""

import math
import time
from dataclasses import dataclass

import optuna

from study.record.ranking import ranked_settings
from study.record.record import n_finished
from study.workers.race import N_FINALISTS

# What a round of finalists takes: so many seconds, and times what its trials took.
ROUND_SECONDS, ROUND_SLACK = 1.0, 1.5


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The time that a study has, or has left."""

    seconds: float = math.inf
    end: float = math.inf  # when they are over, of time.monotonic(), which a machine's share
    n_workers: int = 1  # that share the work
    n_finalists: int = N_FINALISTS
    times_ratings: float = 1.0  # how many a finalist sees, beside a trial

    @property
    def is_over(self) -> bool:
        """Whether nothing is to begin any more."""
        return time.monotonic() >= self.end

    def trials_end(self, study: optuna.Study) -> float:
        """When trials are to end, of time.monotonic(): early enough for one round to follow.

        If that would take more than half of the time, or is not known yet, they have all of it.
        """
        settings = ranked_settings(study)[: self.n_finalists] if math.isfinite(self.seconds) else []
        if len(settings) < 2:
            return self.end
        took = [setting.trial.duration for setting in settings]
        seconds = [duration.total_seconds() if duration else 0.0 for duration in took]
        longest = max(*seconds, sum(seconds) / self.n_workers)
        needed = ROUND_SECONDS + ROUND_SLACK * longest * self.times_ratings
        return self.end - needed if needed <= self.seconds / 2 else self.end

    def is_for_finalists(self, study: optuna.Study, *, total: int) -> bool:
        """Whether it is their time: `total` trials are finished, or have had their share."""
        in_time = self.trials_end(study) <= time.monotonic() < self.end
        return in_time or n_finished(study) >= total
