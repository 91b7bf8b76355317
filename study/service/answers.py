"""What one model answers, as plain values that JSON takes."""

import contextlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.dataset import UNKNOWN, Ids
from storage.errors import InputError
from storage.files import TEXT
from study.answers import lists
from study.answers.explanations import Explanation
from study.held import Model
from study.known import row_of
from study.service import schemas

DECIMALS = 6  # of what is told: ratings are no finer
MOST_STEPS = 1_000  # of a scale; beyond it ratings are any numbers
FEW = 3  # ratings to rate, from which answers are warmed up

Answer = dict[str, Any]
Reasons = Callable[[ArrayLike], tuple[Explanation, ...]]


class NotFoundError(Exception):
    """There is no such user, or item; the message is one line."""


class Answers:
    """The answers of one model; any number of threads may ask at once."""

    def __init__(self, model: Model) -> None:
        """Of a model, whose place on the disk messages do not name."""
        self.model = replace(model, known=replace(model.known, source="the ratings"))
        self.loaded = datetime.now(UTC).isoformat(timespec="milliseconds")

    def warm_up(self) -> None:
        """Works out what all answers need, so that nobody waits for it later."""
        known = self.model.known
        first = known.items.values[self._by_count[:FEW]].tolist()
        self.search(schemas.Search(search=str(first[0])))
        self.similar(schemas.Similar(item=first[0]))
        ratings: dict[int | str, float] = dict.fromkeys(first[1:], known.range[1])
        self.newcomer(schemas.Newcomer(ratings=ratings, why=True))
        user = _id_of(known.users, int(known.user_counts[:-1].argmax()))
        self.recommend(schemas.Recommend(user=user, rated=True))
        self.predict(schemas.Predict(pairs=[(user, first[0])], intervals=True))

    def predict(self, asked: schemas.Predict) -> Answer:
        """Predictions of pairs, unknown users and items among them, in their order."""
        users, items = (_column(ids) for ids in zip(*asked.pairs, strict=True))
        known = self.model.known
        index = known.at_present(known.users.index(users), known.items.index(items))
        columns = self.model.answers(index)
        if not asked.intervals:
            columns = {"prediction": columns["prediction"]}
        told = {name: _rounded(values) for name, values in columns.items()}
        rows = zip(*told.values(), strict=True)
        is_unknown = (index.user_index == UNKNOWN) | (index.item_index == UNKNOWN)
        return {
            "predictions": [
                {"user": user, "item": item, **dict(zip(told, row, strict=True))}
                for (user, item), row in zip(asked.pairs, rows, strict=True)
            ],
            "unknown": int(is_unknown.sum()),
        }

    def recommend(self, asked: schemas.Recommend) -> Answer:
        """The list of a user of the ratings.

        Raises:
            NotFoundError: there is no such user.
            InputError: nothing is left to list.
        """
        users = self.model.known.users
        if row_of(users, asked.user) == UNKNOWN:
            raise NotFoundError(_not_among(users, asked.user, "user"))
        found = self.model.recommend(asked.user, **_wanted(asked))
        reasons = partial(self.model.reasons, asked.user) if asked.why else None
        return self._list(found, reasons)

    def newcomer(self, asked: schemas.Newcomer) -> Answer:
        """The list of somebody who is not in the ratings.

        Raises:
            InputError: a rating is out of range, a column is not known, or nothing is left.
        """
        person = self.model.newcomer(asked.ratings, about=asked.about)
        found = person.recommend(**_wanted(asked))
        is_told = len(person.given.items) or asked.about
        return self._list(found, person.reasons if asked.why and is_told else None)

    def similar(self, asked: schemas.Similar) -> Answer:
        """The items like one, which is named by its id or its title.

        Raises:
            NotFoundError: there is no such item.
            InputError: there is more than one.
        """
        known = self.model.known
        if (row := known.item_row(asked.item)) == UNKNOWN:
            raise NotFoundError(_not_among(known.items, asked.item, "item"))
        found = self.model.similar(_id_of(known.items, row), items=asked.top)
        rows = zip(self._items(found), _rounded(found.similarities), strict=True)
        return {
            **self._item(row),
            "items": [{**item, "similarity": similarity} for item, similarity in rows],
        }

    def search(self, asked: schemas.Search) -> Answer:
        """Items whose titles or ids hold all words, the most rated first."""
        words = _folded(asked.search).split()
        found: list[int] = []
        for row in self._by_count.tolist():
            if all(word in self._searched[row] for word in words):
                found.append(row)
                if len(found) == asked.top:
                    break
        return {"items": [self._counted(row) for row in found]}

    @cached_property
    def card(self) -> Answer:
        """Where the model came from, how good it is, and what it knows."""
        known = self.model.known
        return {
            "users": len(known.users),
            "items": len(known.items),
            "ratings": len(known.ratings),
            "titles": bool(known.titles),
            "scale": _scale(known.ratings.values.numpy()),
            "loaded": self.loaded,
            "card": dict(self.model.card),
        }

    def _list(self, found: lists.Recommendations, reasons: Reasons | None) -> Answer:
        columns = found.predictions, found.stds, found.lower, found.upper
        names = "prediction", "std", "lower", "upper"
        told = [_rounded(column) for column in columns if column is not None]
        rows = zip(self._items(found), *told, strict=True)
        items = [{**item, **dict(zip(names, row, strict=True))} for item, *row in rows]
        explained = items[: schemas.MOST_EXPLAINED] if reasons else []
        with contextlib.suppress(InputError):  # of models that cannot tell
            why = reasons(found.item_ids[: len(explained)]) if reasons else []
            for item, one in zip(explained, why, strict=True):
                item["why"] = _reasons(one)
                if one.descriptions:
                    item["about"] = _about(one)
        return {
            "items": items,
            "rated": found.n_rated,
            "unknown": found.n_unknown,
        }

    def _items(self, found: lists.Recommendations | lists.SimilarItems) -> list[Answer]:
        columns = found.item_ids.tolist(), found.titles, found.counts.tolist()
        return [
            {"item": one, **({"title": title} if title else {}), "ratings": count}
            for one, title, count in zip(*columns, strict=True)
        ]

    def _item(self, row: int) -> Answer:
        item = _id_of(self.model.known.items, row)
        title = self.model.known.titles.get(str(item))
        return {"item": item, **({"title": title} if title else {})}

    def _counted(self, row: int) -> Answer:
        return {**self._item(row), "ratings": int(self.model.known.item_counts[row])}

    @cached_property
    def _by_count(self) -> NDArray[np.int64]:
        """The (n_items,) rows of items, the most rated first."""
        order: NDArray[np.int64] = np.argsort(-self.model.known.item_counts[:-1], kind="stable")
        return order

    @cached_property
    def _searched(self) -> list[str]:
        """What is searched of each of the n_items items."""
        known = self.model.known
        texts = map(str, known.items.values.tolist())
        return [_folded(known.titles.get(one) or one) for one in texts]


def _not_among(ids: Ids, wanted: int | str, what: str) -> str:
    """That there is no such user, or item, in a line."""
    return f"{what} '{str(wanted).strip()}': not among the {len(ids):,} {what}s"


def _id_of(ids: Ids, row: int) -> int | str:
    """The id of a row, as the ratings have it."""
    (found,) = ids.values[row : row + 1].tolist()
    plain: int | str = found
    return plain


def _reasons(found: Explanation) -> list[Answer]:
    """The ratings that count most."""
    columns = (
        *(found.item_ids.tolist(), found.titles, found.ratings.tolist()),
        _rounded(found.influences),
    )
    return [
        {"item": item, **({"title": title} if title else {}), "rating": rating, "by": by}
        for item, title, rating, by in [*zip(*columns, strict=True)][: schemas.MOST_REASONS]
    ]


def _about(found: Explanation) -> list[Answer]:
    """What is known of the user, what counts most first."""
    return [
        {"column": one.column, "value": ", ".join(one.labels), "by": round(one.effect, DECIMALS)}
        for one in found.descriptions
    ]


def _wanted(asked: schemas.Recommend | schemas.Newcomer) -> dict[str, Any]:
    among = None if asked.among is None else _column(asked.among)
    return {
        "items": asked.top,
        "among": among,
        "without": _column(asked.without),
        "rated": asked.rated,
    }


def _column(ids: Sequence[int | str]) -> ArrayLike:
    """The (n,) ids, texts without blanks around them if one is."""
    if ids and all(isinstance(one, int) for one in ids):
        return np.array(ids, dtype=np.int64)
    return np.array([str(one).strip() for one in ids], dtype=TEXT)


def _rounded(values: NDArray[np.float64]) -> list[float]:
    rounded: list[float] = np.round(values, DECIMALS).tolist()
    return rounded


def _folded(text: str) -> str:
    """The text without case and accents, to search."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in parts if not unicodedata.combining(one))


def _scale(values: NDArray[np.float64]) -> Answer:
    """The ends of the ratings' scale, and its step if all are steps of one size from the lowest."""
    distinct = np.unique(values)
    lowest, highest = distinct[0].item(), distinct[-1].item()
    step = float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0
    steps = (distinct - lowest) / step
    even = np.allclose(steps, np.round(steps), atol=1e-6) and steps[-1] <= MOST_STEPS
    return {"lowest": lowest, "highest": highest, "step": round(step, 9) if even else None}
