"""The truncated SVD of a sparse matrix, beside the full one of the dense matrix."""

import pytest
import torch
from torch import Tensor

from model.svd import truncated_svd


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sparse_matrix(n: int, m: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """A matrix of falling singular values, a third of it zero."""
    left = torch.randn(n, 8, generator=generator(1), dtype=dtype)
    right = torch.randn(8, m, generator=generator(2), dtype=dtype)
    weights = 0.5 ** torch.arange(8, dtype=dtype)
    zero = torch.rand(n, m, generator=generator(3)) < 0.33
    return (left * weights @ right).masked_fill(zero, 0.0).to_sparse()


@pytest.mark.parametrize(("n", "m"), [(60, 40), (40, 60), (50, 50)])
@pytest.mark.parametrize("rank", [1, 4])
def test_it_is_the_head_of_the_full_svd(n: int, m: int, rank: int) -> None:
    matrix = sparse_matrix(n, m)
    u, s, v = truncated_svd(matrix, rank, generator=generator())
    full_u, full_s, full_vh = torch.linalg.svd(matrix.to_dense(), full_matrices=False)
    assert (u.shape, s.shape, v.shape) == ((n, rank), (rank,), (m, rank))
    torch.testing.assert_close(s, full_s[:rank], rtol=1e-3, atol=0)
    expected = full_u[:, :rank] * full_s[:rank] @ full_vh[:rank]
    error = torch.linalg.norm(u * s @ v.mH - expected) / torch.linalg.norm(expected)
    assert error < 0.02


@pytest.mark.parametrize("rank", [5, 7, 100])
@pytest.mark.parametrize(("n", "m"), [(7, 12), (12, 7), (7, 7)])
def test_a_small_matrix_is_taken_apart_exactly(n: int, m: int, rank: int) -> None:
    matrix = sparse_matrix(n, m)
    u, s, v = truncated_svd(matrix, rank, generator=generator())
    full_u, full_s, full_vh = torch.linalg.svd(matrix.to_dense(), full_matrices=False)
    k = min(rank, 7)
    assert (u.shape, s.shape, v.shape) == ((n, k), (k,), (m, k))
    torch.testing.assert_close(s, full_s[:k])
    torch.testing.assert_close(u * s @ v.mH, full_u[:, :k] * full_s[:k] @ full_vh[:k])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_are_orthonormal_and_values_fall(dtype: torch.dtype) -> None:
    u, s, v = truncated_svd(sparse_matrix(60, 40, dtype=dtype), 5, generator=generator())
    assert u.dtype == s.dtype == v.dtype == dtype
    torch.testing.assert_close(u.mH @ u, torch.eye(5, dtype=dtype), rtol=0, atol=1e-5)
    torch.testing.assert_close(v.mH @ v, torch.eye(5, dtype=dtype), rtol=0, atol=1e-5)
    assert (s.diff() <= 0).all()
    assert (s >= 0).all()


def test_entries_of_the_same_place_are_added() -> None:
    places = torch.tensor([[0, 0, 1, 2], [1, 1, 0, 2]])
    values = torch.tensor([1.0, 2.0, 5.0, 1.0])
    matrix = torch.sparse_coo_tensor(places, values, (3, 3), check_invariants=True)
    _, s, _ = truncated_svd(matrix, 3, generator=generator())
    torch.testing.assert_close(s, torch.tensor([5.0, 3.0, 1.0]))


def test_it_draws_from_its_generator_alone() -> None:
    state = torch.get_rng_state()
    first, second = (truncated_svd(sparse_matrix(60, 40), 3, generator=generator()) for _ in "12")
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
