"""How far off predictions are on average: in all, for whoever has few ratings, and later.

Where users and items are but rated higher or lower, what a model finds beyond that is chance, and
biases alone are the better answer; where ratings have no structure at all, their mean is. Of
ratings r that were held out, predictions p of them, and predictions b of biases alone, the slope
of r − b on p − b is one where the model is honest and zero where it tells nothing. With α its
least-squares estimate, from zero to one,

    p becomes b + α (p − b)

(but where models are of logarithms, which biases are not), and then likewise, with m the mean of
the ratings that were not held out, γ̂ the estimated slope of r − m on p − m, and SE its standard
error, for which users are drawn whole, or items if that makes it larger,

    p becomes m + γ (p − m),   γ = γ̂ max(0, 1 − 3 SE² / γ̂²), at most 1

(a positive-part James-Stein estimate: Efron & Morris 1973, Stein's Estimation Rule and Its
Competitors, eq. 1.10 of one coordinate; with 3, what is not 1.7 times its error is nothing). Where
the squares that either moves answers by are worth less than a thousandth of the RMSE, it is one.
Slopes are of what lies above the means of both, for the level is found after them.

An item without ratings is an obscure one where a rating at random is asked for, and a new one where
a later one is; a user's first ratings differ from those that follow; and the level of all drifts.
What that comes to is read off ratings that were held out in the same way: the mean residual of
whoever had so many ratings to learn from, user by user and item by item in turn,

    δ = m τ² / (τ² + SE²)

with m the mean of the residuals, which one user or item has in common, SE² its variance over users
or items drawn whole (Cameron & Miller 2015, A Practitioner's Guide to Cluster-Robust Inference), at
least that between the splits and that of so many residuals of nobody in common, and τ what δ may
be: of who has n ratings, which tell of themselves, τ₀ / √(1 + n). A few users or splits may agree
by chance: of n the variance is taken (n + 1) / (n - 1) times, by which Student's t with n + 1
degrees of freedom is wider than the normal. One user, or one later split, tells nothing of how much
they differ, and counts half. Who has more than a few ratings is left alone. Of fewer than 2,000
residuals, a mean within twice the standard error of so many different ratings is taken for chance,
and δ is zero.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from model.dataset import Pairs, Ratings
from model.logarithmic import has_heavy_tail
from model.selection import spread_rows
from model.solver import Model
from model.splits import Split
from study.record.attributes import Shifts

EDGES = (1, 2, 4, 8, 16)  # numbers of ratings at which groups begin; from the last on δ is zero
N_GROUPS = len(EDGES) + 1
# τ₀ in standard deviations of the ratings. What nobody rated so far is obscure; of items that are
# held out whole most ratings are of those that many rate, unlike most items; newcomers of a later
# time are like all others, but that times differ.
SHARES = {
    Split.RANDOM: 0.3,
    Split.LATEST: 0.3,
    Split.TIME: 0.1,
    Split.ITEMS: 0.5,
    Split.USERS: 0.5,
}
ALL_SHARE = 0.1  # of the level of all
SWEEPS = 4
UNCERTAIN = 3.0  # squared standard errors that a slope has to exceed to count as more than zero
BY_CHANCE = 4.0  # the same of means of few residuals
WORTH = 1e-3  # the share of the RMSE that a slope has to be worth
MOST_TOLD = 4_000_000  # residuals of all ranks that are looked at
FEW = 2_000  # residuals; of fewer, means within twice their standard errors are chance
LATER = (Split.LATEST, Split.TIME)  # splits on which the level of all may have moved

Column = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """What was held out in one split: true less predicted."""

    values: Column  # (n,)
    above: Column  # (n,) predicted less the mean
    # (n,) predicted less what biases alone predict; zero where models are of logarithms
    beyond: Column
    mean: float  # of what there was to learn from
    users: Counts  # (n,) indices
    items: Counts  # (n,)
    user_counts: Counts  # (n,) ratings that the user had to learn from
    item_counts: Counts  # (n,)

    @classmethod
    def of(cls, training: Ratings, held_out: Ratings, predicted: Column, *, biases: Column) -> Self:
        """Those of (n,) predictions for what was held out, by who knows the training ratings.

        They are those of all ranks, or a part of them.

        Args:
            training: what there was to learn from.
            held_out: n ratings.
            predicted: (n,) by models.
            biases: (n,) by biases alone.
        """
        user_counts, item_counts = training.counts(held_out)
        mean = training.moments.mean.item()
        users = held_out.users[held_out.user_index]
        columns = [
            torch.from_numpy(held_out.values.numpy() - predicted),
            torch.from_numpy(predicted - mean),
            torch.from_numpy(
                np.zeros_like(biases) if has_heavy_tail(training) else predicted - biases
            ),
            *(users, held_out.item_index, user_counts, item_counts),
        ]
        world = training.world
        rows = spread_rows(len(held_out), MOST_TOLD, world)
        values, above, beyond, *counts = (world.gathered(one[rows]).numpy() for one in columns)
        return cls(
            values=values,
            above=above,
            beyond=beyond,
            mean=mean,
            users=counts[0],
            items=counts[1],
            user_counts=counts[2],
            item_counts=counts[3],
        )


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What predictions are to be shrunk by, and what is to be added to them."""

    all: float
    by_user: tuple[float, ...]  # of the groups by the user's number of ratings, the last zero
    by_item: tuple[float, ...]
    weight: float = 1.0  # α
    slope: float = 1.0  # γ
    mean: float = 0.0  # m; of no effect with a slope of one

    @classmethod
    def none(cls) -> Self:
        """Nothing at all."""
        zeros = (0.0,) * N_GROUPS
        return cls(all=0.0, by_user=zeros, by_item=zeros)

    @classmethod
    def fitted(cls, splits: Sequence[Residuals], *, kind: Split, std: float) -> Self:
        """Those of residuals on splits of a kind, of ratings with a standard deviation."""
        which = np.concatenate([np.full(len(one.values), n) for n, one in enumerate(splits)])
        values = np.concatenate([one.values for one in splits])
        above = np.concatenate([one.above for one in splits])
        beyond = np.concatenate([one.beyond for one in splits])
        whose = [(one.users, one.items) for one in splits]
        columns = _centred(values), _centred(beyond)
        weight = _worth(min(_estimate(*columns), 1.0), *columns)
        values, above = values + (1 - weight) * beyond, above - (1 - weight) * beyond
        columns = _centred(values), _centred(above)
        slope = _worth(_slope(*columns, whose), *columns)
        rest = values + (1 - slope) * above
        sides = [
            (np.concatenate(rows), np.digitize(np.concatenate(counts), EDGES), [0.0] * N_GROUPS)
            for rows, counts in (
                ([one.users for one in splits], [one.user_counts for one in splits]),
                ([one.items for one in splits], [one.item_counts for one in splits]),
            )
        ]
        of_all, known = 0.0, np.logical_and(*(groups == len(EDGES) for _, groups, _ in sides))
        is_later, noise = kind in LATER, float(np.square(rest).mean())
        chance = BY_CHANCE * noise * _repeats(splits) if len(rest) < FEW else 0.0
        for _ in range(SWEEPS):
            if is_later and known.any():
                rest = rest + of_all
                of_all = _shrunk(
                    rest[known],
                    sides[0][0][known],
                    which[known],
                    tau=ALL_SHARE * std,
                    noise=noise,
                    chance=chance,
                    is_later=True,
                )
                rest = rest - of_all
            for rows, groups, shifts in sides:
                for group in range(N_GROUPS - 1):
                    here = groups == group
                    if not here.any():
                        continue
                    values = rest[here] + shifts[group]
                    new = _shrunk(
                        values,
                        rows[here],
                        which[here],
                        tau=SHARES[kind] * std / math.sqrt(1 + (0, *EDGES)[group]),
                        noise=noise,
                        chance=chance,
                        is_later=is_later,
                    )
                    rest[here] = values - new
                    shifts[group] = new
        return cls(
            all=of_all,
            by_user=tuple(sides[0][2]),
            by_item=tuple(sides[1][2]),
            weight=weight,
            slope=slope,
            mean=float(np.mean([one.mean for one in splits])) if slope < 1 else 0.0,
        )

    @classmethod
    def of(cls, kept: Shifts) -> Self:
        """Those that a study keeps."""
        return cls(
            all=kept["all"],
            by_user=tuple(kept["by_user"]),
            by_item=tuple(kept["by_item"]),
            weight=kept.get("weight", 1.0),
            slope=kept.get("slope", 1.0),
            mean=kept.get("mean", 0.0),
        )

    def to_keep(self) -> Shifts:
        """For a study to keep."""
        sides = ([round(shift, 6) for shift in side] for side in (self.by_user, self.by_item))
        by_user, by_item = sides
        kept: Shifts = {"all": round(self.all, 6), "by_user": by_user, "by_item": by_item}
        if self.weight < 1:
            kept["weight"] = round(self.weight, 6)
        if self.slope < 1:
            kept |= {"slope": round(self.slope, 6), "mean": round(self.mean, 6)}
        return kept

    def blended(self, predictions: Column, pairs: Pairs, biases: Callable[[], Model]) -> Column:
        """The (n,) predictions of models for pairs, nearer to those of biases alone as they should.

        It comes before `applied`; where models tell more than chance, no biases are asked for.
        """
        if self.weight == 1:
            return predictions
        alone: Column = biases().predict(pairs).numpy()
        return alone + self.weight * (predictions - alone)

    def applied(self, predictions: Column, user_counts: Counts, item_counts: Counts) -> Column:
        """The (n,) predictions as they are to be, of pairs that have (n,) so many ratings.

        They may leave the range of the ratings.
        """
        if self.slope < 1:
            predictions = self.mean + self.slope * (predictions - self.mean)
        return predictions + self.at(user_counts, item_counts)

    def at(self, user_counts: Counts, item_counts: Counts) -> Column:
        """The (n,) shifts of pairs whose user and item have (n,) so many ratings."""
        by_user, by_item = np.array(self.by_user), np.array(self.by_item)
        shifts: Column = by_user[np.digitize(user_counts, EDGES)]
        shifts = shifts + by_item[np.digitize(item_counts, EDGES)]
        return shifts + self.all


def _centred(values: Column) -> Column:
    """The (n,) values less their mean, which is the level's concern."""
    found: Column = values - values.mean()
    return found


def _estimate(values: Column, above: Column) -> float:
    """The slope of ratings on predictions, zero at least.

    Args:
        values: (n,) residuals.
        above: (n,) predictions; both less what comes for nothing.
    """
    squares = float(np.square(above).sum())
    return max(1 + float((values * above).sum()) / squares, 0.0) if squares else 1.0


def _slope(values: Column, above: Column, sides: Sequence[tuple[Counts, Counts]]) -> float:
    """γ of (n,) residuals and (n,) predictions above the mean, of users and items in splits."""
    estimate = _estimate(values, above)
    if not (estimate and above.any()):
        return estimate
    scores = (values + (1 - estimate) * above) * above
    variance = max(_variance_of_sum(scores, rows) for rows in zip(*sides, strict=True))
    ratio = variance / (estimate * float(np.square(above).sum())) ** 2
    return min(estimate * max(0.0, 1 - UNCERTAIN * ratio), 1.0)


def _worth(slope: float, values: Column, above: Column) -> float:
    """The slope, or one where what it moves (n,) answers by is worth little."""
    moved, wrong = (1 - slope) ** 2 * float(np.square(above).sum()), float(np.square(values).sum())
    return slope if moved > 2 * WORTH * wrong else 1.0


def _repeats(splits: Sequence[Residuals]) -> float:
    """In how many splits a rating that was held out was so, in the mean."""
    pairs = [np.stack([one.users, one.items]) for one in splits]
    joined = np.concatenate(pairs, axis=1)
    return float(joined.shape[1] / np.unique(joined, axis=1).shape[1])


def _variance_of_sum(scores: Column, rows: Sequence[Counts]) -> float:
    """That of the sum of (n,) scores over splits, whose users, or items, are drawn whole."""
    sums = np.bincount(np.unique(np.concatenate(rows), return_inverse=True)[1], weights=scores)
    return float(np.square(sums).sum()) * _unsure(n) if (n := len(sums)) > 1 else math.inf


def _shrunk(
    values: Column,
    rows: Counts,
    splits: Counts,
    *,
    tau: float,
    noise: float,
    chance: float,
    is_later: bool,
) -> float:
    """δ of (n,) residuals, of (n,) users or items in (n,) splits.

    Args:
        values: the residuals.
        rows: whose they are.
        splits: where they were held out.
        tau: τ.
        noise: the variance of a residual.
        chance: how large a squared mean of n residuals may be by chance, times n.
        is_later: whether each split is of a time of its own.
    """
    if not tau:  # all ratings are equal
        return 0.0
    n, mean = len(values), float(values.mean())
    if n * mean**2 < chance:
        return 0.0
    sums = np.bincount(np.unique(rows, return_inverse=True)[1], weights=values - mean)
    variance = tau**2
    if (n_rows := len(sums)) > 1:
        variance = float(np.square(sums).sum()) / n**2 * n_rows / (n_rows - 1) * _unsure(n_rows)
    means = [values[splits == number].mean() for number in np.unique(splits)]
    between = tau**2 if is_later else 0.0
    if (n_splits := len(means)) > 1:
        between = float(np.var(means, ddof=1)) / n_splits * _unsure(n_splits)
    return mean * tau**2 / (tau**2 + max(variance, between, noise / n))


def _unsure(n: int) -> float:
    """By how much a variance that n tell is to be enlarged."""
    return (n + 1) / (n - 1)
