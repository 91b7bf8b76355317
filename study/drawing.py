"""Draws events for people: bars on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from storage.errors import printable
from study.events import Ended, Event, Progress, Rest, Said

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

MOST_LINES = 8  # of trials that run


class Drawing:
    """What is told on a stream; a context manager around what tells it, and an `OnEvent`."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        """A drawing on standard output if no stream is told; if it is to be quiet, none at all."""
        from rich.console import Console

        self.quiet = quiet
        self.stream = stream or sys.stdout
        self.console = Console(file=stream, highlight=False)
        self._live: Live | None = None

    def __enter__(self) -> "Drawing":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self(Rest())

    def __call__(self, event: Event) -> None:
        """Draws an event."""
        match event:
            case Ended() if self.console.is_terminal:
                pass
            case Said(text):
                self.say(text)
            case Progress() if self.console.is_terminal and not self.quiet:
                self._update(event)
            case Rest() if self._live:
                self._live.stop()
                self._live = None

    def say(self, text: str = "") -> None:
        """Prints a line or more, above the bar if there is one."""
        if self.quiet:
            return
        text = "\n".join(map(printable, text.split("\n")))
        if self._live:
            self.console.print(text, markup=False)
        else:
            print(text, file=self.stream, flush=True)

    @contextmanager
    def status(self, text: str) -> Iterator[None]:
        """Shows on a terminal, while the block lasts, what is being done."""
        if not self.console.is_terminal or self.quiet:
            yield
            return
        with self.console.status(text):
            yield

    def _update(self, now: Progress) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        bars = Bars(
            TextColumn(now.what),
            BarColumn(bar_width=20),
            MofNCompleteColumn(separator=" of "),
            TextColumn("{task.description}"),
        )
        bars.add_task(now.about, completed=now.done, total=now.total)
        shown = Group(bars, *_lines(now.running))
        if self._live is None:
            self._live = Live(shown, console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        self._live.update(shown)


def _lines(running: Sequence[str]) -> "list[Text]":
    """A dim line each, of many the first few."""
    from rich.text import Text

    lines = list(running[:MOST_LINES])
    if len(running) > MOST_LINES:
        lines.append(f"and {len(running) - MOST_LINES} more")
    return [Text(f"       {printable(line)}", style="dim") for line in lines]
