"""A copy of an SQLite database that may be read here but not written to.

SQLite reads a write-ahead log through a file beside the database, which it has to make. Where it
may not, it reads nothing, or with `immutable=1` what the database held before the log was begun. A
copy of both has all of it, and leaves no file of this user's in a folder of another's.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path

BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database
LOG_HEADER = 32  # bytes at the beginning of a log, others when it is begun anew
TRIES, PAUSE = 20, 0.1  # to copy a database that is written to, and seconds in between


class BusyError(OSError):
    """A database is written to faster than it is copied."""


def unwritable(file: Path) -> Path | None:
    """What keeps this user from writing to a database that is there: its folder, or a file."""
    file = file.resolve()  # beside which SQLite keeps its log
    files = [file.parent, file, *(_beside(file, end) for end in BESIDE)]
    return next(filter(_is_closed, files), None)


def snapshot(file: Path, folder: Path) -> Path:
    """The copy in `folder` of a database with its log, as both were in one moment.

    Raises:
        OSError: it cannot be read, the folder cannot be written to, or is full.
    """
    file, copy = file.resolve(), folder / file.name
    for _ in range(TRIES):
        before = _state(file)
        shutil.copyfile(file, copy)
        for end in ("-wal", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                _beside(copy, end).unlink()
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(_beside(file, end), _beside(copy, end))
        if _state(file) == before:
            return copy
        time.sleep(PAUSE)
    raise BusyError(0, "it is being written to; try again")


def _is_closed(path: Path) -> bool:
    """Whether a path is there and this user may not write to it.

    Asked thrice, as the last process that closes a database removes what lies beside it, maybe
    between the two questions.
    """
    effective = os.access in os.supports_effective_ids
    return all(
        path.exists() and not os.access(path, os.W_OK, effective_ids=effective) for _ in range(3)
    )


def _beside(file: Path, end: str) -> Path:
    return file.with_name(file.name + end)


def _state(file: Path) -> tuple[object, ...]:
    """What differs if pages were written to a database, or its log was begun anew."""
    status, header = file.stat(), b""
    with contextlib.suppress(FileNotFoundError), _beside(file, "-wal").open("rb") as log:
        header = log.read(LOG_HEADER)
    return (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        header,
        _beside(file, "-journal").exists(),
    )
