"""Trainings that go on where they were stopped: what a solver needs is kept every few minutes.

Each rank keeps its own part. A training goes on from the latest epoch of which all ranks have
theirs: a part is written whole or not at all, and an older one goes when all have written.
"""

import contextlib
import glob
import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from model.solver import Resumable, Solver
from model.world import World
from storage.models import load_model, save_model

EVERY = 120.0  # seconds


@dataclass
class Checkpoints:
    """What is kept of one training, beside the file of the model that it will come to."""

    path: Path  # of that model
    recipe: Mapping[str, object]
    world: World
    _last: float = field(default_factory=time.monotonic)
    _ending: int = 0  # the signal that asks for the end

    def restore(self, solver: Solver) -> int:
        """Lets a solver go on from the latest epoch of which all ranks have kept theirs: which."""
        if not isinstance(solver, Resumable):
            return 0
        own = {epoch: load_model(path) for epoch, path in self._kept().items()}
        readable = {epoch for epoch, arrays in own.items() if arrays is not None}
        of_all = set.intersection(*self.world.everyones(readable))
        arrays = own[max(of_all)] if of_all else None
        if arrays is None:
            return 0
        solver.restore({name: torch.from_numpy(array) for name, array in arrays.items()})
        return max(of_all)

    def after(self, epoch: int, solver: Solver) -> None:
        """Keeps the state after an epoch, if it is time to; ends the process if it was asked to."""
        wished = [time.monotonic() - self._last > EVERY, bool(self._ending)]
        is_due, is_ending = self.world.most(torch.tensor(wished, dtype=torch.int64)).tolist()
        if (is_due or is_ending) and isinstance(solver, Resumable):
            self._keep(epoch, solver.state())
            self._last = time.monotonic()
        if is_ending:
            raise Ended(self._ending or signal.SIGTERM)

    def forget(self) -> None:
        """Removes what is kept: the training is over."""
        begun = self.path.parent.glob(f".{glob.escape(self.path.stem)}.epoch-*.tmp")
        _remove([*self._kept().values(), *begun])  # by processes that were killed

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Takes SIGTERM, within the block, as a wish to end after this epoch; in the main thread,
        which alone may catch signals. It comes again when the block is left.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def take(number: int, _frame: FrameType | None) -> None:
            self._ending = number

        before = signal.signal(signal.SIGTERM, take)
        try:
            yield
        except Ended as ended:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
            signal.raise_signal(ended.signal)
            raise
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    def _keep(self, epoch: int, state: Mapping[str, Tensor]) -> None:
        arrays = {name: one.detach().cpu().numpy() for name, one in state.items()}
        older = [path for before, path in self._kept().items() if before != epoch]
        try:
            save_model(self._path(epoch), arrays, {**self.recipe, "unfinished": epoch})
            done = True
        except OSError:  # the answer matters more
            done = False
        if all(self.world.everyones(done)):
            _remove(older)

    def _path(self, epoch: int) -> Path:
        return self.path.with_suffix(f".epoch-{epoch}{self.path.suffix}")

    def _kept(self) -> dict[int, Path]:
        """The files that there are, by epoch."""
        pattern = re.compile(re.escape(self.path.stem) + r"\.epoch-(\d+)" + self.path.suffix)
        with contextlib.suppress(OSError):
            names = [path.name for path in self.path.parent.iterdir()]
            found = (pattern.fullmatch(name) for name in names)
            return {int(one[1]): self.path.with_name(one[0]) for one in found if one}
        return {}


class Ended(SystemExit):
    """A training was asked to end, and has kept its state."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def final_path(path: Path) -> Path:
    """The file of the model that a checkpoint is of; the same if it is none."""
    return path.with_name(re.sub(r"\.epoch-\d+(?=\.\w+$)", "", path.name))
