"""The model that a sampler leaves behind: the states of its chains, and predictions from them.

A prediction is the mean over sweeps of what one side's conditional means and the other side's draw
give (Rao-Blackwell: Gelfand & Smith 1990), for users and for items; its spread is that of the
mixture over the draws themselves. Tables are kept in half precision: 4 D bytes a row and sweep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from model.dataset import Ratings
from model.factorization import pairs_in_blocks
from model.fold_in import Conditions, Newcomers, draw_row
from model.hyperprior import Hyperprior
from model.kernels.threads import in_threads
from model.ordinal import level_probabilities
from model.similarity import correlations

MOST_DRAWS = 64  # a chain's sweeps that are kept: of more, every second, every fourth, …
MOST_BYTES = 1 << 29  # of all that is kept; eight sweeps, however large


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The state of a chain after a sweep, or, with a leading dimension, after many.

    The last row of a table is the mean of the rows' priors, for who has no ratings.
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
    link: Tensor  # (k, D) float32, B

    @classmethod
    def of(
        cls,
        *,
        users: tuple[Tensor, Tensor],
        items: tuple[Tensor, Tensor],
        unknown: tuple[Tensor, Tensor],
        noise: tuple[Tensor, Tensor],
        precision: Tensor,
        prior: Hyperprior,
        thresholds: Tensor | None,
    ) -> "Draw":
        """The state of a chain: (means, draw) of users, (draw, means) of items, users' prior."""

        def table(rows: Tensor, last: Tensor) -> Tensor:
            return torch.cat([rows, last[None].float()]).half()

        def column(values: Tensor) -> Tensor:
            return torch.cat([values, values.new_ones(1)]).float()

        return cls(
            user_means=table(users[0], unknown[0]),
            users=table(users[1], unknown[0]),
            items=table(items[0], unknown[1]),
            item_means=table(items[1], unknown[1]),
            user_noise=column(noise[0]),
            item_noise=column(noise[1]),
            precision=precision,
            thresholds=precision.new_zeros(0) if thresholds is None else thresholds.clone(),
            prior_mean=prior.mean.float(),
            prior_precision=prior.precision.float(),
            link=prior.link.float(),
        )

    @property
    def n_bytes(self) -> int:
        """What it takes to keep."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def weights(self, users: Tensor, items: Tensor) -> Tensor:
        """The (n,) float64 precisions α a_u b_i of pairs."""
        return self.precision * (self.user_noise[users] * self.item_noise[items]).double()


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a chain's figures mean in rating units."""

    mean: Tensor
    scale: Tensor
    lowest: Tensor
    highest: Tensor
    levels: Tensor  # (K,) the mean rating of each level; none without an ordinal chain


class Posterior:
    """Predicts the rating of any (user, item) pair, in rating units, and how sure that is."""

    def __init__(self, scale: Scale, newcomers: Newcomers, n_chains: int) -> None:
        self.scale = scale
        self.newcomers = newcomers
        self._chains: list[list[Draw]] = [[] for _ in range(n_chains)]
        self._stride, self._seen = 1, 0

    def add(self, draws: Sequence[Draw]) -> None:
        """Takes in the states of all the chains after a sweep."""
        if self._seen % self._stride == 0:
            for chain, draw in zip(self._chains, draws, strict=True):
                chain.append(draw)
        self._seen += 1
        room = MOST_BYTES - self.newcomers.loadings.nbytes
        most = room // sum(draw.n_bytes for draw in draws)
        if len(self._chains[0]) > min(MOST_DRAWS, max(8, most)):
            self._chains = [chain[::2] for chain in self._chains]
            self._stride *= 2

    def forget_first(self) -> None:
        """Leaves out the first of the states that were taken in, all of which are still kept."""
        for chain in self._chains:
            del chain[0]
        self._seen -= 1

    def predict(self, user_index: Tensor, item_index: Tensor) -> Tensor:
        """The (n,) float64 predicted ratings of (n,) int64 pairs of indices."""
        total = sum(self.expected(draw, user_index, item_index) for draw in self._draws())
        return self.clip(torch.as_tensor(total) / len(self._draws()))

    def clip(self, predictions: Tensor) -> Tensor:
        """The predictions, kept within the range of the ratings."""
        return predictions.clamp(self.scale.lowest, self.scale.highest)

    def expected(self, draw: Draw, user_index: Tensor, item_index: Tensor) -> Tensor:
        """The (n,) float64 ratings that the conditional means of one sweep predict."""
        blocks = pairs_in_blocks(user_index, item_index)
        return torch.cat(in_threads(lambda pairs: self._expected(draw, *pairs), blocks))

    def std(self, user_index: Tensor, item_index: Tensor) -> Tensor:
        """The (n,) float64 standard deviations of the ratings that may be seen."""
        stds = []
        for users, items in pairs_in_blocks(user_index, item_index):
            moments = [self._moments(draw, users, items) for draw in self._draws()]
            mean, square = torch.stack(moments).mean(0)
            stds.append((square - mean.square()).clamp(min=0.0).sqrt() * self.scale.scale)
        return torch.cat(stds)

    def probabilities(self, user_index: Tensor, item_index: Tensor) -> Tensor:
        """The (n, K) probabilities of the levels `scale.levels`, from the ordinal chains.

        Raises:
            ValueError: no chain is ordinal.
        """
        draws = [draw for draw in self._draws() if len(draw.thresholds)]
        if not draws:
            raise ValueError("expected an ordinal chain, got none")
        blocks = []
        for users, items in pairs_in_blocks(user_index, item_index):
            total = self.scale.levels.new_zeros(len(users), len(self.scale.levels))
            for draw in draws:
                fit = _product(draw.users[users], draw.items[items])
                total += level_probabilities(draw.thresholds, fit, draw.weights(users, items))
            blocks.append(total / len(draws))
        return torch.cat(blocks)

    def uncertainty(self, user_index: Tensor, item_index: Tensor) -> Tensor:
        """The (n,) float64 standard deviations of ratings if they had no noise, over the draws."""
        stds = []
        for users, items in pairs_in_blocks(user_index, item_index):
            fits = [_product(draw.users[users], draw.items[items]) for draw in self._draws()]
            stds.append(torch.stack(fits).std(0, correction=0) * self.scale.scale)
        return torch.cat(stds)

    def similarity(self, item: int) -> Tensor:
        """The (n_items,) float32 similarities of every item to one, the mean over the draws."""
        total = sum(
            correlations(draw.users[:-1, :-1], draw.items[:-1, :-1], item) for draw in self._draws()
        )
        return torch.as_tensor(total) / len(self._draws())

    def fold_in(self, item_index: Tensor, values: Tensor, *, seed: int) -> Self:
        """The posterior of one user, of index 0, who gave (n,) values to (n,) items.

        In each draw the user's unknowns are drawn anew, the others stay; without ratings they are
        those of who has none.
        """
        targets = ((values - self.scale.mean) / self.scale.scale).float()
        distance = (values[:, None] - self.scale.levels).abs()
        levels = distance.argmin(1) if len(self.scale.levels) else item_index
        features = self.newcomers.features(item_index)
        generator = torch.Generator().manual_seed(seed)

        def folded(draw: Draw) -> Draw:
            means = users = draw.users[-1:].float()
            noise = draw.user_noise[-1:]
            if len(values):
                given = Conditions(
                    items=draw.items[item_index].float(),
                    item_noise=draw.item_noise[item_index],
                    precision=draw.precision,
                    thresholds=draw.thresholds,
                    prior_mean=draw.prior_mean + features @ draw.link,
                    prior_precision=draw.prior_precision,
                    noise_dof=self.newcomers.noise_dof.item(),
                )
                solution, noise = draw_row(given, targets, levels, generator=generator)
                means, users = solution.means, solution.draws
            return replace(
                draw,
                user_means=torch.cat([means.half(), draw.user_means[-1:]]),
                users=torch.cat([users.half(), draw.users[-1:]]),
                user_noise=torch.cat([noise.float(), draw.user_noise[-1:]]),
            )

        posterior = type(self)(self.scale, self.newcomers, len(self._chains))
        posterior._chains = [[folded(draw) for draw in chain] for chain in self._chains]
        return posterior

    def mse(self, ratings: Ratings) -> float:
        """The mean squared error on ratings."""
        predicted = self.predict(ratings.user_index, ratings.item_index)
        return (predicted - ratings.values).square().mean().item()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, to be saved; `from_state` brings it back."""
        state = {
            field.name: getattr(part, field.name).cpu()
            for part in (self.scale, self.newcomers)
            for field in fields(part)
        }
        for number, chain in enumerate(self._chains):
            for field in fields(Draw):
                column = torch.stack([getattr(draw, field.name) for draw in chain])
                state[f"chain{number}.{field.name}"] = column.cpu()
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The posterior that `state_dict` was taken of, on the CPU."""
        names = sorted({name.partition(".")[0] for name in state if "." in name})
        scale = Scale(**{field.name: state[field.name] for field in fields(Scale)})
        newcomers = Newcomers(**{field.name: state[field.name] for field in fields(Newcomers)})
        posterior = cls(scale, newcomers, len(names))
        for name, chain in zip(names, posterior._chains, strict=True):
            columns = {field.name: state[f"{name}.{field.name}"] for field in fields(Draw)}
            for values in zip(*columns.values(), strict=True):
                chain.append(Draw(**dict(zip(columns, values, strict=True))))
        return posterior

    def _draws(self) -> list[Draw]:
        return [draw for chain in self._chains for draw in chain]

    def _expected(self, draw: Draw, users: Tensor, items: Tensor) -> Tensor:
        fits = (
            _product(draw.user_means[users], draw.items[items]),
            _product(draw.users[users], draw.item_means[items]),
        )
        if not len(draw.thresholds):
            return self.scale.mean + self.scale.scale * (fits[0] + fits[1]) / 2
        weights = draw.weights(users, items)
        first, second = (level_probabilities(draw.thresholds, fit, weights) for fit in fits)
        return (first + second) @ self.scale.levels / 2

    def _moments(self, draw: Draw, users: Tensor, items: Tensor) -> Tensor:
        """The (2, n) first and second moments of a standardized rating after one sweep."""
        fit, weights = _product(draw.users[users], draw.items[items]), draw.weights(users, items)
        if not len(draw.thresholds):
            return torch.stack([fit, fit.square() + 1 / weights])
        levels = (self.scale.levels - self.scale.mean) / self.scale.scale
        powers = torch.stack([levels, levels.square()], dim=1)
        return (level_probabilities(draw.thresholds, fit, weights) @ powers).mT


def _product(users: Tensor, items: Tensor) -> Tensor:
    """p · q + b + c of (n, D) rows, (n,) float64."""
    users, items = users.float(), items.float()
    fit: Tensor = torch.linalg.vecdot(users[:, :-1], items[:, :-1]) + users[:, -1] + items[:, -1]
    return fit.double()
