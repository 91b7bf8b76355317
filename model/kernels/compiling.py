"""numba's `njit`, which keeps what it compiled even where numba itself finds no place to.

numba keeps it beside the source, in the user's cache folder, or where NUMBA_CACHE_DIR says; where
none of these can be written to, as in a container that runs under a number, it raises an error.
What is kept is loaded as code: the folder that takes their place belongs to this user alone.
"""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache as once
from pathlib import Path
from typing import Any

import numba


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba's decorator; with `cache`, what it compiles is kept wherever there is a place."""

    def compiled(function: Callable[..., Any]) -> Any:
        if not cache or _has_place():
            return numba.njit(cache=cache, **options)(function)
        if folder := private_folder():
            with _numba_keeps_in(folder):
                return numba.njit(cache=True, **options)(function)
        return numba.njit(**options)(function)

    return compiled


def where_kept() -> str:
    """What is to be said of where compiled code is kept; empty if it is where numba keeps it."""
    if _has_place():
        return ""
    folder = private_folder()
    where = f"kept in {folder} for now" if folder else "made anew by every process"
    why = "its folder and your cache folder cannot be written to"
    return f"Compiled code: {where}, since {why}; NUMBA_CACHE_DIR names one that can"


@once
def private_folder() -> Path | None:
    """A temporary folder that nobody else can write to, the same every time; None if there is none.

    It stays, for the commands that follow.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"rating-study-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not is_ours or stat.S_IMODE(found.st_mode) & 0o077:
            return None  # somebody was here first
        with tempfile.TemporaryFile(dir=folder), _numba_keeps_in(folder):
            return folder if _can_keep() else None
    except OSError:
        return None


@once
def _has_place() -> bool:
    """Whether numba finds a place by itself."""
    return _can_keep()


def _can_keep() -> bool:
    """Whether numba can keep what it compiles of functions in this folder of sources."""
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:
        return False
    return True


def _nothing() -> None:
    """Is never compiled."""


@contextmanager
def _numba_keeps_in(folder: Path) -> Iterator[None]:
    """Lets functions that are decorated in the block be kept in a folder, and no others."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before
