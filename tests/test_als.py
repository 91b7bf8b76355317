"""Alternating least squares, beside a slow loop of small systems and on ratings of known origin."""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.als import ALS
from model.biases import fit_biases
from model.dataset import Pairs, Ratings
from model.factorization import Factorization
from model.solver import Epoch, mse
from model.solvers import ALSConfig
from tests.pairs import pairs_of

CPU = torch.device("cpu")
CONFIG = ALSConfig(rank=3, weight_decay=0.1, bias_decay=0.03)


def train(
    config: ALSConfig,
    training: Ratings,
    *,
    n_epochs: int,
    seed: int = 0,
    validation: Ratings | None = None,
) -> tuple[Factorization, list[Epoch]]:
    solver = ALS(config, training, device=CPU, seed=seed)
    epochs = solver.epochs(validation)
    return solver.model, [next(epochs) for _ in range(n_epochs)]


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


@dataclass
class Slow:
    """Rows [p_u, b_u] and [q_i, c_i] for standardized ratings."""

    users: NDArray[np.float64]
    items: NDArray[np.float64]
    loss: float
    mse: float


def standardized(training: Ratings) -> NDArray[np.float64]:
    values = training.values.numpy()
    return (values - values.mean()) / values.std()


def slow_sweep(config: ALSConfig, training: Ratings, start: Slow) -> Slow:
    """User by user, then item by item, in double precision."""
    y = standardized(training)
    rows = [start.users.copy(), start.items.copy()]
    indices = training.user_index.numpy(), training.item_index.numpy()
    decay = np.diag([config.weight_decay] * config.rank + [config.bias_decay])
    for side in (0, 1):
        for row in np.unique(indices[side]):
            own = indices[side] == row
            others = rows[1 - side][indices[1 - side][own]]
            phi = np.column_stack([others[:, :-1], np.ones(len(others))])
            target = phi.T @ (y[own] - others[:, -1])
            rows[side][row] = np.linalg.solve(phi.T @ phi + own.sum() * decay, target)
    return measured(config, training, *rows)


def measured(
    config: ALSConfig, training: Ratings, users: NDArray[np.float64], items: NDArray[np.float64]
) -> Slow:
    """The loss of the docstring, rating by rating."""
    y = standardized(training)
    decay = np.array([config.weight_decay] * config.rank + [config.bias_decay])
    loss = squared_error = 0.0
    for u, i, target in zip(training.user_index, training.item_index, y, strict=True):
        x, z = users[u], items[i]
        error = target - x[-1] - z[-1] - x[:-1] @ z[:-1]
        squared_error += error**2
        loss += error**2 + decay @ x**2 + decay @ z**2
    return Slow(users, items, loss, squared_error / len(y) * training.values.numpy().var())


def of_model(config: ALSConfig, training: Ratings, model: Factorization) -> Slow:
    """The standardized rows of a model in rating units."""
    scale = training.values.numpy().std()
    users, items = (
        np.column_stack(
            [factors.detach().double() / scale**0.5, bias.detach().double()[:, None] / scale]
        )[:-1]
        for factors, bias in (
            (model.user_factors, model.user_bias),
            (model.item_factors, model.item_bias),
        )
    )
    return measured(config, training, users, items)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(CONFIG, id="usual"),
        pytest.param(ALSConfig(rank=1, weight_decay=1.0, bias_decay=0.5), id="strong decay"),
        pytest.param(ALSConfig(rank=20, weight_decay=0.05, bias_decay=0.2), id="rank over items"),
    ],
)
def test_a_sweep_is_that_of_the_slow_loop(config: ALSConfig, few_ratings: Ratings) -> None:
    solver = ALS(config, few_ratings, device=CPU, seed=3)
    slow = of_model(config, few_ratings, solver.model)
    epochs = solver.epochs(None)
    users = np.arange(few_ratings.n_users) != 4  # who has no ratings is another matter
    items = np.arange(few_ratings.n_items) != 7
    for number in range(1, 4):
        slow = slow_sweep(config, few_ratings, slow)
        epoch = next(epochs)
        ours = of_model(config, few_ratings, solver.model)
        assert epoch.number == number
        assert epoch.train_mse == pytest.approx(slow.mse, rel=1e-3)
        np.testing.assert_allclose(ours.users[users], slow.users[users], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(ours.items[items], slow.items[items], rtol=1e-3, atol=1e-4)


def test_it_starts_from_the_biases(few_ratings: Ratings) -> None:
    solver = ALS(CONFIG, few_ratings, device=CPU, seed=0)
    biases = fit_biases(few_ratings, sweeps=2)
    users = torch.arange(few_ratings.n_users) != 4
    torch.testing.assert_close(
        solver.model.user_bias[:-1][users], biases.user_bias[:-1][users], rtol=1e-5, atol=1e-6
    )
    assert not solver.model.user_factors.any()


def test_the_loss_never_rises(few_ratings: Ratings) -> None:
    solver = ALS(CONFIG, few_ratings, device=CPU, seed=0)
    losses = [of_model(CONFIG, few_ratings, solver.model).loss]
    for _ in zip(range(15), solver.epochs(None), strict=False):
        losses.append(of_model(CONFIG, few_ratings, solver.model).loss)
    assert all(after < before * (1 + 1e-6) for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.55 * losses[0]


def test_the_validation_error_is_that_of_the_model(few_ratings: Ratings) -> None:
    rows = torch.arange(len(few_ratings))
    training, validation = few_ratings[rows >= 20], few_ratings[rows < 20]
    solver = ALS(CONFIG, training, device=CPU, seed=0)
    for _, epoch in zip(range(3), solver.epochs(validation), strict=False):
        assert epoch.validation_mse == mse(solver.model, validation)
    alone, epochs = train(CONFIG, training, n_epochs=3)
    assert all(math.isnan(epoch.validation_mse) for epoch in epochs)
    pairs = every_pair(training)
    assert torch.equal(alone.predict(pairs), solver.model.predict(pairs))


def test_planted_ratings_are_recovered(planted: tuple[Ratings, Ratings, float]) -> None:
    training, test, noise_std = planted
    config = ALSConfig(rank=2, weight_decay=0.02, bias_decay=0.01)
    _, epochs = train(config, training, n_epochs=15, validation=test)
    assert 0.93 * noise_std < epochs[-1].train_mse ** 0.5 < noise_std
    assert noise_std < epochs[-1].validation_mse ** 0.5 < 1.08 * noise_std


@pytest.mark.parametrize(("factor", "shift"), [(20.0, 0.0), (1.0, 100.0), (-0.01, 3.0)])
def test_the_scale_of_the_ratings_does_not_matter(
    factor: float, shift: float, few_ratings: Ratings
) -> None:
    scaled = replace(few_ratings, values=few_ratings.values * factor + shift)
    one, epochs = train(CONFIG, few_ratings, n_epochs=5, validation=few_ratings)
    other, other_epochs = train(CONFIG, scaled, n_epochs=5, validation=scaled)
    pairs = every_pair(few_ratings)
    expected = one.predict(pairs) * factor + shift
    torch.testing.assert_close(other.predict(pairs), expected, rtol=0, atol=1e-3 * abs(factor))
    for epoch, other_epoch in zip(epochs, other_epochs, strict=True):
        assert other_epoch.train_mse == pytest.approx(factor**2 * epoch.train_mse, rel=1e-3)
        assert other_epoch.validation_mse == pytest.approx(
            factor**2 * epoch.validation_mse, rel=1e-3
        )


@pytest.mark.parametrize(
    "ratings",
    [
        pytest.param(ratings_of([0, 0, 0], [0, 1, 2], [1.0, 3.0, 5.0]), id="one user"),
        pytest.param(ratings_of([0, 1, 2], [0, 0, 0], [1.0, 3.0, 5.0]), id="one item"),
        pytest.param(ratings_of([0, 1], [0, 1], [1.0, 5.0]), id="two ratings"),
        pytest.param(ratings_of([0], [0], [4.0]), id="one rating"),
        pytest.param(ratings_of([5, 2], [7, 7], [1.0, 5.0]), id="most without ratings"),
        pytest.param(ratings_of([0, 0, 1], [0, 0, 1], [1.0, 5.0, 2.0]), id="a pair twice"),
    ],
)
@pytest.mark.parametrize("rank", [1, 10])
def test_few_ratings_give_predictions_among_them(ratings: Ratings, rank: int) -> None:
    model, epochs = train(replace(CONFIG, rank=rank), ratings, n_epochs=5, validation=ratings)
    predicted = model.predict(every_pair(ratings))
    assert predicted.isfinite().all()
    assert predicted.min() >= ratings.values.min()
    assert predicted.max() <= ratings.values.max()
    assert all(math.isfinite(epoch.train_mse + epoch.validation_mse) for epoch in epochs)


@pytest.mark.parametrize("value", [4.2, 0.0, -3.0])
def test_equal_ratings_are_predicted(value: float, few_ratings: Ratings) -> None:
    equal = replace(few_ratings, values=torch.full_like(few_ratings.values, value))
    model, epochs = train(CONFIG, equal, n_epochs=3, validation=equal)
    predicted = model.predict(every_pair(equal))
    assert torch.equal(predicted, torch.full_like(predicted, value))
    assert [epoch.validation_mse for epoch in epochs] == [0.0] * 3


def test_whoever_is_unseen_is_predicted_as_the_average(few_ratings: Ratings) -> None:
    model, _ = train(CONFIG, few_ratings, n_epochs=4)
    for factors, bias, unseen in (
        (model.user_factors, model.user_bias, 4),
        (model.item_factors, model.item_bias, 7),
    ):
        rows = torch.cat([factors, bias[:, None]], 1).detach()
        seen = torch.arange(len(rows) - 1) != unseen
        average = rows[:-1][seen].mean(0)
        torch.testing.assert_close(rows[[unseen, -1]], average.expand(2, -1))


def test_a_seed_is_all_that_the_result_depends_on(few_ratings: Ratings) -> None:
    pairs = every_pair(few_ratings)
    state = torch.get_rng_state()
    first, _ = train(CONFIG, few_ratings, n_epochs=2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    again, _ = train(CONFIG, few_ratings, n_epochs=2, seed=1)
    other, _ = train(CONFIG, few_ratings, n_epochs=2, seed=2)
    assert torch.equal(first.predict(pairs), again.predict(pairs))
    assert not torch.allclose(first.predict(pairs), other.predict(pairs))
