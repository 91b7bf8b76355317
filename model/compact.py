"""Models in a compact form: what a mean over hundreds of draws predicts, by one product a pair.

The fit of a draw is p · q + b + c, of present effects of time too, so that the mean fit over draws

    f̄_ui = b̄_u + c̄_i + [Σ_d p_du · q_di] / n ≈ b̄_u + c̄_i + p_u · q_i

is a matrix of low rank but for little: p and q are its truncated singular value decomposition, by
products of the draws with random vectors (`svd`), so that nobody forms the matrix. Over the draws
the latent z of a rating is about normal, with the mean f̄ and the variance of noise and fit,

    s²_ui = mean_d 1 / w_dui + var_d f_dui ≈ exp(x_u + y_i)

which is fitted to pairs drawn at random. Of Gaussian draws f̄ is the prediction; of ordinal ones it
is the mean of the levels v, and the spread follows from the same probabilities:

    P(v_k) = Φ((γ_k - f̄) / s) - Φ((γ_{k-1} - f̄) / s)

How alike two items are, the mean over draws of a product of directions (`similarity`), is of low
rank but for little too, and kept in the same way.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import UNKNOWN, Pairs
from model.factorization import Factorization
from model.kernels.compact import pair_moments
from model.kernels.threads import in_threads, n_threads
from model.ordinal import level_probabilities
from model.posterior import Draw, Places, Posterior, fit_of
from model.similarity import directions
from model.solver import Model
from model.svd import svd_of_products

RANK = 64
KINDS = (False, True)  # whether draws are ordinal
POWER_ITERATIONS = 2
PAIRS_A_ROW = 8  # drawn at random to find the spread of a user, or an item
SWEEPS = 10  # of x and y, each given the other
SHRINKAGE = 1.0  # of x and y, in pairs


@dataclass(frozen=True, kw_only=True)
class Part:
    """The mean of all draws of one likelihood; the last row of a table is of who is unknown."""

    user_factors: Tensor  # (n_users + 1, r) float32, p
    item_factors: Tensor  # (n_items + 1, r) float32, q
    user_bias: Tensor  # (n_users + 1,) float32, b̄
    item_bias: Tensor  # (n_items + 1,) float32, c̄
    user_scale: Tensor  # (n_users + 1,) float32, x / 2
    item_scale: Tensor  # (n_items + 1,) float32, y / 2
    thresholds: Tensor  # (K - 1,) float64, γ; none of Gaussian draws
    share: Tensor  # () float64, of the prediction

    def fit(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The (n,) float64 f̄ and s of pairs."""
        users, items = pairs.user_index, pairs.item_index
        product = torch.linalg.vecdot(self.user_factors[users], self.item_factors[items])
        fit = product + self.user_bias[users] + self.item_bias[items]
        log_std = self.user_scale[users] + self.item_scale[items]
        return fit.double(), log_std.double().exp()


@dataclass(frozen=True, kw_only=True)
class Compact:
    """Predicts the rating of any pair at present, and how sure that is, without the draws."""

    parts: tuple[Part, ...]
    item_directions: Tensor  # (n_items, r) float32, whose products are how alike items are
    mean: Tensor  # () float64, what is zero in fits
    scale: Tensor  # () float64, of fits
    lowest: Tensor  # () float64
    highest: Tensor  # () float64
    levels: Tensor  # (K,) float64, v, in rating units; none without ordinal draws

    @classmethod
    def of(cls, models: Sequence[Model], *, present: float | None, seed: int) -> Self | None:
        """The mean of models that were trained on the same ratings; None if one has no factors.

        Args:
            models: at least one.
            present: seconds since 1970, the time that is asked about; None of ratings without.
            seed: of the random projection, and of the pairs that tell spreads.
        """
        generator = torch.Generator().manual_seed(seed)
        posteriors = [one for one in models if isinstance(one, Posterior)]
        factorizations = [one for one in models if isinstance(one, Factorization)]
        if len(posteriors) + len(factorizations) < len(models):
            return None
        first = posteriors[0].scale if posteriors else factorizations[0]
        mean = posteriors[0].scale.mean if posteriors else factorizations[0].global_mean
        scale = posteriors[0].scale.scale if posteriors else torch.ones_like(mean)
        sources = [_of_factorization(one, mean, scale) for one in factorizations]
        for one in posteriors:
            sources += _of_posterior(one, present)
        levels = [one.scale.levels for one in posteriors if len(one.scale.levels)]
        kinds = [[one for one in sources if bool(len(one.thresholds)) is kind] for kind in KINDS]
        total = sum(one.share for one in sources)
        return cls(
            parts=tuple(
                _part(some, total, present=present, generator=generator) for some in kinds if some
            ),
            item_directions=_directions(sources, total, generator=generator),
            mean=mean.cpu(),
            scale=scale.cpu(),
            lowest=first.lowest.cpu(),
            highest=first.highest.cpu(),
            levels=levels[0].cpu() if levels else torch.zeros(0, dtype=torch.float64),
        )

    def predict(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 predicted ratings of pairs, whatever their times."""
        return self.moments(pairs)[0]

    def std(self, pairs: Pairs) -> Tensor:
        """The (n,) float64 standard deviations of the ratings that may be seen."""
        return self.moments(pairs)[1]

    def moments(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The (n,) float64 predictions and standard deviations, in blocks, each pair by itself."""
        tables = [_tables(part) for part in self.parts]
        levels = ((self.levels - self.mean) / self.scale).numpy()

        def of_block(some: Pairs) -> tuple[Tensor, Tensor]:
            users, items = some.user_index.numpy(), some.item_index.numpy()
            total = np.zeros((2, len(some)))
            for table in tables:
                pair_moments(users, items, *table, levels, total)
            return torch.from_numpy(total[0]), torch.from_numpy(total[1])

        blocks = in_threads(of_block, pairs.blocks())
        return self._in_rating_units(*(torch.cat(column) for column in zip(*blocks, strict=True)))

    def plain_moments(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The same in PyTorch."""
        first, second = torch.zeros(2, len(pairs), dtype=torch.float64)
        levels = (self.levels - self.mean) / self.scale
        for part in self.parts:
            fit, std = part.fit(pairs)
            mean, square = fit, fit.square() + std.square()
            if len(part.thresholds):
                chances = level_probabilities(part.thresholds, fit, std.square().reciprocal())
                mean, square = chances @ levels, chances @ levels.square()
            first, second = first + part.share * mean, second + part.share * square
        return self._in_rating_units(first, second)

    def probabilities(self, pairs: Pairs) -> Tensor:
        """The (n, K) probabilities of `levels`, of the ordinal draws.

        Raises:
            ValueError: there are none.
        """
        ordinal = [part for part in self.parts if len(part.thresholds)]
        if not ordinal:
            raise ValueError("expected ordinal draws, got none")
        fit, std = ordinal[0].fit(pairs)
        return level_probabilities(ordinal[0].thresholds, fit, std.square().reciprocal())

    def similarity(self, item: int) -> Tensor:
        """The (n_items,) float32 similarities of every item to one, near to those of the draws."""
        return (self.item_directions @ self.item_directions[item]).clamp(-1.0, 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, to be saved; `from_state` brings it back."""
        state = {name: getattr(self, name) for name in _names(type(self)) if name != "parts"}
        for number, part in enumerate(self.parts):
            state |= {f"part{number}.{name}": getattr(part, name) for name in _names(Part)}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """What `state_dict` was taken of."""
        n_parts = len({name.partition(".")[0] for name in state if name.startswith("part")})
        parts = tuple(
            Part(**{name: state[f"part{number}.{name}"] for name in _names(Part)})
            for number in range(n_parts)
        )
        others = {name: state[name] for name in _names(cls) if name != "parts"}
        return cls(parts=parts, **others)

    def _in_rating_units(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        std = (second - first.square()).clamp(min=0.0).sqrt() * self.scale
        return (self.mean + self.scale * first).clamp(self.lowest, self.highest), std


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What adds to the mean fit: a draw, or a model that has none."""

    products: Sequence[tuple[Tensor, Tensor]]  # (n_users + 1, r) and (n_items + 1, r); their mean
    user_bias: Tensor  # (n_users + 1,) float32
    item_bias: Tensor  # (n_items + 1,) float32
    thresholds: Tensor  # (K - 1,) float64
    share: float
    draw: Draw | None = None
    posterior: Posterior | None = None  # whose draw it is
    chain: int = 0  # of which chain
    variance: float = 0.0  # of a rating, where there is no draw

    def moments(
        self, pairs: Pairs, places: dict[int, list[Places]]
    ) -> tuple[Tensor, Tensor | float]:
        """The (n,) fits of pairs, and the variances of ratings around them.

        Args:
            pairs: n of them.
            places: where they stand in each posterior, by its id, as far as that is known by now.
        """
        if self.draw is None or self.posterior is None:
            (users, items), *_ = self.products
            rows, columns = pairs.user_index, pairs.item_index
            fit = torch.linalg.vecdot(users[rows], items[columns])
            return (fit + self.user_bias[rows] + self.item_bias[columns]).double(), self.variance
        if id(self.posterior) not in places:
            places[id(self.posterior)] = self.posterior.places(pairs)
        at = places[id(self.posterior)][self.chain]
        return fit_of(self.draw, at), self.draw.weights(at).reciprocal()


def _of_factorization(model: Factorization, mean: Tensor, scale: Tensor) -> _Source:
    with torch.no_grad():
        users, items = model.user_factors / scale.float(), model.item_factors.clone()
        shift = (model.global_mean - mean).float()
        return _Source(
            products=[(users, items)],
            user_bias=(model.user_bias + shift) / scale.float(),
            item_bias=model.item_bias / scale.float(),
            thresholds=scale.new_zeros(0),
            share=1.0,
            variance=(model.spread / scale).square().item(),
        )


def _of_posterior(model: Posterior, present: float | None) -> Iterator[_Source]:
    """Its draws, with what their effects of time come to at present."""
    share = 1.0 / len(model.draws())
    for number in range(len(model.grids)):
        draws = model.draws(number)
        n_users, n_items = len(draws[0].users), len(draws[0].items)
        users, items = torch.arange(n_users), torch.arange(n_items)
        nobody = torch.tensor([UNKNOWN])
        asked = [(users, nobody), (nobody, items), (nobody, nobody)]
        places = [model.places(_at(present, *one))[number] for one in asked]
        for draw in draws:
            time = [draw.time(draw.effect_means, draw.level_means, at) for at in places]
            rows, columns = _known(draw.users, draw.user_means), _known(draw.items, draw.item_means)
            products = [(draw.user_means, columns), (rows, draw.item_means)]
            user_bias = (draw.user_means[:, -1].float() + rows[:, -1].float()) / 2
            item_bias = (draw.item_means[:, -1].float() + columns[:, -1].float()) / 2
            yield _Source(
                products=[(one[:, :-1], other[:, :-1]) for one, other in products],
                user_bias=user_bias + time[0],
                item_bias=item_bias + time[1] - time[2],
                thresholds=draw.thresholds,
                share=share,
                draw=draw,
                posterior=model,
                chain=number,
            )


def _part(
    sources: Sequence[_Source], total: float, *, present: float | None, generator: torch.Generator
) -> Part:
    """The mean of sources of one likelihood, of so many shares in all."""
    share = sum(one.share for one in sources)
    thresholds = sum(one.share / share * one.thresholds for one in sources)
    user_bias = sum(one.share / share * one.user_bias for one in sources)
    item_bias = sum(one.share / share * one.item_bias for one in sources)
    assert isinstance(user_bias, Tensor) and isinstance(item_bias, Tensor)
    shape = len(user_bias), len(item_bias)
    rank = min(RANK, sum(len(one[0].mT) for source in sources for one in source.products))

    def times(dense: Tensor, *, transposed: bool) -> Tensor:
        def of_some(some: Sequence[_Source]) -> Tensor:
            found = dense.new_zeros(shape[transposed], dense.shape[1])
            for source in some:
                weight = source.share / share / len(source.products)
                for product in source.products:
                    left, right = (one.float() for one in product[:: -1 if transposed else 1])
                    found += left @ (right.mT @ dense * weight)
            return found

        n = n_threads()
        parts = in_threads(of_some, [sources[start::n] for start in range(n)])
        return torch.stack(parts).sum(0)

    u, s, v = svd_of_products(
        lambda dense: times(dense, transposed=False),
        lambda dense: times(dense, transposed=True),
        shape=shape,
        dtype=torch.float32,
        rank=rank,
        generator=generator,
        power_iterations=POWER_ITERATIONS,
    )
    users, items = _scales(sources, shape, present=present, generator=generator)
    return Part(
        user_factors=(u * s.sqrt()).contiguous(),
        item_factors=(v * s.sqrt()).contiguous(),
        user_bias=user_bias.float(),
        item_bias=item_bias.float(),
        user_scale=users,
        item_scale=items,
        thresholds=torch.as_tensor(thresholds),
        share=torch.tensor(share / total, dtype=torch.float64),
    )


def _directions(sources: Sequence[_Source], total: float, *, generator: torch.Generator) -> Tensor:
    """The (n_items, r) float32 rows whose products are near to the mean over sources of how alike
    items are.
    """
    tables = []
    for one in sources:
        users, items = (one.draw.users, one.draw.items) if one.draw else one.products[0]
        found = directions(users[:-1, : _rank(one)], items[:-1, : _rank(one)])
        tables.append((found * math.sqrt(one.share / total)).half())
    ranks = [len(one.mT) for one in tables]

    def times(dense: Tensor) -> Tensor:
        found = dense.new_zeros(len(tables[0]), len(dense.mT))
        for one, part in zip(tables, torch.split(dense, ranks), strict=True):
            found += one.float() @ part
        return found

    u, s, _ = svd_of_products(
        times,
        lambda dense: torch.cat([one.float().mT @ dense for one in tables]),
        shape=(len(tables[0]), sum(ranks)),
        dtype=torch.float32,
        rank=RANK,
        generator=generator,
        power_iterations=POWER_ITERATIONS,
    )
    return (u * s).contiguous()


def _rank(source: _Source) -> int:
    """That of the factors, without biases."""
    return len(source.products[0][0].mT)


def _scales(
    sources: Sequence[_Source],
    shape: tuple[int, int],
    *,
    present: float | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """x / 2 of all users and y / 2 of all items, (n + 1,) float32 each, of pairs at random."""
    (n_users, n_items), n = shape, PAIRS_A_ROW
    share = sum(source.share for source in sources)
    of_users = (
        torch.arange(n_users).repeat(n),
        torch.randint(n_items, (n * n_users,), generator=generator),
    )
    of_items = (
        torch.randint(n_users, (n * n_items,), generator=generator),
        torch.arange(n_items).repeat(n),
    )
    users, items = (torch.cat(columns) for columns in zip(of_users, of_items, strict=True))
    pairs = _at(present, users, items)

    def log_variance(some: Pairs) -> Tensor:
        first, second, noise = torch.zeros(3, len(some), dtype=torch.float64)
        places: dict[int, list[Places]] = {}
        for source in sources:
            fit, of_rating = source.moments(some, places)
            first += source.share / share * fit
            second += source.share / share * fit.square()
            noise += source.share / share * of_rating
        variance: Tensor = noise + (second - first.square()).clamp(min=0.0)
        return variance.log()

    log = torch.cat(in_threads(log_variance, pairs.blocks()))
    centre = log.mean()
    of_user, of_item = log.new_zeros(n_users), log.new_zeros(n_items)
    for _ in range(SWEEPS):
        of_user = _means(log - centre - of_item[items], users, n_users)
        of_item = _means(log - centre - of_user[users], items, n_items)
    return ((of_user + centre) / 2).float(), (of_item / 2).float()


def _means(values: Tensor, index: Tensor, n_rows: int) -> Tensor:
    """The (n_rows,) means of values by row, shrunk."""
    sums = values.new_zeros(n_rows).index_add(0, index, values)
    return sums / (torch.bincount(index, minlength=n_rows) + SHRINKAGE)


def _known(drawn: Tensor, means: Tensor) -> Tensor:
    """Drawn rows, of who is unknown the mean, as in `Posterior.expected`."""
    return torch.cat([drawn[:-1], means[-1:]])


def _at(present: float | None, users: Tensor, items: Tensor) -> Pairs:
    """Pairs at one time; the unknown, of index -1, are repeated as often as the others."""
    n = max(len(users), len(items))
    times = None if present is None else torch.full((n,), present, dtype=torch.float64)
    return Pairs(user_index=users.expand(n), item_index=items.expand(n), times=times)


def _tables(part: Part) -> tuple[NDArray[Any], ...]:
    """A part as the arrays that what is compiled takes."""
    tensors = (getattr(part, name) for name in _names(Part))
    return tuple(tensor.numpy() for tensor in tensors)


def _names(kind: type[Part] | type[Compact]) -> list[str]:
    return [field.name for field in fields(kind)]
