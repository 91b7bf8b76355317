"""What a posterior predicts from its draws, beside slow loops over pairs and draws."""

from statistics import NormalDist, pstdev

import pytest
import torch
from torch import Tensor

from model import posterior
from model.effects import Grid
from model.fold_in import Newcomers
from model.hyperprior import Hyperprior
from model.posterior import Draw, Posterior, Scale, Unknown
from model.side_features import SideFeatures
from tests.pairs import pairs_of

N_USERS, N_ITEMS, RANK = 3, 4, 2
USERS, ITEMS = (
    index.flatten()
    for index in torch.meshgrid(torch.arange(-1, 3), torch.arange(-1, 4), indexing="ij")
)
PAIRS = pairs_of(USERS, ITEMS)
LEVELS = [1.0, 2.5, 4.0, 5.0]
ALL_CHAINS = pytest.mark.parametrize(
    "ordinal", [[False], [True], [False, True]], ids=["gaussian", "ordinal", "both"]
)


def some_draw(*, ordinal: bool, generator: torch.Generator) -> Draw:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def some_unknown() -> Unknown:
        return Unknown(mean=normal(RANK + 1), row=normal(RANK + 1), noise=normal().exp().double())

    def some_prior(n_rows: int) -> Hyperprior:
        return Hyperprior([SideFeatures.scaled(torch.ones(n_rows, 1))], RANK + 1)

    return Draw.of(
        users=(normal(N_USERS, RANK + 1), normal(N_USERS, RANK + 1)),
        items=(normal(N_ITEMS, RANK + 1), normal(N_ITEMS, RANK + 1)),
        unknown=(some_unknown(), some_unknown()),
        noise=(normal(N_USERS).exp().double(), normal(N_ITEMS).exp().double()),
        precision=normal().exp().double(),
        priors=tuple(
            Hyperprior([SideFeatures.scaled(torch.ones(n, 1))], RANK + 1)
            for n in (N_USERS, N_ITEMS)
        ),
        thresholds=normal(3).sort().values.double() if ordinal else None,
    )


def some_posterior(ordinal: list[bool]) -> tuple[Posterior, list[Draw]]:
    """Of three sweeps of each chain; and its draws."""
    generator = torch.Generator().manual_seed(1)
    mean, scale, lowest, highest = (torch.tensor(x).double() for x in (3.2, 2.0, 1.0, 5.0))
    scales = Scale(
        mean=mean, scale=scale, lowest=lowest, highest=highest, levels=torch.tensor(LEVELS).double()
    )
    newcomers = Newcomers(
        loadings=torch.ones(N_ITEMS, 1),
        degree_power=torch.tensor(0.35).double(),
        noise_dof=torch.tensor(20.0).double(),
        centre=torch.empty(0),
        rotation=torch.empty(0, 0),
        item_centre=torch.empty(0),
        item_rotation=torch.empty(0, 0),
    )
    made = Posterior(scales, newcomers, [Grid.empty(mean)] * len(ordinal))
    draws = []
    for _ in range(3):
        sweep = [some_draw(ordinal=kind, generator=generator) for kind in ordinal]
        made.add(sweep)
        draws += sweep
    return made, draws


def fit(user: Tensor, item: Tensor) -> float:
    *p, b = user.tolist()
    *q, c = item.tolist()
    return float(sum(x * y for x, y in zip(p, q, strict=True)) + b + c)


def chances(draw: Draw, mean: float, weight: float) -> list[float]:
    """Of each level."""
    latent = NormalDist(mean, weight**-0.5)
    below = [0.0, *(latent.cdf(threshold) for threshold in draw.thresholds.tolist()), 1.0]
    return [below[level + 1] - below[level] for level in range(4)]


def weight(draw: Draw, u: int, i: int) -> float:
    """α a_u b_i."""
    return (draw.precision * draw.user_noise[u] * draw.item_noise[i]).item()


@ALL_CHAINS
def test_predictions_are_those_of_the_slow_loop(ordinal: list[bool]) -> None:
    """Mean over draws of what means of users with items, and users with means of items, give.

    Of who is unknown it is the mean on both sides.
    """
    made, draws = some_posterior(ordinal)
    expected = []
    for u, i in zip(USERS.tolist(), ITEMS.tolist(), strict=True):
        total = 0.0
        for draw in draws:
            for mean in (
                fit(draw.user_means[u], (draw.items if i >= 0 else draw.item_means)[i]),
                fit((draw.users if u >= 0 else draw.user_means)[u], draw.item_means[i]),
            ):
                if len(draw.thresholds):
                    by_level = chances(draw, mean, weight(draw, u, i))
                    total += sum(p * value for p, value in zip(by_level, LEVELS, strict=True))
                else:
                    total += 3.2 + 2.0 * mean
        expected.append(min(max(total / len(draws) / 2, 1.0), 5.0))
    assert made.predict(PAIRS).tolist() == pytest.approx(expected, abs=1e-5)
    if ordinal == [False]:
        assert 1.0 in expected
        assert 5.0 in expected


@ALL_CHAINS
def test_spread_and_probabilities_are_those_of_the_slow_loop(ordinal: list[bool]) -> None:
    """The mixture over draws: of ratings, or of their levels."""
    made, draws = some_posterior(ordinal)
    stds, without_noise, probabilities = [], [], []
    for u, i in zip(USERS.tolist(), ITEMS.tolist(), strict=True):
        first, second, total = 0.0, 0.0, [0.0] * 4
        for draw in draws:
            mean, precision = fit(draw.users[u], draw.items[i]), weight(draw, u, i)
            if len(draw.thresholds):
                by_level = chances(draw, mean, precision)
                total = [before + p for before, p in zip(total, by_level, strict=True)]
                first += sum(p * value for p, value in zip(by_level, LEVELS, strict=True))
                second += sum(p * value**2 for p, value in zip(by_level, LEVELS, strict=True))
            else:
                rating = 3.2 + 2.0 * mean
                first += rating
                second += rating**2 + 2.0**2 / precision
        fits = [fit(draw.users[u], draw.items[i]) for draw in draws]
        without_noise.append(2.0 * pstdev(fits))
        stds.append((second / len(draws) - (first / len(draws)) ** 2) ** 0.5)
        probabilities.append([p / 3 for p in total])
    assert made.std(PAIRS).tolist() == pytest.approx(stds, rel=1e-4)
    assert made.uncertainty(PAIRS).tolist() == pytest.approx(without_noise, rel=1e-4)
    if any(ordinal):
        result = made.probabilities(PAIRS)
        torch.testing.assert_close(result, torch.tensor(probabilities).double(), rtol=0, atol=1e-6)


@ALL_CHAINS
def test_a_stored_posterior_is_as_before(ordinal: list[bool]) -> None:
    made, _ = some_posterior(ordinal)
    state = made.state_dict()
    restored = Posterior.from_state(state)
    assert torch.equal(made.predict(PAIRS), restored.predict(PAIRS))
    assert torch.equal(made.std(PAIRS), restored.std(PAIRS))
    if any(ordinal):
        assert torch.equal(
            made.probabilities(PAIRS),
            restored.probabilities(PAIRS),
        )
    again = restored.state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in again.items())


@ALL_CHAINS
def test_what_a_checkpoint_keeps_predicts_as_before(ordinal: list[bool]) -> None:
    made, draws = some_posterior(ordinal)
    again = Posterior(made.scale, made.newcomers, [Grid.empty(made.scale.mean)] * len(ordinal))
    again.take_back(made.kept())
    assert torch.equal(made.predict(PAIRS), again.predict(PAIRS))
    for one in (made, again):
        one.add(draws[: len(ordinal)])
    assert torch.equal(made.predict(PAIRS), again.predict(PAIRS))


@ALL_CHAINS
def test_pairs_are_predicted_in_blocks(
    ordinal: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = some_posterior(ordinal)
    whole = made.predict(PAIRS), made.std(PAIRS)
    monkeypatch.setattr("model.dataset.AT_ONCE", {"cpu": 7})
    torch.testing.assert_close((made.predict(PAIRS), made.std(PAIRS)), whole)
    if any(ordinal):
        assert made.probabilities(PAIRS).shape == (len(USERS), 4)


@ALL_CHAINS
@pytest.mark.parametrize("user", [-1, 0, 2, N_USERS])
def test_one_user_for_all_items_is_predicted_as_among_others(
    ordinal: list[bool], user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posterior, "AT_ONCE", 3)  # so that blocks end within
    made, _ = some_posterior(ordinal)
    items = torch.tensor([*range(-1, N_ITEMS + 1), 2])
    alone = pairs_of(torch.full_like(items, user), items)
    beside = pairs_of(
        torch.cat([alone.user_index, torch.tensor([1 if user != 1 else 0])]),
        torch.cat([items, torch.tensor([0])]),
    )
    assert posterior.is_of_one_user(alone)
    assert not posterior.is_of_one_user(beside)
    for ask in (made.predict, made.std):
        torch.testing.assert_close(ask(alone), ask(beside)[:-1], rtol=1e-6, atol=1e-6)


@ALL_CHAINS
def test_a_posterior_of_one_user_holds_no_others(ordinal: list[bool]) -> None:
    made, _ = some_posterior(ordinal)
    alone = made.fold_in(torch.tensor([0, 2]), torch.tensor([2.5, 4.0]), seed=0)
    for name, kept in alone.state_dict().items():
        if ".user_" in name or ".users" in name:
            assert kept.shape[:2] == (3, 2)  # draws; the user, and who has no ratings


def test_without_an_ordinal_chain_there_are_no_probabilities() -> None:
    made, _ = some_posterior([False])
    with pytest.raises(ValueError, match="expected an ordinal chain"):
        made.probabilities(PAIRS)


@pytest.mark.parametrize("n_forgotten", [0, 3])
def test_draws_are_kept_at_even_spacing_from_the_first_on(n_forgotten: int) -> None:
    kept, _ = some_posterior([False])
    kept = Posterior(kept.scale, kept.newcomers, [Grid.empty(torch.ones(()))])
    prior = Hyperprior([SideFeatures.scaled(torch.zeros(1, 1))], 2)
    for number in range(600):
        rows, ones = torch.zeros(1, 2), torch.ones(1)
        draw = Draw.of(
            users=(rows, rows),
            items=(rows, rows),
            unknown=(Unknown(mean=rows[0], row=rows[0], noise=ones[0]),) * 2,
            noise=(ones, ones),
            precision=torch.tensor(float(number)).double(),
            priors=(prior, prior),
            thresholds=None,
        )
        kept.add([draw])
        if 10 <= number < 10 + n_forgotten:
            kept.forget_first()
        first = min(max(number - 9, 0), n_forgotten)
        numbers = kept.state_dict()["chain0.precision"]
        steps = numbers.diff().unique()
        assert numbers[0] == first
        assert len(steps) <= 1
        assert number - numbers[-1] < (steps[0] if len(steps) else 1)
        assert len(numbers) <= posterior.MOST_DRAWS
        assert len(numbers) == number - first + 1 or len(numbers) > posterior.MOST_DRAWS // 2
