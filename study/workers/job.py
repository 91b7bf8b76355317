"""What a process needs to know to join a study and to work on it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from model.kernels.threads import n_threads
from model.splits import Split
from storage.sources import Sources
from study.inputs import Data
from study.workers.clock import Clock


@dataclass(frozen=True)
class Whole:
    """All ratings of several ranks, of which a job has a sample for its trials."""

    digest: str
    n_ratings: int
    about: str  # for people

    @classmethod
    def of(cls, data: Data) -> Self:
        """That of ratings as they were loaded."""
        return cls(data.table.digest, data.totals.n_ratings, data.described())


@dataclass(frozen=True, kw_only=True)
class Job:
    """A study, and how far it is to go."""

    storage: str = field(repr=False)  # the URL, password and all
    study_name: str
    total: int  # finished trials that the study is to have
    sources: Sources  # as load_data takes them, of files alone
    whole: Whole | None = None  # if these are a sample of it
    folder: Path  # where files beside the database are
    device: str
    seed: int
    n_threads: int = field(default_factory=n_threads)  # of all workers together
    fresh: bool = False  # whether it is to begin anew, whatever the database holds
    split: Split | None = None  # of the trials; what suits the ratings if not told
    clock: Clock
