"""The baseline of biases, beside a slow loop over the ratings."""

import pytest
import torch

from model.biases import fit_biases
from model.dataset import Ratings
from model.solver import mse
from tests.pairs import pairs_of


def slow_biases(training: Ratings) -> tuple[float, list[float], list[float]]:
    """Mean, user and item biases by the equations of the source, rating by rating."""
    ratings = list(
        zip(
            training.user_index.tolist(),
            training.item_index.tolist(),
            training.values.tolist(),
            strict=True,
        )
    )
    mean = sum(value for _, _, value in ratings) / len(ratings)
    user_bias, item_bias = [0.0] * training.n_users, [0.0] * training.n_items
    for _ in range(3):
        for item in range(training.n_items):
            rest = [value - mean - user_bias[u] for u, i, value in ratings if i == item]
            item_bias[item] = sum(rest) / (5 + len(rest))
        for user in range(training.n_users):
            rest = [value - mean - item_bias[i] for u, i, value in ratings if u == user]
            user_bias[user] = sum(rest) / (5 + len(rest))
    return mean, user_bias, item_bias


def test_biases_are_those_of_the_slow_loop(few_ratings: Ratings) -> None:
    mean, user_bias, item_bias = slow_biases(few_ratings)
    model = fit_biases(few_ratings)
    assert model.global_mean.item() == pytest.approx(mean)
    assert model.user_bias[:-1].tolist() == pytest.approx(user_bias, abs=1e-6)
    assert model.item_bias[:-1].tolist() == pytest.approx(item_bias, abs=1e-6)
    assert model.user_factors.shape == (few_ratings.n_users + 1, 0)


def test_whoever_has_no_ratings_has_no_bias(few_ratings: Ratings) -> None:
    model = fit_biases(few_ratings)
    assert model.user_bias[[4, -1]].tolist() == [0.0, 0.0]
    assert model.item_bias[[7, -1]].tolist() == [0.0, 0.0]
    unknown = model.predict(pairs_of(torch.tensor([-1, 4]), torch.tensor([-1, 7])))
    assert unknown.tolist() == [model.global_mean.item()] * 2


def test_predictions_stay_among_the_ratings(few_ratings: Ratings) -> None:
    model = fit_biases(few_ratings)
    assert model.lowest.item() == few_ratings.values.min().item()
    assert model.highest.item() == few_ratings.values.max().item()


def test_equal_ratings_are_predicted(few_ratings: Ratings) -> None:
    equal = Ratings(
        n_users=few_ratings.n_users,
        n_items=few_ratings.n_items,
        user_index=few_ratings.user_index,
        item_index=few_ratings.item_index,
        values=torch.full_like(few_ratings.values, 4.2),
    )
    assert mse(fit_biases(equal), equal) == pytest.approx(0.0, abs=1e-12)
