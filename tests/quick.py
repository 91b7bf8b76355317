"""Trainings that end early, where what they come to is not what matters."""

from dataclasses import replace

import pytest

from model.solvers import SOLVERS


def set_epochs(patch: pytest.MonkeyPatch, **epochs: int) -> None:
    """Trials of solvers have as many epochs at most; so has retraining, where its number is set."""
    for name, most in epochs.items():
        again = most if SOLVERS[name].retraining_epochs else None
        entry = replace(SOLVERS[name], most_epochs=most, retraining_epochs=again)
        patch.setitem(SOLVERS, name, entry)
