"""Ratings without structure are answered by about their mean, and no gain is told of them."""

import re
from pathlib import Path

import numpy as np
import pytest
from quick import set_epochs

from benchmarks.noise import noise, rmse
from model.biases import fit_biases
from study.report.summary import summary
from study.tuning import load, tune


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    set_epochs(monkeypatch, gradient=40, gibbs=40)


@pytest.mark.parametrize("trials", [1, 2])
def test_noise_is_answered_by_its_mean(tmp_path: Path, trials: int) -> None:
    known, asked = noise(150, kind="stars", seed=0)
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


@pytest.mark.slow
def test_where_there_are_but_biases_these_answer(tmp_path: Path) -> None:
    known, asked = noise(1_200, kind="biases", seed=0)
    database = f"sqlite:///{tmp_path}/study.db"
    found = tune(load(known), trials=2, workers=1, storage=database, quiet=True)
    data = found.asked({name: asked[name] for name in ("user", "item")})
    answers, truth = found.answer(data), asked["rating"]
    biases = fit_biases(data.ratings).predict(data.queries).numpy()
    assert rmse(answers.predictions - truth) < 1.005 * rmse(biases - truth)
    as_they_are = answers.ensemble.predict(data.queries)[0]
    assert rmse(as_they_are - truth) > 1.01 * rmse(biases - truth)
    said = summary(found.record).splitlines()[1]
    assert re.fullmatch(r"Answers keep \d+ % of what is found beyond biases alone", said)
