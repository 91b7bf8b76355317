"""Features of who rated what, beside the SVD of the dense matrix."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.side_features import SideFeatures, side_features


def of_ratings(
    ratings: Ratings,
    n_features: int = 5,
    *,
    degree_power: float = 0.35,
    spectrum_power: float = 1.5,
    seed: int = 0,
) -> tuple[SideFeatures, SideFeatures]:
    users, items, _ = side_features(
        ratings,
        n_features,
        degree_power=degree_power,
        spectrum_power=spectrum_power,
        generator=torch.Generator().manual_seed(seed),
    )
    return users, items


def dense(ratings: Ratings, degree_power: float) -> Tensor:
    """The matrix S of the docstring, pair by pair."""
    matrix = torch.zeros(ratings.n_users, ratings.n_items, dtype=torch.float64)
    users, items = ratings.user_index.tolist(), ratings.item_index.tolist()
    for u, i in zip(users, items, strict=True):
        weight = (users.count(u) + 10) ** -degree_power * (items.count(i) + 10) ** -degree_power
        matrix[u, i] = weight
    return matrix


def same_sign(columns: Tensor) -> Tensor:
    """The columns, the largest entry of each positive."""
    return columns * columns.gather(0, columns.abs().argmax(0)[None]).sign()


@pytest.mark.parametrize(("degree_power", "spectrum_power"), [(0.35, 1.5), (0.5, 1.0), (0.0, 0.0)])
def test_they_are_those_of_the_dense_svd(
    degree_power: float, spectrum_power: float, few_ratings: Ratings
) -> None:
    sides = of_ratings(few_ratings, degree_power=degree_power, spectrum_power=spectrum_power)
    u, s, vh = torch.linalg.svd(dense(few_ratings, degree_power), full_matrices=False)
    for side, vectors in zip(sides, (u[:, :5], vh[:5].mT), strict=True):
        expected = vectors * s[:5] ** spectrum_power
        expected = expected * (len(expected) / expected.square().sum()).sqrt()
        torch.testing.assert_close(
            same_sign(side.values.double()), same_sign(expected), rtol=0, atol=1e-3
        )


def test_columns_are_orthogonal_and_rows_of_unit_mean_square(
    planted: tuple[Ratings, Ratings, float],
) -> None:
    ratings = planted[0][torch.arange(800)]
    for side, n_rows in zip(of_ratings(ratings, 20), (150, 100), strict=True):
        assert (side.values.shape, side.values.dtype) == ((n_rows, 20), torch.float32)
        gram = side.values.double().mT @ side.values.double()
        torch.testing.assert_close(gram, gram.diagonal().diag(), rtol=0, atol=1e-3)
        torch.testing.assert_close(side.squared_norms, gram.diagonal(), rtol=1e-5, atol=1e-5)
        assert side.squared_norms.dtype == torch.float64
        assert (side.squared_norms.diff() < 0).all()
        assert side.squared_norms.sum().item() == pytest.approx(n_rows, rel=1e-5)


def test_the_values_of_the_ratings_do_not_matter(few_ratings: Ratings) -> None:
    other = replace(few_ratings, values=few_ratings.values.flip(0) ** 3)
    for one, two in zip(of_ratings(few_ratings), of_ratings(other), strict=True):
        assert torch.equal(one.values, two.values)


def test_whoever_has_no_ratings_has_no_features(few_ratings: Ratings) -> None:
    users, items = of_ratings(few_ratings)
    for side, unseen in ((users, 4), (items, 7)):
        norms = side.values.norm(dim=1)
        assert norms[unseen] < 1e-5
        assert (norms[torch.arange(len(norms)) != unseen] > 0.05).all()


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (1, 1), (12, 12), (64, 12)])
def test_there_are_as_many_as_asked_or_as_there_can_be(
    asked: int, given: int, few_ratings: Ratings
) -> None:
    for side in of_ratings(few_ratings, asked):
        assert side.values.shape[1] == len(side.squared_norms) == given
        assert side.values.isfinite().all()


def test_one_rating_is_enough() -> None:
    one = Ratings(
        n_users=3,
        n_items=2,
        user_index=torch.tensor([1]),
        item_index=torch.tensor([0]),
        values=torch.tensor([4.0], dtype=torch.float64),
    )
    users, items = of_ratings(one, 1)
    assert users.values.abs().flatten().tolist() == pytest.approx([0.0, 3**0.5, 0.0], abs=1e-5)
    assert items.values.abs().flatten().tolist() == pytest.approx([2**0.5, 0.0], abs=1e-5)


def test_they_depend_on_the_generator_alone(few_ratings: Ratings) -> None:
    state = torch.get_rng_state()
    first, again = of_ratings(few_ratings), of_ratings(few_ratings)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0].values, again[0].values)
    assert torch.equal(first[1].values, again[1].values)
