"""Ratings as tensors: dense indices and selections."""

import numpy as np
import pytest
import torch
from torch import Tensor

from model.dataset import UNKNOWN, Ids, index_ratings, of_some_users
from tests.pairs import numbered


def test_raw_columns_become_dense_indices() -> None:
    ratings, users, items = index_ratings([30, 10, 30, 20], [5, 9, 9, 5], [1, 2.5, 3, 4])
    assert (ratings.n_users, ratings.n_items, len(ratings)) == (3, 2, 4)
    assert ratings.user_index.tolist() == [2, 0, 2, 1]
    assert ratings.item_index.tolist() == [0, 1, 1, 0]
    assert ratings.values.tolist() == [1.0, 2.5, 3.0, 4.0]
    assert ratings.user_index.dtype == ratings.item_index.dtype == torch.int64
    assert ratings.values.dtype == torch.float64
    assert users.values.tolist() == [10, 20, 30]
    assert items.values.tolist() == [5, 9]
    assert (len(users), len(items)) == (3, 2)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_ids_and_indices_belong_together(dtype: type[np.integer]) -> None:
    ids = np.random.default_rng(8).integers(-50, 50, 200).astype(dtype)
    ratings, users, _ = index_ratings(ids, ids, ids)
    np.testing.assert_array_equal(users.values[ratings.user_index.numpy()], ids)
    assert torch.equal(users.index(ids), ratings.user_index)


def test_an_unknown_id_is_not_mistaken_for_its_neighbour() -> None:
    ids = Ids(np.array([10, 20, 30]))
    index = ids.index([5, 10, 15, 20, 29, 30, 31, 10**9])
    assert index.tolist() == [UNKNOWN, 0, UNKNOWN, 1, UNKNOWN, 2, UNKNOWN, UNKNOWN]
    assert index.dtype == torch.int64


def test_ids_may_be_texts() -> None:
    ratings, users, items = index_ratings(["bo", "al", "bo"], ["x", "x", "yy"], [1, 2, 3])
    assert ratings.user_index.tolist() == [1, 0, 1]
    assert users.index(["bo", "bob", "", "al", "zoe"]).tolist() == [1, -1, -1, 0, -1]
    assert items.index(["yy", "y"]).tolist() == [1, -1]


def test_numbers_and_texts_are_told_apart_by_how_they_are_written() -> None:
    text = np.dtypes.StringDType()
    numbers = Ids(np.array([2, 10, 300]))
    assert numbers.index(np.array(["10", "2", "02", "x", "300"], text)).tolist() == [
        1,
        0,
        -1,
        -1,
        2,
    ]
    texts = Ids(np.array(["02", "10", "x"], text))
    assert texts.index([10, 2, 300]).tolist() == [1, -1, -1]
    assert texts.index(np.array(["x", "y", "02"], text)).tolist() == [2, -1, 0]


def test_long_texts_are_found() -> None:
    text = np.dtypes.StringDType()
    names = [f"{7919 * n:036}" for n in range(400)]
    ids, wanted = Ids(np.array(names, text)), np.array([*reversed(names), "x" * 36], text)
    assert ids.index(wanted).tolist() == [*range(399, -1, -1), UNKNOWN]


def test_no_ids_no_rows() -> None:
    index = Ids(np.array([10, 20])).index(np.empty(0, np.int32))
    assert index.shape == (0,)
    assert index.dtype == torch.int64


def test_the_columns_are_not_shared_with_the_caller() -> None:
    values = np.array([1.0, 2.0])
    ratings, _, _ = index_ratings([1, 2], [1, 2], values)
    values[0] = 9.0
    assert ratings.values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(torch.tensor([3, 0]), [3, 0], id="index"),
        pytest.param(torch.tensor([True, False, False, True]), [0, 3], id="mask"),
        pytest.param(torch.tensor([], dtype=torch.int64), [], id="nothing"),
    ],
)
def test_a_selection_is_of_the_same_users_and_items(rows: Tensor, expected: list[int]) -> None:
    chosen = numbered(4)[rows]
    assert chosen.values.tolist() == chosen.user_index.tolist() == expected
    assert chosen.item_index.tolist() == expected
    assert (chosen.n_users, chosen.n_items, len(chosen)) == (5, 7, len(expected))


def test_ratings_on_another_device() -> None:
    moved = numbered(4).to(torch.device("meta"))
    assert {moved.user_index.device, moved.item_index.device, moved.values.device} == {
        torch.device("meta")
    }
    assert (moved.n_users, moved.n_items) == (5, 7)


def test_some_users_keep_all_of_their_ratings() -> None:
    draw = np.random.default_rng(5)
    users, items = draw.integers(0, 50, 2000), draw.integers(0, 400, 2000)
    ratings, _, _ = index_ratings(users, items, users * 1000.0 + items)
    some = of_some_users(ratings, n_ratings=500, seed=3)
    counts = np.bincount(users)
    drawn = np.unique(some.values.numpy() // 1000).astype(int)
    assert 500 <= len(some) == counts[drawn].sum() < 500 + counts.max()
    for n_rows, index, raw in [
        (some.n_users, some.user_index, some.values.numpy() // 1000),
        (some.n_items, some.item_index, some.values.numpy() % 1000),
    ]:
        known, numbered = np.unique(raw, return_inverse=True)
        assert n_rows == len(known)
        assert index.tolist() == numbered.tolist()
    again = of_some_users(ratings, n_ratings=500, seed=3)
    other = of_some_users(ratings, n_ratings=500, seed=4)
    assert torch.equal(some.values, again.values)
    assert not np.array_equal(drawn, np.unique(other.values.numpy() // 1000))


def test_no_more_users_are_drawn_than_there_are() -> None:
    ratings = numbered(20)
    assert of_some_users(ratings, n_ratings=20, seed=0) is ratings
    assert len(of_some_users(ratings, n_ratings=1, seed=0)) == 1
