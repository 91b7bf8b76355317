"""Groups of held-out ratings to tell errors of: by numbers of ratings, by label, by time ahead.

A group has enough ratings, of enough users, for its figures to mean something; those that are too
small are joined with their neighbours, or not told of.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import Description, Pairs, Ratings
from model.descriptions import MISSING

EDGES = (0, 1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # where a group by count begins
FEWEST = 100  # ratings of a group; fewer join their neighbours
FEWEST_USERS = 10
FEWEST_GROUPS = 4
MOST_LABELS = 12  # of a column of a table that errors are told of
MOSTLY = 0.5  # the weight from which a row has a label
AHEAD = (  # seconds since what the user rated last
    ("within an hour", 0.0, 3_600.0),
    ("within a day", 3_600.0, 86_400.0),
    ("within a week", 86_400.0, 604_800.0),
    ("within a month", 604_800.0, 2_630_000.0),
    ("within a year", 2_630_000.0, 31_557_600.0),
    ("later", 31_557_600.0, math.inf),
)

Column = NDArray[np.float64]
Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]
Key = tuple[str, str, str]  # side, column and label


def by_count(counts: Counts, users: Counts) -> list[Mask]:
    """The (n,) masks of groups of ratings of (n,) users by (n,) counts, the smallest first."""
    groups = _between(EDGES, counts, users)
    if len(groups) < FEWEST_GROUPS:  # nearly all have as many
        edges = np.unique(np.quantile(counts, np.linspace(0, 1, FEWEST_GROUPS + 2)[1:-1]))
        groups = max(groups, _between(edges, counts, users), key=len)
    return groups


def by_label(labels: Mapping[Key, Mask], users: Counts) -> list[tuple[Key, Mask]]:
    """The groups of ratings whose user or item has a label, of each column's most frequent."""
    found = [(key, here) for key, here in labels.items() if _is_enough(users[here])]
    found.sort(key=lambda one: -one[1].sum())
    counts, kept = Counter[tuple[str, str]](), []
    for key, here in found:
        counts[key[:2]] += 1
        if counts[key[:2]] <= MOST_LABELS:
            kept.append((key, here))
    return sorted(kept, key=lambda one: one[0][:2])


def by_ahead(ahead: Column, users: Counts) -> list[tuple[str, Mask]]:
    """The groups by (n,) seconds ahead, the nearest first; those of NaN are in none."""
    masks = [(label, (low <= ahead) & (ahead < high)) for label, low, high in AHEAD]
    return [(label, here) for label, here in masks if _is_enough(users[here])]


def labels_of(training: Ratings, pairs: Pairs) -> dict[Key, Mask]:
    """Which of (n,) pairs have a user, or an item, of each label of the tables.

    Of numbers that are told by those that they lie between, a label is of all that are nearest.
    """
    return {
        (side, one.name, label): _at(column > MOSTLY, rows)
        for side, descriptions, rows in (
            ("item", training.item_descriptions, pairs.item_index),
            ("user", training.user_descriptions, pairs.user_index),
        )
        for one in descriptions
        for label, column in zip(_told(one), one.values.unbind(1), strict=True)
    }


def seconds_ahead(training: Ratings, pairs: Pairs) -> Column:
    """The (n,) seconds since the user's last training rating, at least 0; NaN if not known."""
    if training.times is None or pairs.times is None:
        return np.full(len(pairs), np.nan)
    last = training.last_times()[pairs.user_index]
    ahead: Column = (pairs.times - last).clamp(min=0.0).numpy()
    return ahead


def _told(description: Description) -> list[str]:
    """The labels, for people."""
    lies_between = ((description.values > 0) & (description.values < 1)).any(1)
    if lies_between.float().mean() <= MOSTLY:
        return list(description.labels)
    return [f"about {one}" if one != MISSING else one for one in description.labels]


def _at(mask: Tensor, rows: Tensor) -> Mask:
    """The (n,) values of a mask at rows, false where they are UNKNOWN, which is -1."""
    found: Mask = torch.cat([mask, mask.new_zeros(1)])[rows].numpy()
    return found


def _between(edges: Sequence[int] | Column, counts: Counts, users: Counts) -> list[Mask]:
    """The groups that begin at the edges, those that are too small joined with their neighbours."""
    groups: list[Mask] = []
    bins = np.digitize(counts, edges)
    here = np.zeros(len(counts), dtype=bool)
    for number in np.unique(bins):
        here |= bins == number
        later = bins > number
        if not later.any() or (_is_enough(users[here]) and _is_enough(users[later])):
            groups.append(here)
            here = np.zeros(len(counts), dtype=bool)
    return groups


def _is_enough(users: Counts) -> bool:
    """Whether ratings of these users make a group of their own."""
    return len(users) >= FEWEST and len(np.unique(users)) >= FEWEST_USERS
