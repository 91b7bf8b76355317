"""The built-in data set: what is said of it, and that its planted answer can be found."""

import numpy as np
import pytest
import torch

from model.dataset import Ratings, index_ratings
from model.gradient import Gradient
from model.solvers import GradientConfig
from storage.datasets import Demonstration, demonstration


@pytest.fixture(scope="module")
def demo() -> Demonstration:
    return demonstration()


def test_sizes_and_ids(demo: Demonstration) -> None:
    table = demo.table
    assert (len(table.users), len(table.items)) == (800, 500)
    assert (table.n_ratings, table.n_queries, table.n_repeated) == (60_000, 6_000, 0)
    assert demo.truth.shape == (6_000,)
    for ids, largest in (
        (np.concatenate([table.user_ids, table.query_user_ids]), 800),
        (np.concatenate([table.item_ids, table.query_item_ids]), 500),
    ):
        assert ids.dtype == np.int64
        assert ids.min() >= 1
        assert ids.max() <= largest


def test_no_pair_is_asked_for_twice_or_rated_already(demo: Demonstration) -> None:
    table = demo.table
    users = np.concatenate([table.user_ids, table.query_user_ids])
    items = np.concatenate([table.item_ids, table.query_item_ids])
    assert len(np.unique(np.stack([users, items]), axis=1).T) == 66_000


def test_ratings_have_two_decimals_and_vary(demo: Demonstration) -> None:
    for ratings in (demo.table.ratings, demo.truth):
        np.testing.assert_array_equal(ratings, np.round(ratings, 2))
        assert 5.5 < ratings.mean() < 6.5
        assert 1.5 < ratings.std() < 2.5


def test_items_are_rated_unequally_often(demo: Demonstration) -> None:
    counts = np.sort(np.bincount(demo.table.item_ids, minlength=501)[1:])
    assert counts[-50:].sum() > 3 * counts[:50].sum()


def test_it_is_the_same_every_time(demo: Demonstration) -> None:
    again = demonstration()
    assert again.table.digest == demo.table.digest
    np.testing.assert_array_equal(again.truth, demo.truth)
    np.testing.assert_array_equal(again.table.query_user_ids, demo.table.query_user_ids)
    np.testing.assert_array_equal(again.table.query_item_ids, demo.table.query_item_ids)


def test_the_planted_answer_can_be_found(demo: Demonstration) -> None:
    table = demo.table
    training, users, items = index_ratings(table.user_ids, table.item_ids, table.ratings)
    queries = Ratings(
        n_users=training.n_users,
        n_items=training.n_items,
        user_index=users.index(table.query_user_ids),
        item_index=items.index(table.query_item_ids),
        values=torch.from_numpy(demo.truth),
    )
    config = GradientConfig(
        rank=3,
        learning_rate=0.03,
        learning_rate_decay=0.9,
        weight_decay=0.05,
        bias_decay=0.02,
        batch_size=2000,
        initial_scale=0.1,
    )
    epochs = Gradient(config, training, device=torch.device("cpu"), seed=0).epochs(queries)
    last = [next(epochs) for _ in range(12)][-1]
    rmse = last.validation_mse**0.5
    assert demo.noise_std < rmse < 1.1 * demo.noise_std
