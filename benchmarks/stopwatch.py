"""Seconds that are spent inside chosen functions, while all the rest runs as it is."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

Parts = Mapping[str, Sequence[tuple[object, str]]]  # functions of each part: (owner, attribute)


class Stopwatch:
    """Counts the seconds of each part; while a part is inside another, only it is counted.

    What other threads than the one that made it do is not counted.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._part, self._since = "", time.perf_counter()

    @contextmanager
    def counting(self, part: str) -> Iterator[None]:
        """Counts what is done inside."""
        outer = self._go_on_with(part)
        try:
            yield
        finally:
            self._go_on_with(outer)

    @contextmanager
    def watching(self, parts: Parts) -> Iterator[None]:
        """Counts the calls of functions for their parts."""
        with ExitStack() as stack:
            for part, functions in parts.items():
                for owner, name in functions:
                    timed = self._timed(part, getattr(owner, name))
                    stack.enter_context(patch.object(owner, name, timed))
            yield

    def _go_on_with(self, part: str) -> str:
        """The part that was counted until now."""
        now, before = time.perf_counter(), self._part
        if before:
            self.seconds[before] += now - self._since
        self._part, self._since = part, now
        return before

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*arguments, **named)
            with self.counting(part):
                return function(*arguments, **named)

        return timed
