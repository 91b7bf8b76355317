"""Somebody who is not in the ratings: what they have rated, and the model of them.

Nothing is trained for them: each draw of the held model is asked for their row, given what they
rated and what is known of them (`model.fold_in`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from model.dataset import Pairs
from model.kernels.threads import torch_in_one_thread
from model.solver import Model as Trained
from storage.errors import ParameterError
from storage.files import TEXT
from storage.frames import read_frame
from storage.item_tables import ItemRatings, item_ratings_of, read_item_ratings
from storage.stores import as_path
from study.answers.certainty import Certainty
from study.answers.ensemble import combined
from study.answers.explanations import Explanation, explain, explain_list
from study.answers.lists import (
    LENGTH,
    Given,
    Recommendations,
    Wanted,
    check_least,
    find_items,
    recommend_to_newcomer,
)
from study.known import Known

if TYPE_CHECKING:
    from study.inputs import Frame, Source

Column = NDArray[np.float64]
Id = str | int


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Person:
    """The model of somebody who is not in the ratings."""

    known: Known
    certainty: Certainty
    trained: Sequence[Trained]  # the models of everybody
    given: Given
    models: tuple[Trained, ...]  # of one user, of row 0
    source: object  # for people, by its repr: what it is a model of

    def __repr__(self) -> str:
        unknown = f", and {n:,} that are not known" if (n := self.given.n_unknown) else ""
        return f"<Person: {len(self.given.items):,} items rated{unknown}; of {self.source!r}>"

    def predict(self, items: ArrayLike) -> dict[str, Column]:
        """The (n,) columns prediction, std, lower and upper of items by their ids."""
        known = self.known
        index = torch.from_numpy(known.item_rows(items))
        counts = np.full(len(index), len(self.given.items)), known.item_counts[index.numpy()]
        means, spreads = self._predict(known.at_present(torch.zeros_like(index), index))
        return self.certainty.columns(means, spreads, counts)

    def recommend(
        self,
        *,
        items: int = LENGTH,
        among: ArrayLike | None = None,
        without: ArrayLike = (),
        rated: bool = False,
        why: bool = False,
    ) -> Recommendations:
        """The items that they would like best, as of `Model.recommend`.

        Raises:
            InputError: nothing is left, no item is asked for, or the models cannot tell why.
        """
        check_least("items", items)
        found = recommend_to_newcomer(
            self._predict,
            self.known,
            self.given,
            n=items,
            wanted=Wanted(among=among, without=without, rated=rated),
            levels=self.certainty.levels,
        )
        found = self.certainty.of_list(found)
        return replace(found, reasons=self.reasons(found.item_ids)) if why else found

    def explain(self, item: Id) -> Explanation:
        """What the prediction for an item, named by id or title, rests on.

        Raises:
            InputError: there is no such item, or the models cannot tell.
        """
        known = self.known
        pair = known.at_present(torch.tensor([0]), find_items(known, [item]))
        return explain(
            self.models,
            known,
            self.given.own(known),
            pair=pair,
            trained=self.trained,
            levels=self.certainty.levels,
        )

    def reasons(self, items: ArrayLike) -> tuple[Explanation, ...]:
        """What `explain` tells of their ratings, for each of many items by their ids, quicker.

        Raises:
            InputError: the models cannot tell.
        """
        known = self.known
        index = find_items(known, items)
        pairs = known.at_present(torch.zeros_like(index), index)
        with torch_in_one_thread():
            return explain_list(
                self.models, known, self.given.own(known), pairs=pairs, levels=self.certainty.levels
            )

    def _predict(self, pairs: Pairs) -> tuple[Column, Column]:
        known, levels = self.known, self.certainty.levels
        with torch_in_one_thread():
            mean, std = combined(self.models, pairs, known.range)
            return levels.blended(mean, pairs, lambda: self.given.fold(known.biases)), std


def ratings_of(known: Known, ratings: "Mapping[Id, float] | Source | Frame") -> ItemRatings:
    """The items and ratings of somebody.

    Raises:
        InputError: they cannot be read.
    """
    names = (known.item_name, "rating")
    if isinstance(ratings, str | Path):
        ids = frozenset([*map(str, known.items.values.tolist()), *known.titles.values()])
        return read_item_ratings(
            as_path(ratings),
            names=names,
            item_ids=ids,
            titled=bool(known.titles),
            within=known.range,
            user_name=known.user_name,
        )
    pairs = _item_pairs(ratings)
    for item, one in pairs or ():
        if one is None or isinstance(one, str):
            raise ParameterError("ratings", f"item {item}: expected a number, got {one!r}")
    if pairs is not None and all(isinstance(one, Real) for _, one in pairs):
        items = np.array([str(item) for item, _ in pairs], dtype=TEXT)
        return ItemRatings(items, np.array([one for _, one in pairs], dtype=float))
    return item_ratings_of(
        read_frame(ratings),
        names=names,
        titled=bool(known.titles),
        user_name=known.user_name,
    )


def _item_pairs(ratings: object) -> list[tuple[object, object]] | None:
    """The pairs of item and rating of a mapping, a list of pairs, or a Series; None of others."""
    if isinstance(ratings, Mapping) or (
        getattr(ratings, "ndim", 0) == 1 and hasattr(ratings, "items")
    ):
        pairs = list(ratings.items())
        return None if any(isinstance(item, tuple) for item, _ in pairs) else pairs
    if isinstance(ratings, Sequence) and all(
        type(one) in (tuple, list) and len(one) == 2 for one in ratings
    ):
        return [(item, rating) for item, rating in ratings]
    return None
