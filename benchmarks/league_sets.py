"""A dozen sets of planted ratings, for `benchmarks.league`; none is a product of factors.

What is rated how comes from groups, places, rules, or a random network, in scales from coins to
play counts; who rates what, from nearly everybody everything to what is liked alone. In a folder
each, `ratings.csv`, `queries.csv` and `truth`; one has times, and tables of users and items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

Column = NDArray[np.float64]
Index = NDArray[np.int64]

N_GROUPS = 12  # of users, and of items
N_DIMENSIONS = 3  # of the places
N_RULES, N_UNITS = 10, 24
DAYS = 1_000  # from the first time to the last
START = 1_600_000_000  # seconds
MISTAKEN = 0.2  # of the groups that tables tell
RATED, ANY, LATEST = "of those rated", "any pair", "latest of each user"


class Side:
    """Users or items: what is true of each."""

    def __init__(self, n: int, draw: np.random.Generator) -> None:
        self.group = draw.integers(N_GROUPS, size=n)
        self.place = draw.normal(size=(n, N_DIMENSIONS))
        self.level = draw.normal(size=n)
        self.since = draw.random(n)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Pairs, and what is true of their users and items; times go from 0 to 1."""

    draw: np.random.Generator
    users: Side
    items: Side
    user: Index
    item: Index
    time: Column


def levels(pairs: Drawn) -> Column:
    """Kind users and good items, and nothing else."""
    return pairs.users.level[pairs.user] + pairs.items.level[pairs.item]


def groups(pairs: Drawn) -> Column:
    """A number for each group of users and of items."""
    table = pairs.draw.normal(size=(N_GROUPS, N_GROUPS))
    return table[pairs.users.group[pairs.user], pairs.items.group[pairs.item]] + 0.5 * levels(pairs)


def places(pairs: Drawn) -> Column:
    """How near an item is to a user: an unfolding (Coombs 1964, A Theory of Data)."""
    apart = pairs.users.place[pairs.user] - pairs.items.place[pairs.item]
    return 0.4 * levels(pairs) - np.linalg.norm(apart, axis=1)


def rules(pairs: Drawn) -> Column:
    """What items have, each thing being liked or not by a group of users, and only some at once."""
    likes = pairs.draw.normal(size=(N_GROUPS, N_RULES))[pairs.users.group[pairs.user]]
    place = pairs.items.place[pairs.item]
    found = 0.3 * levels(pairs)
    for rule in range(N_RULES):
        first, second = pairs.draw.choice(N_DIMENSIONS, 2, replace=False)
        at = pairs.draw.normal(size=2) / 2
        found += likes[:, rule] * ((place[:, first] > at[0]) & (place[:, second] > at[1]))
    return found


def network(pairs: Drawn) -> Column:
    """A network of one layer, its weights drawn at random, of both places."""
    found = 0.5 * levels(pairs)
    for _ in range(N_UNITS):
        of_user, of_item = pairs.draw.normal(size=(2, N_DIMENSIONS))
        inner = pairs.users.place @ of_user, pairs.items.place @ of_item
        unit = np.tanh(inner[0][pairs.user] + inner[1][pairs.item])
        found += 2 * pairs.draw.normal() / N_UNITS**0.5 * unit
    return found


def moving_groups(pairs: Drawn) -> Column:
    """Groups whose tastes become others, while items have their seasons."""
    first, last = (
        pairs.draw.normal(size=(N_GROUPS, N_GROUPS))[
            pairs.users.group[pairs.user], pairs.items.group[pairs.item]
        ]
        for _ in range(2)
    )
    phase = pairs.draw.random(len(pairs.items.level))[pairs.item]
    season = 0.7 * np.cos(2 * np.pi * (pairs.time + phase))
    return (1 - pairs.time) * first + pairs.time * last + season + 0.5 * levels(pairs)


def stars(taste: Column, draw: np.random.Generator) -> Column:
    """1 to 5, mostly 4."""
    return 1.0 + np.searchsorted([-2.0, -1.2, -0.3, 1.0], taste + draw.normal(size=len(taste)))


def half_stars(taste: Column, draw: np.random.Generator) -> Column:
    """0.5 to 5 by halves."""
    value = 3.4 + 0.8 * taste + 0.8 * draw.normal(size=len(taste))
    return np.clip(np.round(2 * value) / 2, 0.5, 5.0)


def coin(taste: Column, draw: np.random.Generator) -> Column:
    """0 or 1."""
    return (draw.logistic(size=len(taste)) < 1.5 * taste).astype(np.float64)


def slider(taste: Column, draw: np.random.Generator) -> Column:
    """From 0 to 100, to the tenth, often near to an end."""
    value = 100 / (1 + np.exp(-1.2 * taste - 1.0 * draw.normal(size=len(taste))))
    return np.round(value, 1)


def plays(taste: Column, draw: np.random.Generator) -> Column:
    """How often something was played: from once to hundreds of times."""
    rate = np.exp(1.5 + taste + 0.8 * draw.normal(size=len(taste)))
    return 1.0 + draw.poisson(rate)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a set is drawn."""

    n_users: int
    n_items: int
    n_known: int
    taste: Callable[[Drawn], Column]
    scale: Callable[[Column, np.random.Generator], Column]
    skew: float = 0.5  # of the logarithms of how much users rate, and items are rated
    choosy: float = 0.0  # how much likelier a pair is to be rated that is liked
    asked: str = RATED

    @property
    def n_asked(self) -> int:
        """A quarter of those that are known, a thousand at least."""
        return max(self.n_known // 4, 1_000)


KINDS = {
    "dense": Kind(n_users=40, n_items=60, n_known=1_000, taste=groups, scale=stars, skew=0.0),
    "levels": Kind(n_users=300, n_items=200, n_known=3_000, taste=levels, scale=stars),
    "coins": Kind(n_users=400, n_items=250, n_known=5_000, taste=rules, scale=coin),
    "slider": Kind(n_users=400, n_items=300, n_known=10_000, taste=network, scale=slider),
    "sparse": Kind(n_users=4_000, n_items=3_000, n_known=12_000, taste=places, scale=stars),
    "plays": Kind(n_users=900, n_items=700, n_known=20_000, taste=groups, scale=plays),
    "skewed": Kind(
        n_users=1_500, n_items=2_500, n_known=30_000, taste=network, scale=half_stars, skew=1.5
    ),
    "liked": Kind(
        n_users=1_500, n_items=1_000, n_known=50_000, taste=places, scale=stars, choosy=1.5
    ),
    "liked-any-asked": Kind(
        n_users=1_500,
        n_items=1_000,
        n_known=50_000,
        taste=places,
        scale=stars,
        choosy=1.5,
        asked=ANY,
    ),
    "drifting": Kind(
        n_users=2_000,
        n_items=1_000,
        n_known=100_000,
        taste=moving_groups,
        scale=half_stars,
        asked=LATEST,
    ),
    "rules": Kind(n_users=15_000, n_items=500, n_known=200_000, taste=rules, scale=stars),
    "million": Kind(
        n_users=8_000, n_items=4_000, n_known=1_000_000, taste=network, scale=half_stars, skew=1.0
    ),
}


def plant(folder: Path, names: list[str] | None = None) -> None:
    """Writes the sets, or some of them; each has a seed of its own, and is the same every time."""
    for seed, (name, kind) in enumerate(KINDS.items()):
        if names is None or name in names:
            write(kind, folder / name, seed=seed)


def write(kind: Kind, folder: Path, *, seed: int) -> None:
    """Writes one set."""
    draw = np.random.default_rng(seed)
    pairs, ratings, is_asked = draw_set(kind, draw)
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {"user_id": pairs.user + 1, "item_id": pairs.item + 1}
    times = {}
    if kind.asked == LATEST:
        times = {"timestamp": START + np.round(pairs.time * DAYS * 86_400).astype(np.int64)}
        for role, side in (("user", pairs.users), ("item", pairs.items)):
            n = len(side.group)
            told = np.where(draw.random(n) < MISTAKEN, draw.integers(N_GROUPS, size=n), side.group)
            group = [f"{role}s {chr(ord('A') + one)}" for one in told]
            level = (side.level + draw.normal(size=n)).round(1)
            table = {f"{role}_id": np.arange(1, n + 1), "group": group, "level": level}
            csv.write_csv(pa.table(table), folder / f"{role}s.csv")
    known = columns | {"rating": ratings} | times
    for name, table, rows in (
        ("ratings", known, ~is_asked),
        ("queries", columns | times, is_asked),
    ):
        kept = {column: values[rows] for column, values in table.items()}
        csv.write_csv(pa.table(kept), folder / f"{name}.csv")
    (folder / "truth").write_text("".join(f"{one:g}\n" for one in ratings[is_asked]))


def draw_set(kind: Kind, draw: np.random.Generator) -> tuple[Drawn, Column, NDArray[np.bool_]]:
    """Pairs in random order, their ratings, and which of them are asked for.

    Pairs are drawn without replacement, each with its weight: those whose logarithm, with Gumbel
    noise added, is largest.
    """
    users, items = Side(kind.n_users, draw), Side(kind.n_items, draw)
    n, n_pairs = kind.n_known + kind.n_asked, kind.n_users * kind.n_items
    weight = draw.gumbel(size=(kind.n_users, kind.n_items))
    weight += draw.normal(scale=kind.skew, size=(kind.n_users, 1))
    weight += draw.normal(scale=kind.skew, size=kind.n_items)

    def drawn(at: Index) -> Drawn:
        user, item = np.divmod(at, kind.n_items)
        time = 0.7 * users.since[user] + 0.3 * draw.random(len(at))
        return Drawn(draw=draw, users=users, items=items, user=user, item=item, time=time)

    if kind.choosy:
        every = drawn(np.arange(n_pairs))
        taste = _standardized(kind.taste(every))
        weight += kind.choosy * taste.reshape(weight.shape)
        at = _chosen(weight, n, kind, draw)
        taste, pairs = taste[at], drawn(at)
    else:
        pairs = drawn(_chosen(weight, n, kind, draw))
        taste = _standardized(kind.taste(pairs))
    ratings = kind.scale(taste, draw)
    if kind.asked != LATEST:
        return pairs, ratings, np.arange(n) >= kind.n_known
    order = np.lexsort((pairs.time, pairs.user))
    n_rated = np.bincount(pairs.user, minlength=kind.n_users)
    ends = np.cumsum(n_rated)[pairs.user[order]]
    share = kind.n_asked / n
    is_asked = np.empty(n, dtype=bool)
    is_asked[order] = ends - np.arange(n) <= share * n_rated[pairs.user[order]]
    return pairs, ratings, is_asked


def _chosen(weight: Column, n: int, kind: Kind, draw: np.random.Generator) -> Index:
    """The pairs of the largest weight, in random order; those that are asked for come last."""
    if kind.asked != ANY:
        return draw.permutation(np.argpartition(weight.ravel(), -n)[-n:])
    order = np.argpartition(weight.ravel(), -kind.n_known)
    known, others = order[-kind.n_known :], order[: -kind.n_known]
    asked = draw.choice(others, kind.n_asked, replace=False)
    return np.concatenate([draw.permutation(known), asked])


def _standardized(values: Column) -> Column:
    return (values - values.mean()) / values.std()
