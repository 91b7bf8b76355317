"""A user's row from a few ratings, beside the model that was trained with them."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from model.dataset import Ratings
from model.fold_in import Conditions, draw_rows, ridge
from model.posterior import Posterior
from model.side_features import SHRINKAGE, side_features
from model.solver import Model
from model.solvers import ORIGINAL, SOLVERS, Config, make_solver
from tests.pairs import pairs_of

ModelOf = Callable[..., Model]

CPU = torch.device("cpu")
EPOCHS = {"als": 30, "gradient": 150, "gibbs, Gaussian": 40, "gibbs, both": 40, "original": 300}
SETTINGS: dict[str, Config] = {
    "als": replace(SOLVERS["als"].default, rank=4),
    "gradient": replace(SOLVERS["gradient"].default, rank=6, learning_rate_decay=0.97),
    "gibbs, Gaussian": replace(
        SOLVERS["gibbs"].default, rank=4, n_features=8, likelihood="gaussian"
    ),
    "gibbs, both": replace(SOLVERS["gibbs"].default, rank=4, n_features=8),
    "original": replace(ORIGINAL, rank=4, batch_size=300, learning_rate=0.01, weight_decay=1e-3),
}
# Between trained and folded predictions, in standard deviations of the ratings.
LARGEST_RMSE = {
    "als": 0.001,
    "gradient": 0.03,
    "gibbs, Gaussian": 0.03,
    "gibbs, both": 0.03,
    "original": 0.05,
}
ALL = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(scope="module")
def ratings(planted: tuple[Ratings, Ratings, float]) -> Ratings:
    """Of the planted ones, 3,000, in half stars."""
    few = planted[0][torch.arange(3000)]
    return replace(few, values=(few.values * 2).round() / 2)


@pytest.fixture(scope="module")
def model_of(ratings: Ratings) -> ModelOf:
    @cache
    def trained(name: str, factor: float = 1.0) -> Model:
        scaled = replace(ratings, values=ratings.values * factor)
        solver = make_solver(SETTINGS[name], scaled, device=CPU, seed=0)
        next(epoch for epoch in solver.epochs(None) if epoch.number == EPOCHS[name])
        return solver.model

    return trained


def own(ratings: Ratings, user: int) -> tuple[Tensor, Tensor]:
    """The items of a user, and the values."""
    mine = ratings.user_index == user
    return ratings.item_index[mine], ratings.values[mine]


def of_all(model: Model, user: int, n_items: int = 100) -> Tensor:
    return model.predict(pairs_of(torch.full((n_items,), user), torch.arange(n_items)))


@ALL
def test_a_user_of_the_training_is_predicted_as_by_the_trained_model(
    name: str, ratings: Ratings, model_of: ModelOf
) -> None:
    model, errors, deviations = model_of(name), [], []
    for user in range(0, 150, 25):
        folded = model.fold_in(*own(ratings, user), seed=0)
        errors.append(of_all(folded, 0) - of_all(model, user))
        deviations.append(of_all(model, user) - of_all(model, -1))
        assert torch.equal(of_all(folded, -1), of_all(model, -1))
    rmse, beside = (
        torch.cat(parts).square().mean().sqrt() / ratings.values.std()
        for parts in (errors, deviations)
    )
    assert rmse < LARGEST_RMSE[name]
    assert beside > 3 * LARGEST_RMSE[name]  # an average user is far away


@ALL
def test_another_scale_of_the_ratings_is_another_scale_of_the_answers(
    name: str, ratings: Ratings, model_of: ModelOf
) -> None:
    if name == "original":
        pytest.skip("does not standardize the ratings")
    items, values = own(ratings, 3)
    one, ten = model_of(name), model_of(name, 10.0)
    predicted = of_all(ten.fold_in(items, values * 10.0, seed=1), 0)
    torch.testing.assert_close(
        predicted, of_all(one.fold_in(items, values, seed=1), 0) * 10.0, rtol=0, atol=0.02
    )


@ALL
def test_without_ratings_the_answers_are_the_average_users(name: str, model_of: ModelOf) -> None:
    model = model_of(name)
    nothing = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    folded = model.fold_in(*nothing, seed=0)
    pair = pairs_of(torch.zeros(100, dtype=torch.int64), torch.arange(100))
    unknown = replace(pair, user_index=pair.user_index - 1)
    assert torch.equal(folded.predict(pair), model.predict(unknown))
    assert torch.equal(folded.std(pair), model.std(unknown))


@pytest.mark.parametrize("name", ["gibbs, Gaussian", "gibbs, both"])
def test_more_ratings_make_surer_and_the_model_stays_as_it_was(
    name: str, ratings: Ratings, model_of: ModelOf
) -> None:
    model = model_of(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    items, values = own(ratings, 5)
    pair = pairs_of(torch.zeros(100, dtype=torch.int64), torch.arange(100))
    few = model.fold_in(items[:2], values[:2], seed=0)
    many = model.fold_in(items, values, seed=0)
    assert len(items) > 10
    assert many.uncertainty(pair).mean() < 0.8 * few.uncertainty(pair).mean()
    assert many.std(pair).mean() < few.std(pair).mean()
    assert torch.equal(many.predict(pair), model.fold_in(items, values, seed=0).predict(pair))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("n_features", "within"), [(100, 1e-3), (8, 0.05)])
def test_loadings_give_the_features_of_the_training(
    n_features: int, within: float, ratings: Ratings
) -> None:
    """All but for what the random projection of fewer features leaves out."""
    power = 0.35
    users, _, loadings = side_features(
        ratings,
        n_features,
        degree_power=power,
        spectrum_power=1.5,
        generator=torch.Generator().manual_seed(0),
    )
    for user in range(20):
        items, _ = own(ratings, user)
        features = loadings[items].sum(0) * (len(items) + SHRINKAGE) ** -power
        torch.testing.assert_close(features, users.values[user], rtol=0, atol=within)


def given(*, thresholds: Tensor, noise_dof: float, n_draws: int) -> Conditions:
    """The same draw again and again."""
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(3, 3, generator=generator)
    one = Conditions(
        others=torch.randn(6, 3, generator=generator),
        other_noise=torch.rand(6, generator=generator) + 0.5,
        precision=torch.tensor(2.0).double(),
        thresholds=thresholds,
        prior_mean=torch.randn(3, generator=generator),
        prior_precision=root @ root.mT + torch.eye(3),
        noise_dof=noise_dof,
    )
    tensors = {name: value for name, value in vars(one).items() if isinstance(value, Tensor)}
    return replace(one, **{n: t.expand(n_draws, *t.shape) for n, t in tensors.items()})


def fits_of(conditions: Conditions, rows: Tensor) -> Tensor:
    """The (S, 6) fits of rows, (S, D)."""
    phi = torch.cat([conditions.others[..., :-1], torch.ones(len(rows), 6, 1)], -1).double()
    return (phi @ rows[..., None])[..., 0] + conditions.others[..., -1]


def test_a_row_is_drawn_from_its_conditional() -> None:
    """Beside the textbook's formula, in a Gaussian draw whose noise is known."""
    conditions = given(thresholds=torch.empty(0), noise_dof=math.inf, n_draws=400)
    targets, levels = torch.linspace(-1, 1, 6).double(), torch.zeros(6, dtype=torch.int64)
    others = conditions.others[0]
    phi = torch.cat([others[:, :-1], torch.ones(6, 1)], 1).double()
    weights = 2.0 * conditions.other_noise[0].double()
    precision = conditions.prior_precision[0].double() + phi.mT @ (phi * weights[:, None])
    right = conditions.prior_precision[0].double() @ conditions.prior_mean[0].double()
    right += phi.mT @ (weights * (targets - others[:, -1]))
    generator = torch.Generator().manual_seed(0)
    means, rows, noise = draw_rows(conditions, targets, levels, generator=generator)
    mean = torch.linalg.solve(precision, right)
    torch.testing.assert_close(means, mean.expand(400, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.mean(0), mean, rtol=0, atol=0.08)
    torch.testing.assert_close(rows.T.cov(), torch.linalg.inv(precision), rtol=0, atol=0.08)
    assert (noise == 1.0).all()


def test_a_user_who_surprises_is_found_noisier() -> None:
    conditions = given(thresholds=torch.empty(0), noise_dof=10.0, n_draws=50)
    levels, generator = torch.zeros(6, dtype=torch.int64), torch.Generator().manual_seed(0)
    as_expected = fits_of(conditions, conditions.prior_mean.double())[0]
    surprise = 5.0 * torch.tensor([1.0, -1, 1, -1, 1, -1])
    noise = [
        draw_rows(conditions, targets, levels, generator=generator)[2].mean()
        for targets in (as_expected, as_expected + surprise)
    ]
    assert noise[1] < 0.7 * noise[0]


def test_levels_move_a_row_as_their_thresholds_say() -> None:
    conditions = given(
        thresholds=torch.tensor([-1.0, 0.0, 1.0]).double(), noise_dof=math.inf, n_draws=50
    )
    # In half of the draws a level stands for less.
    shift = torch.arange(50)[:, None] % 2
    conditions = replace(conditions, thresholds=conditions.thresholds - shift)
    fits = []
    for level in range(4):
        generator = torch.Generator().manual_seed(0)
        levels, targets = torch.full((6,), level), torch.full((6,), level - 1.5).double()
        means, _, _ = draw_rows(conditions, targets, levels, generator=generator)
        fits.append([fits_of(conditions, means)[start::2].mean().item() for start in (0, 1)])
    (first, *_, last), lower = zip(*fits, strict=True)
    assert [one for one, _ in fits] == sorted(one for one, _ in fits)
    assert last - first > 1.0
    assert all(lowered < one - 0.2 for one, lowered in fits)
    assert len(lower) == 4


def test_the_ridge_row_is_of_least_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(5, 2, generator=generator).double()
    targets = torch.randn(5, generator=generator).double()
    penalty = torch.tensor([0.3, 0.3, 0.1]).double()

    def loss(row: Tensor) -> Tensor:
        errors = targets - factors @ row[:-1] - row[-1]
        return errors.square().sum() + (penalty * row.square()).sum()

    row = ridge(factors, targets, penalty).requires_grad_()
    (slope,) = torch.autograd.grad(loss(row), row)
    assert slope.abs().max() < 1e-10
    assert ridge(factors, targets, torch.tensor([0.3, 0.3, math.inf]).double())[-1] == 0.0
    assert ridge(factors[:1], targets[:1], torch.zeros(3).double()).isfinite().all()


@pytest.mark.parametrize("name", ["als", "gibbs, Gaussian"])
def test_items_that_please_the_same_users_are_similar(
    name: str, planted: tuple[Ratings, Ratings, float], model_of: ModelOf
) -> None:
    """Whatever basis the factors are in; items of the planted data were numbered at random."""
    similarity = model_of(name).similarity(7)
    assert similarity.shape == (100,)
    assert similarity[7] == pytest.approx(1.0, abs=1e-5)
    assert similarity.abs().max() <= 1.0 + 1e-5
    training = planted[0]
    table = torch.full((150, 100), torch.nan, dtype=torch.float64)
    table[training.user_index, training.item_index] = training.values
    centred = (table - table.nanmean(1, keepdim=True)).nan_to_num()
    seen = torch.corrcoef(centred.mT)[7]
    assert torch.corrcoef(torch.stack([seen, similarity.double()]))[0, 1] > 0.7


def test_similarities_do_not_depend_on_the_basis_of_the_factors() -> None:
    from model.similarity import correlations

    generator = torch.Generator().manual_seed(0)
    users = torch.randn(40, 3, generator=generator)
    items = torch.randn(20, 3, generator=generator)
    basis = torch.randn(3, 3, generator=generator)
    other = correlations(users @ torch.linalg.inv(basis).mT, items @ basis, 4)
    torch.testing.assert_close(other, correlations(users, items, 4), rtol=0, atol=1e-3)
    tastes = (users @ items.mT).mT
    torch.testing.assert_close(other, torch.corrcoef(tastes)[4], rtol=0, atol=1e-3)


def test_what_was_rated_tells_of_a_user_before_the_ratings_do(
    ratings: Ratings, model_of: ModelOf
) -> None:
    """A link that lifts who rates these items by two, in the prior, of ratings it knows two."""
    state = dict(model_of("gibbs, Gaussian").state_dict())
    items, values = (column[:2] for column in own(ratings, 5))
    features = state["loadings"][items].sum(0) * (2 + SHRINKAGE) ** -state["degree_power"].float()
    lifted = []
    for lift in (0.0, 2.0):
        link = torch.zeros_like(state["chain0.link"])
        link[:, :, -1] = lift * features / features.square().sum()
        model = Posterior.from_state(state | {"chain0.link": link})
        means = model.fold_in(items, values, seed=0).state_dict()["chain0.user_means"]
        lifted.append(means[:, 0, -1].float().mean())
    assert 0.3 < lifted[1] - lifted[0] < 2.0
