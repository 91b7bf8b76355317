"""The wish to end early: Ctrl-C, SIGTERM, or something that went wrong."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Whether to end after this epoch."""

    def __init__(self) -> None:
        self._wished = threading.Event()

    def __call__(self) -> bool:
        return self._wished.is_set()

    def wish(self) -> None:
        """Asks to end after this epoch."""
        self._wished.set()


@contextmanager
def caught_interrupts() -> Iterator[Interrupts]:
    """Takes the first Ctrl-C or SIGTERM as a wish to end; the second ends at once.

    Elsewhere than in the main thread, which alone may catch signals, there are none.
    """
    interrupts = Interrupts()

    def take(_number: int, _frame: FrameType | None) -> None:
        if interrupts():
            raise KeyboardInterrupt
        interrupts.wish()

    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, take) for number in SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
