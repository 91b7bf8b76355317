"""The model that a sampler leaves behind: the states of its chains, and predictions from them.

A prediction is the mean over sweeps of what one side's conditional means and the other side's draw
give (Rao-Blackwell: Gelfand & Smith 1990), for users and for items; its spread is that of the
mixture over the draws themselves. Tables are kept in half precision: 4 D bytes a row and sweep.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from model.dataset import UNKNOWN, Pairs
from model.effects import Effects, Grid
from model.fold_in import Conditions, Newcomers, draw_rows
from model.hyperprior import Hyperprior
from model.kernels.threads import in_threads
from model.ordinal import level_probabilities
from model.similarity import correlations
from model.world import ALONE, World

MOST_DRAWS = 64  # a chain's sweeps that are kept: of more, every second, every fourth, …
MOST_BYTES = 1 << 29  # of all that is kept; eight sweeps, however large
AT_ONCE = 1 << 12  # items that one user is predicted for in all draws at once


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """A user, or an item, of whom nothing is known."""

    mean: Tensor  # (D,) float32, of the rows' priors
    row: Tensor  # (D,) float32, drawn from one of them
    noise: Tensor  # () float64, drawn from its prior


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The state of a chain after a sweep, or, with a leading dimension, after many.

    The last row of a table is that of who has no ratings, and is not in the training.
    """

    user_means: Tensor  # (n_users + 1, D) float16, given `items`; the bias last
    users: Tensor  # (n_users + 1, D) float16, drawn around them
    items: Tensor  # (n_items + 1, D) float16, as drawn in the sweep before
    item_means: Tensor  # (n_items + 1, D) float16, given `users`
    user_noise: Tensor  # (n_users + 1,) float32, a
    item_noise: Tensor  # (n_items + 1,) float32, b
    precision: Tensor  # () float64, α
    thresholds: Tensor  # (K - 1,) float64; none of the Gaussian likelihood
    prior_mean: Tensor  # (D,) float32, μ of users
    prior_precision: Tensor  # (D, D) float32, Λ
    item_prior_mean: Tensor  # (D,) float32, the same of items
    item_prior_precision: Tensor  # (D, D) float32
    link: Tensor  # (k, D) float32, B of all groups of users, one below the other
    item_link: Tensor  # (k, D) float32, the same of items
    # Of time, none where ratings have none; the last effect is that of no group.
    effects: Tensor  # (G + 1,) float16, e
    effect_means: Tensor  # (G + 1,) float16, given the rows
    effect_variances: Tensor  # (S,) float32, of each scale
    level: Tensor  # (K,) float32, g
    level_means: Tensor  # (K,) float32, given the rows
    level_variance: Tensor  # () float32, of a step

    @classmethod
    def of(
        cls,
        *,
        users: tuple[Tensor, Tensor],
        items: tuple[Tensor, Tensor],
        unknown: tuple[Unknown, Unknown],
        noise: tuple[Tensor, Tensor],
        precision: Tensor,
        priors: tuple[Hyperprior, Hyperprior],
        thresholds: Tensor | None,
        effects: Effects | None = None,
    ) -> "Draw":
        """The state of a chain: (means, draw) of users, (draw, means) of items, …"""
        nothing = users[0].new_zeros(0)
        zero = nothing.new_zeros(1)

        def table(rows: Tensor, last: Tensor) -> Tensor:
            return torch.cat([rows, last[None].float()]).half()

        def column(values: Tensor, last: Tensor) -> Tensor:
            return torch.cat([values, last[None]]).float()

        return cls(
            user_means=table(users[0], unknown[0].mean),
            users=table(users[1], unknown[0].row),
            items=table(items[0], unknown[1].row),
            item_means=table(items[1], unknown[1].mean),
            user_noise=column(noise[0], unknown[0].noise),
            item_noise=column(noise[1], unknown[1].noise),
            precision=precision,
            thresholds=precision.new_zeros(0) if thresholds is None else thresholds.clone(),
            prior_mean=priors[0].mean.float(),
            prior_precision=priors[0].precision.float(),
            item_prior_mean=priors[1].mean.float(),
            item_prior_precision=priors[1].precision.float(),
            link=priors[0].link.float(),
            item_link=priors[1].link.float(),
            effects=torch.cat([effects.values if effects else nothing, zero]).half(),
            effect_means=torch.cat([effects.means if effects else nothing, zero]).half(),
            effect_variances=effects.precisions.reciprocal().float() if effects else nothing,
            level=effects.level.float() if effects else zero,
            level_means=effects.level_means.float() if effects else zero,
            level_variance=effects.level_precision.reciprocal().float() if effects else zero[0],
        )

    @property
    def n_bytes(self) -> int:
        """What it takes to keep."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def weights(self, at: "Places") -> Tensor:
        """The (n,) float64 precisions of ratings: α a_u b_i, and what is not known of the time."""
        noise = _at(self.user_noise, at.user_index) * _at(self.item_noise, at.item_index)
        weights = self.precision * noise.double()
        return weights / (1 + weights * self.time_variance(at))

    def time_variance(self, at: "Places") -> Tensor | float:
        """The (n,) float32 variances of the effects of time that are not known."""
        if at.groups is None:
            return 0.0
        unknown = (at.groups == len(self.effects) - 1).float() @ self.effect_variances
        return unknown + (at.steps - len(self.level) + 1).clamp(min=0) * self.level_variance

    def time(self, effects: Tensor, level: Tensor, at: "Places") -> Tensor | float:
        """The (n,) float32 sums of effects and level, draws or means, at the time of pairs."""
        if at.groups is None:
            return 0.0
        of_each = effects.index_select(0, at.groups.flatten()).view(at.groups.shape)
        return of_each.float().sum(1) + level.index_select(0, at.steps.clamp(max=len(level) - 1))


@dataclass(frozen=True, kw_only=True)
class Places(Pairs):
    """Where pairs stand in the tables of a chain's draws."""

    groups: Tensor | None  # (n, S) int64, of time
    steps: Tensor  # (n,) int64, of the level


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a chain's figures mean in rating units."""

    mean: Tensor
    scale: Tensor
    lowest: Tensor
    highest: Tensor
    levels: Tensor  # (K,) the mean rating of each level; none without an ordinal chain

    def standardized(self, values: Tensor) -> Tensor:
        """The (n,) standardized ratings."""
        return (values - self.mean) / self.scale

    def levels_of(self, values: Tensor) -> Tensor:
        """The (n,) int64 levels of ratings, the nearest; zeros without an ordinal chain."""
        if not len(self.levels):
            return torch.zeros_like(values, dtype=torch.int64)
        return (values[:, None] - self.levels).abs().argmin(1)


class Posterior:
    """Predicts the rating of any (user, item) pair, in rating units, and how sure that is."""

    def __init__(self, scale: Scale, newcomers: Newcomers, grids: Sequence[Grid]) -> None:
        """The posterior of as many chains as there are grids, without draws yet."""
        self.scale = scale
        self.newcomers = newcomers
        self.grids = list(grids)
        self._chains: list[list[Draw]] = [[] for _ in grids]
        self._stride, self._seen = 1, 0

    def add(self, draws: Sequence[Draw], world: World = ALONE) -> None:
        """Takes in the states of all the chains after a sweep.

        All ranks of a world keep those of the same sweeps.
        """
        if self._seen % self._stride == 0:
            for chain, draw in zip(self._chains, draws, strict=True):
                chain.append(draw)
        self._seen += 1
        room = MOST_BYTES - self.newcomers.loadings.nbytes
        n_bytes = torch.tensor(sum(draw.n_bytes for draw in draws))
        most = room // int(world.most(n_bytes))
        if len(self._chains[0]) > min(MOST_DRAWS, max(8, most)):
            self._chains = [chain[::2] for chain in self._chains]
            self._stride *= 2

    def kept(self) -> dict[str, Tensor]:
        """The states that are kept, for `take_back`."""
        state = {"n_seen": torch.tensor(self._seen), "stride": torch.tensor(self._stride)}
        for number, chain in enumerate(self._chains):
            if chain:
                draws = stacked(chain)
                state |= {f"chain{number}.{f.name}": getattr(draws, f.name) for f in fields(Draw)}
        return state

    def take_back(self, state: Mapping[str, Tensor]) -> None:
        """Keeps what another one, of the same ratings, had kept."""
        self._seen, self._stride = int(state["n_seen"]), int(state["stride"])
        device = self.scale.mean.device
        names = [field.name for field in fields(Draw)]
        for number in range(len(self._chains)):
            if f"chain{number}.{names[0]}" in state:
                of_chain = {name: state[f"chain{number}.{name}"].to(device) for name in names}
                self._chains[number] = single(Draw(**of_chain))

    def forget_first(self) -> None:
        """Leaves out the first of the states that were taken in, all of which are still kept."""
        for chain in self._chains:
            del chain[0]
        self._seen -= 1

    def places(self, pairs: Pairs) -> list[Places]:
        """Where pairs stand in the draws of each chain."""
        return [
            Places(
                user_index=pairs.user_index,
                item_index=pairs.item_index,
                groups=grid.groups(pairs) if grid.n_steps else None,
                steps=grid.steps(pairs),
            )
            for grid in self.grids
        ]

    def predict(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 predicted ratings of pairs."""
        if is_of_one_user(pairs):
            return self.clip(self._of_one_user(pairs, self._expected_of_one).mean(0))
        total = sum(self.expected(draw, at) for draw, at in self._draws(pairs))
        return self.clip(torch.as_tensor(total) / self._n_draws)

    def clip(self, predictions: Tensor) -> Tensor:
        """The predictions, kept within the range of the ratings."""
        return predictions.clamp(self.scale.lowest, self.scale.highest)

    def expected(self, draw: Draw, at: Places) -> Tensor:
        """The (n,) float64 ratings that the conditional means of one sweep predict."""
        return torch.cat(in_threads(lambda some: self._expected(draw, some), at.blocks()))

    def std(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 standard deviations of the ratings that may be seen."""
        if is_of_one_user(pairs):
            return self._std_of(*self._of_one_user(pairs, self._moments_of_one).mean(0).mT)
        stds = []
        for block in pairs.blocks():
            moments = [self._moments(draw, at) for draw, at in self._draws(block)]
            stds.append(self._std_of(*torch.stack(moments).mean(0)))
        return torch.cat(stds)

    def probabilities(self, pairs: Pairs) -> Tensor:
        """The (n, K) probabilities of the levels `scale.levels`, from the ordinal chains.

        Raises:
            ValueError: no chain is ordinal.
        """
        if not any(len(chain[0].thresholds) for chain in self._chains if chain):
            raise ValueError("expected an ordinal chain, got none")
        blocks = []
        for block in pairs.blocks():
            found = [
                level_probabilities(draw.thresholds, fit_of(draw, at), draw.weights(at))
                for draw, at in self._draws(block)
                if len(draw.thresholds)
            ]
            blocks.append(torch.stack(found).mean(0))
        return torch.cat(blocks)

    def uncertainty(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 standard deviations of ratings if they had no noise, over the draws."""
        stds = []
        for block in pairs.blocks():
            fits = [fit_of(draw, at) for draw, at in self._draws(block)]
            stds.append(torch.stack(fits).std(0, correction=0) * self.scale.scale)
        return torch.cat(stds)

    def similarity(self, item: int) -> Tensor:
        """The (n_items,) float32 similarities of every item to one, the mean over the draws."""
        draws = self.draws()
        total = sum(correlations(d.users[:-1, :-1], d.items[:-1, :-1], item) for d in draws)
        return torch.as_tensor(total) / len(draws)

    def fold_in(
        self, item_index: Tensor, values: Tensor, *, seed: int, about: Tensor | None = None
    ) -> Self:
        """The posterior of one user, of index 0, who gives (n,) values to (n,) items now.

        In each draw the user's unknowns are drawn anew, the others stay; without ratings they are
        those of who has none, but for what (l,) labels of descriptions say of the user.
        """
        targets, levels = self.scale.standardized(values), self.scale.levels_of(values)
        features = self.newcomers.features(item_index)
        described = self.newcomers.described(about)
        generator = torch.Generator().manual_seed(seed)

        def folded(chain: list[Draw]) -> list[Draw]:
            def each(part: Callable[[Draw], Tensor]) -> Tensor:
                return torch.stack([part(draw) for draw in chain])

            def with_users(means: Tensor, rows: Tensor, noise: Tensor) -> list[Draw]:
                columns = zip(chain, means, rows, noise, strict=True)
                return [replace(d, user_means=m, users=r, user_noise=a) for d, m, r, a in columns]

            last = each(lambda draw: draw.user_means[-1:]), each(lambda draw: draw.users[-1:])
            last_noise = each(lambda draw: draw.user_noise[-1:])
            link = each(lambda draw: draw.link)
            said = described @ link[:, len(features) :]
            if not len(values):
                means, rows = ((row.float() + said[:, None]).half() for row in last)
                return with_users(means, rows, last_noise)
            items = each(lambda draw: draw.items[item_index]).float()
            # What everybody says now is not the user's own.
            items[..., -1] += each(lambda draw: draw.level[-1:])
            prior_mean = each(lambda draw: draw.prior_mean)
            given = Conditions(
                others=items,
                other_noise=each(lambda draw: draw.item_noise[item_index]),
                precision=each(lambda draw: draw.precision),
                thresholds=each(lambda draw: draw.thresholds),
                prior_mean=prior_mean + features @ link[:, : len(features)] + said,
                prior_precision=each(lambda draw: draw.prior_precision),
                noise_dof=self.newcomers.noise_dof.item(),
            )
            means, rows, noise = draw_rows(given, targets, levels, generator=generator)
            return with_users(
                torch.cat([means[:, None].half(), last[0]], 1),
                torch.cat([rows[:, None].half(), last[1]], 1),
                torch.cat([noise[:, None].float(), last_noise], 1),
            )

        folded_in = self.with_draws([folded(chain) for chain in self._chains])
        folded_in.grids = [grid.without_users() for grid in self.grids]
        return folded_in

    def with_draws(self, chains: Sequence[list[Draw]]) -> Self:
        """The posterior with other draws of each chain."""
        posterior = type(self)(self.scale, self.newcomers, self.grids)
        posterior._chains = list(chains)
        return posterior

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, to be saved; `from_state` brings it back."""
        state = {
            field.name: getattr(part, field.name).cpu()
            for part in (self.scale, self.newcomers)
            for field in fields(part)
        }
        for number, (grid, chain) in enumerate(zip(self.grids, self._chains, strict=True)):
            for field in fields(Grid):
                state[f"grid{number}.{field.name}"] = getattr(grid, field.name).cpu()
            draws = stacked(chain)
            for field in fields(Draw):
                state[f"chain{number}.{field.name}"] = getattr(draws, field.name).cpu()
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The posterior that `state_dict` was taken of, on the CPU."""
        n_chains = len({name.partition(".")[0] for name in state if name.startswith("chain")})
        scale = Scale(**{field.name: state[field.name] for field in fields(Scale)})
        newcomers = Newcomers(**{field.name: state[field.name] for field in fields(Newcomers)})
        grids = [
            Grid(**{field.name: state[f"grid{number}.{field.name}"] for field in fields(Grid)})
            for number in range(n_chains)
        ]
        posterior = cls(scale, newcomers, grids)
        for number, chain in enumerate(posterior._chains):
            names = [field.name for field in fields(Draw)]
            kept = Draw(**{name: state[f"chain{number}.{name}"] for name in names})
            chain.extend(single(kept))
        return posterior

    def draws(self, chain: int | None = None) -> list[Draw]:
        """All draws that are kept, or those of one chain."""
        chains = self._chains if chain is None else [self._chains[chain]]
        return [draw for draws in chains for draw in draws]

    @property
    def _n_draws(self) -> int:
        return sum(map(len, self._chains))

    def _draws(self, pairs: Pairs) -> Iterator[tuple[Draw, Places]]:
        """Every draw, and where the pairs stand in it."""
        for chain, at in zip(self._chains, self.places(pairs), strict=True):
            yield from ((draw, at) for draw in chain)

    def _expected(self, draw: Draw, at: Places) -> Tensor:
        time = draw.time(draw.effect_means, draw.level_means, at)
        users = _rows(draw.users, draw.user_means, at.user_index)
        items = _rows(draw.items, draw.item_means, at.item_index)
        fits = (
            _product(_at(draw.user_means, at.user_index), items) + time,
            _product(users, _at(draw.item_means, at.item_index)) + time,
        )
        if not len(draw.thresholds):
            return self.scale.mean + self.scale.scale * (fits[0] + fits[1]) / 2
        weights = draw.weights(at)
        first, second = (level_probabilities(draw.thresholds, fit, weights) for fit in fits)
        return (first + second) @ self.scale.levels / 2

    def _std_of(self, mean: Tensor, square: Tensor) -> Tensor:
        """The (n,) standard deviations, in rating units, of (n,) moments of standardized ones."""
        return (square - mean.square()).clamp(min=0.0).sqrt() * self.scale.scale

    def _of_one_user(
        self, pairs: Pairs, work: Callable[[Sequence[Draw], Places], Tensor]
    ) -> Tensor:
        """The (S, n, …) of all S draws for pairs of one user, a chain and a few items at a time."""
        starts = range(0, len(pairs), AT_ONCE)
        parts = []
        for start in starts:
            some = pairs[start : start + AT_ONCE]
            chains = zip(self._chains, self.places(some), strict=True)
            parts.append(torch.cat([work(chain, at) for chain, at in chains if chain]))
        return torch.cat(parts, 1)

    def _expected_of_one(self, chain: Sequence[Draw], at: Places) -> Tensor:
        """The (S, n) that `_expected` gives, by one product a draw and table."""
        user, firsts, seconds = at.user_index[:1], [], []
        for draw in chain:
            time = draw.time(draw.effect_means, draw.level_means, at)
            items = _rows(draw.items, draw.item_means, at.item_index)
            firsts.append(_products(draw.user_means[user], items) + time)
            row = _rows(draw.users, draw.user_means, user)
            seconds.append(_products(row, _at(draw.item_means, at.item_index)) + time)
        fits = torch.stack(firsts).double(), torch.stack(seconds).double()
        if not len(chain[0].thresholds):
            return self.scale.mean + self.scale.scale * (fits[0] + fits[1]) / 2
        thresholds, weights = _likelihood(chain, at)
        first, second = (level_probabilities(thresholds, fit, weights) for fit in fits)
        return (first + second) @ self.scale.levels / 2

    def _moments_of_one(self, chain: Sequence[Draw], at: Places) -> Tensor:
        """The (S, n, 2) that `_moments` gives, likewise."""
        user = at.user_index[:1]
        fit = torch.stack(
            [
                _products(draw.users[user], _at(draw.items, at.item_index))
                + draw.time(draw.effects, draw.level, at)
                for draw in chain
            ]
        ).double()
        thresholds, weights = _likelihood(chain, at)
        if not thresholds.shape[-1]:
            return torch.stack([fit, fit.square() + 1 / weights], -1)
        return level_probabilities(thresholds, fit, weights) @ self._powers

    @property
    def _powers(self) -> Tensor:
        """The (K, 2) standardized levels and their squares."""
        levels = (self.scale.levels - self.scale.mean) / self.scale.scale
        return torch.stack([levels, levels.square()], dim=1)

    def _moments(self, draw: Draw, at: Places) -> Tensor:
        """The (2, n) first and second moments of a standardized rating after one sweep."""
        fit, weights = fit_of(draw, at), draw.weights(at)
        if not len(draw.thresholds):
            return torch.stack([fit, fit.square() + 1 / weights])
        return (level_probabilities(draw.thresholds, fit, weights) @ self._powers).mT


def is_of_one_user(pairs: Pairs) -> bool:
    """Whether there are several pairs, all of one user."""
    users = pairs.user_index
    return len(users) > 1 and bool((users == users[0]).all())


def stacked(draws: Sequence[Draw]) -> Draw:
    """Draws of one chain as one, with a leading dimension."""
    names = [field.name for field in fields(Draw)]
    return Draw(**{name: torch.stack([getattr(draw, name) for draw in draws]) for name in names})


def single(draws: Draw) -> list[Draw]:
    """The draws that are stacked in one; they share its memory."""
    names = [field.name for field in fields(Draw)]
    columns = (getattr(draws, name) for name in names)
    return [Draw(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _rows(drawn: Tensor, means: Tensor, index: Tensor) -> Tensor:
    """The (n, D) drawn rows; of who is unknown the mean, which does without the noise of a draw."""
    last = len(drawn) - 1
    unknown = (index == last) | (index == UNKNOWN)
    rows = _at(drawn, index)
    return torch.where(unknown[:, None], means[-1], rows) if unknown.any() else rows


def _at(table: Tensor, index: Tensor) -> Tensor:
    """The rows of a table, the last one of who is UNKNOWN; an index as such takes six times it."""
    return table.index_select(0, torch.where(index == UNKNOWN, len(table) - 1, index))


def _likelihood(chain: Sequence[Draw], at: Places) -> tuple[Tensor, Tensor]:
    """The (S, 1, K - 1) thresholds of a chain's draws, and the (S, n) weights of pairs."""
    thresholds = torch.stack([draw.thresholds for draw in chain])[:, None]
    return thresholds, torch.stack([draw.weights(at) for draw in chain])


def fit_of(draw: Draw, at: Places) -> Tensor:
    """The (n,) float64 standardized ratings of a draw, without noise."""
    fit = _product(_at(draw.users, at.user_index), _at(draw.items, at.item_index))
    return fit + draw.time(draw.effects, draw.level, at)


def _products(user: Tensor, items: Tensor) -> Tensor:
    """p · q + b + c of a (1, D) row and (n, D) rows, (n,) float32."""
    row, rows = user[0].float(), items.float()
    return rows[:, :-1] @ row[:-1] + rows[:, -1] + row[-1]


def _product(users: Tensor, items: Tensor) -> Tensor:
    """p · q + b + c of (n, D) rows, (n,) float64."""
    users, items = users.float(), items.float()
    fit: Tensor = torch.linalg.vecdot(users[:, :-1], items[:, :-1]) + users[:, -1] + items[:, -1]
    return fit.double()
