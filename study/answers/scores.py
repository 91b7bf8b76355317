"""How far predictions are from the truth, how good lists are, and how sure these figures are.

    RMSE = √(Σ e² / n),   MAE = Σ |e| / n,   MSE = Σ e² / n,   bias = Σ e / n

with e = predicted − true over n ratings. The coverage is the share of ratings that lie inside of
their intervals, ends included, and the width is the intervals' mean. Of a user's list of the k
items of highest score, among those that the user had not rated, with m relevant items of which h
stand in places P,

    precision = h / k,   recall = h / m,   NDCG = Σ_{p ∈ P} d(p) / Σ_{p = 1 … min(m, k)} d(p)

with d(p) = 1 / log₂(p + 1) (Järvelin & Kekäläinen 2002, Cumulated Gain-Based Evaluation of IR
Techniques), each the mean over the users who have a relevant item.

Ratings of one user stand or fall together, so that a figure's interval resamples whole users: with
single ratings it would come out too narrow. All figures of one test share the resamples.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.dataset import UNKNOWN

RESAMPLES = 1000
CONFIDENCE = 0.95
LENGTH = 10  # k
SCORES_AT_ONCE = 1 << 17  # that are held together

Column = NDArray[np.float64]
Counts = NDArray[np.int64]
ListScores = Callable[[Counts], Column]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure and its 95 % bootstrap interval; NaN where one user does not tell of others."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.4f}"
        return f"{self.value:.4f}  (95 % interval {self.low:.4f} to {self.high:.4f})"

    def to_dict(self) -> dict[str, float | None]:
        """The same for JSON, which has no NaN."""
        return {
            name: None if math.isnan(value) else round(value, 6)
            for name, value in vars(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class Errors:
    """How far predictions of ratings are from these, and what their intervals hold."""

    ratings: int
    users: int
    rmse: Figure
    mae: Figure
    mse: Figure
    bias: Figure  # the mean of predicted − true: above zero if too much is predicted
    coverage: Figure | None = None  # of 90 % intervals, 0.9 is as it should be
    width: Figure | None = None  # of these, in rating units


@dataclass(frozen=True, kw_only=True)
class Lists:
    """How good lists of ten are: the means over users who have a relevant item."""

    users: int
    precision: Figure
    recall: Figure
    ndcg: Figure


@dataclass(frozen=True, kw_only=True)
class Deviations:
    """What n predictions came to, rating by rating."""

    users: Counts  # (n,) numbers from 0 of who gave the ratings, unknown ones too
    errors: Column  # (n,) predicted − true
    inside: Column | None = None  # (n,) 1 where a rating lies in its interval, else 0
    widths: Column | None = None  # (n,) of the intervals

    @classmethod
    def of(
        cls,
        predicted: Column,
        truth: Column,
        users: Counts,
        *,
        intervals: tuple[Column, Column] | None = None,
    ) -> "Deviations":
        """Those of (n,) predictions, and of the (n,) lower and upper ends of their intervals."""
        inside = widths = None
        if intervals is not None:
            lower, upper = intervals
            inside = ((lower <= truth) & (truth <= upper)).astype(np.float64)
            widths = upper - lower
        return cls(users=users, errors=predicted - truth, inside=inside, widths=widths)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What the lists of m users came to, user by user."""

    users: Counts  # (m,) the numbers of the users, as of `Deviations`
    hits: NDArray[np.bool_]  # (m, LENGTH) which places have a relevant item
    n_relevant: Counts  # (m,) items that are relevant, at least one


def score(predicted: Column, truth: Column, users: Counts) -> Errors:
    """The errors of (n,) predictions by (n,) users."""
    (errors,) = score_groups(Deviations.of(predicted, truth, users), [np.full(len(users), True)])
    return errors


def score_groups(found: Deviations, groups: Sequence[NDArray[np.bool_]]) -> list[Errors]:
    """The errors of groups of the predictions, each an (n,) mask."""
    columns = [found.errors**2, np.abs(found.errors), found.errors]
    columns += [one for one in (found.inside, found.widths) if one is not None]
    columns.append(np.ones_like(found.errors))
    parts = [_by_user(found.users[here], [one[here] for one in columns]) for here in groups]
    scored = []
    for (users, _), (*sums, count) in zip(parts, _totals(parts), strict=True):
        mse, mae, bias, *others = (one / count for one in sums)
        figures = [_figure(one) for one in others]
        scored.append(
            Errors(
                ratings=int(count[0]),
                users=len(users),
                rmse=_figure(np.sqrt(mse)),
                mae=_figure(mae),
                mse=_figure(mse),
                bias=_figure(bias),
                coverage=figures[0] if figures else None,
                width=figures[1] if figures else None,
            )
        )
    return scored


def score_lists(found: Listed, groups: Sequence[Counts]) -> list[Lists | None]:
    """The same of lists of groups of users, each (g,) numbers of users; None if it has no list."""
    hits, n_relevant = found.hits, found.n_relevant
    columns = [hits.mean(1), hits.sum(1) / n_relevant, ndcg(hits, n_relevant)]
    columns.append(np.ones(len(found.users)))
    parts = []
    for group in groups:
        here = np.isin(found.users, group)
        parts.append(_by_user(found.users[here], [one[here] for one in columns]))
    scored: list[Lists | None] = []
    for (users, _), (*sums, count) in zip(parts, _totals(parts), strict=True):
        if not len(users):
            scored.append(None)
            continue
        precision, recall, gain = (_figure(one / count) for one in sums)
        scored.append(Lists(users=len(users), precision=precision, recall=recall, ndcg=gain))
    return scored


def ndcg(hits: NDArray[np.bool_], n_relevant: Counts) -> Column:
    """The (m,) NDCG of (m, LENGTH) hits: their discounted gain beside the most that can be."""
    discounts = 1 / np.log2(np.arange(2, LENGTH + 2))
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, LENGTH) - 1]
    gain: Column = (hits * discounts).sum(1) / ideal
    return gain


def listed(
    scores: ListScores,
    *,
    users: Counts,
    items: Counts,
    numbers: tuple[Counts, Counts],
    n_items: int,
    most: int,
) -> Listed:
    """What the lists of the users of n relevant pairs come to.

    An item that is not known can be listed for nobody: it is relevant, and missed. One that is not
    to be listed for a user, who has rated it before, is not relevant. Who is not known has no list.

    Args:
        scores: of all items, (c, n_items), for (c,) users; -inf of what is not to be listed.
        users: (n,) rows of the users, UNKNOWN of those who are not known.
        items: (n,) rows of the items, UNKNOWN of those that are not known.
        numbers: (n,) numbers of both, different for all that differ.
        n_items: how many items are known.
        most: how many users at most; of more, as many as that drawn at random.
    """
    pairs = np.unique(np.stack([users, items, *numbers]), axis=1)
    user, item, number, _ = pairs[:, pairs[0] != UNKNOWN]
    wanted = np.unique(user)
    if len(wanted) > most:
        wanted = np.sort(np.random.default_rng(0).choice(wanted, most, replace=False))
    found: list[tuple[int, NDArray[np.bool_], int]] = []
    for one, row in _row_by_row(scores, wanted, n_items):
        here = slice(*np.searchsorted(user, [one, one + 1]))
        known = item[here][item[here] != UNKNOWN]
        n_unknown = len(item[here]) - len(known)
        known = known[row[known] > -np.inf]
        if n_relevant := n_unknown + len(known):
            hits = np.zeros(LENGTH, np.bool_)
            first = np.argsort(-row, kind="stable")[:LENGTH]
            hits[: len(first)] = np.isin(first, known)
            found.append((number[here][0], hits, n_relevant))
    return Listed(
        users=np.array([one for one, _, _ in found], np.int64),
        hits=np.array([hits for _, hits, _ in found], np.bool_).reshape(-1, LENGTH),
        n_relevant=np.array([n for _, _, n in found], np.int64),
    )


def _row_by_row(scores: ListScores, users: Counts, n_items: int) -> Iterator[tuple[int, Column]]:
    """Every user, and the (n_items,) scores of the items, asked for some users at once."""
    size = max(1, SCORES_AT_ONCE // n_items)
    for start in range(0, len(users), size):
        some = users[start : start + size]
        yield from zip(some.tolist(), scores(some), strict=True)


def _by_user(users: Counts, columns: Sequence[Column]) -> tuple[Counts, Column]:
    """The (g,) users among (n,), and the (k, g) sums of k columns over what is theirs."""
    distinct, place = np.unique(users, return_inverse=True)
    sums = [np.bincount(place, weights=one, minlength=len(distinct)) for one in columns]
    return distinct, np.stack(sums)


def _totals(parts: Sequence[tuple[Counts, Column]]) -> list[Column]:
    """The (k, 1 + RESAMPLES) totals of (k, g) sums of (g,) users: first of all as they are, then of
    all users drawn anew, with replacement. NaN where the last of the sums, their number, is none.
    """
    everybody = np.unique(np.concatenate([users for users, _ in parts]))
    places = [np.searchsorted(everybody, users) for users, _ in parts]
    totals = [np.full((len(sums), 1 + RESAMPLES), np.nan) for _, sums in parts]
    for (_, sums), total in zip(parts, totals, strict=True):
        total[:, 0] = sums.sum(1)
    if (n_users := len(everybody)) > 1:
        draw, shares = np.random.default_rng(0), np.full(n_users, 1 / n_users)
        for n in range(1, 1 + RESAMPLES):
            times = draw.multinomial(n_users, shares).astype(np.float64)
            for (_, sums), place, total in zip(parts, places, totals, strict=True):
                total[:, n] = sums @ times[place]
    for total in totals:
        total[:, total[-1] == 0] = np.nan
    return totals


def _figure(values: Column) -> Figure:
    """The first value is that of the data, the others are of the resamples."""
    tail = (1 - CONFIDENCE) / 2
    resampled = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(resampled, [tail, 1 - tail]) if len(resampled) else (np.nan, np.nan)
    return Figure(value=float(values[0]), low=float(low), high=float(high))
