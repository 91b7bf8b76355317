"""The compact form of models, beside their draws."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from model.compact import Compact
from model.dataset import Pairs, Ratings
from model.solver import Model
from model.solvers import SOLVERS, Config, make_solver
from tests.pairs import pairs_of

CPU = torch.device("cpu")
GIBBS = replace(SOLVERS["gibbs"].default, rank=3, n_features=4)
SETTINGS: dict[str, Config] = {
    "als": replace(SOLVERS["als"].default, rank=3),
    "lengths": replace(GIBBS, likelihood="gaussian"),
    "levels": replace(GIBBS, likelihood="ordinal"),
    "both": GIBBS,
    "timed": GIBBS,
}
NOW = 2_000_000.0
ModelOf = Callable[[str], Model]


@pytest.fixture(scope="module")
def ratings(planted: tuple[Ratings, Ratings, float]) -> Ratings:
    few = planted[0][torch.arange(4000)]
    return replace(few, values=few.values.round().clamp(1, 5))


@pytest.fixture(scope="module")
def model_of(ratings: Ratings) -> ModelOf:
    @cache
    def trained(name: str) -> Model:
        some = ratings
        if name == "timed":
            draw = np.random.default_rng(0)
            times = torch.from_numpy(np.sort(draw.uniform(0, NOW, len(ratings))))
            lifted = ratings.values + (times > 0.7 * NOW)
            some = replace(ratings, times=times, values=lifted.clamp(1, 5))
        solver = make_solver(SETTINGS[name], some, device=CPU, seed=0)
        next(epoch for epoch in solver.epochs(None) if epoch.number == 24)
        return solver.model

    return trained


def everything() -> Pairs:
    """All pairs, with who and what is unknown."""
    grid = torch.meshgrid(torch.arange(-1, 150), torch.arange(-1, 100), indexing="ij")
    users, items = (column.flatten() for column in grid)
    return replace(pairs_of(users, items), times=torch.full((len(users),), NOW))


def compact_of(*models: Model, present: float | None = None) -> Compact:
    found = Compact.of(models, present=present, seed=0)
    assert found
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_it_predicts_as_the_draws_do(name: str, model_of: ModelOf) -> None:
    model, pairs = model_of(name), everything()
    present = NOW if name == "timed" else None
    if present is None:
        pairs = replace(pairs, times=None)
    predicted, std = compact_of(model, present=present).moments(pairs)
    error = predicted - model.predict(pairs)
    assert error.square().mean().sqrt() < 0.03
    assert error.abs().max() < 0.3
    off = std - model.std(pairs)
    assert off.square().mean().sqrt() < 0.05
    assert off.mean().abs() < 0.02
    assert model.predict(pairs).std() > 0.3


def test_present_effects_of_time_are_in_it(model_of: ModelOf) -> None:
    model, pairs = model_of("timed"), everything()
    now, then = (compact_of(model, present=one).predict(pairs) for one in (NOW, 0.2 * NOW))
    assert (now - then).mean() > 0.3


def test_the_compiled_form_is_the_plain_one_alone_or_in_a_batch(model_of: ModelOf) -> None:
    compact, pairs = compact_of(model_of("both"), model_of("als")), everything()
    found, plain = compact.moments(pairs), compact.plain_moments(pairs)
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    for row in (0, 7, 15_000):
        alone = compact.moments(pairs[row : row + 1])
        assert [one.item() for one in alone] == [one[row].item() for one in found]


def test_several_models_answer_with_their_mean(model_of: ModelOf) -> None:
    models, pairs = [model_of("lengths"), model_of("als")], replace(everything(), times=None)
    mean = torch.stack([model.predict(pairs) for model in models]).mean(0)
    error = compact_of(*models).predict(pairs) - mean
    assert error.square().mean().sqrt() < 0.05  # each keeps to the range by itself


def test_levels_have_probabilities(model_of: ModelOf) -> None:
    compact, pairs = compact_of(model_of("both")), replace(everything(), times=None)
    chances = compact.probabilities(pairs)
    torch.testing.assert_close(chances.sum(1), torch.ones(len(pairs)).double())
    model = model_of("both")
    assert (chances - model.probabilities(pairs)).abs().mean() < 0.02  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="ordinal"):
        compact_of(model_of("als")).probabilities(pairs)


def test_it_is_saved_and_finds_what_is_alike(model_of: ModelOf) -> None:
    compact, pairs = compact_of(model_of("lengths")), replace(everything(), times=None)
    again = Compact.from_state(compact.state_dict())
    assert torch.equal(again.predict(pairs), compact.predict(pairs))
    for names in (("lengths",), ("lengths", "als")):
        models = [model_of(name) for name in names]
        alike = compact_of(*models).similarity(7)
        by_draws = torch.stack([model.similarity(7) for model in models]).mean(0)
        assert (alike - by_draws).square().mean().sqrt() < 0.03
        assert by_draws.std() > 0.2


def test_a_model_without_factors_has_none(model_of: ModelOf) -> None:
    class Other:
        pass

    models = [model_of("als"), Other()]
    assert Compact.of(models, present=None, seed=0) is None  # type: ignore[list-item]
