"""Trained models on disk: loaded without running code, and only if nothing was changed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from storage.files import TEXT, Arrays, DamagedFileError, read_arrays, write_arrays

FORMAT = 3  # of the arrays of a model: raise it when a solver gives another answer


def recipe_path(folder: Path, study_name: str, recipe: Mapping[str, object]) -> Path:
    """The file in a folder for what a recipe (setting, epochs, seed, ratings) leads to."""
    text = json.dumps([FORMAT, dict(recipe)], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return folder / f"{file_name(study_name)}-{key}.safetensors"


def load_model(path: Path) -> Arrays | None:
    """The arrays saved at `path`; None if there are none or they were damaged."""
    try:
        return read_arrays(path)[0]
    except (FileNotFoundError, DamagedFileError):
        return None


def save_model(path: Path, arrays: Arrays, recipe: Mapping[str, object]) -> None:
    """Saves the arrays of a model with the recipe that led to it; texts as the bytes of JSON."""
    plain = {
        name: np.frombuffer(json.dumps(array.tolist()).encode(), np.uint8)
        if array.dtype == TEXT
        else array
        for name, array in arrays.items()
    }
    write_arrays(path, plain, recipe)


def file_name(study_name: str) -> str:
    """A study's name as a file name: no separators, whatever the name holds."""
    quoted = quote(study_name, safe=" ", errors="surrogateescape").replace("..", "%2E%2E")
    if len(quoted) <= 100:
        return quoted
    return f"{quoted[:80]}-{hashlib.sha256(quoted.encode()).hexdigest()[:16]}"
