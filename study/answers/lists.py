"""What to recommend to a user, known or new, and what is like an item: by trained models.

Of thousands of items a few with two ratings are always predicted to be the best, so that lists are
ordered by what is predicted above the user's average, shrunk as if each item had k more ratings,
all average:

    score_ui = (r̂_ui - m_u) n_i / (n_i + k),   k = 2 Σ n_i² / Σ n_i

with n_i the item's number of ratings and m_u the mean prediction for what the user has not rated;
k is twice the number of ratings that the item of a rating drawn at random has.
`benchmarks.ranking` measures it beside others.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NoReturn, Protocol, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from model.dataset import UNKNOWN, Description, Ids, Pairs, Ratings
from model.solver import Model
from storage.errors import InputError, ParameterError
from storage.ratings import IdArray
from study.answers.explanations import Explanation, as_text
from study.answers.levels import Levels
from study.known import Known, row_of

LENGTH = 10
CAUTION = 2.0  # k in typical counts
ALIKE = 0.75  # of difflib: ids that are less so are not suggested
SEED = 0  # of the draws of a new user's row


Predict = Callable[[Pairs], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""What tells the (n,) predictions of pairs, and the spread of the ratings that may be seen."""

Means = Callable[[Pairs], NDArray[np.float64]]
"""What tells the predictions alone."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which items may be listed, named as `Known.item_rows` takes them."""

    among: ArrayLike | None = None  # all items if not told
    without: ArrayLike = ()
    rated: bool = False  # whether those that the user has rated, too

    def of(self, known: Known, seen: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of those, of a user who has rated some.

        Raises:
            InputError: none is left.
        """
        may = np.ones(len(known.items) + 1, dtype=bool)
        if self.among is not None:
            may[:] = False
            may[known.item_rows(self.among)] = True
        may[known.item_rows(self.without)] = False
        if not self.rated:
            may[seen] = False
        rows: NDArray[np.int64] = np.flatnonzero(may[:-1])
        if not len(rows):
            note = f"; {unknown_items(n)}" if (n := self.n_unknown(known)) else ""
            raise InputError(f"{known.source}: no item is left to list{note}")
        return rows

    def n_unknown(self, known: Known) -> int:
        """How many items are named that are not known."""
        named = [() if self.among is None else self.among, self.without]
        return sum(int((known.item_rows(one) == UNKNOWN).sum()) for one in named)


@dataclass(frozen=True, kw_only=True, repr=False)
class Recommendations:
    """Items that a user has not rated, the best first."""

    item_ids: IdArray  # (n,)
    titles: list[str]  # empty ones where none is known
    predictions: NDArray[np.float64]  # (n,) ratings
    stds: NDArray[np.float64]  # (n,) of the ratings that may be seen
    counts: NDArray[np.int64]  # (n,) of the ratings that the item has
    item_name: str  # what the column of ids is called
    n_rated: int  # items that the user has rated, and the models know
    user_id: object = None  # None of who is not in the data
    n_unknown: int = 0  # items that were named, as rated or to be listed or not, and are not known
    lower: NDArray[np.float64] | None = None  # (n,) ends of 90 % intervals, if they are calibrated
    upper: NDArray[np.float64] | None = None
    reasons: tuple[Explanation, ...] = ()  # (n,) if they were asked for

    def __len__(self) -> int:
        return len(self.item_ids)

    def __repr__(self) -> str:
        table = as_text(self.columns())
        return f"{table}\n{unknown_items(self.n_unknown)}" if self.n_unknown else table

    def columns(self, *, titled: bool | None = None) -> dict[str, ArrayLike]:
        """The list as a table: its columns, (n,) each, by name.

        Args:
            titled: whether titles are among them; only if some are known if not told.
        """
        ends = {"lower": self.lower, "upper": self.upper}
        return {
            **_head(self.item_name, self.item_ids, self.titles, titled=titled),
            "prediction": self.predictions,
            "std": self.stds,
            **{name: end for name, end in ends.items() if end is not None},
            "ratings": self.counts,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class SimilarItems:
    """Items that please the same users as one does, the most alike first."""

    item_id: object
    title: str
    item_ids: IdArray  # (n,)
    titles: list[str]
    similarities: NDArray[np.float64]  # (n,) at most 1
    counts: NDArray[np.int64]  # (n,) of the ratings that the item has
    item_name: str  # what the column of ids is called

    def __len__(self) -> int:
        return len(self.item_ids)

    def __repr__(self) -> str:
        return as_text(self.columns())

    def columns(self) -> dict[str, ArrayLike]:
        """The list as a table: its columns, (n,) each, by name; titles only if some are known."""
        return {
            **_head(self.item_name, self.item_ids, self.titles),
            "similarity": self.similarities,
            "ratings": self.counts,
        }


def recommend(
    predict: Predict,
    known: Known,
    user: object,
    *,
    n: int = LENGTH,
    wanted: Wanted | None = None,
    levels: Levels | None = None,
) -> Recommendations:
    """What a user of the ratings would like.

    Args:
        predict: what tells it.
        known: the ratings.
        user: the raw id.
        n: how many items at most.
        wanted: which items; those that the user has not rated if not told.
        levels: what is added to predictions.

    Raises:
        InputError: there is no such user, or nothing is left.
    """
    row = find_user(known, user)
    seen = known.ratings.item_index.numpy()[known.rated(row)]
    if len(seen) == len(known.items) and not (wanted and wanted.rated):
        raise InputError(
            f"user {user} has rated all {len(seen):,} items of {known.source}: nothing is left"
        )
    found = _listed(predict, known, row, seen, n=n, wanted=wanted or Wanted(), levels=levels)
    return replace(found, user_id=known.users.values[row])


def listing_score(
    predictions: NDArray[np.float64], counts: NDArray[np.int64], *, shrinkage: float
) -> NDArray[np.float64]:
    """The (…, n) scores of the predictions for items that users have not rated.

    Args:
        predictions: (…, n).
        counts: (n,) numbers of ratings.
        shrinkage: k.
    """
    score: NDArray[np.float64] = predictions - np.nanmean(predictions, axis=-1, keepdims=True)
    return score * (counts / (counts + shrinkage))


def typical_count(counts: NDArray[np.int64]) -> float:
    """The mean over ratings, not over items, of how many ratings their items have."""
    return float(np.square(counts, dtype=np.float64).sum() / counts.sum())


def list_scores(
    means: Means,
    known: Known,
    users: NDArray[np.int64],
    *,
    levels: Levels | None = None,
) -> NDArray[np.float64]:
    """The (m, n_items) scores by which `recommend` orders the lists of (m,) users of the ratings.

    That of an item that the user has rated is -inf.
    """
    rated = known.ratings.item_index.numpy()
    seen = np.zeros((len(users), len(known.items)), dtype=bool)
    for place, user in enumerate(users.tolist()):
        seen[place, rated[known.rated(user)]] = True
    places, items = np.nonzero(~seen)
    pairs = known.at_present(torch.from_numpy(users[places]), torch.from_numpy(items))
    found, scores = means(pairs), np.full(seen.shape, -np.inf)
    for place, n_rated in enumerate(seen.sum(1).tolist()):
        if n_rated < len(known.items):
            mine = slice(*np.searchsorted(places, [place, place + 1]))
            left = items[mine]
            _, scores[place, left] = _scored(
                found[mine], left, known, n_rated=n_rated, levels=levels
            )
    return scores


@dataclass(frozen=True, kw_only=True)
class Given:
    """What somebody tells who is not in the ratings, as far as the models know of it."""

    items: NDArray[np.int64]  # (m,) rows that were rated, rising
    values: NDArray[np.float64]  # (m,) ratings
    unknown: tuple[str, ...]  # items that are rated besides
    n_repeated: int = 0  # items that were rated more than once, whose mean counts
    described: tuple[Description, ...] = ()  # as the users are, of one row; empty if not told

    @property
    def n_unknown(self) -> int:
        """How many items were rated besides."""
        return len(self.unknown)

    @classmethod
    def of(
        cls,
        known: Known,
        item_ids: ArrayLike,
        ratings: ArrayLike,
        *,
        are_titles: bool = False,
        about: Mapping[str, str | float] | None = None,
    ) -> Self:
        """That of (m,) ratings of items, named as `Known.item_rows` takes them; one rated again has
        the mean of its ratings.

        Args:
            known: the ratings of others.
            item_ids: (m,), of what was rated.
            ratings: (m,).
            are_titles: whether items are named by titles alone.
            about: what is known of them, by column of the users' table.

        Raises:
            InputError: a rating is not within the range of the others, or there is no such column,
                or a value is none that it may have.
        """
        given, values = np.asarray(item_ids), np.asarray(ratings, dtype=np.float64)
        if (outside := known.are_outside(values)).any():
            at, (lowest, highest) = int(np.argmax(outside)), known.range
            raise InputError(
                f"item {given[at]}: expected a rating from {lowest:g} to {highest:g}, as in "
                f"{known.source}, got {values[at]:g}"
            )
        rows = known.item_rows(given, are_titles=are_titles)
        is_known = rows != UNKNOWN
        seen, place = np.unique(rows[is_known], return_inverse=True)
        times = np.bincount(place)
        return cls(
            items=seen,
            values=np.bincount(place, values[is_known]) / times,
            n_repeated=int((times > 1).sum()),
            unknown=tuple(dict.fromkeys(str(one) for one in given[~is_known].tolist())),
            described=known.described_by(about) if about else (),
        )

    def own(self, known: Known) -> Ratings:
        """These as the ratings of a user of row 0, given now."""
        items = torch.from_numpy(self.items)
        given = known.at_present(torch.zeros_like(items), items)
        return replace(
            known.ratings[:0],
            user_index=given.user_index,
            item_index=given.item_index,
            times=given.times,
            values=torch.from_numpy(self.values),
            user_descriptions=self.described,
        )

    def fold(self, model: Model) -> Model:
        """The model of who told these; it is not trained, the user's row follows from others'."""
        items, values = torch.from_numpy(self.items), torch.from_numpy(self.values)
        labels = torch.cat([one.values[0] for one in self.described]) if self.described else None
        return model.fold_in(items, values, seed=SEED, about=labels)


def recommend_to_newcomer(
    predict: Predict,
    known: Known,
    given: Given,
    *,
    n: int = LENGTH,
    wanted: Wanted | None = None,
    levels: Levels | None = None,
) -> Recommendations:
    """What somebody would like who is not in the ratings.

    Args:
        predict: of models that `Given.fold` gave.
        known: the ratings.
        given: what was rated.
        n: how many items at most.
        wanted: which items; those that are not rated if not told.
        levels: what is added to predictions.

    Raises:
        InputError: nothing is left to recommend.
    """
    if len(given.items) == len(known.items) and not (wanted and wanted.rated):
        raise InputError(
            f"all {len(given.items):,} items of {known.source} are rated: nothing is left"
        )
    found = _listed(predict, known, 0, given.items, n=n, wanted=wanted or Wanted(), levels=levels)
    return replace(found, n_unknown=given.n_unknown + found.n_unknown)


class Alike(Protocol):
    """Tells which items are alike."""

    def similarity(self, item: int) -> Tensor:
        """The (n_items,) similarities of every item to one."""
        ...


def similar_items(
    models: Iterable[Alike], known: Known, item: object, *, n: int = LENGTH
) -> SimilarItems:
    """What pleases the users whom an item pleases.

    Args:
        models: trained on the ratings; the mean of their similarities counts.
        known: the ratings.
        item: the raw id, or a title.
        n: how many items at most.

    Raises:
        InputError: there is no such item.
    """
    row = find_item(known, item)
    alike = np.mean([model.similarity(row).numpy() for model in models], axis=0)
    others = np.delete(np.arange(len(known.items)), row)
    first = others[np.argsort(-alike[others], kind="stable")[:n]]
    return SimilarItems(
        item_id=known.items.values[row],
        title=known.titles.get(str(known.items.values[row]), ""),
        item_ids=known.items.values[first],
        titles=[known.titles.get(str(one), "") for one in known.items.values[first]],
        similarities=alike[first].astype(np.float64),
        counts=known.item_counts[first],
        item_name=known.item_name,
    )


def find_user(known: Known, user: object) -> int:
    """The row of a user by their id.

    Raises:
        InputError: there is none; says who may have been meant.
    """
    row = row_of(known.users, user)
    return row if row != UNKNOWN else _refuse(known.users, user, "user", known.source)


def find_item(known: Known, item: object) -> int:
    """The row of an item by its id, or by its title.

    Raises:
        InputError: there is none, or more than one of that title; says what may have been meant.
    """
    row = known.item_row(item)
    return row if row != UNKNOWN else _refuse(known.items, item, "item", known.source, known.titles)


def find_items(known: Known, items: ArrayLike) -> Tensor:
    """The (n,) rows of items by their ids or titles.

    Raises:
        InputError: there is no such item, or more than one.
    """
    given, rows = np.asarray(items), known.item_rows(items)
    for place in np.flatnonzero(rows == UNKNOWN):
        rows[place] = find_item(known, given[place])
    return torch.from_numpy(rows)


def check_least(name: str, value: int) -> None:
    """Raises the InputError of a parameter that is not 1 or more."""
    if value < 1:
        raise ParameterError(name, f"expected 1 or more, got {value}")


def unknown_items(n: int) -> str:
    """That so many items were named in vain, for people."""
    return f"{n:,} of the items that were named {'is' if n == 1 else 'are'} not known"


def _refuse(
    ids: Ids, wanted: object, what: str, source: str, titles: Mapping[str, str] | None = None
) -> NoReturn:
    values, text, hint = ids.values, str(wanted).strip(), ""
    similar = get_close_matches(text, (titles or {}).values())
    if values.dtype.kind == "i":
        hint = f"; they go from {values.min()} to {values.max()}"
    else:
        alike = [one for one in values.tolist() if _numbers(one) == _numbers(text)]
        similar += get_close_matches(text, alike, cutoff=ALIKE)
    if similar:
        hint = "; did you mean " + " or ".join(f"'{one}'" for one in similar[:3]) + "?"
    raise InputError(f"{what} '{text}': not among the {len(ids):,} {what}s of {source}{hint}")


def _numbers(text: str) -> list[int]:
    """The numbers in an id: one with others is another id, not this one misspelt."""
    return [int(digits) for digits in re.findall(r"[0-9]{1,18}", text)]


def _head(
    item_name: str, item_ids: IdArray, titles: list[str], *, titled: bool | None = None
) -> dict[str, ArrayLike]:
    """The first columns of a list: what is in which place."""
    columns: dict[str, ArrayLike] = {"rank": np.arange(1, len(item_ids) + 1), item_name: item_ids}
    if any(titles) if titled is None else titled:
        columns["title"] = titles
    return columns


def _listed(
    predict: Predict,
    known: Known,
    row: int,
    seen: NDArray[np.int64],
    *,
    n: int,
    wanted: Wanted,
    levels: Levels | None,
) -> Recommendations:
    """The n items of the highest score for a user, of those that are wanted."""
    left = wanted.of(known, seen)
    items = torch.from_numpy(left)
    means, stds = predict(known.at_present(torch.full_like(items, row), items))
    means, score = _scored(means, left, known, n_rated=len(seen), levels=levels)
    first = np.argsort(-score, kind="stable")[:n]
    ids = known.items.values[left[first]]
    return Recommendations(
        item_ids=ids,
        titles=[known.titles.get(str(one), "") for one in ids],
        predictions=means[first],
        stds=stds[first],
        counts=known.item_counts[left[first]],
        item_name=known.item_name,
        n_rated=len(seen),
        n_unknown=wanted.n_unknown(known),
    )


def _scored(
    means: NDArray[np.float64],
    left: NDArray[np.int64],
    known: Known,
    *,
    n_rated: int,
    levels: Levels | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The (n,) predictions at their level, and the scores, of (n,) items that are left for a user
    who has rated so many.
    """
    counts, score = known.item_counts, means
    if levels is not None:
        of_user = np.full_like(left, n_rated)
        score = score + levels.at(of_user, counts[left])  # a slope of zero would leave no order
        means = levels.applied(means, of_user, counts[left])
        score, means = (one.clip(*known.range) for one in (score, means))
    return means, listing_score(score, counts[left], shrinkage=CAUTION * typical_count(counts))
