"""A user's row from a few ratings, beside the model that was trained with them."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.fold_in import Conditions, draw_row, ridge
from model.gradient import ORIGINAL
from model.side_features import SHRINKAGE, side_features
from model.solver import Model
from model.solvers import Config, make_solver
from study.space import DEFAULTS

CPU = torch.device("cpu")
EPOCHS = {"als": 30, "gradient": 150, "gibbs, Gaussian": 60, "gibbs, both": 60, "original": 60}
SETTINGS: dict[str, Config] = {
    "als": replace(DEFAULTS["als"], rank=4),
    "gradient": replace(DEFAULTS["gradient"], rank=6, learning_rate_decay=0.97),
    "gibbs, Gaussian": replace(DEFAULTS["gibbs"], rank=4, n_features=8, likelihood="gaussian"),
    "gibbs, both": replace(DEFAULTS["gibbs"], rank=4, n_features=8),
    "original": replace(ORIGINAL, rank=4, batch_size=300, learning_rate=0.01, weight_decay=1e-3),
}
# Between trained and folded predictions, in standard deviations of the ratings.
LARGEST_RMSE = {
    "als": 0.001,
    "gradient": 0.1,
    "gibbs, Gaussian": 0.1,
    "gibbs, both": 0.1,
    "original": 0.2,
}
ALL = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def ratings(planted: tuple[Ratings, Ratings, float]) -> Ratings:
    """Of the planted ones, 3,000, in half stars."""
    few = planted[0][torch.arange(3000)]
    return replace(few, values=(few.values * 2).round() / 2)


@pytest.fixture(scope="module")
def model_of(ratings: Ratings):
    @cache
    def trained(name: str, factor: float = 1.0) -> Model:
        scaled = replace(ratings, values=ratings.values * factor)
        solver = make_solver(SETTINGS[name], scaled, device=CPU, seed=0)
        next(epoch for epoch in solver.epochs(None) if epoch.number == EPOCHS[name])
        return solver.model

    return trained


def own(ratings: Ratings, user: int) -> tuple[Tensor, Tensor]:
    """The items of a user, and the values."""
    mine = ratings.user_index == user
    return ratings.item_index[mine], ratings.values[mine]


def of_all(model: Model, user: int, n_items: int = 100) -> Tensor:
    return model.predict(torch.full((n_items,), user), torch.arange(n_items))


@ALL
def test_a_user_of_the_training_is_predicted_as_by_the_trained_model(
    name: str, ratings: Ratings, model_of
) -> None:
    model, errors, deviations = model_of(name), [], []
    for user in range(0, 150, 10):
        folded = model.fold_in(*own(ratings, user), seed=0)
        errors.append(of_all(folded, 0) - of_all(model, user))
        deviations.append(of_all(model, user) - of_all(model, -1))
        assert torch.equal(of_all(folded, -1), of_all(model, -1))
    rmse, beside = (
        torch.cat(parts).square().mean().sqrt() / ratings.values.std()
        for parts in (errors, deviations)
    )
    print(name, rmse, beside)
    assert rmse < LARGEST_RMSE[name]
    assert beside > 3 * LARGEST_RMSE[name]  # an average user is far away
