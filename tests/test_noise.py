"""Ratings without structure are answered by about their mean, and no gain is told of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.noise import noise, rmse
from model.solvers import SOLVERS
from study.report.summary import summary
from study.tuning import load, tune


@pytest.mark.parametrize("trials", [1, 2])
def test_noise_is_answered_by_its_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: int
) -> None:
    quick = {"gibbs": {"most_epochs": 25, "retraining_epochs": 40}, "gradient": {"most_epochs": 40}}
    for solver, limits in quick.items():
        monkeypatch.setitem(SOLVERS, solver, replace(SOLVERS[solver], **limits))
    known, asked = noise(150, n_levels=5, seed=0)
    database = f"sqlite:///{tmp_path}/study.db"
    found = tune(load(known), trials=trials, workers=1, storage=database, quiet=True)
    data = found.asked({name: asked[name] for name in ("user", "item")})
    answers = found.answer(data)
    truth, mean = asked["rating"], known["rating"].mean()
    assert rmse(answers.predictions - truth) < 1.01 * rmse(mean - truth)
    as_they_are = answers.ensemble.predict(data.queries)[0]
    assert rmse(as_they_are - truth) > 1.015 * rmse(mean - truth)
    assert summary(found.record).startswith("No gain over the mean rating that can be told: RMSE ")
    assert len(set(np.round(found.recommend(int(known["user"][0])).predictions, 1))) == 1
