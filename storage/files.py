"""Files that appear whole or not at all, and arrays kept in them under a digest."""

import contextlib
import glob
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

TEXT = np.dtypes.StringDType()  # as long as each text is: of fixed width, the longest would decide

LONGEST_PREFIX = 50  # characters of its name that a file's unfinished forms begin with
FORGOTTEN_SECONDS = 3600.0

Arrays = dict[str, NDArray[Any]]


class DamagedFileError(Exception):
    """A file does not hold what was once written to it."""


@contextlib.contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write that takes the place of `path` when all of it is written and synced.

    If the block raises, or the process dies in it, what was at `path` stays as it was. A link is
    replaced, not followed: in a folder that others write to it may lead anywhere.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text: dict[str, str] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    prefix = f".{path.name[:LONGEST_PREFIX]}."
    _forget(path.parent, prefix)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    except OSError as error:
        error.filename = str(path)  # which a message should name
        raise
    try:
        with open(descriptor, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0o077)  # other threads make files too
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, object]) -> None:
    """Writes arrays of numbers and what is to be said of them (as JSON) to a safetensors file."""
    from safetensors.numpy import save

    text = {"metadata": json.dumps(metadata, sort_keys=True)}
    text["digest"] = _digest(sorted(arrays.items()), text)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path, "wb") as file:
        file.write(save(arrays, text))


def read_arrays(path: Path) -> tuple[Arrays, dict[str, object]]:
    """The arrays and metadata that `write_arrays` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: the file was cut, changed, or is of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{path}: {error}") from error
    if text.get("digest") != _digest(sorted(arrays.items()), text):
        raise DamagedFileError(f"{path}: the content does not match its digest")
    return arrays, json.loads(text["metadata"])


def map_arrays(path: Path) -> tuple[Arrays, dict[str, object]]:
    """The same, mapped: memory that processes share, and that is read when it is first needed.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: the file was cut, changed, or is of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # copies, one at a time
            text, names = file.metadata() or {}, file.keys()
            found = _digest(((name, file.get_tensor(name)) for name in sorted(names)), text)
        with safe_open(path, framework="pt") as file:  # maps
            arrays = {name: file.get_tensor(name).numpy() for name in names}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{path}: {error}") from error
    if text.get("digest") != found:
        raise DamagedFileError(f"{path}: the content does not match its digest")
    return arrays, json.loads(text["metadata"])


def _forget(folder: Path, prefix: str) -> None:
    """Removes what processes that were killed had begun to write, and nobody has since."""
    for path in folder.glob(glob.escape(prefix) + "*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > FORGOTTEN_SECONDS:
                path.unlink()


def _digest(arrays: Iterable[tuple[str, NDArray[Any]]], text: Mapping[str, str]) -> str:
    """That of arrays in the order of their names, and of their metadata."""
    digest = hashlib.sha256(text.get("metadata", "").encode())
    for name, array in arrays:
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
