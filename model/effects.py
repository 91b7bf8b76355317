"""Random effects of time: ratings that a user gave close together share an offset, at any scale.

    y_ui ~ N(p_u · q_i + b_u + c_i + g(t_ui) + Σ_s e_{u, ⌊(t_ui + o_s) / s⌋}, 1 / w_ui)
    e of scale s ~ N(0, 1 / λ_s),   λ_s ~ Gamma(½, rate β),   β = 1/20 000

with t in seconds and o_s, where the grid of a scale begins, drawn once for each chain. Given the
rest, r the residuals to which the present e of the scale has been added back and W = Σ w over the
ratings of a group:

    e | … ~ N(Σ w r / (λ_s + W), 1 / (λ_s + W)),   λ_s | … ~ Gamma((1 + G) / 2, β + ½ Σ e²)

over the G groups of the scale. Where a group has few ratings these two hardly move each other, so
that in between all e of a scale become γ-fold and its λ_s λ_s / γ² (Liu & Sabatti 2000, Generalised
Gibbs sampler and multigrid Monte Carlo for Bayesian computation), with γ > 0 drawn from

    log p(log γ | …) = γ Σ w r e - ½ γ² Σ w e² - log γ - β λ_s / γ² + a constant

by a slice (Neal 2003, Slice sampling). Ratings of a user that agree in this scale, all wider ones
and the level, a bundle, count as one rating here: of their whole weight, and their mean r.

Items have effects of their own, of a scale that is a part of all the time that there is. Koren 2009
(Collaborative Filtering with Temporal Dynamics) has a bias for each user and day; Rendle, Zhang &
Koren 2019 (On the Difficulty of Evaluating Baselines) have it in a Bayesian factorization machine.

The level g of all is a random walk over equal spans of time, its last value that of the future:

    g_1 ~ N(0, 1),   g_k ~ N(g_{k-1}, 1 / λ_g),   λ_g ~ Gamma(½, rate β)
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from model.dataset import Pairs, Ratings
from model.kernels.groups import CompiledGroups, Drawn, Groups, PlainGroups, draw_given, walk
from model.variates import Stream, gamma, normal, uniform

SCALES = (10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)  # seconds
ITEM_PARTS = (4.0,)  # of the whole time
STEPS = 64  # of the level, at most
GAMMA_SHAPE = 0.5  # of the priors of λ
GAMMA_RATE = 0.00005  # β: effects that tell nothing are a hundredth of the ratings' spread
INITIAL_PRECISION = 100.0  # λ
WIDEST = 4.0  # slice, of log γ
MOST_CUTS = 64  # of a slice
EFFECTS = 8  # what a stream is of
BLOCK = 4  # numbers that a stream gives at once
MOST_ALONE = 0.95  # share of groups per rating beyond which a scale tells nothing


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The groups of a chain: which ratings of a user are close, at each scale."""

    origin: Tensor  # () float64, the time of the first rating
    of_items: Tensor  # (S,) bool, whether an effect is of an item, not of a user
    scales: Tensor  # (S,) float64, seconds
    offsets: Tensor  # (S,) float64, from 0 to its scale
    firsts: Tensor  # (S + 1,) int64, the first group of each scale
    # (G,) int64, user and place in time as one number, rising within a scale
    keys: Tensor
    n_places: Tensor  # (S,) int64, what a user's number counts for
    span: Tensor  # () float64, seconds of a step of the level
    n_steps: Tensor  # () int64

    @classmethod
    def of(cls, training: Ratings, *, generator: torch.Generator) -> tuple[Self, Tensor, Tensor]:
        """The groups of ratings with times; (S, n_ratings) int64 groups of them, steps of each."""
        times, n, world = training.times, len(training), training.world
        assert times is not None
        known = times.isfinite()
        n_known = int(world.sum(known.sum()))
        inside = times.new_full((1,), -torch.inf)
        ends = [torch.cat([sign * times[known], inside]).max() for sign in (-1, 1)]
        first, last = world.most(torch.stack(ends)).unbind()
        origin = -first if n_known else times.new_zeros(())
        length = (last - origin).item() if n_known else 0.0
        since = torch.where(known, times - origin, torch.nan)
        users = training.user_index
        found: list[tuple[float, float, Tensor, Tensor, int, bool]] = []
        n_before = -1  # groups of the scale that was taken last, of all ranks
        wanted = [(scale, False) for scale in SCALES]
        wanted += [(length / part, True) for part in ITEM_PARTS]
        for scale, of_items in wanted:
            owner = training.item_index if of_items else training.user_index
            offset = scale * uniform((), generator=generator).item()
            if not 0 < scale <= length:
                continue
            places = ((since + offset) / scale).floor()
            n_places = int((length + offset) / scale) + 2
            key = torch.where(known, owner * n_places + places.nan_to_num().long(), -1)
            keys, group = torch.unique(key, return_inverse=True)
            if (keys[:1] == -1).any():  # of who rated at no known time
                keys, group = keys[1:], group - 1
            if of_items:
                whole = torch.unique(world.gathered(keys))
                group = torch.where(group < 0, -1, torch.searchsorted(whole, keys)[group])
                keys, n_groups = whole, len(whole)
            else:
                n_groups = int(world.sum(users.new_tensor(len(keys))))
            if n_groups > MOST_ALONE * n_known:
                continue
            if found and n_groups == n_before and found[-1][5] == of_items:
                found.pop()  # no finer than this one
            found.append((scale, offset, keys, group, n_places, of_items))
            n_before = n_groups
        sizes = torch.tensor([0] + [len(keys) for _, _, keys, _, _, _ in found])
        firsts = sizes.cumsum(0).to(times.device)
        n_steps = STEPS if length > 0 else 1
        grid = cls(
            origin=origin,
            of_items=users.new_tensor([one[5] for one in found]).bool(),
            scales=times.new_tensor([one[0] for one in found]),
            offsets=times.new_tensor([one[1] for one in found]),
            firsts=firsts,
            keys=torch.cat([users.new_empty(0), *(one[2] for one in found)]),
            n_places=users.new_tensor([one[4] for one in found]),
            span=times.new_tensor(max(length, 1.0) / n_steps * (1 + 1e-9)),
            n_steps=users.new_tensor(n_steps),
        )
        groups = torch.stack([one[3] for one in found]) if found else users.new_empty(0, n)
        return grid, groups, grid.steps(training)

    @classmethod
    def empty(cls, like: Tensor) -> Self:
        """That of ratings without times."""
        none = like.new_zeros(0, dtype=torch.float64)
        whole = like.new_zeros(0, dtype=torch.int64)
        zero = like.new_zeros((), dtype=torch.float64)
        return cls(
            origin=zero,
            of_items=none.bool(),
            scales=none,
            offsets=none,
            firsts=whole.new_zeros(1),
            keys=whole,
            n_places=whole,
            span=zero + 1,
            n_steps=whole.new_zeros(()),
        )

    def without_users(self) -> Self:
        """The same for users who were not in the training: only effects of items are left."""
        keys = self.keys.clone()
        for of_items, (begin, end) in zip(
            self.of_items.tolist(), itertools.pairwise(self.firsts.tolist()), strict=True
        ):
            if not of_items:
                keys[begin:end] = -1  # which is nobody's
        return replace(self, keys=keys)

    def groups(self, pairs: Pairs) -> Tensor:
        """The (n, S) int64 groups that pairs fall into; G for none."""
        n, none = len(pairs), len(self.keys)
        if pairs.times is None:
            return pairs.user_index.new_full((n, len(self.scales)), none)
        since = pairs.times - self.origin
        columns = []
        for number in range(len(self.scales)):
            begin, end = self.firsts[number].item(), self.firsts[number + 1].item()
            scale, offset, n_places = (
                self.scales[number],
                self.offsets[number],
                self.n_places[number],
            )
            place = ((since + offset) / scale).floor().nan_to_num(-1.0)
            owner = pairs.item_index if self.of_items[number] else pairs.user_index
            inside = (place >= 0) & (place < n_places) & (owner >= 0)
            key = owner * n_places + place.clamp(0, float(n_places) - 1).long()
            keys = self.keys[begin:end]
            at = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
            columns.append(torch.where(inside & (keys[at] == key), at + begin, none))
        return torch.stack(columns, 1) if columns else pairs.user_index.new_empty(n, 0)

    def steps(self, pairs: Pairs) -> Tensor:
        """The (n,) int64 steps of the level that pairs fall into, beyond the last in the future.

        Without a time that is the last.
        """
        if pairs.times is None:
            return torch.full_like(pairs.user_index, int(self.n_steps) - 1)
        step = ((pairs.times - self.origin) / self.span).floor().clamp(min=0.0, max=1e6)
        return step.nan_to_num(float(self.n_steps) - 1).long()


def in_order(ratings: Ratings) -> Ratings:
    """The ratings by user, a user's by time, so that groups of a user's are runs of them."""
    if ratings.times is None:
        return ratings
    order = ratings.times.argsort(stable=True)
    return ratings[order[ratings.user_index[order].argsort(stable=True)]]


class Effects:
    """Draws the effects of a chain, and keeps what they add up to at each rating."""

    def __init__(self, training: Ratings, *, generator: torch.Generator) -> None:
        """All effects at zero, of ratings that have times."""
        device, self._world = training.values.device, training.world
        self.grid, groups, steps = Grid.of(training, generator=generator)
        self._generator = generator
        self._bounds = list(itertools.pairwise(self.grid.firsts.tolist()))
        self._n_of_users, n_steps = int((~self.grid.of_items).sum()), int(self.grid.n_steps)
        sizes = [end - begin for begin, end in self._bounds]
        kind = CompiledGroups if device.type == "cpu" else PlainGroups
        # Of each scale of users, then of the level: ratings that agree in it, and in all that
        # follow, count as one; and its groups of those.
        self._bundles: list[Groups] = []
        self._groups: list[Groups] = []
        keys = torch.cat([groups[: self._n_of_users], steps.clamp(max=n_steps - 1)[None]])
        for size in [*sizes[: self._n_of_users], n_steps]:
            is_first = torch.ones_like(keys[0], dtype=torch.bool)
            is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(0)
            self._bundles.append(kind(is_first.cumsum(0) - 1, int(is_first.sum())))
            own, keys = keys[0, is_first], keys[1:, is_first]
            self._groups.append(kind(own, size))
        self._steps = self._groups.pop()
        of_items = zip(groups[self._n_of_users :], sizes[self._n_of_users :], strict=True)
        self._groups += [kind(group, size) for group, size in of_items]
        # Groups of users are numbered through: those of the ranks before come first.
        of_all = self._world.gathered(self.grid.firsts.diff()[None])
        before = of_all[: self._world.rank].sum(0)
        self._numbers = Numbers.of(torch.where(self.grid.of_items, 0, before), self._bounds)
        self._sizes = torch.where(self.grid.of_items, of_all[0], of_all.sum(0))
        self.values = torch.zeros(len(self.grid.keys), device=device)  # (G,) float32, e
        self.means = self.values.clone()  # (G,) float32, what they are around
        self.precisions = training.values.new_full((len(groups),), INITIAL_PRECISION)  # λ
        self.total = torch.zeros(len(training), device=device)  # (n_ratings,) float32
        self.level = training.values.new_zeros(n_steps)  # g
        self.level_means = self.level.clone()
        self.level_precision = training.values.new_tensor(INITIAL_PRECISION)  # λ_g

    def draw(self, residuals: Tensor, weights: Tensor, stream: Stream) -> None:
        """Draws all, each scale given the others; `residuals` become those of the new ones.

        Args:
            residuals: (n_ratings,) float32, of the present effects.
            weights: (n_ratings,) float32, w.
            stream: of the effects; what all ranks draw alike comes from the generator.
        """
        self.total += residuals
        noise = self._numbers.normals(stream)
        chances = uniform((len(self._groups), MOST_CUTS + 2), generator=self._generator).tolist()
        draws = list(zip(noise, chances, strict=True))
        squares = self._draw_of_users(0, draws, weights, residuals)
        for number in range(self._n_of_users, len(self._groups)):
            squares.append(self._draw_scale(number, *draws[number], weights, residuals))
        self.precisions = gamma(
            GAMMA_SHAPE + self._sizes / 2,
            GAMMA_RATE + self.precisions.new_tensor(squares) / 2,
            generator=self._generator,
        )
        self.total -= residuals

    def _draw_of_users(
        self,
        number: int,
        draws: Sequence[tuple[Tensor, Sequence[float]]],
        weights: Tensor,
        residuals: Tensor,
    ) -> list[float]:
        """Draws the level, then the scales of users, the widest first: the sums of their squares.

        The narrowest last, or else it has what all share in the first sweeps, and keeps it long.

        Args:
            number: of the narrowest scale to draw.
            draws: noise and chances of all scales.
            weights: of ratings, or of the bundles of the scale before.
            residuals: of the same.
        """
        bundles = self._bundles[number]
        weight, total = bundles.sums(weights, residuals)
        weights, before = weight.float(), (total / weight).float()
        means, squares = before.clone(), []
        if number < self._n_of_users:
            wider = self._draw_of_users(number + 1, draws, weights, means)
            squares = [self._draw_scale(number, *draws[number], weights, means), *wider]
        else:
            self._draw_level(means, weights)
        bundles.add(means - before, residuals)
        return squares

    def _draw_scale(
        self,
        number: int,
        noise: Tensor,
        chances: Sequence[float],
        weights: Tensor,
        residuals: Tensor,
    ) -> float:
        """Draws the effects of a scale, and a factor that they become: the sum of their squares."""
        groups, world = self._groups[number], self._world
        precision, of_items = self.precisions[number].item(), number >= self._n_of_users
        some = slice(*self._bounds[number])
        values, means = self.values[some], self.means[some]
        if of_items and world.size > 1:  # whose ratings stand on all ranks
            sums = torch.stack(groups.sums(weights, residuals))
            weight, total = world.sum(sums).unbind()
            drawn = draw_given(groups, weight, total, values, means, precision, noise, residuals)
        else:
            drawn = groups.draw(
                values,
                means,
                precision=precision,
                weights=weights,
                noise=noise,
                residuals=residuals,
            )
        if not of_items:
            drawn = Drawn(*world.sum(self.level.new_tensor(drawn)).tolist())
        factor = draw_factor(drawn, precision, chances)
        groups.add((1 - factor) * values, residuals)
        values *= factor
        return factor**2 * drawn.squares

    def _draw_level(self, residuals: Tensor, weights: Tensor) -> None:
        """Draws the level, all steps at once, and its precision."""
        before = self.level.float()
        sums = torch.stack(self._steps.sums(weights, residuals))
        weight, total = self._world.sum(sums).unbind()
        total = total + weight * before
        noise = normal(weight.shape, generator=self._generator)
        self.level_means, self.level = walk(weight, total, self.level_precision.item(), noise)
        self._steps.add(before - self.level.float(), residuals)
        self.level_precision = gamma(
            weight.new_tensor(GAMMA_SHAPE + (len(weight) - 1) / 2),
            GAMMA_RATE + self.level.diff().square().sum() / 2,
            generator=self._generator,
        )


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What the groups of all scales are drawn by, in blocks of four numbers that follow."""

    scales: Tensor  # (B,) int64, of each block
    blocks: Tensor  # (B,) int64, their numbers in their scale
    ranges: list[tuple[int, int]]  # of each scale, within all that the blocks have

    @classmethod
    def of(cls, before: Tensor, bounds: Sequence[tuple[int, int]]) -> Self:
        """Those of groups begin … end - 1, of which so many (S,) int64 stand on other ranks."""
        scales, blocks, ranges, n_blocks = [before[:0]], [before[:0]], [], 0
        for scale, (first, (begin, end)) in enumerate(zip(before.tolist(), bounds, strict=True)):
            n = end - begin
            some = torch.arange(first // BLOCK, -(-(first + n) // BLOCK), device=before.device)
            start = n_blocks * BLOCK + first % BLOCK
            scales.append(torch.full_like(some, scale))
            blocks.append(some)
            ranges.append((start, start + n))
            n_blocks += len(some)
        return cls(scales=torch.cat(scales), blocks=torch.cat(blocks), ranges=ranges)

    def normals(self, stream: Stream) -> list[Tensor]:
        """Standard normal variates of the groups of each scale, (n,) float32 each."""
        drawn = stream.normal(EFFECTS, self.blocks, BLOCK, first=self.scales).flatten()
        return [drawn[begin:end] for begin, end in self.ranges]


def draw_factor(drawn: Drawn, precision: float, chances: Sequence[float]) -> float:
    """γ, drawn from p(log γ | …) where it was 1.

    Args:
        drawn: of the effects as they are.
        precision: λ.
        chances: MOST_CUTS + 2 numbers uniform between 0 and 1.
    """

    def log_density(log_factor: float) -> float:
        factor = math.exp(log_factor)
        return (
            factor * drawn.match
            - factor**2 * drawn.energy / 2
            - 2 * GAMMA_SHAPE * log_factor
            - GAMMA_RATE * precision / factor**2
        )

    height, place, *cuts = chances
    least = log_density(0.0) + math.log1p(-height)
    low = -WIDEST * place
    high = low + WIDEST
    for cut in cuts:
        found = low + (high - low) * cut
        if log_density(found) >= least:
            return math.exp(found)
        low, high = (found, high) if found < 0 else (low, found)
    return 1.0
