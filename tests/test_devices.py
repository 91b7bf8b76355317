"""Every solver on every device: compiled on a CPU, in PyTorch alone as on a GPU, and on a GPU."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.kernels.intervals import Intervals
from model.kernels.normal_equations import Batched
from model.ordinal import OrdinalLikelihood
from model.solvers import ALSConfig, Config, GibbsConfig, GradientConfig, make_solver

NO_GPU = not torch.cuda.is_available()
GRADIENT = GradientConfig(
    rank=2,
    learning_rate=0.03,
    learning_rate_decay=0.97,
    weight_decay=0.01,
    bias_decay=0.01,
    initial_scale=0.2,
)
CONFIGS: dict[str, Config] = {
    "als": ALSConfig(rank=2, weight_decay=0.02, bias_decay=0.01),
    "gradient": replace(GRADIENT, batch_size=100),
    "gradient, a rating at a time": GRADIENT,
    "gibbs": GibbsConfig(rank=2, likelihood="gaussian", noise_dof=20.0, n_features=8),
    "gibbs, levels": GibbsConfig(rank=2, likelihood="both", noise_dof=20.0, n_features=8),
}


@pytest.fixture(
    params=[
        "compiled",
        "pytorch",
        pytest.param("cuda", marks=pytest.mark.skipif(NO_GPU, reason="needs a GPU")),
    ]
)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    if request.param == "pytorch":
        monkeypatch.setattr("model.regressions.regressions", Batched)
        monkeypatch.setattr(OrdinalLikelihood, "_intervals", lambda _, *block: Intervals(*block))
    return torch.device("cuda" if request.param == "cuda" else "cpu")


@pytest.mark.parametrize("name", CONFIGS)
def test_planted_ratings_are_recovered(
    name: str, device: torch.device, planted: tuple[Ratings, Ratings, float]
) -> None:
    training, test, noise_std = planted
    if name == "gibbs, levels":
        training, test = half_stars(training), half_stars(test)
    if device.type == "cuda" and name == "gradient, a rating at a time":
        pytest.skip("a GPU steps after many ratings: too few here")
    solver = make_solver(CONFIGS[name], training.to(device), device=device, seed=0)
    epochs = solver.epochs(test.to(device))
    for _ in range(25):
        epoch = next(epochs)
    assert noise_std < epoch.validation_mse**0.5 < 1.12 * noise_std
    predictions: Tensor = solver.model.predict(test.to(device))
    mse = (predictions.cpu() - test.values).square().mean().item()
    assert mse**0.5 == pytest.approx(epoch.validation_mse**0.5, rel=0.02)


def half_stars(ratings: Ratings) -> Ratings:
    return replace(ratings, values=(2 * ratings.values).round() / 2)
