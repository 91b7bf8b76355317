"""What the first of several ranks has all of them do: it alone knows the study.

Each rank has the ratings of its own users. The first one says what is to be done, and all do it at
once, each on its own ratings; in between the others wait to be told. A process alone does what
there is to do by itself.
"""

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Ratings
from model.kernels.threads import (
    n_threads,
    set_n_threads,
    suitable_threads,
    torch_in_one_thread,
)
from model.selection import even_rows
from model.solver import Epoch
from model.solvers import SOLVERS, Config, make_solver
from model.splits import Without
from model.world import LostRankError
from storage.errors import InputError
from study.inputs import Data
from study.record.attributes import Sample
from study.record.likeness import Hashed
from study.workers.interrupts import SIGNALS

MOST_COMPARED = 100_000  # ratings of a round: what is predicted for them fits a database

Told = ParamSpec("Told")
Value = TypeVar("Value")


class Crew:
    """The ranks that share ratings out, as the first one leads them."""

    def __init__(self, ratings: Ratings, *, hashed: Hashed | None = None) -> None:
        """A crew, made by all ranks at once.

        Args:
            ratings: of this rank.
            hashed: the same; if not told, nobody asks whether they are like others.
        """
        self.ratings = ratings
        self.hashed = hashed
        self.world = ratings.world
        self.n_ratings: int = sum(self.world.everyones(len(ratings)))
        self._turn = threading.RLock()  # one task at a time, whichever thread asks for it
        self._is_broken = False  # whether a task was left in the middle, where others wait

    @classmethod
    def of(cls, data: Data) -> "Crew":
        """That of ratings as they were loaded."""
        return cls(data.ratings, hashed=Hashed(data.table, data.ratings.world))

    def all(
        self,
        task: Callable[Concatenate["Crew", Told], Value],
        *told: Told.args,
        **more: Told.kwargs,
    ) -> Value:
        """What a task comes to on the first rank, of those that all of them do.

        Args:
            task: a function of a module, which is called with the crew of each rank.
            told: what it is told, of anything that pickle takes.
            more: the same, by name.

        Raises:
            InputError: as the task says, on all ranks.
        """
        with self._at_work():
            self.world.everyones((task, told, more))
            return task(self, *told, **more)

    def epochs(
        self, config: Config, without: Without, *, device: torch.device, seed: int
    ) -> Generator[Epoch, None, None]:
        """Trains a setting on all ratings but those that a split holds out, as `Solver.epochs` does
        with these to validate on: predictions are of those that are `compared`, of all ranks.

        Whoever has enough of it closes the generator.

        Raises:
            LostRankError: training failed on this rank, and ends the others.
        """
        with self._at_work():
            self.world.everyones((_train_along, (config, without, device, seed), {}))
            with closing(_epochs(self, config, without, device, seed)) as epochs:
                try:
                    while self.world.everyones(True)[0]:
                        yield self._next(epochs)
                except GeneratorExit:
                    self.world.everyones(False)
                    raise

    def follow(self) -> None:
        """On other ranks than the first: does what that one says, until it lets them go."""
        while (said := self.world.everyones(None)[0]) is not None:
            task, told, more = said
            with suppress(InputError):  # which the first one has too
                task(self, *told, **more)

    def can_train(self, solver: str) -> bool:
        """Whether it has the means for a solver of that name."""
        return self.world.size == 1 or SOLVERS[solver].shares_users

    def release(self) -> None:
        """On the first rank: lets the others go."""
        self.world.everyones(None)

    def sample(self) -> Sample:
        """What a study keeps of the ratings, to know them again."""
        return self.all(_sample)

    def shared_with(self, other: Sample | None) -> int:
        """As `Hashed.shared_with`."""
        return self.all(_shared_with, other) if other else 0

    def _next(self, epochs: Iterator[Epoch]) -> Epoch:
        try:
            return next(epochs)
        except (MemoryError, RuntimeError) as error:
            if self.world.size == 1:
                raise
            raise LostRankError(f"a rank failed: {error}") from error  # and the others wait for it

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Takes its turn; when all ranks work, with no more threads than the others have."""
        with self._turn:
            if self._is_broken:
                raise LostRankError("the other ranks wait for what was given up")
            before = n_threads()
            set_n_threads(suitable_threads() if self.world.size > 1 else before)
            try:
                yield
            except (InputError, GeneratorExit):
                raise
            except BaseException:
                self._is_broken = self.world.size > 1
                raise
            finally:
                set_n_threads(before)


def follow(data: Data) -> None:
    """On other ranks than the first: does what that one says, and leaves it to hear who wants an
    end, from now on.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with torch_in_one_thread():
        Crew.of(data).follow()


def compared(of_validation: Tensor, crew: Crew) -> NDArray[Any]:
    """The (n_compared,) values that finalists are compared by, of all ranks.

    Args:
        of_validation: (n_validation,) of this rank's validation ratings in a round.
        crew: of the ranks.
    """
    rows = even_rows(len(of_validation), MOST_COMPARED, crew.world)
    found: NDArray[Any] = crew.world.gathered(of_validation[rows]).cpu().numpy()
    return found


def own_compared(validation: Ratings, crew: Crew) -> tuple[Ratings, slice]:
    """This rank's validation ratings that are `compared`, and their places among those of all."""
    own = validation[even_rows(len(validation), MOST_COMPARED, crew.world)]
    before = sum(crew.world.everyones(len(own))[: crew.world.rank])
    return own, slice(before, before + len(own))


def _epochs(
    crew: Crew, config: Config, without: Without, device: torch.device, seed: int
) -> Generator[Epoch, None, None]:
    """Those of this rank's part; predictions are of what is compared, of all ranks."""
    training, validation = without.of_new(crew.ratings)
    rows = even_rows(len(validation), MOST_COMPARED, crew.world)
    solver = make_solver(config, training.to(device), device=device, seed=seed)
    for epoch in solver.epochs(validation.to(device)):
        predictions = epoch.validation_predictions
        if predictions is not None:
            predictions = crew.world.gathered(predictions[rows]).cpu()
        yield replace(epoch, validation_predictions=predictions)


def _train_along(
    crew: Crew, config: Config, without: Without, device: torch.device, seed: int
) -> None:
    """Trains as far as the first rank does."""
    epochs = _epochs(crew, config, without, device, seed)
    while crew.world.everyones(False)[0]:
        next(epochs)


def _sample(crew: Crew) -> Sample:
    assert crew.hashed is not None
    return crew.hashed.sample()


def _shared_with(crew: Crew, other: Sample) -> int:
    assert crew.hashed is not None
    return crew.hashed.shared_with(other)
