"""What is known of users or items as numbers that a model can weigh: a column each, as
`Description`s.

Categories are one-hot, rare ones pooled; several categories multi-hot; a number is spread over hat
functions at knots between which it is interpolated linearly (B-splines of degree 1: de Boor, A
Practical Guide to Splines, 1978), so that a weighted sum is a curve with a bend at each knot. What
is missing is a value of its own.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Description

KNOTS = 10  # at quantiles of a number
FEWEST = 5  # rows that have a label; those of fewer are one label,
SHARE = 0.005  # and those of fewer than this share of all rows,
ENOUGH = 50  # unless it is so many rows
MOST_LABELS = 256  # of a column
MOST_VALUES = 1 << 26  # of a column, over all rows: 256 MB
OTHER, MISSING = "other", "missing"


def of_numbers(name: str, values: NDArray[np.float64]) -> Description:
    """A number: hat functions at its quantiles, or one label each where there are few.

    Args:
        name: of the column.
        values: (n_rows,) NaN where it is missing.
    """
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    if len(distinct) <= KNOTS:
        codes = np.where(known, np.searchsorted(distinct, values), -1)
        return of_categories(name, [f"{one:.6g}" for one in distinct], codes)
    knots = np.unique(np.quantile(values[known], np.linspace(0, 1, KNOTS)))
    place = np.interp(values[known], knots, np.arange(len(knots)))
    left = np.minimum(place.astype(np.int64), len(knots) - 2)
    rows = np.flatnonzero(known)
    weights = np.zeros((len(values), len(knots)), np.float32)
    weights[rows, left] = 1 - (place - left)
    weights[rows, left + 1] = place - left
    return _with_missing(name, [f"{knot:.6g}" for knot in knots], weights, known)


def of_categories(name: str, labels: Sequence[str], codes: NDArray[np.int64]) -> Description:
    """One of some labels: one-hot.

    Args:
        name: of the column.
        labels: of the categories.
        codes: (n_rows,) places among the labels, -1 where it is missing.
    """
    known = codes >= 0
    rows = np.flatnonzero(known)
    return _of_labels(name, labels, rows, codes[rows], known)


def of_several(
    name: str,
    labels: Sequence[str],
    rows: NDArray[np.int64],
    codes: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> Description:
    """Any number of some labels: 1 for each.

    Args:
        name: of the column.
        labels: of the categories.
        rows: (m,) rows that have a label.
        codes: (m,) its place among the labels.
        known: (n_rows,) whether anything is known of a row.
    """
    return _of_labels(name, labels, rows, codes, known)


def weights_of(description: Description, value: str) -> Tensor:
    """The (k,) float32 labels of one more row, whose value is a text such as `31` or `Drama|War`.

    Raises:
        ValueError: it is none of the labels, and there is none for others, or a number that is
            further from the numbers among them than these are from one another.
    """
    weights = torch.zeros(len(description.labels))
    places = {label: place for place, label in enumerate(description.labels)}
    numbers = [(float(label), places[label]) for label in places if _is_number(label)]
    are_numbers = bool(numbers) and len(numbers) >= len(places) - 2
    if are_numbers and _is_number(value):
        knots, at = (list(column) for column in zip(*sorted(numbers), strict=True))
        low, high = knots[0], knots[-1]
        if not 2 * low - high <= float(value) <= 2 * high - low:
            raise ValueError(f"expected a number like those from {low:g} to {high:g}, got {value}")
        place = float(np.interp(float(value), knots, range(len(knots))))
        left = min(int(place), max(len(knots) - 2, 0))
        weights[at[left]] = 1 - (place - left)
        if len(knots) > 1:
            weights[at[left + 1]] = place - left
        return weights
    of_case = {label.casefold(): place for label, place in places.items()}
    for one in [value] if value.casefold() in of_case else value.split("|"):
        text = one.strip()
        found = places.get(text, of_case.get(text.casefold(), places.get(OTHER)))
        if found is None:
            wanted = "a number" if are_numbers else f"one of {', '.join(description.labels)}"
            raise ValueError(f"expected {wanted}, got {text}")
        weights[found] = 1.0
    return weights


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _of_labels(
    name: str,
    labels: Sequence[str],
    rows: NDArray[np.int64],
    codes: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> Description:
    """The most frequent labels, and all others as one."""
    n_rows = len(known)
    counts = np.bincount(codes, minlength=len(labels))
    most = max(2, min(MOST_LABELS, MOST_VALUES // max(n_rows, 1))) - 2  # but other, and missing
    by_count = np.argsort(-counts, kind="stable")[:most]
    fewest = min(max(FEWEST, SHARE * n_rows), ENOUGH)
    chosen = np.sort(by_count[counts[by_count] >= fewest])
    place = np.full(len(labels), len(chosen))
    place[chosen] = np.arange(len(chosen))
    values = np.zeros((n_rows, len(chosen) + 1), np.float32)
    values[rows, place[codes]] = 1
    kept = [labels[n] for n in chosen]
    if values[:, -1].any():
        kept.append(OTHER)
    return _with_missing(name, kept, values[:, : len(kept)], known)


def _with_missing(
    name: str, labels: list[str], values: NDArray[np.float32], known: NDArray[np.bool_]
) -> Description:
    """With a column more for rows of which nothing is known, if there are any."""
    if not known.all():
        values = np.column_stack([values, ~known])
        labels = [*labels, MISSING]
    return Description(
        name=name,
        labels=tuple(labels),
        values=torch.from_numpy(np.ascontiguousarray(values, np.float32)),
    )
