"""Why a prediction is what it is: which of the user's ratings carry it, and which descriptions."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from model.dataset import Description, Pairs, Ratings
from model.influence import Influence, influence, list_influences
from model.solver import Model
from storage.errors import InputError
from storage.ratings import IdArray
from study.answers.groups import MOSTLY
from study.answers.levels import Levels
from study.known import Known


@dataclass(frozen=True, kw_only=True)
class OfDescription:
    """What a column of a table adds to a prediction."""

    side: str  # user or item
    column: str
    labels: tuple[str, ...]  # that the user, or the item, has; of numbers the value
    effect: float  # in rating units, beside one of whom it is not known


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation:
    """What a prediction rests on; what counts most comes first."""

    item_id: object
    title: str
    item_name: str  # what the column of ids is called
    item_ids: IdArray  # (n,) what the user has rated
    titles: list[str]
    ratings: NDArray[np.float64]  # (n,) as what
    influences: NDArray[np.float64]  # (n,) the prediction less that without the rating
    descriptions: tuple[OfDescription, ...]
    user_id: object = None  # None of who is not in the data

    def __len__(self) -> int:
        return len(self.item_ids)

    def told(self, n: int) -> str:
        """The n ratings that count most, by title or id, and as many descriptions, with what they
        bring, for people.
        """
        names = [title or str(one) for title, one in zip(self.titles, self.item_ids, strict=True)]
        ratings = zip(names[:n], self.influences[:n], strict=True)
        columns = [
            (f"{one.column} {', '.join(one.labels)}", one.effect) for one in self.descriptions
        ]
        return ", ".join(f"{name} {effect:+.2f}" for name, effect in [*ratings, *columns[:n]])

    def __repr__(self) -> str:
        said = [
            f"{one.column} of the {one.side}, {', '.join(one.labels)}: {one.effect:+.2f}"
            for one in self.descriptions
        ]
        return "\n".join([as_text(self.columns()), *said])

    def columns(self) -> dict[str, ArrayLike]:
        """The ratings as a table: its columns, (n,) each, by name; titles if some are known."""
        columns: dict[str, ArrayLike] = {self.item_name: self.item_ids}
        if any(self.titles):
            columns["title"] = self.titles
        return columns | {"rating": self.ratings, "influence": self.influences}


def as_text(columns: Mapping[str, ArrayLike]) -> str:
    """A table of (n,) columns by name, a line a row, for people."""
    lines = [""] * (1 + len(np.asarray(next(iter(columns.values())))))
    for name, column in columns.items():
        values = np.asarray(column)
        is_number, is_fraction = values.dtype.kind in "if", values.dtype.kind == "f"
        cells = [name, *(f"{one:.2f}" if is_fraction else str(one) for one in values.tolist())]
        width = max(map(len, cells))
        padded = [cell.rjust(width) if is_number else cell.ljust(width) for cell in cells]
        lines = [f"{line}  {cell}" for line, cell in zip(lines, padded, strict=True)]
    return "\n".join(line[2:].rstrip() for line in lines)


def explain(
    models: Sequence[Model],
    known: Known,
    own: Ratings,
    *,
    pair: Pairs,
    levels: Levels,
    trained: Sequence[Model] | None = None,
) -> Explanation:
    """What the mean prediction of models rests on, at its level.

    Args:
        models: that answer.
        known: the ratings.
        own: those of the user.
        pair: the one that is predicted, at present.
        levels: how much of what the models say is answered.
        trained: the models that those were folded in, if they were.

    Raises:
        InputError: none of the models can tell.
    """
    item = int(pair.item_index)
    others = known.ratings[known.ratings.item_index == item]
    whole: Sequence[Model | None] = trained or [None] * len(models)
    parts = [
        found
        for model, one in zip(models, whole, strict=True)
        if (found := influence(model, pair, own, others, trained=one))
    ]
    if not parts:
        raise InputError("explain: expected models with factors, got none")
    found = Influence.mean(_alike(parts))
    user = int(pair.user_index)
    sides = [
        ("item", own.item_descriptions, item, found.of_item_descriptions),
        ("user", own.user_descriptions, user, found.of_user_descriptions),
    ]
    influences = _of_answer(found.of_ratings.numpy(), known, own, levels)
    return _explanation(known, own, item, influences, _described(sides, levels))


def explain_list(
    models: Sequence[Model], known: Known, own: Ratings, *, pairs: Pairs, levels: Levels
) -> tuple[Explanation, ...]:
    """What the mean predictions of models rest on of one user, not of items: quick for a list.

    Args:
        models: that answer.
        known: the ratings.
        own: those of the user.
        pairs: that are predicted, at present, of that user.
        levels: as of `explain`.

    Raises:
        InputError: none of the models can tell.
    """
    parts = [one for model in models if (one := list_influences(model, pairs, own))]
    if not parts:
        raise InputError("explain: expected models with factors, got none")
    found = Influence.mean(_alike(parts))
    influences = _of_answer(found.of_ratings.numpy(), known, own, levels)
    user = int(pairs.user_index[0])
    rows = zip(pairs.item_index.tolist(), influences, found.of_user_descriptions, strict=True)
    return tuple(
        _explanation(
            known,
            own,
            item,
            influence,
            _described([("user", own.user_descriptions, user, effects)], levels),
        )
        for item, influence, effects in rows
    )


def _described(
    sides: Sequence[tuple[str, Sequence[Description], int, Tensor]], levels: Levels
) -> tuple[OfDescription, ...]:
    """What descriptions add to an answer, what counts most first.

    Args:
        sides: which, its descriptions, the row that is described, and the (k,) effects on what the
            models predict, none of models that use none.
        levels: how much of what the models say is answered.
    """
    said = [
        OfDescription(
            side=side,
            column=one.name,
            labels=_labels(one, row),
            effect=round(float(effect) * levels.weight * levels.slope, 6),
        )
        for side, descriptions, row, effects in sides
        for one, effect in zip(descriptions, effects, strict=len(effects) > 0)
    ]
    told = [one for one in said if one.labels and one.effect]  # of who is described
    return tuple(sorted(told, key=lambda one: -abs(one.effect)))


def _of_answer(
    influences: NDArray[np.float64], known: Known, own: Ratings, levels: Levels
) -> NDArray[np.float64]:
    """The (…, n) influences of n ratings of a user on what is answered, of those on models.

    Biases alone, as far as they answer, have the user's as Σ rest / (n + λ), one rest less without
    a rating; items stay as they are.
    """
    if levels.weight < 1:
        biases, n = known.biases, len(own)
        rest = own.values - biases.global_mean - biases.item_bias.detach()[own.item_index]
        shrinkage = biases.penalty[1, 1].item()
        of_biases = rest.sum() / (n + shrinkage) - (rest.sum() - rest) / (n - 1 + shrinkage)
        influences = levels.weight * influences + (1 - levels.weight) * of_biases.numpy()
    return levels.slope * influences


def _explanation(
    known: Known,
    own: Ratings,
    item: int,
    influences: NDArray[np.float64],
    descriptions: tuple[OfDescription, ...] = (),
) -> Explanation:
    """That of an item's prediction by (n,) influences of the user's ratings."""
    order = np.argsort(-np.abs(influences), kind="stable")
    ids = known.items.values[own.item_index.numpy()[order]]
    return Explanation(
        item_id=known.items.values[item],
        title=known.titles.get(str(known.items.values[item]), ""),
        item_name=known.item_name,
        item_ids=ids,
        titles=[known.titles.get(str(one), "") for one in ids],
        ratings=own.values.numpy()[order],
        influences=influences[order],
        descriptions=descriptions,
    )


def _alike(parts: Sequence[Influence]) -> Sequence[Influence]:
    """All of them with as many descriptions: of models that use none they add nothing."""
    most = max(
        parts,
        key=lambda one: one.of_item_descriptions.shape[-1] + one.of_user_descriptions.shape[-1],
    )
    return [
        Influence(
            of_ratings=one.of_ratings,
            of_user_descriptions=_padded(one.of_user_descriptions, most.of_user_descriptions),
            of_item_descriptions=_padded(one.of_item_descriptions, most.of_item_descriptions),
        )
        for one in parts
    ]


def _padded(effects: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return effects if effects.shape[-1] else torch.zeros_like(like)


def _labels(description: Description, row: int) -> tuple[str, ...]:
    """What a column says of a row: labels, or the number that lies between two of them."""
    weights = description.values[row].tolist()
    parts = [place for place, weight in enumerate(weights) if weight]
    if len(parts) == 2 and math.isclose(sum(weights), 1.0, rel_tol=1e-4):
        with contextlib.suppress(ValueError):  # of the average of two that are no numbers
            return (f"{sum(weights[one] * float(description.labels[one]) for one in parts):.6g}",)
    return tuple(
        label for label, weight in zip(description.labels, weights, strict=True) if weight >= MOSTLY
    )
