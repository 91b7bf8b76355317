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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from model.dataset import UNKNOWN, Ids
from model.solver import Model
from storage.errors import InputError
from storage.ratings import IdArray
from study.answers.ensemble import combined
from study.answers.levels import Levels
from study.inputs import Data

LENGTH = 10
CAUTION = 2.0  # k in typical counts
ALIKE = 0.75  # of difflib: ids that are less so are not suggested
SEED = 0  # of the draws of a new user's row


@dataclass(frozen=True, kw_only=True)
class Recommendations:
    """Items that a user has not rated, the best first."""

    item_ids: IdArray  # (n,)
    titles: list[str]  # empty ones where none is known
    predictions: NDArray[np.float64]  # (n,) ratings
    stds: NDArray[np.float64]  # (n,) of the ratings that may be seen, not calibrated
    counts: NDArray[np.int64]  # (n,) of the ratings that the item has
    item_name: str  # what the column of ids is called
    n_rated: int  # items that the user has rated, and the models know
    user_id: object = None  # None of who is not in the data
    n_unknown: int = 0  # items that the user has rated, and nobody else

    def __len__(self) -> int:
        return len(self.item_ids)

    def columns(self) -> dict[str, ArrayLike]:
        """The list as a table: its columns, (n,) each, by name; titles only if some are known."""
        return {
            **_head(self.item_name, self.item_ids, self.titles),
            "prediction": self.predictions,
            "std": self.stds,
            "ratings": self.counts,
        }


@dataclass(frozen=True, kw_only=True)
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

    def columns(self) -> dict[str, ArrayLike]:
        """The list as a table: its columns, (n,) each, by name; titles only if some are known."""
        return {
            **_head(self.item_name, self.item_ids, self.titles),
            "similarity": self.similarities,
            "ratings": self.counts,
        }


def recommend(
    models: Iterable[Model],
    data: Data,
    user: object,
    *,
    n: int = LENGTH,
    titles: Mapping[str, str] | None = None,
    levels: Levels | None = None,
) -> Recommendations:
    """What a user of the data would like.

    Args:
        models: trained on the data; their mean answers.
        data: the ratings.
        user: the raw id.
        n: how many items at most.
        titles: of items, by their ids as texts.
        levels: what is added to predictions.

    Raises:
        InputError: there is no such user, or nothing that was not rated.
    """
    row = find_row(data.users, user, "user", data.source)
    table = data.table
    seen = table.item_index[table.user_index == row].astype(np.int64)
    if len(seen) == len(data.items):
        raise InputError(
            f"user {user} has rated all {len(seen):,} items of {data.source}: nothing is left"
        )
    found = _listed(models, data, row, seen, n=n, titles=titles, levels=levels)
    return replace(found, user_id=data.users.values[row])


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


def recommend_to_newcomer(
    models: Iterable[Model],
    data: Data,
    item_ids: ArrayLike,
    ratings: ArrayLike,
    *,
    n: int = LENGTH,
    titles: Mapping[str, str] | None = None,
    levels: Levels | None = None,
    about: Mapping[str, str] | None = None,
) -> Recommendations:
    """What somebody would like who is not in the data, and gave these (m,) ratings to (m,) items.

    The models are not trained: the user's row follows from theirs. An item that is rated more than
    once has the mean of its ratings; one that nobody else rated tells nothing. `about` is what is
    known of them by column of the users' table.

    Raises:
        InputError: a rating is not within the range of the data's, or nothing is left to recommend.
    """
    given, values = np.asarray(item_ids), np.asarray(ratings, dtype=np.float64)
    lowest, highest = data.table.ratings.min(), data.table.ratings.max()
    if (outside := ~((lowest <= values) & (values <= highest))).any():
        at = int(np.argmax(outside))
        raise InputError(
            f"item {given[at]}: expected a rating from {lowest:g} to {highest:g}, as in "
            f"{data.source}, got {values[at]:g}"
        )
    rows = data.items.index(given).numpy()
    known = rows != UNKNOWN
    seen, place = np.unique(rows[known], return_inverse=True)
    if len(seen) == len(data.items):
        raise InputError(f"all {len(seen):,} items of {data.source} are rated: nothing is left")
    means = np.bincount(place, values[known]) / np.bincount(place)
    index, targets = torch.from_numpy(seen), torch.from_numpy(means)
    said = data.labels_about(about) if about else None
    folded = (model.fold_in(index, targets, seed=SEED, about=said) for model in models)
    n_unknown = len(np.unique(given[~known]))
    return _listed(folded, data, 0, seen, n=n, titles=titles, levels=levels, n_unknown=n_unknown)


def similar_items(
    models: Iterable[Model],
    data: Data,
    item: object,
    *,
    n: int = LENGTH,
    titles: Mapping[str, str] | None = None,
) -> SimilarItems:
    """What pleases the users whom an item pleases.

    Args:
        models: trained on the data; the mean of their similarities counts.
        data: the ratings.
        item: the raw id, or a title.
        n: how many items at most.
        titles: of items, by their ids as texts.

    Raises:
        InputError: there is no such item.
    """
    titles = titles or {}
    row = find_row(data.items, item, "item", data.source, titles)
    alike = np.mean([model.similarity(row).numpy() for model in models], axis=0)
    others = np.delete(np.arange(len(data.items)), row)
    first = others[np.argsort(-alike[others], kind="stable")[:n]]
    return SimilarItems(
        item_id=data.items.values[row],
        title=titles.get(str(data.items.values[row]), ""),
        item_ids=data.items.values[first],
        titles=[titles.get(str(one), "") for one in data.items.values[first]],
        similarities=alike[first].astype(np.float64),
        counts=_counts(data)[first],
        item_name=data.table.item_name,
    )


def find_row(
    ids: Ids, wanted: object, what: str, source: str, titles: Mapping[str, str] | None = None
) -> int:
    """The row of a raw id, or of the first of that title.

    Raises:
        InputError: there is none; says what may have been meant.
    """
    if isinstance(wanted, str):
        wanted = wanted.strip()  # as all ids are
    titles, text = titles or {}, str(wanted).casefold()
    named = [one for one, title in titles.items() if title.casefold() == text]
    found = [ids.index(np.asarray([one])).item() for one in (wanted, *named)]
    if rows := [int(row) for row in found if row != UNKNOWN]:
        return rows[0]
    values, hint = ids.values, ""
    similar = get_close_matches(str(wanted), titles.values())
    if values.dtype.kind == "i":
        hint = f"; they go from {values.min()} to {values.max()}"
    else:
        alike = [one for one in values.tolist() if _numbers(one) == _numbers(text)]
        similar += get_close_matches(str(wanted), alike, cutoff=ALIKE)
    if similar:
        hint = "; did you mean " + " or ".join(f"'{one}'" for one in similar[:3]) + "?"
    raise InputError(f"{what} '{wanted}': not among the {len(ids):,} {what}s of {source}{hint}")


def _numbers(text: str) -> list[int]:
    """The numbers in an id: one with others is another id, not this one misspelt."""
    return [int(digits) for digits in re.findall(r"[0-9]{1,18}", text)]


def _head(item_name: str, item_ids: IdArray, titles: list[str]) -> dict[str, ArrayLike]:
    """The first columns of a list: what is in which place."""
    columns: dict[str, ArrayLike] = {"rank": np.arange(1, len(item_ids) + 1), item_name: item_ids}
    if any(titles):
        columns["title"] = titles
    return columns


def _listed(
    models: Iterable[Model],
    data: Data,
    row: int,
    seen: NDArray[np.int64],
    *,
    n: int,
    titles: Mapping[str, str] | None,
    levels: Levels | None,
    n_unknown: int = 0,
) -> Recommendations:
    """The n items of the highest score for a user of the models, of those that were not seen."""
    left = np.delete(np.arange(len(data.items)), seen)
    items = torch.from_numpy(left)
    pairs = data.at_present(torch.full_like(items, row), items)
    means, stds = combined(models, pairs, data.table.ratings)
    counts = _counts(data)
    if levels is not None:
        means = means + levels.at(np.full_like(left, len(seen)), counts[left])
        means = means.clip(data.table.ratings.min(), data.table.ratings.max())
    score = listing_score(means, counts[left], shrinkage=CAUTION * typical_count(counts))
    first = np.argsort(-score, kind="stable")[:n]
    ids = data.items.values[left[first]]
    return Recommendations(
        item_ids=ids,
        titles=[(titles or {}).get(str(one), "") for one in ids],
        predictions=means[first],
        stds=stds[first],
        counts=counts[left[first]],
        item_name=data.table.item_name,
        n_rated=len(seen),
        n_unknown=n_unknown,
    )


def _counts(data: Data) -> NDArray[np.int64]:
    """The (n_items,) numbers of ratings."""
    return np.bincount(data.table.item_index, minlength=len(data.items))
