"""The study: the search space, the objective, the loop over trials, and the commands."""

import importlib.util
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def _is_ours(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin == str(_ROOT / package / "__init__.py")


# `python -m` looks into the user's folder first, where a `model.py` would take our `model`'s place.
if not (_is_ours("model") and _is_ours("storage")):
    sys.path.insert(0, str(_ROOT))
