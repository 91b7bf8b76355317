"""Random variates, against the distributions that they should have."""

import pytest
import torch
from torch import Tensor

from model.variates import gamma, normal, uniform, wishart_root

INVERSE_SCALE = torch.tensor([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 4.0]]).double()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(chances: Tensor) -> float:
    """Kolmogorov's √n sup |F_n - F| of what should be uniform: above 1.95 once in a thousand."""
    n = len(chances)
    expected = (torch.arange(n) + 0.5) / n
    return ((chances.sort().values - expected).abs().max() + 0.5 / n).item() * n**0.5


@pytest.mark.parametrize("shape", [0.5, 1.0, 5.5, 300.0])
@pytest.mark.parametrize("rate", [0.5, 40.0])
def test_gamma_has_a_shape_and_a_rate(shape: float, rate: float) -> None:
    shapes = torch.full((20_000,), shape, dtype=torch.float64)
    variates = gamma(shapes, torch.tensor(rate).double(), generator=generator())
    assert variates.dtype == torch.float64
    assert variates.mean().item() == pytest.approx(shape / rate, rel=4 / (20_000 * shape) ** 0.5)
    assert distance(torch.special.gammainc(shapes, rate * variates)) < 1.95


def test_gamma_is_elementwise() -> None:
    shapes = torch.tensor([1e6, 4e6]).double()
    rates = torch.tensor([1.0, 2.0]).double()
    variates = gamma(shapes, rates, generator=generator())
    torch.testing.assert_close(variates, shapes / rates, rtol=0.01, atol=0)


@pytest.mark.parametrize("degrees", [3, 4.5, 60])
def test_wishart_has_its_mean_and_variance(degrees: float) -> None:
    n, draw = 3000, generator()
    roots = torch.stack([wishart_root(degrees, INVERSE_SCALE, generator=draw) for _ in range(n)])
    variates = roots @ roots.mT
    w = INVERSE_SCALE.inverse()
    variance = degrees * (w.square() + torch.outer(w.diagonal(), w.diagonal()))
    errors = (variates.mean(0) - degrees * w) / (variance / n).sqrt()
    assert errors.abs().max() < 4
    torch.testing.assert_close(variates.var(0), variance, rtol=0.25, atol=0)
    for column in range(3):  # Λ_jj / W_jj is χ² of so many degrees
        chi_square = variates[:, column, column] / w[column, column]
        half = torch.full_like(chi_square, degrees / 2)
        assert distance(torch.special.gammainc(half, chi_square / 2)) < 1.95
    # E log |Λ| = Σ ψ((ν - i) / 2) + D log 2 + log |W|
    halves = (degrees - torch.arange(3).double()) / 2
    expected = torch.special.digamma(halves).sum() + 3 * torch.tensor(2.0).log() + w.logdet()
    spread = (torch.special.polygamma(1, halves).sum() / n).sqrt()
    assert abs(variates.logdet().mean() - expected) < 4 * spread


@pytest.mark.parametrize("degrees", [1, 2.5, 40])
def test_wishart_of_one_dimension_is_chi_square(degrees: float) -> None:
    draw, inverse_scale = generator(), torch.tensor([[4.0]]).double()
    variates = torch.stack(
        [wishart_root(degrees, inverse_scale, generator=draw)[0, 0] ** 2 for _ in range(3000)]
    )
    half = torch.full_like(variates, degrees / 2)
    assert distance(torch.special.gammainc(half, 4.0 * variates / 2)) < 1.95


def test_normal_and_uniform_are_double_and_of_the_shape_asked() -> None:
    normals = normal((200, 100), generator=generator())
    assert (normals.shape, normals.dtype) == ((200, 100), torch.float64)
    assert distance(torch.special.ndtr(normals.flatten())) < 1.95
    uniforms = uniform((200, 100), generator=generator())
    assert (uniforms.shape, uniforms.dtype) == ((200, 100), torch.float64)
    assert distance(uniforms.flatten()) < 1.95
    assert uniform((), generator=generator()).shape == ()


def test_all_draw_from_their_generator_alone() -> None:
    def variates(seed: int) -> list[Tensor]:
        draw = generator(seed)
        ones = torch.ones(5).double()
        return [
            gamma(ones, ones, generator=draw),
            wishart_root(4, INVERSE_SCALE, generator=draw),
            normal((5,), generator=draw),
            uniform((5,), generator=draw),
        ]

    state = torch.get_rng_state()
    first, other = variates(0), variates(1)
    torch.rand(1)
    again = variates(0)
    torch.set_rng_state(state)
    variates(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))
