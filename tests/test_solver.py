"""Which epoch is the best."""

import math

import pytest

from model.solver import Epoch, best_epoch


def epochs(*losses: float) -> list[Epoch]:
    """Epochs of given validation MSE; their training MSE falls, and says nothing."""
    return [
        Epoch(number=number, train_mse=1 / number, validation_mse=loss)
        for number, loss in enumerate(losses, 1)
    ]


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        pytest.param([3.0], 1, id="only"),
        pytest.param([3.0, 2.0, 1.0], 3, id="last"),
        pytest.param([3.0, 1.0, 2.0], 2, id="middle"),
        pytest.param([2.0, 1.0, 1.0, 1.0], 2, id="first of equal ones"),
        pytest.param([0.0, 0.0], 1, id="zero"),
        pytest.param([math.nan, 2.0, math.nan, 1.0, math.nan], 4, id="NaN between"),
        pytest.param([2.0, -math.inf, math.inf, math.nan], 1, id="not finite"),
    ],
)
def test_the_first_of_the_lowest_is_best(losses: list[float], best: int) -> None:
    found = best_epoch(iter(epochs(*losses)))
    assert found == epochs(*losses)[best - 1]


@pytest.mark.parametrize("losses", [[], [math.nan], [math.inf, math.nan, -math.inf]])
def test_none_is_best_without_a_finite_loss(losses: list[float]) -> None:
    assert best_epoch(epochs(*losses)) is None
