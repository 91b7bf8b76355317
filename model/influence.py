"""What a prediction rests on: how it would change without a rating, or without a description.

With the items' rows fixed, a user's row x is a regression on what the user rated (`fold_in`),

    P x = Λ m + Σ_j w_j φ_j (z_j - c_j),   P = Λ + Σ_j v_j φ_j φ_jᵀ

and leaving out rating j changes it, by the formula of Sherman and Morrison, by

    x - x_(j) = P⁻¹ φ_j w_j (z_j - c_j - φ_j · x) / (1 - v_j φ_jᵀ P⁻¹ φ_j)

exactly where ratings are lengths, v = w (Cook & Weisberg 1982, Residuals and Influence in
Regression, sec. 2.2). Of ordered levels z is not known, but is expected between the thresholds of
its level, which moves with x: v_j = w_j (1 - w_j var z_j), and the formula is a step of Newton's
method (Rad & Maleki 2020, A Scalable Estimate of the Out-of-Sample Prediction Error via Approximate
Leave-One-Out Cross-Validation). What a description says of a row, Bᵀ f, is a part of m, and adds
P⁻¹ Λ Bᵀ f to x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Self, TypeVar

import torch
from torch import Tensor

from model.dataset import Description, Pairs, Ratings
from model.factorization import Factorization
from model.kernels.intervals import ends_of
from model.logarithmic import Logarithmic, with_logs
from model.ordinal import level_probabilities
from model.posterior import Draw, Places, Posterior, Scale
from model.solver import Model

MOST_DRAWS = 16  # of each chain that are asked, evenly taken
SMALLEST = 1e-12  # probability of a level, beside which its density is told

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Influence:
    """What one prediction rests on, or each of m of one user, in rating units."""

    # (n,) float64, or (m, n): the prediction less that without each of the user's ratings.
    of_ratings: Tensor
    # (k,), or (m, k), of each description: the prediction less that of a row that is average in it.
    of_user_descriptions: Tensor
    of_item_descriptions: Tensor

    @classmethod
    def mean(cls, parts: Sequence["Influence"]) -> "Influence":
        """The mean of several."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        names = vars(parts[0])
        means = (torch.stack(column).mean(0) for column in columns)
        return cls(**dict(zip(names, means, strict=True)))

    def of_smeared(self, predicted: Tensor) -> Self:
        """What predictions, (1,) or (m, 1), rest on if that was of their logarithms."""
        return type(self)(**{name: _smeared(one, predicted) for name, one in vars(self).items()})


def influence(
    model: Model, pair: Pairs, own: Ratings, others: Ratings, *, trained: Model | None = None
) -> Influence | None:
    """What the prediction for a pair rests on; None of a model that has no factors.

    Args:
        model: one that was trained, or folded in, with these ratings.
        pair: one, whose user is a row of the model.
        own: the n ratings of that user, and the descriptions of all users and items.
        others: the ratings of that item by users of the training.
        trained: the model that `model` was folded in, if it was.
    """
    if isinstance(model, Logarithmic):
        whole_of_logs = trained.of_logs if isinstance(trained, Logarithmic) else None
        found = influence(
            model.of_logs, pair, with_logs(own), with_logs(others), trained=whole_of_logs
        )
        return found and found.of_smeared(model.predict(pair))
    if isinstance(model, Factorization):
        return _of_factorization(model, pair, own)
    if not isinstance(model, Posterior):
        return None
    whole = trained if isinstance(trained, Posterior) else model
    parts = []
    for number in range(len(model.grids)):
        draws = list(zip(model.draws(number), whole.draws(number), strict=True))
        at = [
            one.places(some)[number] for one, some in ((model, pair), (model, own), (whole, others))
        ]
        parts += [_of_draw(model, draw, at, own=own, others=others) for draw in _some(draws)]
    return Influence.mean(parts)


def list_influences(model: Model, pairs: Pairs, own: Ratings) -> Influence | None:
    """What the predictions for m pairs of one user rest on, but for what describes the items.

    That takes one regression for all, where the items' descriptions take one for each.

    Args:
        model: one that was trained, or folded in, with these ratings.
        pairs: m, whose user is a row of the model.
        own: the n ratings of that user.
    """
    if isinstance(model, Logarithmic):
        of_logs = list_influences(model.of_logs, pairs, with_logs(own))
        return of_logs and of_logs.of_smeared(model.predict(pairs)[:, None])
    if isinstance(model, Factorization):
        alone = (_of_factorization(model, pairs[n : n + 1], own) for n in range(len(pairs)))
        nothing = torch.zeros(len(pairs), 0, dtype=torch.float64)
        return Influence(
            of_ratings=torch.stack([one.of_ratings for one in alone]),
            of_user_descriptions=nothing,
            of_item_descriptions=nothing,
        )
    if not isinstance(model, Posterior):
        return None
    places = zip(model.places(pairs), model.places(own), strict=True)
    parts = [
        _list_of_draw(model, draw, at, of_own, own)
        for number, (at, of_own) in enumerate(places)
        for draw in _some(model.draws(number))
    ]
    return Influence.mean(parts)


@dataclass(frozen=True, kw_only=True)
class Regression:
    """The regression of a row of width D on n ratings; all in float64."""

    features: Tensor  # (n, D), φ
    row: Tensor  # (D,), x
    prior_precision: Tensor  # (D, D), Λ
    weights: Tensor  # (n,), w
    curvatures: Tensor  # (n,), v
    residuals: Tensor  # (n,), z - c - φ · x

    def without_each(self) -> Tensor:
        """The (n, D) rows x_(j) without each rating."""
        solved = torch.cholesky_solve(self.features.mT, self._root).mT  # P⁻¹ φ
        leverage = self.curvatures * (solved * self.features).sum(1)
        steps = self.weights * self.residuals / (1 - leverage).clamp(min=SMALLEST)
        return self.row - solved * steps[:, None]

    def from_prior(self, means: Tensor) -> Tensor:
        """The (k, D) that (k, D) parts of m add to the row, P⁻¹ Λ of each."""
        return torch.cholesky_solve(self.prior_precision @ means.double().mT, self._root).mT

    @cached_property
    def _root(self) -> Tensor:
        """(D, D), L with L Lᵀ = P."""
        weighted = self.features * self.curvatures[:, None]
        root: Tensor = torch.linalg.cholesky(self.prior_precision + self.features.mT @ weighted)
        return root


def between(
    thresholds: Tensor, levels: Tensor, fit: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance, (n,), of z ~ N(fit, 1 / weights) between the thresholds of its level."""
    ends, roots = ends_of(thresholds), weights.sqrt()
    lower, upper = ((ends[levels + n] - fit) * roots for n in (0, 1))
    chance = (torch.special.ndtr(upper) - torch.special.ndtr(lower)).clamp(min=SMALLEST)
    low, high = (
        (-end.square() / 2).exp() / (2 * torch.pi) ** 0.5 / chance for end in (lower, upper)
    )
    shift = low - high
    # At an infinite end the density is zero, and its product with the end.
    pull = lower.nan_to_num(neginf=0.0) * low - upper.nan_to_num(posinf=0.0) * high
    return fit + shift / roots, (1 + pull - shift.square()).clamp(min=0.0) / weights


def _some(draws: Sequence[T]) -> list[T]:
    """Those of a chain that are asked."""
    chosen = torch.linspace(0, len(draws) - 1, min(MOST_DRAWS, len(draws))).int().tolist()
    return [draws[n] for n in chosen]


def _list_of_draw(
    model: Posterior, draw: Draw, at: Places, of_own: Places, own: Ratings
) -> Influence:
    """What the expected ratings of m pairs rest on, in one draw."""
    scale, user = model.scale, int(at.user_index[0])
    regression = _of_user(scale, draw, of_own, own, user)
    row, columns = regression.row, draw.items[at.item_index]
    towards = _with_one(columns)
    time = draw.time(draw.effect_means, draw.level_means, at)
    fit = (towards @ row + columns[:, -1].double() + time)[:, None]
    weights = draw.weights(at)[:, None]
    expected = _expected(scale, draw, fit, weights)

    def change(steps: Tensor) -> Tensor:
        """What is expected less that of (n, D) changes of the row: (m, n)."""
        return expected - _expected(scale, draw, fit + towards @ steps.mT, weights)

    return Influence(
        of_ratings=change(regression.without_each() - row),
        of_user_descriptions=change(-_added(model, draw, regression, own, user)),
        of_item_descriptions=fit.new_zeros(len(fit), 0),
    )


def _added(model: Posterior, draw: Draw, regression: Regression, own: Ratings, user: int) -> Tensor:
    """The (k, D) that each description of a user adds to the user's row."""
    newcomers, n_features = model.newcomers, model.newcomers.loadings.shape[1]
    said = _said(own.user_descriptions, user, newcomers.centre, newcomers.rotation)
    return regression.from_prior(said @ draw.link[n_features:].double())


def _of_draw(
    model: Posterior,
    draws: tuple[Draw, Draw],
    at: Sequence[Places],
    *,
    own: Ratings,
    others: Ratings,
) -> Influence:
    """The same of one draw, and of the draw that it was folded in.

    Args:
        model: whose draw it is.
        draws: that with the row of the user, and that with those of all users.
        at: where the pair, the user's ratings and the item's stand.
        own: ratings of the user.
        others: ratings of the item.
    """
    (draw, whole), (pair, of_own, of_others) = draws, at
    user, item = int(pair.user_index), int(pair.item_index)
    users = _of_user(model.scale, draw, of_own, own, user)
    items = _regression(
        model.scale,
        whole,
        of_others,
        others.values,
        others=whole.users[others.user_index],
        row=whole.item_means[item],
        prior_precision=whole.item_prior_precision,
    )
    row, column = draw.user_means[user].double(), draw.items[item].double()
    towards_item, towards_user = (_with_one(one) for one in (column, row))
    fit = row @ towards_item + column[-1] + draw.time(draw.effect_means, draw.level_means, pair)
    weights = draw.weights(pair)

    def change(fits: Tensor) -> Tensor:
        """The expected rating less that of (n,) other fits."""
        return _expected(model.scale, draw, fit, weights) - _expected(
            model.scale, draw, fits, weights
        )

    newcomers, n_features = model.newcomers, model.newcomers.loadings.shape[1]
    added = _added(model, draw, users, own, user)
    of_item = _said(own.item_descriptions, item, newcomers.item_centre, newcomers.item_rotation)
    added_to_item = items.from_prior(of_item @ draw.item_link[n_features:].double())
    return Influence(
        of_ratings=change(fit + (users.without_each() - row) @ towards_item),
        of_user_descriptions=change(fit - added @ towards_item),
        of_item_descriptions=change(fit - added_to_item @ towards_user),
    )


def _of_user(scale: Scale, draw: Draw, at: Places, own: Ratings, user: int) -> Regression:
    """That of a user's row of a draw on the user's own ratings, which stand there."""
    return _regression(
        scale,
        draw,
        at,
        own.values,
        others=draw.items[own.item_index],
        row=draw.user_means[user],
        prior_precision=draw.prior_precision,
    )


def _regression(
    scale: Scale,
    draw: Draw,
    at: Places,
    values: Tensor,
    *,
    others: Tensor,
    row: Tensor,
    prior_precision: Tensor,
) -> Regression:
    """That of a row of a draw on the ratings of others."""
    row, features = row.double(), _with_one(others)
    time = draw.time(draw.effects, draw.level, at)
    fit = features @ row + others[:, -1].double() + time
    weights = draw.weights(at)
    residuals, curvatures = scale.standardized(values) - fit, weights
    if len(draw.thresholds):
        levels = scale.levels_of(values)
        expected, variance = between(draw.thresholds, levels, fit, weights)
        residuals, curvatures = expected - fit, weights * (1 - weights * variance)
    return Regression(
        features=features,
        row=row,
        prior_precision=prior_precision.double(),
        weights=weights,
        curvatures=curvatures,
        residuals=residuals,
    )


def _with_one(rows: Tensor) -> Tensor:
    """φ, (…, D) float64, of rows [q, c]."""
    return torch.cat([rows[..., :-1], torch.ones_like(rows[..., -1:])], -1).double()


def _expected(scale: Scale, draw: Draw, fits: Tensor, weights: Tensor) -> Tensor:
    """The (…) expected ratings of (…) fits, of a draw."""
    if not len(draw.thresholds):
        return scale.mean + scale.scale * fits
    fits = fits.expand(max(fits.numel(), 1)) if fits.dim() == 0 else fits
    return level_probabilities(draw.thresholds, fits, weights) @ scale.levels


def _said(
    descriptions: Sequence[Description], row: int, centre: Tensor, rotation: Tensor
) -> Tensor:
    """The (k, K) float64 features that each description alone gives a row."""
    if not descriptions:
        return rotation.new_zeros(0, rotation.shape[1]).double()
    labels = torch.cat([one.values[row] for one in descriptions]) - centre
    bounds = pairwise(accumulate((len(one.labels) for one in descriptions), initial=0))
    return torch.stack(
        [labels[begin:end].double() @ rotation[begin:end].double() for begin, end in bounds]
    )


def _smeared(of_logs: Tensor, predicted: Tensor) -> Tensor:
    """What was of logarithms in rating units: r̂ less r̂ exp(-δ)."""
    return -predicted * torch.expm1(-of_logs)


def _of_factorization(model: Factorization, pair: Pairs, own: Ratings) -> Influence:
    """The same of a model whose row is the minimum of a loss: ridge regressions without each."""
    item, nothing = int(pair.item_index), torch.zeros(0, dtype=torch.float64)
    with torch.no_grad():
        columns = torch.cat([model.item_factors, model.item_bias[:, None]], 1)
        features, n = _with_one(columns[own.item_index]), len(own)
        rest = own.values - model.global_mean - columns[own.item_index, -1].double()
        each, once = model.penalty.repeat_interleave(torch.tensor([columns.shape[1] - 1, 1]), 1)
        free = (each + once).isfinite()
        features, towards = features[:, free], _with_one(columns[item])[free]
        gram = features.mT @ features + torch.diag((n * each + once)[free])
        rights = features * rest[:, None]
        grams = gram - features[:, :, None] * features[:, None] - torch.diag(each[free])

        def predicted(gram: Tensor, right: Tensor) -> Tensor:
            row: Tensor = torch.linalg.pinv(gram, hermitian=True) @ right[..., None]
            return row[..., 0] @ towards

        whole = rights.sum(0)
        of_ratings = predicted(gram, whole) - predicted(grams, whole - rights)
    return Influence(
        of_ratings=of_ratings, of_user_descriptions=nothing, of_item_descriptions=nothing
    )
