"""What goes on, told as events to one callback: whoever called may draw it, or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """A line for people."""

    text: str


@dataclass(frozen=True)
class Ended(Said):
    """What a trial came to: a line for people who see no bar."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the trials, or the runs of the finalists, are by now."""

    what: str
    done: int
    total: int
    about: str  # more, for people
    running: Sequence[str]  # a line each


@dataclass(frozen=True)
class Rest:
    """Nothing makes progress any more."""


Event = Said | Progress | Rest
OnEvent = Callable[[Event], None]


def ignored(event: Event) -> None:
    """Does nothing with an event."""
