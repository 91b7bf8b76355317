"""What the contract promises (`model/solver.py`), asked of every solver in the registry."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pairs import pairs_of

from model.dataset import UNKNOWN, Ratings
from model.solver import Epoch, Solver
from model.solvers import SOLVERS, load_state, make_solver
from model.splits import split

EPOCHS, SEED = 3, 1
CPU = torch.device("cpu")
NOTHING = torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.float64)

pytestmark = pytest.mark.parametrize("name", SOLVERS)


@pytest.fixture(scope="module")
def parts(planted: tuple[Ratings, Ratings, float]) -> tuple[Ratings, Ratings]:
    """Ratings to learn from and others; one user and one item have none."""
    few = planted[0][torch.arange(2000)]
    return split(replace(few, n_users=few.n_users + 1, n_items=few.n_items + 1), seed=0)


def trained(name: str, training: Ratings, validation: Ratings) -> tuple[Solver, list[Epoch]]:
    solver = make_solver(SOLVERS[name].default, training, device=CPU, seed=SEED)
    return solver, [*itertools.islice(solver.epochs(validation), EPOCHS)]


def test_epochs_count_from_one_and_tell_what_the_model_predicts(
    name: str, parts: tuple[Ratings, Ratings]
) -> None:
    training, validation = parts
    solver = make_solver(SOLVERS[name].default, training, device=CPU, seed=SEED)
    for number, epoch in enumerate(itertools.islice(solver.epochs(validation), EPOCHS), 1):
        assert epoch.number == number
        assert math.isfinite(epoch.train_mse)
        predicted = solver.model.predict(validation)
        assert predicted.dtype == torch.float64
        assert epoch.validation_predictions is not None
        torch.testing.assert_close(epoch.validation_predictions, predicted)
        assert epoch.validation_mse == pytest.approx(
            (predicted - validation.values).square().mean().item(), rel=1e-6
        )
    assert epoch.validation_mse < validation.values.var(correction=0)
    alone = make_solver(SOLVERS[name].default, training, device=CPU, seed=SEED)
    assert math.isnan(next(alone.epochs(None)).validation_mse)


def test_the_same_seed_gives_the_same(name: str, parts: tuple[Ratings, Ratings]) -> None:
    first, again = (trained(name, *parts)[1] for _ in range(2))
    assert [one.validation_mse for one in first] == [one.validation_mse for one in again]


def test_whoever_has_no_ratings_is_answered(name: str, parts: tuple[Ratings, Ratings]) -> None:
    training, _ = parts
    model = trained(name, *parts)[0].model
    users, items = (torch.tensor([0, UNKNOWN, n - 1]) for n in (training.n_users, training.n_items))
    pairs = pairs_of(users.repeat_interleave(3), items.repeat(3))
    lowest, highest = training.values.min(), training.values.max()
    predicted, std = model.predict(pairs), model.std(pairs)
    assert ((lowest <= predicted) & (predicted <= highest)).all()
    assert (std.isfinite() & (std > 0)).all()
    assert len(model.predict(pairs[:0])) == len(model.std(pairs[:0])) == 0


def test_somebody_new_is_answered_with_and_without_ratings(
    name: str, parts: tuple[Ratings, Ratings]
) -> None:
    training, _ = parts
    model = trained(name, *parts)[0].model
    items = torch.arange(20)
    asked = pairs_of(torch.zeros_like(items), items)
    values = torch.full((20,), training.values.max().item(), dtype=torch.float64)
    pleased, nobody = (
        model.fold_in(*given, seed=0).predict(asked) for given in ((items, values), NOTHING)
    )
    assert nobody.isfinite().all()
    assert pleased.mean() > nobody.mean()


def test_similarities_are_of_all_items(name: str, parts: tuple[Ratings, Ratings]) -> None:
    found = trained(name, *parts)[0].model.similarity(3)
    assert found.shape == (parts[0].n_items,)
    assert found.abs().max() <= 1 + 1e-5
    assert found[3] == found.max()


def test_a_state_brings_the_model_back(name: str, parts: tuple[Ratings, Ratings]) -> None:
    _, validation = parts
    model = trained(name, *parts)[0].model
    state = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
    again = load_state(name, state)
    for ask in ("predict", "std"):
        expected, found = (getattr(one, ask)(validation).numpy() for one in (model, again))
        np.testing.assert_array_equal(found, expected)
