"""Trained models on disk: loaded without running code, and only if nothing was changed."""

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError
from storage.files import (
    TEXT,
    Arrays,
    DamagedFileError,
    map_arrays,
    read_arrays,
    write_arrays,
)
from storage.keeping import note_use
from storage.stores import StoredPath

SUFFIX = ".safetensors"
FORMAT = 3  # of the arrays of a model: raise it when a solver gives another answer
HELD_FORMAT = 1  # of the file of a model that answers by itself


def recipe_path(folder: Path, study_name: str, recipe: Mapping[str, object]) -> Path:
    """The file in a folder for what a recipe (setting, epochs, seed, ratings) leads to.

    Of one of several processes, by the `shard` of the recipe, that of its part.
    """
    name = file_name(study_name)
    if isinstance(shard := recipe.get("shard"), Mapping):
        name += f"-{shard['rank']}-of-{shard['ranks']}"
    return folder / f"{name}-{_key(recipe)}{SUFFIX}"


def saved_parts(folder: Path, study_name: str, recipe: Mapping[str, object]) -> list[list[Path]]:
    """The files of what a recipe leads to, as one process saved it, or two in parts, or three, …"""
    name, end = re.escape(file_name(study_name)), re.escape(f"-{_key(recipe)}{SUFFIX}")
    pattern = re.compile(rf"{name}(?:-(\d+)-of-(\d+))?{end}")
    parts: dict[int, dict[int, Path]] = {}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if found := pattern.fullmatch(path.name):
                parts.setdefault(int(found[2] or 1), {})[int(found[1] or 0)] = path
    return [
        [those[number] for number in range(n)]
        for n, those in sorted(parts.items())
        if those.keys() == set(range(n))
    ]


def load_model(path: Path) -> Arrays | None:
    """The arrays saved at `path`, which are used now; None if there are none or damaged ones."""
    try:
        arrays = read_arrays(path)[0]
    except (FileNotFoundError, DamagedFileError):
        return None
    note_use(path)
    return arrays


def recipe_of(path: Path) -> Mapping[str, object]:
    """The recipe of the model saved at `path`; empty if there is none to be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = json.loads((file.metadata() or {}).get("metadata", "{}"))
    except (SafetensorError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def user_ids_of(path: Path) -> NDArray[Any] | None:
    """The ids of the users of the model saved at `path`; None if there are none to be read."""
    ids = (load_model(path) or {}).get("user_ids")
    return None if ids is None else ids_of(ids)


def saved_as(array: NDArray[Any]) -> NDArray[Any]:
    """The array that a file takes in place of one: of texts the bytes of their JSON."""
    return as_bytes(array.tolist()) if array.dtype == TEXT else array


def ids_of(array: NDArray[Any]) -> NDArray[Any]:
    """Ids as they were, of the array that they were saved as."""
    return np.array(of_bytes(array), dtype=TEXT) if array.dtype == np.uint8 else array


def save_model(path: Path, arrays: Arrays, recipe: Mapping[str, object]) -> None:
    """Saves the arrays of a model with the recipe that led to it; texts as the bytes of JSON."""
    write_arrays(path, {name: saved_as(array) for name, array in arrays.items()}, recipe)


def write_held(path: Path, arrays: Arrays, metadata: Mapping[str, object]) -> None:
    """Writes a model that answers by itself, and what is to be said of it.

    Raises:
        InputError: the file cannot be written; one that was there stays as it was.
    """
    try:
        write_arrays(path, arrays, {"format": HELD_FORMAT, **metadata})
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_held(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `write_held` wrote, mapped into memory.

    Raises:
        InputError: it cannot be read, is no such file, was cut or changed, or is of a version that
            is not read any more, or not yet.
    """
    if isinstance(path, StoredPath):
        raise InputError(f"{path}: expected a saved model in a file here, got a URI")
    if path.is_dir():
        raise InputError(f"{path}: expected a saved model, got a directory")
    try:
        arrays, metadata = map_arrays(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DamagedFileError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise InputError(
            f"{path}: expected a saved model, got another file, or one that was cut or changed "
            f"({why})"
        ) from None
    found = metadata.get("format")
    if not isinstance(found, int):
        raise InputError(f"{path}: expected a saved model, got other arrays")
    if found != HELD_FORMAT:
        age = "a newer" if found > HELD_FORMAT else "an older"
        raise InputError(
            f"{path}: expected a model of format {HELD_FORMAT}, got {found}, of {age} version; "
            "python -m study.best_predict makes it again"
        )
    return arrays, metadata


def as_bytes(value: object) -> NDArray[np.uint8]:
    """A value as the bytes of its JSON, an array that a file takes."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def of_bytes(array: NDArray[np.uint8]) -> Any:
    """The value that `as_bytes` made an array of."""
    return json.loads(array.tobytes())


def _key(recipe: Mapping[str, object]) -> str:
    """What tells a recipe from others, whoever has which share of the users."""
    whole = {name: value for name, value in recipe.items() if name != "shard"}
    text = json.dumps([FORMAT, whole], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_name(study_name: str) -> str:
    """A study's name as a file name: no separators, whatever the name holds."""
    quoted = quote(study_name, safe=" ", errors="surrogateescape").replace("..", "%2E%2E")
    if len(quoted) <= 100:
        return quoted
    return f"{quoted[:80]}-{hashlib.sha256(quoted.encode()).hexdigest()[:16]}"
