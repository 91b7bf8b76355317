"""Tunes a factorization of ratings, and answers with it: the commands and the Python face.

From Python, by the functions that the commands call too:

    from study import load, tune

    ratings = load("ratings.csv")  # or a data frame
    result = tune(ratings, trials=30)
    answers = result.predict(pairs, intervals=True)
"""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.errors import InputError
    from study.held import Model
    from study.result import Result
    from study.tuning import TuningError, find, load, tune

__all__ = ["InputError", "Model", "Result", "TuningError", "find", "load", "tune"]

_ROOT = Path(__file__).resolve().parent.parent


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    if name == "Model":
        from study.held import Model

        return Model
    from storage import errors
    from study import result, tuning

    found: object = next(
        vars(home)[name] for home in (tuning, result, errors) if name in vars(home)
    )
    return found


def __dir__() -> list[str]:
    return __all__


def _is_ours(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin == str(_ROOT / package / "__init__.py")


# `python -m` looks into the user's folder first, where a `model.py` would take our `model`'s place.
if not (_is_ours("model") and _is_ours("storage")):
    sys.path.insert(0, str(_ROOT))
