"""Random variates, against the distributions that they should have."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.kernels import philox
from model.variates import Stream, gamma, normal, uniform, wishart_root

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


KNOWN = {  # of Random123's kat_vectors, philox4x32 with ten rounds
    ((0, 0, 0), (0, 0)): "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ((2**64 - 1, 2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1)): (
        "408f276d 41c83b0e a20bc7c6 6d5451fd"
    ),
    ((0x299F31D0A4093822, 0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3)): (
        "d16cfe09 94fdcceb 5001e420 24126ea1"
    ),
}


@pytest.mark.parametrize(("given", "expected"), KNOWN.items())
def test_bits_are_those_that_their_authors_give(given: Any, expected: str) -> None:
    key, (first, second) = given
    found = philox.words(philox.Key(*key), torch.tensor([first]), torch.tensor([second]))
    assert " ".join(f"{one.item():08x}" for one in found) == expected


def test_compiled_numbers_are_those_of_pytorch() -> None:
    key, numbers = philox.Key(7, 8, 9), torch.arange(40_000)
    a, b, _, _ = philox.words(key, numbers, 3 * numbers + 2**33)
    expected = (((a >> 1) << 21 | b >> 11).double() + 0.5) * 2.0**-52
    assert torch.equal(philox.uniforms(key, numbers, 3 * numbers + 2**33), expected)
    found = philox.normals(key, numbers[:500], 6, first=5 * numbers[:500])
    first, second = philox.normal_pairs(key, 5 * numbers[:500], numbers[:500], 2)
    expected = torch.cat([first, second]).mT[:, :6]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_compiled_gamma_variates_are_those_of_pytorch(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(philox, "ATTEMPTS_AT_ONCE", at_once)
    key, numbers = philox.Key(7, 8, 9), torch.arange(40_000)
    shape = 1 + (numbers % 5).double()
    found = philox.plain_gammas(key, numbers, shape)
    torch.testing.assert_close(found, philox.gammas(key, numbers, shape), rtol=1e-12, atol=0)


def test_what_is_drawn_for_a_row_does_not_depend_on_the_others() -> None:
    stream, rows = Stream(5, 2), torch.arange(1000)
    some = slice(211, 390)
    shape = torch.linspace(1, 50, 1000).double()
    assert torch.equal(stream.normal(3, rows[some], 7), stream.normal(3, rows, 7)[some])
    whole = stream.gamma(3, rows, shape, shape.new_tensor(2.0))
    assert torch.equal(stream.gamma(3, rows[some], shape[some], shape.new_tensor(2.0)), whole[some])
    pairs = stream.normal(3, rows, 4, first=2 * rows)
    assert torch.equal(stream.normal(3, rows[some], 4, first=2 * rows[some]), pairs[some])
    third = stream.normal(3, rows, 4, first=torch.full_like(rows, 2))
    assert torch.equal(third, stream.normal(3, rows, 12)[:, [2, 5, 8, 11]])
    assert not torch.equal(stream.normal(4, rows, 7), stream.normal(3, rows, 7))
    assert not torch.equal(stream.following().normal(3, rows, 7), stream.normal(3, rows, 7))


@pytest.mark.parametrize("shape", [1.0, 2.5, 40.0])
def test_gamma_variates_of_rows_have_their_distribution(shape: float) -> None:
    n = 100_000
    drawn = Stream(1).gamma(0, torch.arange(n), torch.full((n,), shape).double(), torch.tensor(3.0))
    assert distance(torch.special.gammainc(torch.full((n,), shape).double(), 3 * drawn)) < 1.95


def test_normal_and_uniform_variates_of_rows_have_their_distributions() -> None:
    drawn = torch.stack([Stream(1, sweep).normal(0, torch.arange(500), 9) for sweep in range(30)])
    assert distance(torch.special.ndtr(drawn.double().flatten())) < 1.95
    columns = drawn.double().reshape(-1, 9)
    assert (torch.corrcoef(columns.mT) - torch.eye(9)).abs().max() < 4.5 / len(columns) ** 0.5
    between = (drawn[1:] * drawn[:-1]).double().mean()  # from one sweep to the next
    assert between.abs() < 4.5 / drawn[1:].numel() ** 0.5
    users, items = torch.arange(300).repeat_interleave(300), torch.arange(300).repeat(300)
    assert distance(Stream(1).uniform(0, users, items)) < 1.95
