"""Errors of the boundary: what was handed in is not what was expected, or a file failed.

Imports nothing heavy.
"""

from typing import Any


class InputError(ValueError):
    """Input that cannot be used. The message is one line: what, expected, got, where.

    The commands print it to standard error and exit with code 2.
    """


class ParameterError(InputError):
    """A parameter of ours that cannot be used; the commands call it by their option."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter


class UnreachableError(InputError):
    """A database that cannot be reached, at least for now."""


def printable(text: str) -> str:
    """The text on one line, without what would steer a terminal: it may come from others."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def fault_outside(error: Exception) -> str:
    """What went wrong with a file or the database, in one line; empty for a fault of our own."""
    cause: Any = error.__cause__ if type(error).__name__ == "StorageInternalError" else error
    if type(cause).__module__.startswith("grpc") and hasattr(cause, "details"):
        return " ".join(str(cause.details()).split())
    if not isinstance(cause, OSError) and type(cause).__module__ != "sqlalchemy.exc":
        return ""
    return " ".join(str(getattr(cause, "orig", None) or cause).split())
