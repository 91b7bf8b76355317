"""The Gibbs solver: what it predicts, how sure it is, and what its posterior keeps."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import posterior
from model.als import ALS
from model.biases import fit_biases
from model.dataset import UNKNOWN, Pairs, Ratings
from model.gibbs import BURN_IN, Gibbs
from model.kernels.threads import n_threads, set_n_threads
from model.posterior import Posterior
from model.solver import Epoch, mse
from model.solvers import ALSConfig, GibbsConfig
from tests.pairs import pairs_of

CPU = torch.device("cpu")
CONFIG = GibbsConfig(rank=2, noise_dof=10.0, n_features=8)
ALL_LIKELIHOODS = pytest.mark.parametrize("likelihood", ["gaussian", "ordinal", "both"])


def train(
    config: GibbsConfig,
    training: Ratings,
    *,
    n_epochs: int,
    seed: int = 0,
    validation: Ratings | None = None,
) -> tuple[Posterior, list[Epoch]]:
    solver = Gibbs(config, training, device=CPU, seed=seed)
    epochs = solver.epochs(validation)
    done = [next(epochs) for _ in range(n_epochs)]
    return solver.model, done


def every_pair(ratings: Ratings) -> Pairs:
    """All pairs of users and items, whoever has no ratings included."""
    pairs = torch.cartesian_prod(
        torch.arange(-1, ratings.n_users), torch.arange(-1, ratings.n_items)
    )
    return pairs_of(pairs[:, 0], pairs[:, 1])


def ratings_of(users: list[int], items: list[int], values: list[float]) -> Ratings:
    return Ratings(
        n_users=max(users) + 1,
        n_items=max(items) + 1,
        user_index=torch.tensor(users),
        item_index=torch.tensor(items),
        values=torch.tensor(values, dtype=torch.float64),
    )


@pytest.fixture(scope="session")
def uneven() -> tuple[Ratings, Ratings, Tensor]:
    """Half stars: (training, test, which users are erratic); users rate what they may like."""
    n_users, n_items = 200, 120
    draw = np.random.default_rng(4)
    taste = draw.normal(size=(n_users, 2)) @ draw.normal(size=(2, n_items))
    quality = draw.normal(0, 0.4, n_items)
    erratic = np.arange(n_users) % 2 == 1
    noise = np.where(erratic, 1.2, 0.3)[:, None] * draw.normal(size=(n_users, n_items))
    stars = np.clip(np.round(2 * (3 + 0.7 * taste + quality + noise)) / 2, 0.5, 5)
    chance = 1 / (1 + np.exp(2.2 - 1.5 * taste))
    users, items = np.nonzero(draw.random((n_users, n_items)) < chance)
    ratings = Ratings(
        n_users=n_users,
        n_items=n_items,
        user_index=torch.from_numpy(users),
        item_index=torch.from_numpy(items),
        values=torch.from_numpy(stars[users, items]),
    )
    test = torch.from_numpy(draw.random(len(users)) < 0.4)
    return ratings[~test], ratings[test], torch.from_numpy(erratic)


def test_it_beats_what_knows_less(uneven: tuple[Ratings, Ratings, Tensor]) -> None:
    """Side features and uneven noise are in these ratings, and each is of use."""
    training, test, _ = uneven
    rmse = {"biases": mse(fit_biases(training), test) ** 0.5}
    als = ALS(ALSConfig(rank=2, weight_decay=0.3, bias_decay=0.05), training, device=CPU, seed=0)
    rmse["als"] = (
        min(epoch.validation_mse for _, epoch in zip(range(20), als.epochs(test), strict=False))
        ** 0.5
    )
    without: dict[str, dict[str, Any]] = {
        "full": {},
        "gaussian": {"likelihood": "gaussian"},
        "ordinal": {"likelihood": "ordinal"},
        "no features": {"n_features": 0},
        "even noise": {"noise_dof": math.inf},
    }
    for name, change in without.items():
        _, epochs = train(replace(CONFIG, **change), training, n_epochs=60, validation=test)
        rmse[name] = epochs[-1].validation_mse ** 0.5
    assert 0.71 < rmse["full"] < 0.75
    assert max(rmse["gaussian"], rmse["ordinal"]) < 0.765
    assert rmse["full"] < 0.995 * rmse["even noise"]
    assert max(rmse["full"], rmse["even noise"]) < 0.95 * rmse["no features"]
    assert rmse["no features"] < 0.98 * min(rmse["als"], rmse["biases"])


@pytest.mark.parametrize(
    ("likelihood", "most"), [("gaussian", 1.08), ("ordinal", 1.3), ("both", 1.14)]
)
def test_planted_ratings_are_recovered(
    likelihood: Any, most: float, planted: tuple[Ratings, Ratings, float]
) -> None:
    """These are not ordered levels, so that the Gaussian likelihood should know them best."""
    training, test, noise_std = planted
    config = replace(CONFIG, likelihood=likelihood, rank=4)
    _, epochs = train(config, training, n_epochs=40, validation=test)
    assert epochs[-1].number == 40
    assert noise_std < epochs[-1].validation_mse ** 0.5 < most * noise_std
    if likelihood != "ordinal":
        assert 0.95 * noise_std < epochs[-1].train_mse ** 0.5 < 1.05 * noise_std


@ALL_LIKELIHOODS
def test_the_validation_error_is_that_of_the_model(likelihood: Any, few_ratings: Ratings) -> None:
    rows = torch.arange(len(few_ratings))
    training, validation = few_ratings[rows >= 20], few_ratings[rows < 20]
    solver = Gibbs(replace(CONFIG, likelihood=likelihood), training, device=CPU, seed=0)
    for number, epoch in zip(range(1, 31), solver.epochs(validation), strict=False):
        assert epoch.number == number
        assert epoch.validation_mse == pytest.approx(mse(solver.model, validation), rel=1e-9)
        n_draws = number - min(number // 2, BURN_IN)
        assert len(solver.model.state_dict()["chain0.precision"]) == n_draws
    alone, epochs = train(replace(CONFIG, likelihood=likelihood), training, n_epochs=30)
    assert all(math.isnan(epoch.validation_mse) for epoch in epochs)
    pairs = every_pair(training)
    assert torch.equal(alone.predict(pairs), solver.model.predict(pairs))


def test_predictions_of_an_epoch_are_clipped(planted: tuple[Ratings, Ratings, float]) -> None:
    training, test, _ = planted
    training = replace(training, values=training.values.clamp(2, 4))
    config = replace(CONFIG, likelihood="gaussian")
    model, epochs = train(config, training, n_epochs=5, validation=test)
    predicted = epochs[-1].validation_predictions
    assert predicted is not None
    assert predicted.min() == 2
    assert predicted.max() == 4
    torch.testing.assert_close(predicted, model.predict(test))


def test_many_sweeps_are_thinned_evenly(
    few_ratings: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posterior, "MOST_DRAWS", 8)
    model, epochs = train(CONFIG, few_ratings, n_epochs=BURN_IN + 60, validation=few_ratings)
    assert 4 <= len(model.state_dict()["chain1.precision"]) <= 8
    assert mse(model, few_ratings) == pytest.approx(epochs[-1].validation_mse, rel=0.2)


@ALL_LIKELIHOODS
@pytest.mark.parametrize(("factor", "shift"), [(20, 0), (1, 100), (40 / 9, -110 / 9)])
def test_the_scale_of_the_ratings_does_not_matter(
    factor: float, shift: float, likelihood: Any, few_ratings: Ratings
) -> None:
    config = replace(CONFIG, likelihood=likelihood)
    scaled = replace(few_ratings, values=few_ratings.values * factor + shift)
    one, epochs = train(config, few_ratings, n_epochs=20, validation=few_ratings)
    other, other_epochs = train(config, scaled, n_epochs=20, validation=scaled)
    pairs = every_pair(few_ratings)
    atol = 0.01 * factor
    expected = one.predict(pairs) * factor + shift
    torch.testing.assert_close(other.predict(pairs), expected, rtol=0, atol=atol)
    torch.testing.assert_close(other.std(pairs), one.std(pairs) * factor, rtol=0, atol=atol)
    for epoch, other_epoch in zip(epochs, other_epochs, strict=True):
        assert other_epoch.train_mse == pytest.approx(factor**2 * epoch.train_mse, rel=0.01)
        assert other_epoch.validation_mse == pytest.approx(
            factor**2 * epoch.validation_mse, rel=0.01
        )


def test_predictions_are_scaled_as_the_ratings_were(few_ratings: Ratings) -> None:
    model, _ = train(replace(CONFIG, likelihood="gaussian"), few_ratings, n_epochs=1)
    assert model.scale.mean == few_ratings.values.mean()
    torch.testing.assert_close(model.scale.scale, few_ratings.values.std(correction=0))
    assert len(model.scale.levels) == 0


@ALL_LIKELIHOODS
def test_a_seed_is_all_that_the_result_depends_on(likelihood: Any, few_ratings: Ratings) -> None:
    config, pairs = replace(CONFIG, likelihood=likelihood), every_pair(few_ratings)
    state = torch.get_rng_state()
    first, _ = train(config, few_ratings, n_epochs=15, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    again, _ = train(config, few_ratings, n_epochs=15, seed=1)
    other, _ = train(config, few_ratings, n_epochs=15, seed=2)
    assert torch.equal(first.predict(pairs), again.predict(pairs))
    assert not torch.allclose(first.predict(pairs), other.predict(pairs))


def test_how_many_threads_there_are_does_not_matter(
    planted: tuple[Ratings, Ratings, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.kernels.sparse.WORK", 500)  # so that there is something to share out
    monkeypatch.setattr("model.kernels.compiled_intervals.CHUNK", 1000)
    training, test, _ = planted
    training = replace(training, values=(2 * training.values).round() / 2)
    before, results = n_threads(), []
    for threads in (1, 4):  # two for each chain
        set_n_threads(threads)
        results.append(train(CONFIG, training, n_epochs=12, validation=test))
    set_n_threads(before)
    pairs = test
    assert torch.equal(*(model.predict(pairs) for model, _ in results))
    assert results[0][1] == results[1][1]


def test_probabilities_of_the_levels(few_ratings: Ratings) -> None:
    """They sum to one, and mean and spread of the rating are theirs."""
    model, _ = train(replace(CONFIG, likelihood="ordinal"), few_ratings, n_epochs=60)
    pairs = every_pair(few_ratings)
    probabilities, levels = model.probabilities(pairs), model.scale.levels
    assert probabilities.shape == (len(pairs), 10)
    assert (probabilities > 0).all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(pairs)).double())
    mean = probabilities @ levels
    variance = probabilities @ levels.square() - mean.square()
    torch.testing.assert_close(model.std(pairs), variance.sqrt(), rtol=1e-6, atol=1e-6)
    assert (model.predict(pairs) - mean).abs().mean() < 0.1  # that of conditional means


def test_probabilities_are_those_of_the_ratings(uneven: tuple[Ratings, Ratings, Tensor]) -> None:
    training, test, _ = uneven
    model, _ = train(CONFIG, training, n_epochs=40)
    probabilities = model.probabilities(test).mean(0)
    shares = torch.bincount((2 * test.values - 1).long(), minlength=10) / len(test)
    torch.testing.assert_close(probabilities, shares.double(), rtol=0, atol=0.03)


def test_three_levels_are_taken_as_lengths(few_ratings: Ratings) -> None:
    three = replace(few_ratings, values=few_ratings.values.mul(0.6).round())
    assert len(three.values.unique()) == 4
    pairs = every_pair(three)
    assert train(CONFIG, three, n_epochs=2)[0].probabilities(pairs).shape[1] == 4
    three = replace(three, values=three.values.clamp(max=2))
    model, _ = train(CONFIG, three, n_epochs=12)
    gaussian, _ = train(replace(CONFIG, likelihood="gaussian"), three, n_epochs=12)
    assert torch.equal(model.predict(pairs), gaussian.predict(pairs))
    with pytest.raises(ValueError, match="expected an ordinal chain"):
        model.probabilities(pairs)


@ALL_LIKELIHOODS
@pytest.mark.parametrize("n_features", [0, 8])
def test_the_unknown_are_predicted_from_the_rest(
    n_features: int, likelihood: Any, planted: tuple[Ratings, Ratings, float]
) -> None:
    """Users left out, whether their index is known or not, and pairs of two unknown."""
    training, test, _ = planted
    left_out = training.user_index % 10 == 0
    training, test = training[~left_out], test[test.user_index % 10 == 0]
    config = replace(CONFIG, likelihood=likelihood, n_features=n_features)
    model, _ = train(config, training, n_epochs=80)
    biases = mse(fit_biases(training), test) ** 0.5
    for users in (test.user_index, torch.full_like(test.user_index, -1)):
        predicted = model.predict(replace(test, user_index=users))
        rmse = (predicted - test.values).square().mean().sqrt()
        assert rmse < (1.25 if n_features else 1.04) * biases
        assert model.std(replace(test, user_index=users)).isfinite().all()
    unknown = torch.tensor([-1])
    assert (model.predict(pairs_of(unknown, unknown)) - training.values.mean()).abs() < 1.0
    known = model.std(training).mean()
    assert model.std(pairs_of(unknown, unknown)) > known


def coverage(model: Posterior, test: Ratings) -> Tensor:
    """(n,) whether each rating lies where 90 % of its kind should."""
    error = model.predict(test) - test.values
    return (error.abs() < 1.645 * model.std(test)).double()


@pytest.mark.parametrize(
    ("likelihood", "most"), [("gaussian", 0.93), ("ordinal", 0.96), ("both", 0.96)]
)
def test_the_spread_is_that_of_ratings_held_out(
    likelihood: Any, most: float, planted: tuple[Ratings, Ratings, float]
) -> None:
    training, test, _ = planted
    model, _ = train(replace(CONFIG, likelihood=likelihood), training, n_epochs=40)
    assert 0.87 < coverage(model, test).mean() < most


@ALL_LIKELIHOODS
def test_erratic_users_are_told_apart(
    likelihood: Any, uneven: tuple[Ratings, Ratings, Tensor]
) -> None:
    training, test, erratic = uneven
    model, _ = train(replace(CONFIG, likelihood=likelihood), training, n_epochs=40)
    noise = model.state_dict()["chain0.user_noise"].log().mean(0)[:-1]
    many = torch.bincount(training.user_index, minlength=len(noise)) >= 10
    steady, wild = noise[many & ~erratic], noise[many & erratic]
    assert (steady[:, None] > wild).double().mean() > 0.9
    assert steady.mean() - wild.mean() > 0.5
    assert 0.88 < coverage(model, test).mean() < 0.97
    std, wild_ratings = model.std(test), erratic[test.user_index]
    assert 1.3 < std[wild_ratings].mean() / std[~wild_ratings].mean() < 2.3


@pytest.mark.parametrize(
    "ratings",
    [
        pytest.param(ratings_of([0], [0], [4.0]), id="one rating"),
        pytest.param(ratings_of([0, 1], [0, 1], [1.0, 5.0]), id="two ratings"),
        pytest.param(ratings_of([0, 0, 0, 0], [0, 1, 2, 3], [1.0, 3, 4, 5]), id="one user"),
        pytest.param(ratings_of([0, 1, 2, 3], [0, 0, 0, 0], [1.0, 3, 4, 5]), id="one item"),
        pytest.param(ratings_of([5, 2, 1, 2], [7, 7, 1, 0], [1.0, 2, 3, 4]), id="most unseen"),
        pytest.param(ratings_of([0, 0, 1, 1], [0, 0, 1, 0], [1.0, 2, 3, 4]), id="a pair twice"),
        pytest.param(ratings_of([0, 0, 1, 1], [0, 1, 1, 2], [3.0] * 4), id="equal ratings"),
    ],
)
@pytest.mark.parametrize("rank", [1, 12])
@ALL_LIKELIHOODS
def test_few_ratings_give_predictions_among_them(
    ratings: Ratings, rank: int, likelihood: Any
) -> None:
    config = GibbsConfig(rank=rank, noise_dof=5.0, n_features=32, likelihood=likelihood)
    model, epochs = train(config, ratings, n_epochs=25, validation=ratings)
    pairs = every_pair(ratings)
    predicted = model.predict(pairs)
    assert predicted.isfinite().all()
    assert predicted.min() >= ratings.values.min()
    assert predicted.max() <= ratings.values.max()
    assert model.std(pairs).isfinite().all()
    assert (model.std(pairs) > 0).all()
    assert all(math.isfinite(epoch.train_mse + epoch.validation_mse) for epoch in epochs)


def test_who_is_unknown_is_like_those_who_have_ratings(
    planted: tuple[Ratings, Ratings, float],
) -> None:
    """Rows of the training that have none say nothing of what is usual."""
    training, test, _ = planted
    total = torch.bincount(training.item_index, training.values)
    means = total / torch.bincount(training.item_index)
    nobody = replace(test, user_index=torch.full_like(test.user_index, UNKNOWN))
    for ratings in (training, replace(training, n_users=5 * training.n_users)):
        model, _ = train(replace(CONFIG, likelihood="gaussian"), ratings, n_epochs=30)
        found = model.predict(nobody)
        assert (found - means[test.item_index]).square().mean().sqrt() < 0.15
