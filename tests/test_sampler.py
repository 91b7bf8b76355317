"""The sampler draws from the posterior: a joint-distribution test (Geweke 2004, Getting It Right).

Unknowns and ratings can be drawn together straight from the prior, or else in turns: unknowns by
a sweep given the ratings, ratings given the unknowns. Where every conditional is right, both have
one distribution. The second kind starts from the first here, in many short paths, so that paths
are independent and the standard error of their mean is plain.
"""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from model import chain as chain_module
from model import hyperprior
from model import ordinal as ordinal_module
from model.chain import Chain, Side
from model.dataset import Ratings
from model.hyperprior import Hyperprior
from model.ordinal import Levels, OrdinalLikelihood
from model.regressions import both_sides
from model.side_features import SideFeatures

N_USERS, N_ITEMS = 5, 4  # the second user has no ratings
PAIRS = torch.tensor([[0, 0, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4], [1, 3, 0, 2, 3, 1, 2, 3, 0, 1, 2, 3]])
VALUES = torch.tensor([1.0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4], dtype=torch.float64)
LEVELS = 4
RANK, N_FEATURES, NOISE_DOF = 1, 2, 5.0
MOST = 4.5  # standard errors, of any of four hundred means
N_REFERENCE = 50_000
PATH = 25  # sweeps

HYPERPRIOR = ("mean", "precision", "link", "link_precision")

State = dict[str, Tensor]


@functools.cache
def features() -> tuple[SideFeatures, SideFeatures]:
    generator = torch.Generator().manual_seed(0)

    def side(n_rows: int) -> SideFeatures:
        values = torch.randn(n_rows, N_FEATURES, generator=generator, dtype=torch.float64)
        return SideFeatures.scaled(torch.linalg.qr(values).Q * torch.tensor([1.5, 0.7]))

    return side(N_USERS), side(N_ITEMS)


def make_chain(*, ordinal: bool, generator: torch.Generator) -> Chain:
    ratings = Ratings(
        n_users=N_USERS,
        n_items=N_ITEMS,
        user_index=PAIRS[0],
        item_index=PAIRS[1],
        values=VALUES,
    )
    return Chain(
        ratings,
        both_sides(ratings),
        features(),
        rank=RANK,
        noise_dof=NOISE_DOF,
        levels=Levels(VALUES) if ordinal else None,
        generator=generator,
    )


def from_prior(n: int, *, generator: torch.Generator, thresholds: Tensor | None = None) -> State:
    """n draws of all unknowns and ratings; the inner of the given thresholds are drawn anew."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator, dtype=torch.float64)

    def gamma(twice_shape: int, rate: float, *shape: int) -> Tensor:
        """Gamma(twice_shape / 2, rate): the sum of so many squares of normals."""
        return normal(*shape, twice_shape).square().sum(-1) / (2 * rate)

    state = {"precision": gamma(1, 0.5)}
    width = RANK + 1
    for name, side in zip(("users", "items"), features(), strict=True):
        root = normal(width, width)
        precision = root @ root.mT
        factor = torch.linalg.cholesky(precision).mT

        def spread(n_rows: int, factor: Tensor = factor) -> Tensor:
            """Rows of N(0, Λ⁻¹)."""
            return torch.linalg.solve_triangular(factor, normal(width, n_rows), upper=True).mT

        link_precision = gamma(1, 0.5)
        mean, link = spread(1)[:, 0], spread(N_FEATURES) / link_precision.sqrt()[:, None, None]
        values = side.values.double()
        state |= {
            f"{name}.precision": precision,
            f"{name}.mean": mean,
            f"{name}.link_precision": link_precision,
            f"{name}.link": link,
            f"{name}.rows": mean[:, None] + values @ link + spread(len(values)),
            f"{name}.noise": gamma(int(NOISE_DOF), NOISE_DOF / 2, len(values)),
        }
    fit, weights = fit_and_weights(state)
    state["z"] = fit + normal(len(VALUES)) / weights.sqrt()
    if thresholds is not None:
        inner = torch.rand(n, len(thresholds) - 2, generator=generator, dtype=torch.float64)
        inner = thresholds[0] + (thresholds[-1] - thresholds[0]) * inner.sort(1).values
        first, last = (thresholds[end].expand(n, 1) for end in (0, -1))
        state["thresholds"] = torch.cat([first, inner, last], 1)
        state["level"] = torch.searchsorted(state["thresholds"], state["z"])
    return state


def fit_and_weights(state: State) -> tuple[Tensor, Tensor]:
    """The (n, n_ratings) fits and precisions of n states."""
    users, items = (state[f"{name}.rows"][:, PAIRS[k]] for k, name in enumerate(("users", "items")))
    fit = (users[..., :-1] * items[..., :-1]).sum(-1) + users[..., -1] + items[..., -1]
    noise = state["users.noise"][:, PAIRS[0]] * state["items.noise"][:, PAIRS[1]]
    return fit, noise * state["precision"][:, None]


def set_state(chain: Chain, state: State, path: int) -> None:
    for name, side in (("users", chain.users), ("items", chain.items)):
        for key in HYPERPRIOR:
            setattr(side.prior, key, state[f"{name}.{key}"][path].clone())
        side.rows = state[f"{name}.rows"][path].float()
        side.noise = state[f"{name}.noise"][path].clone()
    chain.precision = state["precision"][path].clone()
    chain.targets = state["z"][path].float()
    if chain.ordinal:
        chain.ordinal.precision = chain.precision
        chain.ordinal.thresholds = state["thresholds"][path].clone()
        chain.ordinal.latent = state["z"][path].clone()
        chain.ordinal.levels.index = state["level"][path].clone()


def get_state(chain: Chain) -> State:
    z = chain.ordinal.latent if chain.ordinal else chain.targets.double()
    state = {"precision": chain.precision, "z": z}
    for name, side in (("users", chain.users), ("items", chain.items)):
        for key in HYPERPRIOR:
            state[f"{name}.{key}"] = getattr(side.prior, key)
        state |= {f"{name}.rows": side.rows.double(), f"{name}.noise": side.noise}
    if chain.ordinal:
        state |= {"thresholds": chain.ordinal.thresholds, "level": chain.ordinal.levels.index}
    return {key: value.clone() for key, value in state.items()}


def redraw_ratings(chain: Chain, generator: torch.Generator) -> None:
    """Draws y given the unknowns; or the levels with z integrated out, then z given them."""
    state = {key: value[None] for key, value in get_state(chain).items()}
    fit, weights = (column[0] for column in fit_and_weights(state))
    noise = torch.randn(len(VALUES), generator=generator, dtype=torch.float64)
    drawn = fit + noise / weights.sqrt()
    if chain.ordinal:
        ordinal = chain.ordinal
        ordinal.levels.index = torch.searchsorted(ordinal.thresholds, drawn)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ordinal_module, "STEPS", 0)  # z alone
            roots = (weights / chain.precision).sqrt()
            ordinal.draw(fit.float(), roots.float(), generator=generator)
        drawn = ordinal.latent
    chain.targets = drawn.float()


def functions(state: State) -> dict[str, Tensor]:
    """Functions of n states, (n, …) each, all of finite variance."""
    fit, weights = fit_and_weights(state)
    error = (state["z"] - fit) * weights.sqrt()
    result = {
        "log α": state["precision"].log(),
        "fit": fit.arctan(),
        "|fit|": fit.abs().log(),
        "z": state["z"].arctan(),
        "|z|": state["z"].abs().log(),
        "error": error,
        "error²": error.square(),
        "log |error|": error.abs().log(),
        "error² · log a": error.square() * state["users.noise"].log()[:, PAIRS[0]],
        "error² · log b": error.square() * state["items.noise"].log()[:, PAIRS[1]],
        "error² · log α": error.square().mean(1) * state["precision"].log(),
    }
    for name, side in zip(("users", "items"), features(), strict=True):
        precision, mean, link, link_precision, rows, noise = (
            state[f"{name}.{key}"]
            for key in ("precision", "mean", "link", "link_precision", "rows", "noise")
        )
        centred = rows - mean[:, None] - side.values.double() @ link
        variances = precision.diagonal(dim1=1, dim2=2)
        result |= {
            f"{name} log λ_B": link_precision.log(),
            f"{name} log det Λ": precision.logdet(),
            f"{name} log Λ": variances.log(),
            f"{name} correlation²": precision[:, 0, 1].square() / variances.prod(1),
            f"{name} μ": mean.arctan(),
            f"{name} |μ|": mean.abs().log(),
            f"{name} μ'Λμ": (mean[:, None] @ precision @ mean[..., None]).flatten(),
            f"{name} B": link.arctan().flatten(1),
            f"{name} |B|": link.abs().log().flatten(1),
            f"{name} λ_B BΛB'": (link @ precision * link).sum(2) * link_precision[:, None],
            f"{name} rows": rows.arctan().flatten(1),
            f"{name} |rows|": rows.abs().log().flatten(1),
            f"{name} spread": (centred @ precision * centred).sum(2),
            f"{name} log a": noise.log(),
            f"{name} a": noise,
        }
    if "level" in state:
        inner = state["thresholds"][:, 1:-1]
        ends = torch.stack([state["level"] == 0, state["level"] == LEVELS - 1], 1)
        share = ends.double().mean(2)
        result |= {
            "γ": inner,
            "γ²": inner.square(),
            "share of the end levels": share,
            "log α · share": state["precision"].log()[:, None] * share,
            "level · fit": (state["level"] - 1.5) * fit.arctan(),
        }
    return {name: value.reshape(len(value), -1) for name, value in result.items()}


@functools.cache
def reference(*, ordinal: bool) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean, and variance of it, of each function under the prior."""
    generator = torch.Generator().manual_seed(1)
    thresholds = start_thresholds() if ordinal else None
    values = functions(from_prior(N_REFERENCE, thresholds=thresholds, generator=generator))
    return {name: (value.mean(0), value.var(0) / len(value)) for name, value in values.items()}


def start_thresholds() -> Tensor:
    chain = make_chain(ordinal=True, generator=torch.Generator())
    assert chain.ordinal is not None
    assert len(chain.ordinal.thresholds) == LEVELS - 1
    return chain.ordinal.thresholds


def z_scores(*, ordinal: bool, n_paths: int, seed: int = 2) -> dict[str, Tensor]:
    """How many standard errors the means of the functions differ from those under the prior."""
    generator = torch.Generator().manual_seed(seed)
    chain = make_chain(ordinal=ordinal, generator=generator)
    thresholds = start_thresholds() if ordinal else None
    starts = from_prior(n_paths, thresholds=thresholds, generator=generator)
    states = []
    for path in range(n_paths):
        set_state(chain, starts, path)
        for _ in range(PATH):
            redraw_ratings(chain, generator)
            chain.sweep()
            states.append(get_state(chain))
    values = functions({key: torch.stack([s[key] for s in states]) for key in states[0]})
    scores = {}
    for name, start in functions(starts).items():
        paths = values[name].unflatten(0, (n_paths, PATH)).mean(1)
        mean, variance = reference(ordinal=ordinal)[name]
        scores[name] = (paths.mean(0) - mean) / (paths.var(0) / n_paths + variance).sqrt()
        moved = paths - start  # what moves slowly is seen better so
        scores[f"{name} since the start"] = moved.mean(0) / (moved.var(0) / n_paths).sqrt()
    return scores


def largest(scores: dict[str, Tensor]) -> float:
    assert all(score.isfinite().all() for score in scores.values())
    return max(score.abs().max().item() for score in scores.values())


@pytest.mark.parametrize("ordinal", [False, True], ids=["gaussian", "ordinal"])
def test_means_of_rows_are_those_of_the_slow_loop(ordinal: bool) -> None:
    """Each side's given the other's draw at that time, with the precisions of before."""
    chain = make_chain(ordinal=ordinal, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        chain.sweep()
    before = get_state(chain)
    draw = chain.sweep()
    after = get_state(chain)
    half = {"rtol": 2e-3, "atol": 2e-3, "check_dtype": False}
    torch.testing.assert_close(draw.items[:-1], before["items.rows"], **half)
    torch.testing.assert_close(draw.users[:-1], after["users.rows"], **half)
    fit = fit_and_weights({key: value[None] for key, value in after.items()})[0][0]
    residuals = before["z"] - fit
    torch.testing.assert_close(chain.residuals.double(), residuals, rtol=1e-4, atol=1e-4)
    for own, (name, other, then, means) in enumerate(
        (
            ("users", "items", before, draw.user_means),
            ("items", "users", after, draw.item_means),
        )
    ):
        prior = after[f"{name}.precision"]
        for row, features_of_row in enumerate(features()[own].values.double()):
            mean = after[f"{name}.mean"] + features_of_row @ after[f"{name}.link"]
            precision, right = prior.clone(), prior @ mean
            for rating in (PAIRS[own] == row).nonzero()[:, 0]:
                place = PAIRS[1 - own][rating]
                z = then[f"{other}.rows"][place]
                phi = torch.cat([z[:-1], torch.ones(1)])
                weight = before["precision"] * before[f"{name}.noise"][row]
                weight = weight * then[f"{other}.noise"][place]
                precision += weight * torch.outer(phi, phi)
                right += weight * phi * (before["z"][rating] - z[-1])
            torch.testing.assert_close(means[row], torch.linalg.solve(precision, right), **half)


def test_a_precision_is_wishart_of_these_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """W⁻¹ = I + S + β₀ N / (β₀ + N) x̄ x̄ᵀ + λ_B BᵀB, of rows without what features explain."""
    generator = torch.Generator().manual_seed(4)
    state = {key: value[0] for key, value in from_prior(1, generator=generator).items()}
    seen: list[tuple[float, Tensor]] = []
    wishart_root = hyperprior.wishart_root

    def remember(degrees: float, inverse_scale: Tensor, **kwargs: Any) -> Tensor:
        seen.append((degrees, inverse_scale))
        return wishart_root(degrees, inverse_scale, **kwargs)

    monkeypatch.setattr(hyperprior, "wishart_root", remember)
    prior = Hyperprior(features()[0], RANK + 1)
    prior.link, prior.link_precision = state["users.link"], state["users.link_precision"]
    prior.draw(state["users.rows"].float(), generator=generator)

    rest = state["users.rows"] - features()[0].values.double() @ state["users.link"]
    mean = sum(rest) / N_USERS
    expected = torch.eye(RANK + 1).double() + N_USERS / (1 + N_USERS) * torch.outer(mean, mean)
    for row in rest:
        expected += torch.outer(row - mean, row - mean)
    for row in state["users.link"]:
        expected += state["users.link_precision"] * torch.outer(row, row)
    [(degrees, inverse_scale)] = seen
    assert degrees == RANK + 1 + N_USERS + N_FEATURES
    torch.testing.assert_close(inverse_scale, expected, rtol=1e-4, atol=1e-4)


def test_a_hyperprior_is_drawn_given_the_rows() -> None:
    """After one draw the prior and its rows are still those of the prior: from 2000 starts."""
    generator = torch.Generator().manual_seed(3)
    starts = from_prior(2000, generator=generator)
    after = {key: value.clone() for key, value in starts.items()}
    for side, name in zip(features(), ("users", "items"), strict=True):
        prior = Hyperprior(side, RANK + 1)
        for k in range(2000):
            for key in HYPERPRIOR:
                setattr(prior, key, starts[f"{name}.{key}"][k])
            prior.draw(starts[f"{name}.rows"][k].float(), generator=generator)
            for key in HYPERPRIOR:
                after[f"{name}.{key}"][k] = getattr(prior, key)
    before = functions(starts)
    for name, value in functions(after).items():
        moved = value - before[name]
        error = moved.std(0).clamp(min=1e-12) / len(moved) ** 0.5
        assert (moved.mean(0) / error).abs().max() < MOST, name


@pytest.mark.parametrize("ordinal", [False, True], ids=["gaussian", "ordinal"])
def test_every_conditional_is_that_of_the_model(ordinal: bool) -> None:
    assert largest(z_scores(ordinal=ordinal, n_paths=100)) < MOST


Fault = Callable[[pytest.MonkeyPatch], None]


def patched(module: Any, name: str, change: Callable[..., Any]) -> Fault:
    """Replaces a function by `change`, which is given the original first."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, name, functools.partial(change, getattr(module, name)))

    return apply


def fewer_degrees(wishart_root: Any, degrees: float, *args: Any, **kwargs: Any) -> Any:
    return wishart_root(degrees - N_FEATURES, *args, **kwargs)


def no_link_in_scale(patch: pytest.MonkeyPatch) -> None:
    draw, wishart_root = Hyperprior.draw, hyperprior.wishart_root
    present: list[Hyperprior] = []

    def remember(self: Hyperprior, *args: Any, **kwargs: Any) -> None:
        present[:] = [self]
        draw(self, *args, **kwargs)

    def without(degrees: float, scale: Tensor, **kwargs: Any) -> Tensor:
        link = present[0].link
        return wishart_root(degrees, scale - present[0].link_precision * link.mT @ link, **kwargs)

    patch.setattr(Hyperprior, "draw", remember)
    patch.setattr(hyperprior, "wishart_root", without)


def no_counts_in_noise(gamma: Any, shape: Tensor, *args: Any, **kwargs: Any) -> Any:
    return gamma(torch.full_like(shape, NOISE_DOF / 2) if shape.dim() else shape, *args, **kwargs)


def errors_not_halved(gamma: Any, shape: Tensor, rate: Tensor, **kwargs: Any) -> Any:
    return gamma(shape, rate if shape.dim() else 2 * rate - 0.5, **kwargs)


def no_link_in_its_precision(gamma: Any, shape: Tensor, *args: Any, **kwargs: Any) -> Any:
    return gamma(torch.full_like(shape, 0.5), *args, **kwargs)


def no_prior_mean(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hyperprior, "row_means", lambda self: torch.zeros(len(self.features.values), 2))


def no_precision_in_weights(patch: pytest.MonkeyPatch) -> None:
    draw_side = Chain._draw_side

    def draw(self: Chain, side: Side, other: Side) -> Tensor:
        kept, self.precision = self.precision, torch.ones_like(self.precision)
        result = draw_side(self, side, other)
        self.precision = kept
        return result

    patch.setattr(Chain, "_draw_side", draw)


def no_noise_in_levels(patch: pytest.MonkeyPatch) -> None:
    draw = OrdinalLikelihood.draw

    def even(self: OrdinalLikelihood, fit: Tensor, roots: Tensor, **kwargs: Any) -> None:
        draw(self, fit, torch.ones_like(roots), **kwargs)

    patch.setattr(OrdinalLikelihood, "draw", even)


FAULTS = {
    "degrees without K": (False, patched(hyperprior, "wishart_root", fewer_degrees)),
    "no BB' in the scale of Λ": (False, no_link_in_scale),
    "no n in the shape of a": (False, patched(chain_module, "gamma", no_counts_in_noise)),
    "no ½ in the rate of α": (False, patched(chain_module, "gamma", errors_not_halved)),
    "no KD in the shape of λ_B": (False, patched(hyperprior, "gamma", no_link_in_its_precision)),
    "no α in the weights": (False, no_precision_in_weights),
    "no prior mean of rows": (False, no_prior_mean),
    "no a and b in the levels": (True, no_noise_in_levels),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_conditional_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinal, fault = FAULTS[name]
    fault(monkeypatch)
    assert largest(z_scores(ordinal=ordinal, n_paths=60)) > MOST
