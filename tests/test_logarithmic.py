"""Heavy tails are told from ordinary ratings, learned by logarithms, and answered as ratings."""

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import set_epochs

from benchmarks.tails import heavy_tailed
from model.biases import fit_biases
from model.compact import Compact
from model.dataset import Ratings
from model.descriptions import of_numbers
from model.explained import explained
from model.forgetting import compact_without_user
from model.influence import influence, list_influences
from model.kernels.threads import set_n_threads
from model.logarithmic import (
    Logarithmic,
    LogarithmicCompact,
    compact_from_state,
    compact_of,
    has_heavy_tail,
)
from model.solver import Model, mse
from model.solvers import ORIGINAL, SOLVERS, Config, load_state, make_solver
from model.updating import updated
from model.users import of_users
from study.events import Event, Said
from study.held import Model as Held
from study.tuning import load, tune

CPU = torch.device("cpu")
GIBBS = replace(SOLVERS["gibbs"].default, rank=6, n_features=8)
SETTINGS = {"gibbs": (GIBBS, 24), "als": (SOLVERS["als"].default, 10)}


@functools.cache
def tailed(*, scale: float = 1.0) -> tuple[Ratings, Ratings]:
    """Planted ratings of heavy tails, and others."""
    known, asked = heavy_tailed(3_000, noise=0.5, seed=1)
    shape = {"n_users": int(known["user"].max()) + 1, "n_items": int(known["item"].max()) + 1}
    both = [
        Ratings(
            **shape,
            user_index=torch.from_numpy(one["user"]),
            item_index=torch.from_numpy(one["item"]),
            values=torch.from_numpy(one["rating"] * scale),
        )
        for one in (known, asked)
    ]
    return both[0], both[1][both[1].user_index < shape["n_users"]]


@functools.cache
def trained(name: str, *, scale: float = 1.0) -> Model:
    config, n_epochs = SETTINGS[name]
    solver = make_solver(config, tailed(scale=scale)[0], device=CPU, seed=0)
    next(epoch for epoch in solver.epochs(None) if epoch.number == n_epochs)
    return solver.model


def ordinary(kind: str) -> torch.Tensor:
    """(3000,) ratings of a kind, by the users and items of `tailed`, skewed where they may be."""
    ratings, draw = tailed()[0], np.random.default_rng(0)
    users, items = ratings.user_index.numpy(), ratings.item_index.numpy()
    signal = draw.normal(size=ratings.n_users)[users] + draw.normal(size=ratings.n_items)[items]
    z = signal + draw.normal(size=len(ratings))
    values = {
        "stars": (3 + z).round().clip(1, 5),
        "half stars": (3.5 + z).clip(0.5, 5),
        "low stars": (1 + z).round().clip(1, 5),
        "1 to 10": (6 + 2 * z).round().clip(1, 10),
        "mostly 1 of 1 to 10": (0.5 + 2 * z).round().clip(1, 10),
        "0 and 1": (z > 0).astype(float),
        "-10 to 10": (4 * z).clip(-10, 10),
        "percentages": (50 + 20 * z).clip(0, 100),
        "low percentages": (5 + 15 * z).clip(1, 100),
        "counts that hardly differ": draw.poisson(np.exp(0.4 * signal)) + 1.0,
        "all the same": np.full(len(z), 7.0),
    }[kind]
    return torch.from_numpy(values)


@pytest.mark.parametrize(
    "kind",
    [
        *("stars", "half stars", "low stars", "1 to 10", "mostly 1 of 1 to 10", "0 and 1"),
        *("-10 to 10", "percentages", "low percentages", "counts that hardly differ"),
        "all the same",
    ],
)
def test_ordinary_ratings_are_left_alone(kind: str) -> None:
    assert not has_heavy_tail(replace(tailed()[0], values=ordinary(kind)))


@pytest.mark.parametrize("noise", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_planted_tails_are_seen_in_any_unit(noise: float, scale: float) -> None:
    known, _ = heavy_tailed(3_000, noise=noise, seed=0)
    values = torch.from_numpy(known["rating"] * scale)
    ratings = replace(
        tailed()[0],
        user_index=torch.from_numpy(known["user"]),
        item_index=torch.from_numpy(known["item"]),
        values=values,
    )
    assert has_heavy_tail(ratings)
    assert not has_heavy_tail(replace(ratings, values=values - values.min()))  # a zero has no log
    assert not has_heavy_tail(ratings[:400])


@pytest.mark.parametrize("name", SETTINGS)
def test_logarithms_beat_ratings_as_such(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training, others = tailed()
    config, n_epochs = SETTINGS[name]
    ours = mse(trained(name), others)
    monkeypatch.setattr("model.logarithmic.has_heavy_tail", lambda _: False)
    solver = make_solver(config, training, device=CPU, seed=0)
    next(epoch for epoch in solver.epochs(None) if epoch.number == n_epochs)
    assert not isinstance(solver.model, Logarithmic)
    assert ours < 0.95 * mse(solver.model, others)
    assert ours < 0.95 * mse(fit_biases(training), others)


@pytest.mark.parametrize("name", SETTINGS)
def test_smearing_is_that_of_ratings_that_are_new(name: str) -> None:
    model, (training, others) = trained(name), tailed()
    assert isinstance(model, Logarithmic)
    wanted, overfitted = (
        (one.values.sum() / model.of_logs.predict(one).exp().sum()).item()
        for one in (others, training)
    )
    assert model.smearing.factor.item() == pytest.approx(wanted, rel=0.08)
    assert overfitted < model.smearing.factor.item()


def test_epochs_are_measured_in_rating_units() -> None:
    training, others = tailed()
    solver = make_solver(SETTINGS["als"][0], training, device=CPU, seed=0)
    epoch = next(one for one in solver.epochs(others) if one.number == 3)
    assert epoch.validation_mse == pytest.approx(mse(solver.model, others))
    assert epoch.validation_predictions is not None
    assert torch.equal(epoch.validation_predictions, solver.model.predict(others))
    assert 0 < epoch.train_mse < training.values.square().mean().item()
    with_zero = replace(others, values=others.values * (others.values > others.values.median()))
    assert math.isfinite(next(iter(solver.epochs(with_zero))).validation_mse)


@pytest.mark.parametrize("name", SETTINGS)
def test_units_do_not_matter(name: str) -> None:
    _, others = tailed()
    model, thousandfold = trained(name), trained(name, scale=1000.0)
    for one, other in (
        (model.predict(others), thousandfold.predict(others)),
        (model.std(others), thousandfold.std(others)),
    ):
        torch.testing.assert_close(other, 1000 * one, rtol=2e-3, atol=0.0)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_state_brings_the_model_back(name: str) -> None:
    model, (_, others) = trained(name), tailed()
    again = load_state(name, model.state_dict())
    assert isinstance(again, Logarithmic)
    assert torch.equal(again.predict(others), model.predict(others))
    assert torch.equal(again.std(others), model.std(others))
    stars = replace(tailed()[0], values=ordinary("stars"))
    solver = make_solver(SETTINGS[name][0], stars, device=CPU, seed=0)
    next(iter(solver.epochs(None)))
    plain = solver.model
    assert type(load_state(name, plain.state_dict())) is type(plain)


@pytest.mark.parametrize("name", SETTINGS)
def test_predictions_and_spreads_are_of_ratings(name: str) -> None:
    model, (training, others) = trained(name), tailed()
    predicted, std = model.predict(others), model.std(others)
    lowest, highest = training.values.min(), training.values.max()
    assert ((predicted >= lowest) & (predicted <= highest)).all()
    assert ((std > 0) & (std <= (highest - lowest) / 2)).all()
    order = predicted.argsort()
    errors = (predicted - others.values).abs()
    low, high = order[:500], order[-500:]
    assert std[high].mean() / std[low].mean() > 3  # as errors are
    assert errors[high].mean() / errors[low].mean() > 3
    assert model.similarity(0).shape == (training.n_items,)


@pytest.mark.parametrize("name", SETTINGS)
def test_somebody_new_is_folded_in_and_the_reasons_are_in_rating_units(name: str) -> None:
    model, (training, _) = trained(name), tailed()
    user = int(training.user_index.bincount().argmax())
    own = training[training.user_index == user]
    folded = model.fold_in(own.item_index, own.values, seed=0)
    fresh = replace(own, user_index=torch.zeros_like(own.user_index))
    predicted, known = folded.predict(fresh), model.predict(own)
    assert np.corrcoef(predicted.log(), known.log())[0, 1] > 0.9

    pair = own[:1]
    others = training[training.item_index == own.item_index[0]]
    found = influence(model, pair, own, others)
    assert found is not None
    alone = list_influences(model, pair, own)
    assert alone is not None
    torch.testing.assert_close(found.of_ratings, alone.of_ratings[0], rtol=1e-3, atol=1e-6)
    row = int(found.of_ratings.abs().argmax())
    rest = torch.arange(len(own)) != row
    less = model.fold_in(own.item_index[rest], own.values[rest], seed=0)
    of_one = predicted[0] - less.predict(fresh[:1])[0]
    if name == "als":  # nothing is drawn
        assert found.of_ratings[row].item() == pytest.approx(of_one.item(), rel=0.1)


@pytest.mark.parametrize("name", SETTINGS)
def test_models_take_in_ratings_and_forget(name: str) -> None:
    model, (training, others) = trained(name), tailed()
    few = others[:20]
    high = replace(few, values=torch.full_like(few.values, training.values.max().item()))
    after = updated(model, training, high, seed=0)
    assert isinstance(after, Logarithmic)
    assert after.predict(few).mean() > 1.1 * model.predict(few).mean()
    without = of_users(model, torch.arange(1, training.n_users))
    assert without is not None
    rest = others[others.user_index > 0]
    shifted = replace(rest, user_index=rest.user_index - 1)
    torch.testing.assert_close(without.predict(shifted), model.predict(rest))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_compact_form_is_near_to_the_models(name: str) -> None:
    model, pairs = trained(name), tailed()[1]
    truth = pairs.values.numpy()
    means, stds = model.predict(pairs), model.std(pairs)
    compact = compact_of([model, model], present=None, seed=0)
    assert isinstance(compact, LogarithmicCompact)
    found, spread = compact.moments(pairs)
    assert rmse_of(found.numpy(), truth) == pytest.approx(rmse_of(means.numpy(), truth), rel=0.01)
    assert (found.log() - means.log()).square().mean().sqrt() < 0.1
    assert (spread.log() - stds.log()).square().mean().sqrt() < 0.25
    torch.testing.assert_close(
        compact.similarity(3), model.similarity(3), rtol=0, atol=1e-3 if name == "als" else 0.1
    )
    again = compact_from_state(compact.state_dict())
    assert torch.equal(again.predict(pairs), found)
    without = compact_without_user(compact, 0)
    rest = pairs[pairs.user_index > 0]
    shifted = replace(rest, user_index=rest.user_index - 1)
    torch.testing.assert_close(without.predict(shifted), compact.predict(rest))
    assert isinstance(model, Logarithmic)
    assert isinstance(compact_of([model.of_logs], present=None, seed=0), Compact)


def rmse_of(predictions: Any, truth: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(predictions) - np.asarray(truth)))))


def test_what_descriptions_say_is_told_in_rating_units() -> None:
    ages = of_numbers("age", np.random.default_rng(0).uniform(20, 60, tailed()[0].n_users))
    effects = []
    for scale in (1.0, 1000.0):
        training = replace(tailed(scale=scale)[0], user_descriptions=(ages,))
        solver = make_solver(GIBBS, training, device=CPU, seed=0)
        next(epoch for epoch in solver.epochs(None) if epoch.number == 4)
        assert isinstance(solver.model, Logarithmic)
        (column,) = explained(solver.model, training).columns
        effects.append(np.array(column.effects))
    np.testing.assert_allclose(effects[1], 1000 * effects[0], rtol=0.01)
    assert 0.01 < np.abs(effects[0]).max() < tailed()[0].values.mean().item()


def test_the_original_learns_ratings_as_such() -> None:
    config: Config = replace(ORIGINAL, rank=2)
    solver = make_solver(config, tailed()[0], device=CPU, seed=0)
    assert not isinstance(solver.model, Logarithmic)


def test_a_study_answers_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_n_threads(1)
    set_epochs(monkeypatch, gradient=2, gibbs=20)
    known, asked = heavy_tailed(1_500, noise=0.5, seed=0)
    told: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Said):
            told.append(event.text)

    database = f"sqlite:///{tmp_path}/study.db"
    found = tune(load(known), trials=2, workers=1, storage=database, on_event=hear)
    assert "Heavy tails: learned by logarithms, answered in rating units" in told
    pairs = {name: asked[name] for name in ("user", "item")}
    table = found.predict(pairs, intervals=True)
    assert (table["lower"] > 0).all()
    inside = (table["lower"] <= asked["rating"]) & (asked["rating"] <= table["upper"])
    assert inside.mean() == pytest.approx(0.9, abs=0.05)
    again = found.predict(pairs)  # of the models that are saved
    assert np.array_equal(again["prediction"], table["prediction"])

    held = found.model()
    held.save(tmp_path / "prices.model")
    loaded = Held.load(tmp_path / "prices.model")
    assert isinstance(loaded.compact, LogarithmicCompact)
    exact = loaded.predict(pairs, exact=True)["prediction"]
    np.testing.assert_allclose(exact, table["prediction"])
    quick, truth = loaded.predict(pairs)["prediction"], asked["rating"]
    assert rmse_of(quick, truth) == pytest.approx(rmse_of(exact, truth), rel=0.01)
    user, item = int(known["user"][0]), int(known["item"][0])
    assert len(loaded.explain(user, item)) == (known["user"] == user).sum()
    assert len(loaded.forget(user).known.users) == len(np.unique(known["user"])) - 1
