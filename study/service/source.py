"""The model of a file, and of each file that takes its place."""

import os
from pathlib import Path

from storage.errors import InputError, fault_outside
from study.events import OnEvent, Said
from study.held import Model
from study.service.answers import Answers

Stamp = tuple[int, int, int]


class Source:
    """The answers of the newest model at a path that could be read.

    Whoever has asked for `now` keeps what they got: answers that are under way are of one model.
    """

    def __init__(self, path: Path, on_event: OnEvent) -> None:
        """Reads the file.

        Raises:
            InputError: it is no model.
        """
        self.path, self._on_event = path, on_event
        self._stamp = _stamp(path)
        self.now = self._read()

    def look(self) -> None:
        """Takes up another file at the path; one that is no model is told of once, and left."""
        stamp = _stamp(self.path)
        if stamp in (None, self._stamp):
            return
        self._stamp = stamp
        try:
            self.now = self._read()
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else fault_outside(error)
            kept = "the model from before goes on"
            self._on_event(Said(f"{reason or f'{self.path}: {error!r}'}; {kept}"))
        else:
            self._on_event(Said(f"Model: {self.path}, taken up, {self.now.model.data}"))

    def _read(self) -> Answers:
        answers = Answers(Model.load(self.path))
        answers.warm_up()
        return answers


def _stamp(path: Path) -> Stamp | None:
    """What tells a file from that which was there before; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
