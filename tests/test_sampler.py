"""The sampler draws from the posterior: a joint-distribution test (Geweke 2004, Getting It Right).

Unknowns and ratings can be drawn together straight from the prior, or else in turns: unknowns by
a sweep given the ratings, ratings given the unknowns. Where every conditional is right, both have
one distribution. The second kind starts from the first here, in many short paths, so that paths
are independent and the standard error of their mean is plain.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from model import chain as chain_module
from model import effects, hyperprior
from model import ordinal as ordinal_module
from model.chain import Chain, Side
from model.dataset import Description, Ratings
from model.effects import Effects, Grid
from model.hyperprior import Hyperprior
from model.kernels.groups import CompiledGroups
from model.ordinal import Levels, OrdinalLikelihood
from model.regressions import both_sides
from model.side_features import SideFeatures, described
from model.variates import Stream

N_USERS, N_ITEMS = 5, 4  # the second user has no ratings
PAIRS = torch.tensor([[0, 0, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4], [1, 3, 0, 2, 3, 1, 2, 3, 0, 1, 2, 3]])
VALUES = torch.tensor([1.0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4], dtype=torch.float64)
# A user's rise, and the last rating of all has none: two scales of users, halves for items.
TIMES = torch.tensor([0.0, 4, 100, 103, 180, 40, 120, 125, 210, 213, 260, torch.nan]).double()
LEVELS = 4
RANK, N_FEATURES, NOISE_DOF = 1, (2, 1), 5.0  # of who rated what, and of a description
MOST = 4.5  # standard errors, of any of six hundred means
N_REFERENCE = 50_000

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Which of the chains."""

    ordinal: bool = False
    timed: bool = False


KINDS = {
    "gaussian": Kind(),
    "ordinal": Kind(ordinal=True),
    "gaussian with times": Kind(timed=True),
    "ordinal with times": Kind(ordinal=True, timed=True),
}
GAUSSIAN, ORDINAL = KINDS["gaussian"], KINDS["ordinal"]
TIMED, ORDINAL_TIMED = KINDS["gaussian with times"], KINDS["ordinal with times"]
ALL_KINDS = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def few_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many effects as so few ratings can have, and so large that these tell of them."""
    monkeypatch.setattr(effects, "SCALES", (10.0, 100.0))
    monkeypatch.setattr(effects, "ITEM_PARTS", (2.0,))
    monkeypatch.setattr(effects, "STEPS", 4)
    monkeypatch.setattr(effects, "GAMMA_RATE", 0.5)
    monkeypatch.setattr(hyperprior, "DESCRIPTION_RATE", 0.5)


@functools.cache
def features() -> tuple[list[SideFeatures], list[SideFeatures]]:
    """Two groups of each side: the second is centred, as descriptions are."""
    generator = torch.Generator().manual_seed(0)

    def side(n_rows: int) -> list[SideFeatures]:
        values = torch.randn(n_rows, N_FEATURES[0], generator=generator, dtype=torch.float64)
        first = SideFeatures.scaled(torch.linalg.qr(values).Q * torch.tensor([1.5, 0.7]))
        column = first.values[:, :1] + torch.randn(n_rows, 1, generator=generator)
        return [first, described(Description(name="", labels=("",), values=column))]

    return side(N_USERS), side(N_ITEMS)


def ratings_of(kind: Kind) -> Ratings:
    return Ratings(
        n_users=N_USERS,
        n_items=N_ITEMS,
        user_index=PAIRS[0],
        item_index=PAIRS[1],
        values=VALUES,
        times=TIMES if kind.timed else None,
    )


def effects_of(kind: Kind) -> Effects:
    """Always of the same groups."""
    return Effects(ratings_of(kind), generator=torch.Generator().manual_seed(1))


@functools.cache
def shares_of_time() -> tuple[Tensor, Tensor, Tensor]:
    """Which ratings an effect is of, (G, n_ratings), its scale, (G,), and which a step has."""
    ratings = ratings_of(Kind(timed=True))
    grid, groups, steps = Grid.of(ratings, generator=torch.Generator().manual_seed(1))
    sizes = grid.firsts.diff()
    assert sizes.tolist() == [7, 6, 7]
    assert grid.of_items.tolist() == [False, False, True]
    of_groups = [
        (torch.arange(size)[:, None] == group).double()
        for size, group in zip(sizes.tolist(), groups, strict=True)
    ]
    of_steps = torch.arange(effects.STEPS)[:, None] == steps
    return torch.cat(of_groups), torch.arange(3).repeat_interleave(sizes), of_steps.double()


def make_chain(kind: Kind, *, generator: torch.Generator) -> Chain:
    ratings = ratings_of(kind)
    chain = Chain(
        ratings,
        both_sides(ratings),
        features(),
        rank=RANK,
        noise_dof=NOISE_DOF,
        levels=Levels(VALUES) if kind.ordinal else None,
        generator=generator,
    )
    if kind.timed:
        chain.effects = effects_of(kind)
        chain.effects._generator = generator
    return chain


def from_prior(n: int, kind: Kind, *, generator: torch.Generator) -> State:
    """n draws of all unknowns and ratings."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator, dtype=torch.float64)

    def gamma(twice_shape: int, rate: float, *shape: int) -> Tensor:
        """Gamma(twice_shape / 2, rate): the sum of so many squares of normals."""
        return normal(*shape, twice_shape).square().sum(-1) / (2 * rate)

    state = {"precision": gamma(1, 0.5)}
    width = RANK + 1
    for name, groups in zip(("users", "items"), features(), strict=True):
        root = normal(width, width)
        precision = root @ root.mT
        factor = torch.linalg.cholesky(precision).mT

        def spread(n_rows: int, factor: Tensor = factor) -> Tensor:
            """Rows of N(0, Λ⁻¹)."""
            return torch.linalg.solve_triangular(factor, normal(width, n_rows), upper=True).mT

        mean = spread(1)[:, 0]
        n_rows = len(groups[0].values)
        rows = mean[:, None] + spread(n_rows)
        for number, group in enumerate(groups):
            link_precision = gamma(1, 0.5)
            link = spread(N_FEATURES[number]) / link_precision.sqrt()[:, None, None]
            rows = rows + group.values.double() @ link
            state[f"{name}.link{number}"] = link
            state[f"{name}.link{number}.precision"] = link_precision
        state |= {
            f"{name}.precision": precision,
            f"{name}.mean": mean,
            f"{name}.rows": rows,
            f"{name}.noise": gamma(int(NOISE_DOF), NOISE_DOF / 2, n_rows),
        }
    if kind.timed:
        _, scales, of_steps = shares_of_time()
        precisions, level_precision = gamma(1, 0.5, 3), gamma(1, 0.5)
        steps = normal(len(of_steps))
        steps[:, 1:] /= level_precision.sqrt()[:, None]
        state |= {
            "time.precisions": precisions,
            "time.values": normal(len(scales)) / precisions[:, scales].sqrt(),
            "time.level_precision": level_precision,
            "time.level": steps.cumsum(1),
        }
    fit, weights = fit_and_weights(state)
    state["z"] = fit + normal(len(VALUES)) / weights.sqrt()
    if kind.ordinal:
        thresholds = start_thresholds()
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
    return fit + of_time(state), noise * state["precision"][:, None]


def of_time(state: State) -> Tensor:
    """The (n, n_ratings) sums of what the time of each rating adds, or zeros."""
    if "time.level" not in state:
        return torch.zeros(len(VALUES), dtype=torch.float64)
    of_groups, _, of_steps = shares_of_time()
    return state["time.values"] @ of_groups + state["time.level"] @ of_steps


def places_of_prior(name: str, prior: Hyperprior) -> Iterator[tuple[str, Any, str]]:
    """Key in a state, object and attribute of each unknown of a hyperprior."""
    yield f"{name}.mean", prior, "mean"
    yield f"{name}.precision", prior, "precision"
    for number, link in enumerate(prior.links):
        yield f"{name}.link{number}", link, "matrix"
        yield f"{name}.link{number}.precision", link, "precision"


def places(chain: Chain) -> Iterator[tuple[str, Any, str]]:
    """Of all unknowns but those of an ordinal likelihood."""
    yield "precision", chain, "precision"
    for name, side in (("users", chain.users), ("items", chain.items)):
        yield from places_of_prior(name, side.prior)
        yield f"{name}.rows", side, "rows"
        yield f"{name}.noise", side, "noise"
    if chain.effects:
        for attribute in ("values", "precisions", "level", "level_precision"):
            yield f"time.{attribute}", chain.effects, attribute


def set_state(chain: Chain, state: State, path: int) -> None:
    for key, owner, attribute in places(chain):
        value = state[key][path].to(getattr(owner, attribute).dtype, copy=True)
        setattr(owner, attribute, value)
    chain.targets = state["z"][path].float()
    if chain.effects:
        chain.effects.total = of_time({key: state[key][path] for key in state}).float()
    if chain.ordinal:
        chain.ordinal.precision = chain.precision
        chain.ordinal.thresholds = state["thresholds"][path].clone()
        chain.ordinal.latent = state["z"][path].clone()
        chain.ordinal.levels.index = state["level"][path].clone()


def get_state(chain: Chain) -> State:
    state = {key: getattr(owner, attribute).double() for key, owner, attribute in places(chain)}
    state["z"] = chain.ordinal.latent if chain.ordinal else chain.targets.double()
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
            chances = torch.rand(len(VALUES), generator=generator, dtype=torch.float64)
            ordinal.draw(
                fit.float(), roots.float(), generator=generator, chances=lambda some: chances[some]
            )
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
    for name, groups in zip(("users", "items"), features(), strict=True):
        precision, mean, rows, noise = (
            state[f"{name}.{key}"] for key in ("precision", "mean", "rows", "noise")
        )
        centred = rows - mean[:, None]
        for number, group in enumerate(groups):
            link, link_precision = (
                state[f"{name}.link{number}{key}"] for key in ("", ".precision")
            )
            centred = centred - group.values.double() @ link
            result |= {
                f"{name} log λ_B {number}": link_precision.log(),
                f"{name} B {number}": link.arctan().flatten(1),
                f"{name} |B| {number}": link.abs().log().flatten(1),
                f"{name} λ_B BΛB' {number}": (
                    (link @ precision * link).sum(2) * link_precision[:, None]
                ),
            }
        variances = precision.diagonal(dim1=1, dim2=2)
        result |= {
            f"{name} log det Λ": precision.logdet(),
            f"{name} log Λ": variances.log(),
            f"{name} correlation²": precision[:, 0, 1].square() / variances.prod(1),
            f"{name} μ": mean.arctan(),
            f"{name} |μ|": mean.abs().log(),
            f"{name} μ'Λμ": (mean[:, None] @ precision @ mean[..., None]).flatten(),
            f"{name} rows": rows.arctan().flatten(1),
            f"{name} |rows|": rows.abs().log().flatten(1),
            f"{name} spread": (centred @ precision * centred).sum(2),
            f"{name} log a": noise.log(),
            f"{name} a": noise,
        }
    if "time.level" in state:
        of_groups, scales, _ = shares_of_time()
        values, level, level_precision = (
            state[f"time.{key}"] for key in ("values", "level", "level_precision")
        )
        precisions = state["time.precisions"]
        result |= {
            "log λ": precisions.log(),
            "e": values.arctan(),
            "|e|": values.abs().log(),
            "λ e²": precisions[:, scales] * values.square(),
            "error · e": (error @ of_groups.mT) * values.arctan(),
            "log λ_g": level_precision.log(),
            "g": level.arctan(),
            "|g'|": level.diff().abs().log(),
            "λ_g g'²": level_precision[:, None] * level.diff().square(),
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
def reference(kind: Kind) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean, and variance of it, of each function under the prior."""
    generator = torch.Generator().manual_seed(1)
    values = functions(from_prior(N_REFERENCE, kind, generator=generator))
    return {name: (value.mean(0), value.var(0) / len(value)) for name, value in values.items()}


def start_thresholds() -> Tensor:
    chain = make_chain(Kind(ordinal=True), generator=torch.Generator())
    assert chain.ordinal is not None
    assert len(chain.ordinal.thresholds) == LEVELS - 1
    return chain.ordinal.thresholds


def z_scores(kind: Kind, *, n_paths: int, n_sweeps: int, seed: int = 2) -> dict[str, Tensor]:
    """How many standard errors the means of the functions differ from those under the prior."""
    generator = torch.Generator().manual_seed(seed)
    chain = make_chain(kind, generator=generator)
    starts = from_prior(n_paths, kind, generator=generator)
    states = []
    for path in range(n_paths):
        set_state(chain, starts, path)
        for _ in range(n_sweeps):
            redraw_ratings(chain, generator)
            chain.sweep()
            states.append(get_state(chain))
    values = functions({key: torch.stack([s[key] for s in states]) for key in states[0]})
    scores = {}
    for name, start in functions(starts).items():
        paths = values[name].unflatten(0, (n_paths, n_sweeps)).mean(1)
        mean, variance = reference(kind)[name]
        scores[name] = (paths.mean(0) - mean) / (paths.var(0) / n_paths + variance).sqrt()
        moved = paths - start  # what moves slowly is seen better so
        scores[f"{name} since the start"] = moved.mean(0) / (moved.var(0) / n_paths).sqrt()
    return scores


def largest(scores: dict[str, Tensor]) -> float:
    assert all(score.isfinite().all() for score in scores.values())
    return max(score.abs().max().item() for score in scores.values())


@ALL_KINDS
def test_means_of_rows_are_those_of_the_slow_loop(kind: Kind) -> None:
    """Each side's given the other's draw at that time, with the precisions of before."""
    chain = make_chain(kind, generator=torch.Generator().manual_seed(0))
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
    time = of_time(before)
    if chain.effects:
        torch.testing.assert_close(chain.effects.total, of_time(after).float())
    torch.testing.assert_close(chain.residuals.double(), residuals, rtol=1e-4, atol=1e-4)
    for own, (name, other, then, means) in enumerate(
        (
            ("users", "items", before, draw.user_means),
            ("items", "users", after, draw.item_means),
        )
    ):
        prior = after[f"{name}.precision"]
        for row in range(len(means) - 1):
            mean = after[f"{name}.mean"].clone()
            for number, group in enumerate(features()[own]):
                mean += group.values[row].double() @ after[f"{name}.link{number}"]
            precision, right = prior.clone(), prior @ mean
            for rating in (PAIRS[own] == row).nonzero()[:, 0]:
                place = PAIRS[1 - own][rating]
                z = then[f"{other}.rows"][place]
                phi = torch.cat([z[:-1], torch.ones(1)])
                weight = before["precision"] * before[f"{name}.noise"][row]
                weight = weight * then[f"{other}.noise"][place]
                precision += weight * torch.outer(phi, phi)
                right += weight * phi * (before["z"][rating] - z[-1] - time[rating])
            torch.testing.assert_close(means[row], torch.linalg.solve(precision, right), **half)


def test_a_precision_is_wishart_of_these_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """W⁻¹ = I + S + β₀ N / (β₀ + N) x̄ x̄ᵀ + λ_B BᵀB, of rows without what features explain."""
    generator = torch.Generator().manual_seed(4)
    state = {key: value[0] for key, value in from_prior(1, Kind(), generator=generator).items()}
    seen: list[tuple[float, Tensor]] = []
    wishart_root = hyperprior.wishart_root

    def remember(degrees: float, inverse_scale: Tensor, **kwargs: Any) -> Tensor:
        seen.append((degrees, inverse_scale))
        return wishart_root(degrees, inverse_scale, **kwargs)

    monkeypatch.setattr(hyperprior, "wishart_root", remember)
    prior = Hyperprior(features()[0], RANK + 1)
    for key, owner, attribute in places_of_prior("users", prior):
        setattr(owner, attribute, state[key])
    prior.draw(state["users.rows"].float(), generator=generator)

    links = [state[f"users.link{number}"] for number in range(2)]
    rest = state["users.rows"].clone()
    for group, link in zip(features()[0], links, strict=True):
        rest -= group.values.double() @ link
    mean = sum(rest) / N_USERS
    expected = torch.eye(RANK + 1).double() + N_USERS / (1 + N_USERS) * torch.outer(mean, mean)
    for row in rest:
        expected += torch.outer(row - mean, row - mean)
    for number, link in enumerate(links):
        for row in link:
            expected += state[f"users.link{number}.precision"] * torch.outer(row, row)
    [(degrees, inverse_scale)] = seen
    assert degrees == RANK + 1 + N_USERS + sum(N_FEATURES)
    torch.testing.assert_close(inverse_scale, expected, rtol=1e-4, atol=1e-4)


def test_a_hyperprior_is_drawn_given_the_rows() -> None:
    """After one draw the prior and its rows are still those of the prior: from 2000 starts."""
    generator = torch.Generator().manual_seed(3)
    starts = from_prior(2000, Kind(), generator=generator)
    after = {key: value.clone() for key, value in starts.items()}
    for side, name in zip(features(), ("users", "items"), strict=True):
        prior = Hyperprior(side, RANK + 1)
        for k in range(2000):
            for key, owner, attribute in places_of_prior(name, prior):
                setattr(owner, attribute, starts[key][k])
            prior.draw(starts[f"{name}.rows"][k].float(), generator=generator)
            for key, owner, attribute in places_of_prior(name, prior):
                after[key][k] = getattr(owner, attribute)
    before = functions(starts)
    for name, value in functions(after).items():
        moved = value - before[name]
        error = moved.std(0).clamp(min=1e-12) / len(moved) ** 0.5
        assert (moved.mean(0) / error).abs().max() < MOST, name


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=[] if kind == TIMED else pytest.mark.slow)
        for name, kind in KINDS.items()
    ],
)
def test_every_conditional_is_that_of_the_model(kind: Kind) -> None:
    assert largest(z_scores(kind, n_paths=200, n_sweeps=10)) < MOST


Fault = Callable[[pytest.MonkeyPatch], None]


def patched(module: Any, name: str, change: Callable[..., Any]) -> Fault:
    """Replaces a function by `change`, which is given the original first."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        original = getattr(module, name)
        patch.setattr(module, name, lambda *args, **kwargs: change(original, *args, **kwargs))

    return apply


def fewer_degrees(wishart_root: Any, degrees: float, *args: Any, **kwargs: Any) -> Any:
    return wishart_root(degrees - sum(N_FEATURES), *args, **kwargs)


def no_link_in_scale(patch: pytest.MonkeyPatch) -> None:
    draw, wishart_root = Hyperprior.draw, hyperprior.wishart_root
    present: list[Hyperprior] = []

    def remember(self: Hyperprior, *args: Any, **kwargs: Any) -> None:
        present[:] = [self]
        draw(self, *args, **kwargs)

    def without(degrees: float, scale: Tensor, **kwargs: Any) -> Tensor:
        for link in present[0].links:
            scale = scale - link.precision * link.matrix.mT @ link.matrix
        return wishart_root(degrees, scale, **kwargs)

    patch.setattr(Hyperprior, "draw", remember)
    patch.setattr(hyperprior, "wishart_root", without)


def no_counts_in_noise(gamma: Any, *args: Any) -> Any:
    *others, shape, rate = args
    return gamma(*others, torch.full_like(shape, NOISE_DOF / 2), rate)


def errors_not_halved(gamma: Any, shape: Tensor, rate: Tensor, **kwargs: Any) -> Any:
    return gamma(shape, rate if shape.dim() else 2 * rate - 0.5, **kwargs)


def no_link_in_its_precision(gamma: Any, shape: Tensor, *args: Any, **kwargs: Any) -> Any:
    return gamma(torch.full_like(shape, 0.5), *args, **kwargs)


def the_other_group_still_in(total: Any, links: Any) -> Any:
    return total(links) * (len(links) == len(N_FEATURES))


def no_prior_mean(patch: pytest.MonkeyPatch) -> None:
    def none(self: Hyperprior) -> Tensor:
        return torch.zeros(len(self.links[0].features.values), RANK + 1)

    patch.setattr(Hyperprior, "row_means", none)


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


def no_precision_in_effects(draw: Any, *args: Any, precision: float, **kwargs: Any) -> Any:
    return draw(*args, precision=0.0, **kwargs)


def effects_not_added_back(
    draw: Any, self: CompiledGroups, values: Tensor, *args: Any, residuals: Tensor, **kwargs: Any
) -> Any:
    before = values.clone()
    values.zero_()
    drawn = draw(self, values, *args, residuals=residuals, **kwargs)
    self.add(before, residuals)
    return drawn


def level_not_added_back(
    draw_level: Any, self: Effects, residuals: Tensor, weights: Tensor
) -> None:
    before = self.level.float()
    self._steps.add(-before, residuals)
    draw_level(self, residuals, weights)
    self._steps.add(before, residuals)


def no_squares_in_their_precisions(gamma: Any, shape: Tensor, rate: Tensor, **kwargs: Any) -> Any:
    return gamma(shape, torch.full_like(rate, 0.5) if shape.dim() else rate, **kwargs)


def no_groups_in_their_precisions(gamma: Any, shape: Tensor, *args: Any, **kwargs: Any) -> Any:
    return gamma(torch.full_like(shape, 0.5) if shape.dim() else shape, *args, **kwargs)


def no_prior_in_the_factor(draw_factor: Any, drawn: Any, precision: float, chances: Any) -> Any:
    return draw_factor(drawn, 0.0, chances)


def no_steps_in_the_level(gamma: Any, shape: Tensor, *args: Any, **kwargs: Any) -> Any:
    return gamma(shape if shape.dim() else torch.full_like(shape, 0.5), *args, **kwargs)


def effects_in_the_targets_of_rows(patch: pytest.MonkeyPatch) -> None:
    draw_side = Chain._draw_side

    def draw(self: Chain, side: Side, other: Side) -> Tensor:
        kept, self.effects = self.effects, None
        result = draw_side(self, side, other)
        self.effects = kept
        if kept and side is self.items:
            self.residuals -= kept.total
        return result

    patch.setattr(Chain, "_draw_side", draw)


FAULTS = {
    "degrees without K": (GAUSSIAN, patched(hyperprior, "wishart_root", fewer_degrees)),
    "no BB' in the scale of Λ": (GAUSSIAN, no_link_in_scale),
    "no n in the shape of a": (GAUSSIAN, patched(Stream, "gamma", no_counts_in_noise)),
    "no ½ in the rate of α": (GAUSSIAN, patched(chain_module, "gamma", errors_not_halved)),
    "no KD in the shape of λ_B": (GAUSSIAN, patched(hyperprior, "gamma", no_link_in_its_precision)),
    "no α in the weights": (GAUSSIAN, no_precision_in_weights),
    "no prior mean of rows": (GAUSSIAN, no_prior_mean),
    "a group with the other": (GAUSSIAN, patched(hyperprior, "_sum", the_other_group_still_in)),
    "no a and b in the levels": (ORDINAL, no_noise_in_levels),
    "no λ in the effects": (TIMED, patched(CompiledGroups, "draw", no_precision_in_effects)),
    "old e not added back": (TIMED, patched(CompiledGroups, "draw", effects_not_added_back)),
    "old g not added back": (TIMED, patched(Effects, "_draw_level", level_not_added_back)),
    "no Σ e² in λ": (TIMED, patched(effects, "gamma", no_squares_in_their_precisions)),
    "no G in λ": (TIMED, patched(effects, "gamma", no_groups_in_their_precisions)),
    "no λ in γ": (TIMED, patched(effects, "draw_factor", no_prior_in_the_factor)),
    "no steps in λ_g": (TIMED, patched(effects, "gamma", no_steps_in_the_level)),
    "effects in the rows": (ORDINAL_TIMED, effects_in_the_targets_of_rows),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_conditional_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, fault = FAULTS[name]
    fault(monkeypatch)
    assert largest(z_scores(kind, n_paths=60, n_sweeps=10)) > MOST
