"""Errors of the boundary: what was handed in is not what was expected, or a file failed.

Imports nothing heavy.
"""

import errno
import re
from typing import Any

NO_MEMORY = re.compile(
    r"failed to map segment|(can|could)( ?not|n?'t) allocate|not enough memory|out of memory",
    re.IGNORECASE,
)


class InputError(ValueError):
    """Input that cannot be used. The message is one line: what, expected, got, where.

    The commands print it to standard error and exit with code 2.
    """


class ParameterError(InputError):
    """A parameter of ours that cannot be used; the commands call it by their option."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter


class ColumnError(InputError):
    """Columns that were told are not there."""


class UnreachableError(InputError):
    """A database that cannot be reached, at least for now."""


def printable(text: str) -> str:
    """The text on one line, without what would steer a terminal: it may come from others."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def fault_outside(error: Exception) -> str:
    """What went wrong outside, as with a file or memory, in one line; empty for a fault of ours."""
    if lacks_memory(error):
        return "not enough memory"
    cause: Any = error.__cause__ if type(error).__name__ == "StorageInternalError" else error
    if type(cause).__module__.startswith("grpc") and hasattr(cause, "details"):
        return " ".join(str(cause.details()).split())
    if not isinstance(cause, OSError) and type(cause).__module__ != "sqlalchemy.exc":
        return ""
    return " ".join(str(getattr(cause, "orig", None) or cause).split())


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that there is not enough memory.

    Libraries say so in many ways, those that the system loads among them.
    """
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, OSError | ImportError | RuntimeError) and NO_MEMORY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
