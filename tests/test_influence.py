"""What a prediction rests on, beside really leaving a rating, or a description, out."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from model.dataset import Description, Ratings
from model.influence import between, influence, list_influences
from model.posterior import Posterior
from model.solver import Model
from model.solvers import SOLVERS, Config, make_solver
from tests.pairs import pairs_of

CPU = torch.device("cpu")
SETTINGS: dict[str, tuple[Config, int]] = {
    "als": (replace(SOLVERS["als"].default, rank=2), 30),
    "gibbs, Gaussian": (
        replace(SOLVERS["gibbs"].default, rank=2, n_features=4, likelihood="gaussian"),
        40,
    ),
    "gibbs, ordinal": (
        replace(SOLVERS["gibbs"].default, rank=2, n_features=4, likelihood="ordinal"),
        40,
    ),
}
# The error of the mean over seeds of `fold_in`, most of it; that of als draws nothing.
WITHIN = {"als": 1e-4, "gibbs, Gaussian": 0.25, "gibbs, ordinal": 0.25}
SOME = 8  # ratings that are really left out

ModelOf = Callable[[str], Model]


@pytest.fixture(scope="module")
def ratings(planted: tuple[Ratings, Ratings, float]) -> Ratings:
    """Of the planted ones, 3,000, in half stars; a genre says which half of the items is better."""
    few = planted[0][torch.arange(3000)]
    lifted = few.values + (few.item_index < 50)
    genre = torch.tensor([[1.0, 0.0]] * 50 + [[0.0, 1.0]] * 50)
    age = torch.linspace(-1, 1, 150)[:, None]
    return replace(
        few,
        values=(lifted * 2).round() / 2,
        item_descriptions=(Description(name="genre", labels=("good", "bad"), values=genre),),
        user_descriptions=(Description(name="age", labels=("age",), values=age),),
    )


@pytest.fixture(scope="module")
def model_of(ratings: Ratings) -> ModelOf:
    @cache
    def trained(name: str) -> Model:
        config, epochs = SETTINGS[name]
        solver = make_solver(config, ratings, device=CPU, seed=0)
        next(epoch for epoch in solver.epochs(None) if epoch.number == epochs)
        return solver.model

    return trained


def of_user(ratings: Ratings, user: int) -> Ratings:
    return ratings[ratings.user_index == user]


def of_item(ratings: Ratings, item: int) -> Ratings:
    return ratings[ratings.item_index == item]


def left_out(model: Model, own: Ratings, item: int) -> Tensor:
    """The prediction less that without each of some ratings, of a user who is folded in again."""

    def predicted(kept: Tensor) -> Tensor:
        folded = [
            model.fold_in(own.item_index[kept], own.values[kept], seed=seed) for seed in range(16)
        ]
        pair = pairs_of(torch.tensor([0]), torch.tensor([item]))
        return torch.stack([one.predict(pair) for one in folded]).mean(0)

    rows, whole = torch.arange(len(own)), predicted(torch.arange(len(own)))
    return torch.cat([whole - predicted(rows[rows != row]) for row in rows[:SOME]])


@pytest.mark.parametrize("name", SETTINGS)
def test_influences_are_what_leaving_out_comes_to(
    name: str, ratings: Ratings, model_of: ModelOf
) -> None:
    model, user, item = model_of(name), 5, 33
    own = of_user(ratings, user)
    pair = pairs_of(torch.tensor([user]), torch.tensor([item]))
    found = influence(model, pair, own, of_item(ratings, item))
    assert found
    assert len(own) > 10
    really = left_out(model, own, item)
    error = (found.of_ratings[:SOME] - really).square().mean().sqrt()
    assert error < WITHIN[name] * really.square().mean().sqrt()
    assert np.corrcoef(found.of_ratings[:SOME], really)[0, 1] > 0.97


def test_of_lengths_the_formula_is_exact(ratings: Ratings, model_of: ModelOf) -> None:
    """Beside the regression solved again without the rating, in one draw."""
    model = model_of("gibbs, Gaussian")
    assert isinstance(model, Posterior)
    user, item, own = 5, 20, of_user(ratings, 5)
    posterior = Posterior(model.scale, model.newcomers, model.grids)
    draw = model.draws()[-1]
    posterior.add([draw])
    weights = draw.precision * draw.user_noise[user] * draw.item_noise[own.item_index].double()
    columns = draw.items[own.item_index].double()
    phi = torch.cat([columns[:, :-1], torch.ones(len(own), 1)], 1)
    targets = (own.values - model.scale.mean) / model.scale.scale - columns[:, -1]
    precision = draw.prior_precision.double()
    row = draw.user_means[user].double()
    whole = precision + phi.mT @ (phi * weights[:, None])
    # What the prior says, so that the row is the solution of all.
    prior = whole @ row - phi.mT @ (weights * targets)
    towards = torch.cat([draw.items[item, :-1], torch.ones(1)]).double()
    expected = []
    for left in range(len(own)):
        kept = torch.arange(len(own)) != left
        some, w = phi[kept], weights[kept]
        without = torch.linalg.solve(
            precision + some.mT @ (some * w[:, None]), prior + some.mT @ (w * targets[kept])
        )
        expected.append((row - without) @ towards * model.scale.scale)
    pair = pairs_of(torch.tensor([user]), torch.tensor([item]))
    found = influence(posterior, pair, own, of_item(ratings, item))
    assert found
    torch.testing.assert_close(found.of_ratings, torch.stack(expected), rtol=1e-6, atol=1e-9)


def test_what_an_item_is_said_to_be_counts(ratings: Ratings, model_of: ModelOf) -> None:
    """More where few have rated it, and in the direction of what was planted."""
    model, effects = model_of("gibbs, Gaussian"), []
    counts = torch.bincount(ratings.item_index, minlength=100)
    for items in (range(50), range(50, 100)):
        item = min(items, key=lambda one: int(counts[one]))
        pair = pairs_of(torch.tensor([3]), torch.tensor([item]))
        found = influence(model, pair, of_user(ratings, 3), of_item(ratings, item))
        assert found
        assert found.of_user_descriptions.abs().max() < 0.1  # age says nothing
        effects.append(found.of_item_descriptions.item())
    assert effects[0] > 0.005 > -0.005 > effects[1]


def test_who_is_folded_in_rests_on_the_same(ratings: Ratings, model_of: ModelOf) -> None:
    model, own, others = model_of("gibbs, Gaussian"), of_user(ratings, 3), of_item(ratings, 70)
    folded = model.fold_in(own.item_index, own.values, seed=0)
    pair = pairs_of(torch.tensor([0]), torch.tensor([70]))
    theirs = replace(own, user_index=torch.zeros_like(own.user_index))
    again = influence(folded, pair, theirs, others, trained=model)
    pair = pairs_of(torch.tensor([3]), torch.tensor([70]))
    known = influence(model, pair, own, others)
    assert again
    assert known
    torch.testing.assert_close(again.of_ratings, known.of_ratings, rtol=0.3, atol=0.01)


@pytest.mark.parametrize("name", SETTINGS)
def test_ratings_of_a_list_count_as_for_each_of_its_items(
    name: str, ratings: Ratings, model_of: ModelOf
) -> None:
    model, own, items = model_of(name), of_user(ratings, 3), torch.tensor([7, 70, 99])
    listed = list_influences(model, pairs_of(torch.full_like(items, 3), items), own)
    assert listed is not None
    columns = items.tolist(), listed.of_ratings, listed.of_user_descriptions
    for item, found, described in zip(*columns, strict=True):
        pair = pairs_of(torch.tensor([3]), torch.tensor([item]))
        expected = influence(model, pair, own, of_item(ratings, item))
        assert expected
        torch.testing.assert_close(found, expected.of_ratings, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(described, expected.of_user_descriptions, rtol=1e-6, atol=1e-9)


def test_a_model_without_factors_says_nothing(ratings: Ratings) -> None:
    class Other:
        pass

    own = of_user(ratings, 3)
    assert influence(Other(), own[:1], own, own) is None  # type: ignore[arg-type]
    assert list_influences(Other(), own[:1], own) is None  # type: ignore[arg-type]


def test_a_normal_between_thresholds_is_as_many_draws_say() -> None:
    thresholds = torch.tensor([-0.5, 0.3]).double()
    draw = np.random.default_rng(0).normal(0.2, 1 / np.sqrt(2.0), 200_000)
    place = np.digitize(draw, thresholds)
    for level in range(3):
        mean, variance = between(
            thresholds,
            torch.tensor([level]),
            torch.tensor([0.2]).double(),
            torch.tensor([2.0]).double(),
        )
        seen = draw[place == level]
        assert mean.item() == pytest.approx(seen.mean(), abs=0.01)
        assert variance.item() == pytest.approx(seen.var(), abs=0.01)
