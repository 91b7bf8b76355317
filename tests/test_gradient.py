"""The gradient solver, beside an obvious loop of autograd and on ratings of known origin."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from model.dataset import Pairs, Ratings
from model.factorization import Factorization
from model.gradient import Gradient
from model.solver import Epoch, best_epoch, mse
from model.solvers import ORIGINAL, GradientConfig
from tests.pairs import pairs_of

CPU = torch.device("cpu")
CONFIG = GradientConfig(
    rank=3,
    learning_rate=0.02,
    weight_decay=0.05,
    bias_decay=0.01,
    batch_size=32,
    initial_scale=0.3,
)
BY_RATING = replace(CONFIG, batch_size=None)
ALL_FORMS = pytest.mark.parametrize("form", ["biased", "plain"])
BOTH_OPTIMIZERS = pytest.mark.parametrize("optimizer", ["sgd", "adam"])


def with_values(ratings: Ratings, values: Tensor) -> Ratings:
    return replace(ratings, values=values)


def train(
    config: GradientConfig,
    training: Ratings,
    *,
    n_epochs: int,
    seed: int = 0,
    validation: Ratings | None = None,
) -> tuple[Factorization, list[Epoch]]:
    solver = Gradient(config, training, device=CPU, seed=seed)
    epochs = solver.epochs(validation)
    done = [next(epochs) for _ in range(n_epochs)]
    return solver.model, done


def every_pair(model: Factorization) -> Pairs:
    """All pairs of users and items, whoever has no ratings included."""
    pairs = torch.cartesian_prod(
        torch.arange(-1, len(model.user_bias) - 1), torch.arange(-1, len(model.item_bias) - 1)
    )
    return pairs_of(pairs[:, 0], pairs[:, 1])


@torch.no_grad()
def unclipped(model: Factorization) -> Tensor:
    """The (n_users + 1, n_items + 1) predictions of all, before they are clipped."""
    dot = model.user_factors @ model.item_factors.T
    return model.global_mean + model.user_bias[:, None] + model.item_bias + dot


@dataclass(frozen=True)
class Slow:
    """What the slow loop comes to, in rating units; rows as in the training ratings."""

    user_factors: Tensor
    item_factors: Tensor
    user_bias: Tensor
    item_bias: Tensor
    train_mse: list[float]


def slow_training(config: GradientConfig, training: Ratings, *, n_epochs: int, seed: int) -> Slow:
    """Rating by rating, in double precision, with PyTorch's gradients and optimizers."""
    assert config.batch_size is not None
    generator = torch.Generator().manual_seed(seed)
    n_rows = training.n_users + training.n_items
    start = config.initial_scale * torch.randn(n_rows, config.rank, generator=generator).double()
    p = start[: training.n_users].clone().requires_grad_()
    q = start[training.n_users :].clone().requires_grad_()
    b = torch.zeros(training.n_users, dtype=torch.float64, requires_grad=True)
    c = torch.zeros(training.n_items, dtype=torch.float64, requires_grad=True)
    biased = config.form == "biased"
    mean = training.values.mean() if biased else torch.tensor(0.0)
    scale = training.values.std(correction=0) if biased else torch.tensor(1.0)
    target = (training.values - mean) / scale

    make: Callable[..., torch.optim.Optimizer]
    make = torch.optim.Adam if config.optimizer == "adam" else torch.optim.SGD
    optimizer = make(
        [p, q, b, c],
        lr=config.learning_rate,
        weight_decay=0.0 if biased else config.weight_decay,
    )
    train_mse = []
    for epoch in range(n_epochs):
        optimizer.param_groups[0]["lr"] = config.learning_rate * config.learning_rate_decay**epoch
        squared_errors = []
        shuffled = torch.randperm(len(training), generator=generator)
        for first in range(0, len(training), config.batch_size):
            batch = shuffled[first : first + config.batch_size].tolist()
            loss = torch.tensor(0.0, dtype=torch.float64)
            for row in batch:
                u, i = training.user_index[row], training.item_index[row]
                error = p[u] @ q[i] - target[row]
                if biased:
                    error = error + b[u] + c[i]
                    loss = loss + config.weight_decay * (p[u] @ p[u] + q[i] @ q[i])
                    loss = loss + config.bias_decay * (b[u] ** 2 + c[i] ** 2)
                loss = loss + error**2
                squared_errors.append(error.item() ** 2 * scale.item() ** 2)
            optimizer.zero_grad()
            if not (biased and config.optimizer == "sgd"):
                loss = loss / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        train_mse.append(sum(squared_errors) / len(training))
    half = scale.sqrt()
    with torch.no_grad():
        return Slow(p * half, q * half, b * scale, c * scale, train_mse)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="biased sgd"),
        pytest.param({"optimizer": "adam"}, id="biased adam"),
        pytest.param({"form": "plain", "learning_rate": 0.2}, id="plain sgd"),
        pytest.param({"form": "plain", "optimizer": "adam"}, id="plain adam"),
        pytest.param({"batch_size": 10_000, "learning_rate": 0.005}, id="one batch"),
        pytest.param({"batch_size": 1}, id="batches of one"),
        pytest.param({"rank": 1, "weight_decay": 0.3, "bias_decay": 0.2}, id="strong decay"),
    ],
)
def test_an_epoch_is_that_of_the_slow_loop(change: dict[str, Any], few_ratings: Ratings) -> None:
    config = replace(CONFIG, learning_rate_decay=0.5, **change)
    slow = slow_training(config, few_ratings, n_epochs=3, seed=5)
    model, epochs = train(config, few_ratings, n_epochs=3, seed=5)
    assert [epoch.train_mse for epoch in epochs] == pytest.approx(slow.train_mse, rel=1e-4)
    users = torch.arange(few_ratings.n_users) != 4  # who has no ratings is another matter
    items = torch.arange(few_ratings.n_items) != 7
    for ours, expected, seen in (
        (model.user_factors, slow.user_factors, users),
        (model.item_factors, slow.item_factors, items),
        (model.user_bias, slow.user_bias, users),
        (model.item_bias, slow.item_bias, items),
    ):
        torch.testing.assert_close(
            ours[:-1][seen].double(), expected[seen], rtol=1e-3, atol=1e-4, check_dtype=True
        )


def test_epochs_count_from_one_and_measure_in_rating_units(few_ratings: Ratings) -> None:
    rows = torch.arange(len(few_ratings))
    training, validation = few_ratings[rows >= 20], few_ratings[rows < 20]
    solver = Gradient(CONFIG, training, device=CPU, seed=0)
    for number, epoch in zip(range(1, 5), solver.epochs(validation), strict=False):
        assert epoch.number == number
        assert epoch.validation_mse == mse(solver.model, validation)


def test_without_validation_there_is_no_validation_mse(few_ratings: Ratings) -> None:
    none = few_ratings[torch.empty(0, dtype=torch.int64)]
    for validation in (None, none):
        _, epochs = train(CONFIG, few_ratings, n_epochs=2, validation=validation)
        assert all(epoch.validation_mse != epoch.validation_mse for epoch in epochs)
        assert best_epoch(epochs) is None


def test_validation_does_not_change_the_training(few_ratings: Ratings) -> None:
    without, _ = train(CONFIG, few_ratings, n_epochs=3)
    with_it, _ = train(CONFIG, few_ratings, n_epochs=3, validation=few_ratings)
    assert torch.equal(unclipped(without), unclipped(with_it))


@ALL_FORMS
@BOTH_OPTIMIZERS
def test_the_model_says_what_the_solver_trains(
    form: Any, optimizer: Any, few_ratings: Ratings
) -> None:
    """In one batch, the training error of an epoch is that of the model of the epoch before."""
    config = replace(CONFIG, form=form, optimizer=optimizer, batch_size=1000, learning_rate=0.003)
    solver = Gradient(config, few_ratings, device=CPU, seed=0)
    epochs = solver.epochs(None)
    for _ in range(4):
        predicted = unclipped(solver.model)[few_ratings.user_index, few_ratings.item_index]
        mse = (predicted - few_ratings.values).square().mean().item()
        assert next(epochs).train_mse == pytest.approx(mse, rel=1e-4)


@BOTH_OPTIMIZERS
@pytest.mark.parametrize("config", [CONFIG, BY_RATING])
def test_the_scale_of_the_ratings_does_not_matter(
    config: GradientConfig, optimizer: Any, few_ratings: Ratings
) -> None:
    config = replace(config, optimizer=optimizer, learning_rate_decay=0.9)
    scaled = with_values(few_ratings, few_ratings.values * 20 + 100)
    model, epochs = train(config, few_ratings, n_epochs=5, validation=few_ratings)
    other, other_epochs = train(config, scaled, n_epochs=5, validation=scaled)
    pairs = every_pair(model)
    expected = model.predict(pairs) * 20 + 100
    torch.testing.assert_close(other.predict(pairs), expected, rtol=0, atol=0.02)
    for epoch, other_epoch in zip(epochs, other_epochs, strict=True):
        assert other_epoch.train_mse == pytest.approx(400 * epoch.train_mse, rel=1e-3)
        assert other_epoch.validation_mse == pytest.approx(400 * epoch.validation_mse, rel=1e-3)


def test_the_biased_form_is_clipped_to_the_ratings_it_saw(few_ratings: Ratings) -> None:
    model, _ = train(replace(CONFIG, initial_scale=3.0), few_ratings, n_epochs=1)
    predicted = model.predict(every_pair(model))
    assert unclipped(model).max() > predicted.max()
    assert predicted.min() == few_ratings.values.min() == 0.5
    assert predicted.max() == few_ratings.values.max() == 5.0


def test_the_plain_form_is_a_product_and_no_more(few_ratings: Ratings) -> None:
    model, _ = train(replace(ORIGINAL, batch_size=10), few_ratings, n_epochs=3)
    pairs = every_pair(model)
    product = (model.user_factors @ model.item_factors.T).double().detach()
    torch.testing.assert_close(
        model.predict(pairs), product[pairs.user_index, pairs.item_index], rtol=0, atol=1e-4
    )
    assert model.predict(pairs).min() < few_ratings.values.min()
    assert model.predict(pairs).max() > few_ratings.values.max()
    assert not model.user_bias.any()
    assert not model.item_bias.any()


def test_the_model_holds_factors_of_the_rank_alone(few_ratings: Ratings) -> None:
    model, _ = train(CONFIG, few_ratings, n_epochs=1)
    assert model.user_factors.shape == (few_ratings.n_users + 1, CONFIG.rank)
    assert model.item_factors.shape == (few_ratings.n_items + 1, CONFIG.rank)


@ALL_FORMS
@BOTH_OPTIMIZERS
def test_whoever_is_unseen_is_predicted_as_the_average(
    form: Any, optimizer: Any, few_ratings: Ratings
) -> None:
    model, _ = train(replace(CONFIG, form=form, optimizer=optimizer), few_ratings, n_epochs=4)
    predicted = unclipped(model)
    seen_users = [user for user in range(few_ratings.n_users) if user != 4]
    seen_items = [item for item in range(few_ratings.n_items) if item != 7]
    for unseen in (4, -1):
        average = predicted[seen_users].mean(0)
        torch.testing.assert_close(predicted[unseen], average, rtol=0, atol=1e-5)
    for unseen in (7, -1):
        average = predicted[:, seen_items].mean(1)
        torch.testing.assert_close(predicted[:, unseen], average, rtol=0, atol=1e-5)


@ALL_FORMS
@pytest.mark.parametrize("rank", [1, 4, 12, 20])
def test_an_svd_start_is_a_tenth_of_the_truncated_svd(
    rank: int, form: Any, few_ratings: Ratings
) -> None:
    config = replace(CONFIG, rank=rank, form=form, start="svd", initial_scale=0.0)
    model = Gradient(config, few_ratings, device=CPU, seed=0).model
    mean = few_ratings.values.mean() if form == "biased" else 0.0
    matrix = torch.zeros(few_ratings.n_users, few_ratings.n_items, dtype=torch.float64)
    matrix[few_ratings.user_index, few_ratings.item_index] = few_ratings.values - mean
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    expected = u[:, :rank] * s[:rank] @ vh[:rank] / 10
    users = torch.arange(few_ratings.n_users) != 4
    items = torch.arange(few_ratings.n_items) != 7
    started = (model.user_factors @ model.item_factors.T)[:-1, :-1].double().detach()
    torch.testing.assert_close(
        started[users][:, items], expected[users][:, items], rtol=0, atol=1e-4
    )


def test_an_svd_start_is_shared_evenly_and_further_columns_are_random(few_ratings: Ratings) -> None:
    config = replace(CONFIG, rank=40, start="svd")
    model = Gradient(config, few_ratings, device=CPU, seed=0).model
    users = model.user_factors[:-1][torch.arange(few_ratings.n_users) != 4].detach()
    items = model.item_factors[:-1][torch.arange(few_ratings.n_items) != 7].detach()
    n_values = few_ratings.n_users - 1  # a user has none
    norms = users.norm(dim=0)[:n_values], items.norm(dim=0)[:n_values]
    torch.testing.assert_close(*norms, rtol=1e-3, atol=1e-4)
    expected = CONFIG.initial_scale * few_ratings.values.std(correction=0).item() ** 0.5
    for factors in (users, items):
        assert factors[:, few_ratings.n_users :].std().item() == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("start", ["normal", "svd"])
@ALL_FORMS
@BOTH_OPTIMIZERS
def test_a_seed_is_all_that_the_result_depends_on(
    start: Any, form: Any, optimizer: Any, few_ratings: Ratings
) -> None:
    config = BY_RATING if optimizer == "sgd" else CONFIG
    config = replace(config, start=start, form=form, optimizer=optimizer)
    state = torch.get_rng_state()
    first, first_epochs = train(config, few_ratings, n_epochs=3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    again, again_epochs = train(config, few_ratings, n_epochs=3, seed=1)
    other, _ = train(config, few_ratings, n_epochs=3, seed=2)
    assert torch.equal(unclipped(first), unclipped(again))
    assert [epoch.train_mse for epoch in first_epochs] == [e.train_mse for e in again_epochs]
    assert not torch.allclose(unclipped(first), unclipped(other))


@pytest.mark.parametrize("value", [4.2, 0.0, -3.0, 0.1])
@BOTH_OPTIMIZERS
@pytest.mark.parametrize("config", [CONFIG, BY_RATING])
def test_equal_ratings_are_predicted(
    value: float, config: GradientConfig, optimizer: Any, few_ratings: Ratings
) -> None:
    equal = with_values(few_ratings, torch.full_like(few_ratings.values, value))
    config = replace(config, optimizer=optimizer)
    model, epochs = train(config, equal, n_epochs=3, validation=equal)
    predicted = model.predict(every_pair(model))
    assert torch.equal(predicted, torch.full_like(predicted, value))
    assert [epoch.validation_mse for epoch in epochs] == [0.0] * 3


def test_one_rating_is_enough() -> None:
    one = Ratings(
        n_users=1,
        n_items=1,
        user_index=torch.tensor([0]),
        item_index=torch.tensor([0]),
        values=torch.tensor([4.0], dtype=torch.float64),
    )
    for start in ("normal", "svd"):
        for config in (CONFIG, BY_RATING):
            model, _ = train(replace(config, start=start), one, n_epochs=2)
            assert model.predict(every_pair(model)).tolist() == [4.0] * 4


@pytest.mark.parametrize(
    ("change", "most"),
    [
        pytest.param({}, 1.12, id="biased sgd"),
        pytest.param({"batch_size": None}, 1.12, id="biased sgd by rating"),
        pytest.param({"start": "svd"}, 1.12, id="biased sgd from svd"),
        pytest.param({"optimizer": "adam"}, 1.12, id="biased adam"),
        pytest.param(
            {"form": "plain", "optimizer": "adam", "rank": 4, "weight_decay": 1e-3},
            1.25,
            id="plain",
        ),
    ],
)
def test_planted_ratings_are_recovered(
    change: dict[str, Any], most: float, planted: tuple[Ratings, Ratings, float]
) -> None:
    """Mean and biases alone leave an RMSE of about three times the noise."""
    training, test, noise_std = planted
    config = GradientConfig(
        rank=2,
        learning_rate=0.02,
        learning_rate_decay=0.97,
        weight_decay=0.02,
        bias_decay=0.01,
        batch_size=200,
        initial_scale=0.2,
    )
    _, epochs = train(replace(config, **change), training, n_epochs=25, validation=test)
    best = best_epoch(epochs)
    assert best is not None
    assert 0.95 * noise_std < best.train_mse**0.5 < 1.05 * noise_std
    assert noise_std < best.validation_mse**0.5 < most * noise_std


@pytest.mark.parametrize(
    ("form", "optimizer"),
    [("biased", "sgd"), ("biased", "adam"), ("plain", "sgd"), ("plain", "adam")],
)
@pytest.mark.parametrize("batch_size", [CONFIG.batch_size, None])
def test_weight_decay_shrinks_the_factors(
    form: Any, optimizer: Any, batch_size: int | None, few_ratings: Ratings
) -> None:
    norms = []
    for weight_decay in (0.0, 0.1, 1.0):
        config = replace(
            CONFIG, batch_size=batch_size, form=form, optimizer=optimizer, weight_decay=weight_decay
        )
        model, _ = train(config, few_ratings, n_epochs=10)
        norms.append(torch.cat([model.user_factors, model.item_factors]).norm().item())
    assert norms[0] > 1.02 * norms[1] > 1.02**2 * norms[2]


@pytest.mark.parametrize(("optimizer", "batch_size"), [("sgd", 32), ("sgd", None), ("adam", 32)])
def test_bias_decay_shrinks_the_biases(
    optimizer: Any, batch_size: int | None, few_ratings: Ratings
) -> None:
    norms = []
    for bias_decay in (0.0, 0.1, 1.0):
        config = replace(CONFIG, batch_size=batch_size, optimizer=optimizer, bias_decay=bias_decay)
        model, _ = train(config, few_ratings, n_epochs=10)
        norms.append(torch.cat([model.user_bias, model.item_bias]).norm().item())
    assert norms[0] > 1.02 * norms[1] > 1.02**2 * norms[2]


def test_steps_that_explode_end_in_no_best_epoch_not_in_an_error(few_ratings: Ratings) -> None:
    config = replace(CONFIG, learning_rate=1e6, form="plain")
    _, epochs = train(config, few_ratings, n_epochs=10, validation=few_ratings)
    assert epochs[-1].validation_mse != epochs[-1].validation_mse


@pytest.mark.parametrize(
    "change", [{"optimizer": "adam"}, pytest.param({"form": "plain"}, marks=pytest.mark.slow)]
)
def test_a_trial_does_not_wait_for_a_compiler_that_it_does_not_need(
    change: dict[str, Any],
) -> None:
    code = (
        "import sys, torch; from model.dataset import Ratings\n"
        "from model.solvers import GradientConfig, make_solver\n"
        "one = torch.tensor([0, 1])\n"
        "few = Ratings(n_users=2, n_items=2, user_index=one, item_index=one, values=one.double())\n"
        "config = GradientConfig(rank=1, learning_rate=0.1, weight_decay=0.1, initial_scale=0.1,"
        f" batch_size=2, **{change})\n"
        "solver = make_solver(config, few, device=torch.device('cpu'), seed=0)\n"
        "print(next(iter(solver.epochs(few))).number, 'torch._dynamo' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "1 False\n"
