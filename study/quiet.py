"""Silence: nothing on standard output."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def silenced(quiet: bool) -> Iterator[None]:
    """Prints nothing within, if it is to be quiet."""
    if not quiet:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield
