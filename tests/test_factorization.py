"""The model: what it predicts, and for whom."""

import pytest
import torch

from model.dataset import Ratings
from model.factorization import Factorization
from model.solver import mse
from tests.pairs import pairs_of

N_USERS, N_ITEMS, RANK = 5, 4, 3


@pytest.fixture
def model() -> Factorization:
    """A model of random parameters, unclipped."""
    generator = torch.Generator().manual_seed(10)
    model = Factorization(N_USERS, N_ITEMS, RANK)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model.global_mean.fill_(3.5)
    return model


def all_pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Every pair, whoever has no ratings (-1) included."""
    pairs = torch.cartesian_prod(torch.arange(-1, N_USERS), torch.arange(-1, N_ITEMS))
    return pairs[:, 0], pairs[:, 1]


def by_hand(model: Factorization, user: int, item: int) -> float:
    total: float = model.global_mean.item()
    total += model.user_bias[user].item() + model.item_bias[item].item()
    for p, q in zip(model.user_factors[user], model.item_factors[item], strict=True):
        total += p.item() * q.item()
    return total


def test_a_new_model_predicts_zero_for_all() -> None:
    predicted = Factorization(N_USERS, N_ITEMS, RANK).predict(pairs_of(*all_pairs()))
    assert torch.equal(predicted, torch.zeros(30, dtype=torch.float64))


def test_a_prediction_is_mean_and_biases_and_product(model: Factorization) -> None:
    users, items = all_pairs()
    predicted = model(users, items)
    assert predicted.dtype == torch.float64
    for user, item, rating in zip(users, items, predicted.tolist(), strict=True):
        assert rating == pytest.approx(by_hand(model, int(user), int(item)), abs=1e-5)


def test_unknown_is_the_last_row(model: Factorization) -> None:
    assert model.user_factors.shape == (N_USERS + 1, RANK)
    assert model.item_bias.shape == (N_ITEMS + 1,)
    unknown, last = torch.tensor([-1, -1, 2]), torch.tensor([N_USERS, N_USERS, 2])
    items, last_items = torch.tensor([1, -1, -1]), torch.tensor([1, N_ITEMS, N_ITEMS])
    assert torch.equal(model(unknown, items), model(last, last_items))


def test_predictions_are_clipped(model: Factorization) -> None:
    free = model.predict(pairs_of(*all_pairs()))
    model.lowest.fill_(2.5)
    model.highest.fill_(4.0)
    clipped = model.predict(pairs_of(*all_pairs()))
    assert torch.equal(clipped, free.clamp(2.5, 4.0))
    assert {clipped.min().item(), clipped.max().item()} == {2.5, 4.0}


def test_a_large_mean_costs_no_precision(model: Factorization) -> None:
    deviation = model.predict(pairs_of(*all_pairs())) - 3.5
    model.global_mean.fill_(1e9)
    torch.testing.assert_close(
        model.predict(pairs_of(*all_pairs())) - 1e9, deviation, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("block", [1, 7, 30, 31])
def test_blocks_predict_the_same(
    block: int, model: Factorization, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model(*all_pairs())
    monkeypatch.setattr("model.dataset.AT_ONCE", {"cpu": block})
    predicted = model.predict(pairs_of(*all_pairs()))
    torch.testing.assert_close(predicted, expected, rtol=0, atol=1e-6)
    assert not predicted.requires_grad


def test_no_pairs_no_predictions(model: Factorization) -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert model.predict(pairs_of(none, none)).shape == (0,)


def test_rank_zero_is_biases_alone() -> None:
    model = Factorization(N_USERS, N_ITEMS, 0)
    with torch.no_grad():
        model.user_bias.copy_(torch.arange(6.0))
        model.item_bias.copy_(10 * torch.arange(5.0))
    predicted = model.predict(pairs_of(torch.tensor([1, 4, -1]), torch.tensor([0, 3, 2])))
    assert predicted.tolist() == [1.0, 34.0, 25.0]


def test_mse_is_of_clipped_predictions(model: Factorization) -> None:
    users, items = all_pairs()
    ratings = Ratings(
        n_users=N_USERS,
        n_items=N_ITEMS,
        user_index=users,
        item_index=items,
        values=torch.linspace(1, 5, 30, dtype=torch.float64),
    )
    for low, high in ((-torch.inf, torch.inf), (3.0, 4.0)):
        model.lowest.fill_(low)
        model.highest.fill_(high)
        total = 0.0
        for user, item, value in zip(users, items, ratings.values.tolist(), strict=True):
            total += (min(max(by_hand(model, int(user), int(item)), low), high) - value) ** 2
        assert mse(model, ratings) == pytest.approx(total / 30, rel=1e-5)


def test_all_that_a_prediction_needs_is_in_the_state(model: Factorization) -> None:
    model.lowest.fill_(3.0)
    model.highest.fill_(4.0)
    copy = Factorization(N_USERS, N_ITEMS, RANK)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.predict(pairs_of(*all_pairs())), model.predict(pairs_of(*all_pairs())))
