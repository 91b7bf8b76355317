"""Every solver on every device: compiled on a CPU, in PyTorch alone as on a GPU, and on a GPU."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.kernels.groups import PlainGroups
from model.kernels.intervals import Intervals
from model.kernels.normal_equations import Batched
from model.ordinal import OrdinalLikelihood
from model.solvers import ALSConfig, Config, GibbsConfig, GradientConfig, make_solver
from study.inputs import WORTH_A_GPU, choose_device
from tests.planted_ratings import N_RATED, NOISE, PAIRS, by_description, by_time

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
        monkeypatch.setattr("model.effects.CompiledGroups", PlainGroups)
        monkeypatch.setattr(OrdinalLikelihood, "_intervals", lambda _, *block: Intervals(*block))
    return torch.device("cuda" if request.param == "cuda" else "cpu")


@pytest.mark.parametrize("name", CONFIGS)
def test_planted_ratings_are_recovered(
    name: str, device: torch.device, planted: tuple[Ratings, Ratings, float]
) -> None:
    training, test, noise_std = planted
    if name == "gibbs, levels":
        training, test = half_stars(training), half_stars(test)
    solver = make_solver(CONFIGS[name], training.to(device), device=device, seed=0)
    epochs = solver.epochs(test.to(device))
    for _ in range(25):
        epoch = next(epochs)
    assert noise_std < epoch.validation_mse**0.5 < 1.12 * noise_std
    predictions: Tensor = solver.model.predict(test.to(device))
    mse = (predictions.cpu() - test.values).square().mean().item()
    assert mse**0.5 == pytest.approx(epoch.validation_mse**0.5, rel=0.02)


@pytest.mark.parametrize("name", ["gibbs", "gibbs, levels"])
@pytest.mark.parametrize("planted", ["days", "items", "level"])
def test_planted_effects_of_time_are_recovered(
    name: str, planted: str, device: torch.device
) -> None:
    training, test, signal = by_time(planted)
    without = replace(test, times=None)
    if name == "gibbs, levels":
        training = half_stars(training)
    solver = make_solver(CONFIGS[name], training.to(device), device=device, seed=0)
    next(epoch for epoch in solver.epochs(None) if epoch.number == 25)
    error, beside = (
        (solver.model.predict(pairs.to(device)).cpu() - signal).square().mean().sqrt()
        for pairs in (test, without)
    )
    assert error < 0.6 * NOISE
    assert beside > 1.2 * NOISE
    assert 0.9 * NOISE < solver.model.std(test.to(device)).mean() < 1.6 * NOISE


@pytest.mark.parametrize("name", ["gibbs", "gibbs, levels"])
def test_planted_descriptions_are_recovered(name: str, device: torch.device) -> None:
    ratings, signal, _ = by_description()
    if name == "gibbs, levels":
        ratings = half_stars(ratings)
    solver = make_solver(CONFIGS[name], ratings.to(device), device=device, seed=0)
    next(epoch for epoch in solver.epochs(None) if epoch.number == 25)
    new = PAIRS.item_index >= N_RATED
    predicted = solver.model.predict(PAIRS[new].to(device)).cpu()
    assert (predicted - signal[new]).square().mean().sqrt() < 0.5 * signal[new].std()


def test_a_gpu_is_taken_where_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda is_there=is_there: is_there)
        assert choose_device("auto", WORTH_A_GPU - 1).type == "cpu"
        assert choose_device("auto", WORTH_A_GPU).type == ("cuda" if is_there else "cpu")
    assert choose_device("cuda", 1).type == "cuda"
    assert choose_device("cpu", 10**9).type == "cpu"


def half_stars(ratings: Ratings) -> Ratings:
    return replace(ratings, values=(2 * ratings.values).round() / 2)
