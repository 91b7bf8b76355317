"""What is kept beside a database to save work, and how much of it stays.

`models/` has trained models, `cache/` parsed files, and what came from no file. All but the last
can be made again, so that a file may go at any time, whoever uses it: who has it open keeps it, and
who looks for it makes it anew. Only files of these names go that the same user has written. When
one was used last is its time of access, which who reads it sets: file systems may not.
"""

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from storage.errors import ParameterError

MODEL = re.compile(r".+-[0-9a-f]{16}(\.epoch-\d+)?\.safetensors")
PARSED = re.compile(r"[0-9a-f]{32}\.arrow")
INPUT = re.compile(r"input-[0-9a-f]{32}(\.parquet)?")  # what came from no file
RECENT_SECONDS = 3_600.0  # within which nothing goes
UNUSED_SECONDS = 86_400.0  # after which what nothing refers to goes
UNUSED_INPUT_SECONDS = 30 * 86_400.0  # the same of what cannot be made again
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
DEFAULT_KEEP = "5GB"


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What has gone."""

    unused: int  # files that nothing refers to any more
    oldest: int  # files that were too much, unused for longest
    n_bytes: int

    def __bool__(self) -> bool:
        return bool(self.unused or self.oldest)

    def __str__(self) -> str:
        reasons = {"that nothing uses now": self.unused, "unused for longest": self.oldest}
        told = [f"{n:,} {'file' if n == 1 else 'files'} {why}" for why, n in reasons.items() if n]
        return f"{', '.join(told)}, {shown_size(self.n_bytes)}"


class _File(NamedTuple):
    path: Path
    n_bytes: int
    used: float  # seconds since 1970


def note_use(path: Path) -> None:
    """Notes that a file is used now, so that it stays for longer."""
    with contextlib.suppress(OSError):  # somebody else's
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def remove_unneeded(
    folder: Path, *, keep: int, is_unused: Callable[[Path], bool] = lambda path: False
) -> Removed:
    """Removes what nothing refers to, and of the rest, beyond `keep` bytes, what was used longest
    ago: how much that was. What was used in the last hour stays, and what cannot be removed.

    Args:
        folder: beside the database.
        keep: bytes of models and parsed files that may stay.
        is_unused: whether nothing refers to a model, or to a parsed file, any more.
    """
    now = time.time()
    files = [*_files(folder / "models", MODEL), *_files(folder / "cache", PARSED)]
    files.sort(key=lambda one: one.used)
    unused = {one for one in files if now - one.used > UNUSED_SECONDS and _is_so(is_unused, one)}
    unused |= {
        one for one in _files(folder / "cache", INPUT) if now - one.used > UNUSED_INPUT_SECONDS
    }
    gone = {one for one in unused if _removed(one.path)}
    left = [one for one in files if one not in gone]
    excess, n_unused = sum(one.n_bytes for one in left) - keep, len(gone)
    for one in left:
        if excess > 0 and now - one.used > RECENT_SECONDS and _removed(one.path):
            gone.add(one)
            excess -= one.n_bytes
    n_bytes = sum(one.n_bytes for one in gone)
    return Removed(unused=n_unused, oldest=len(gone) - n_unused, n_bytes=n_bytes)


def parse_size(size: str | int) -> int:
    """The bytes of a size, such as 2GB, 500 MB or 0.

    Raises:
        ParameterError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?b)?", str(size).strip().lower())
    if not found or (isinstance(size, str) and found[2] is None and float(found[1])):
        raise ParameterError("keep", f"expected a size such as 2GB, 500MB or 0, got '{size}'")
    return round(float(found[1]) * UNITS[found[2] or ""])


def shown_size(n_bytes: int) -> str:
    """A size, for people."""
    for unit in ("TB", "GB", "MB", "kB"):
        if n_bytes >= UNITS[unit.lower()]:
            return f"{n_bytes / UNITS[unit.lower()]:.3g} {unit}"
    return f"{n_bytes} bytes"


def _files(folder: Path, name: re.Pattern[str]) -> Iterator[_File]:
    """The files of ours in a folder whose whole name is like that."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for one in found:
            with contextlib.suppress(OSError):
                about = one.stat(follow_symlinks=False)
                is_ours = stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid()
                if is_ours and name.fullmatch(one.name):
                    used = max(about.st_atime, about.st_mtime)
                    yield _File(Path(one.path), about.st_size, used)


def _is_so(is_unused: Callable[[Path], bool], file: _File) -> bool:
    """Whether nothing refers to a file; to have looked into it is no use of it."""
    found = is_unused(file.path)
    with contextlib.suppress(OSError):
        os.utime(file.path, (file.used, file.path.stat().st_mtime))
    return found


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
