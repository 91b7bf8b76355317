"""What answers need to know of the ratings: who and what there is, and who rated what."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from model.biases import fit_biases
from model.dataset import UNKNOWN, Description, Ids, Pairs, Ratings
from model.factorization import Factorization
from model.updating import joined, outdated
from storage.errors import InputError
from storage.files import TEXT
from storage.lines import shown
from storage.ratings import IdArray, RatingsTable
from storage.tables import Pairs as PairsTable
from study.sides import described_by

First = tuple[int, tuple[str, str], bool]  # number, ids of user and item, whether one is known
FEW = 3  # queries, or ratings, may all be of newcomers, by chance


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Known:
    """Who and what there is, and who rated what."""

    source: str  # for people: where the ratings came from
    users: Ids
    items: Ids
    user_name: str  # what the column of their ids is called
    item_name: str
    rating_name: str = ""  # empty if nothing names the columns
    time_name: str = ""
    ratings: Ratings
    present: float | None = None  # seconds since 1970, of the last rating; None without times
    titles: Mapping[str, str] = field(default_factory=dict)  # of items, by their ids as texts

    @cached_property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest rating, of all ranks."""
        moments = self.ratings.moments
        return moments.lowest.item(), moments.highest.item()

    @cached_property
    def biases(self) -> Factorization:
        """Biases alone, of all ratings."""
        return fit_biases(self.ratings)

    @cached_property
    def user_counts(self) -> NDArray[np.int64]:
        """The (n_users + 1,) numbers of ratings; the last is of who is unknown."""
        counts: NDArray[np.int64] = np.bincount(
            self.ratings.user_index.numpy(), minlength=len(self.users) + 1
        )
        return counts

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """The (n_items + 1,) numbers of ratings, of all ranks; the last is of what is unknown."""
        counts = torch.bincount(self.ratings.item_index, minlength=len(self.items) + 1)
        found: NDArray[np.int64] = self.ratings.world.sum(counts).numpy()
        return found

    def counts(self, pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many ratings the user, and the item, of each of n pairs has, (n,) each."""
        users, items = pairs.user_index.numpy(), pairs.item_index.numpy()
        return self.user_counts[users], self.item_counts[items]

    def are_rated(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which of (n,) pairs are among the ratings."""
        users, items = pairs.user_index.numpy(), pairs.item_index.numpy()
        n_items, own = len(self.items), self.ratings
        learned = own.user_index.numpy() * n_items + own.item_index.numpy()
        is_known = (users != UNKNOWN) & (items != UNKNOWN)
        found: NDArray[np.bool_] = is_known & np.isin(users * n_items + items, learned)
        return found

    def rated(self, user: int) -> NDArray[np.int64]:
        """The places, in the ratings, of those of a user."""
        first = self._first
        return self._by_user[first[user] : first[user + 1]]

    def of_user(self, user: int) -> Ratings:
        """The ratings of a user."""
        return self.ratings[torch.from_numpy(self.rated(user))]

    def at_present(self, user_index: Tensor, item_index: Tensor) -> Pairs:
        """Pairs at the time of the last rating, if ratings have times."""
        times = None
        if self.present is not None:
            times = torch.full((len(user_index),), self.present, dtype=torch.float64)
        return Pairs(user_index=user_index, item_index=item_index, times=times)

    def described_by(self, about: Mapping[str, str | float]) -> tuple[Description, ...]:
        """The descriptions, of one row, of somebody of whom this is known, by column of the users'
        table.

        Raises:
            InputError: there is no such column, or a value is none that it may have.
        """
        return described_by(self.ratings.user_descriptions, about)

    def n_met(self, user_ids: IdArray, item_ids: IdArray) -> int:
        """How many of (n,) pairs have a user and an item that are known."""
        return int((are_in(self.users, user_ids) & are_in(self.items, item_ids)).sum())

    def item_row(self, item: object) -> int:
        """The row of an item by its id, or by its title; UNKNOWN if there is none.

        Raises:
            InputError: it is the title of several.
        """
        if (row := row_of(self.items, item)) != UNKNOWN:
            return row
        return self._only(item, self._with_title(item))

    def item_rows(self, items: ArrayLike, *, are_titles: bool = False) -> NDArray[np.int64]:
        """The (n,) rows of items by their ids, or by their titles; UNKNOWN of others.

        Where ids are numbers, a number is not taken for a title unless all are said to be titles,
        none of which is an id if there are titles of items.

        Raises:
            InputError: one is the title of several.
        """
        given = np.asarray(items)
        if are_titles and self.titles:
            found = [self._only(one, self._with_title(one)) for one in given.tolist()]
            return np.array(found, np.int64)
        rows: NDArray[np.int64] = self.items.index(given).numpy()
        if self.titles:
            for place in np.flatnonzero(rows == UNKNOWN).tolist():
                rows[place] = self._only(given[place], self._titled(given[place]))
        return rows

    def index(self, pairs: PairsTable) -> Pairs:
        """Pairs that were asked for by their ids, UNKNOWN who and what is not known.

        If ratings have times, a pair without one is of the present.
        """
        found = self.at_present(self.users.index(pairs.user_ids), self.items.index(pairs.item_ids))
        return timed(found, pairs.times)

    @property
    def summary(self) -> str:
        """How many there are, for people."""
        return (
            f"{len(self.ratings):,} ratings, {int((self.user_counts > 0).sum()):,} users, "
            f"{int((self.item_counts > 0).sum()):,} items"
        )

    @property
    def columns(self) -> tuple[str, ...] | None:
        """What columns of user, item, rating and maybe time are called; None if nothing says."""
        found = (self.user_name, self.item_name, self.rating_name, self.time_name)
        return tuple(filter(None, found)) if self.rating_name else None

    def with_ratings(self, table: RatingsTable) -> tuple["Known", Ratings]:
        """What is known with more ratings, and those alone; a pair rated again has the newer one.

        That is the later one if both have times: more ratings that are older are left out. Who and
        what is new comes behind the others, described as the average of them.

        Raises:
            InputError: a rating is out of the range of those that are known, users and items look
                swapped, an item is told by its title, or of many ratings none is of who or what is
                known.
        """
        self._check_more(table)
        if (outside := self.are_outside(table.ratings)).any():
            wrong, (lowest, highest) = table.ratings[outside][0], self.range
            raise InputError(
                f"ratings: expected ratings from {lowest:g} to {highest:g}, as in {self.source}, "
                f"got {wrong:g}"
            )
        users, user_rows = _with_more(self.users, table.users)
        items, item_rows = _with_more(self.items, table.items)
        times = None
        if self.ratings.times is not None:
            times = torch.full((table.n_ratings,), torch.nan, dtype=torch.float64)
            if table.times is not None:
                times = torch.from_numpy(table.times)
        new = Ratings(
            n_users=len(users),
            n_items=len(items),
            user_index=user_rows[torch.from_numpy(table.user_index.astype(np.int64))],
            item_index=item_rows[torch.from_numpy(table.item_index.astype(np.int64))],
            values=torch.from_numpy(table.ratings),
            times=times,
            user_descriptions=_longer(self.ratings.user_descriptions, len(users)),
            item_descriptions=_longer(self.ratings.item_descriptions, len(items)),
        )
        new = new[~outdated(new, self.ratings)]
        present = self.present
        if present is not None and times is not None and times.isfinite().any():
            present = max(present, times[times.isfinite()].max().item())
        ratings = joined(self.ratings, new)
        known = replace(self, users=users, items=items, ratings=ratings, present=present)
        return known, new

    def check(self, pairs: PairsTable, name: str) -> None:
        """Raises InputError if a header was read as a pair, or users as items and items as users.

        Args:
            pairs: that were asked for.
            name: what messages call them.
        """
        told = self.ratings.world.everyones(self._told_of(pairs))  # of all ranks
        n, n_met, n_both, n_swapped = np.sum([counts for counts, _ in told], axis=0)
        _, (user, item), is_met = min(first for _, first in told if first)
        is_text = not (user.isdecimal() or item.isdecimal())
        may_be_header = not pairs.has_header and is_text and not is_met
        if may_be_header and 2 * n_both > n - 1:
            raise InputError(
                f"{name}: the first line, {shown(user)} and {shown(item)}, is no pair of "
                "the ratings, as most others are; if it names the columns, call them "
                f"{shown(self.user_name)} and {shown(self.item_name)}, else begin with such a line"
            )
        if not n_met and 2 * n_swapped >= n:
            raise InputError(
                f"{name}: users and items look swapped: expected users like "
                f"{shown(str(self.users.values[0]))} and items like "
                f"{shown(str(self.items.values[0]))}, got {shown(user)} and "
                f"{shown(item)}; {pairs.about}"
            )

    def are_outside(self, ratings: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of (n,) ratings are out of the range of those that are known, or are none."""
        lowest, highest = self.range
        found: NDArray[np.bool_] = ~((lowest <= ratings) & (ratings <= highest))
        return found

    def doubt_of_range(self, ratings: NDArray[np.float64]) -> str:
        """That some of (n,) ratings are out of the range of those that are known, for people."""
        outside = ratings[self.are_outside(ratings) & ~np.isnan(ratings)]
        if not len(outside):
            return ""
        lowest, highest = self.range
        return (
            f"{len(outside):,} of {len(ratings):,} ratings, such as {outside[0]:g}, are not within "
            f"{lowest:g} to {highest:g}, as those of {self.source} are"
        )

    def _told_of(
        self, pairs: PairsTable
    ) -> tuple[list[int], tuple[int, tuple[str, str], bool] | None]:
        """How many pairs there are, have a user or an item that is known, have both, and seem to be
        swapped; the number of the first, its ids, and whether one of them is known.
        """
        users, items = are_in(self.users, pairs.user_ids), are_in(self.items, pairs.item_ids)
        swapped = are_in(self.items, pairs.user_ids)
        if pairs.numbers is None:  # else who is meant may be on another rank
            swapped = swapped & are_in(self.users, pairs.item_ids)
        counts = [len(users), *(int(one.sum()) for one in (users | items, users & items, swapped))]
        if not len(users):
            return counts, None
        number = 0 if pairs.numbers is None else int(pairs.numbers[0])
        ids = str(pairs.user_ids[0]), str(pairs.item_ids[0])
        return counts, (number, ids, bool(users[0] or items[0]))

    def _check_more(self, table: RatingsTable) -> None:
        """Raises InputError if who or what is new in more ratings was meant to be who is known."""
        users, items = are_in(self.users, table.users), are_in(self.items, table.items)
        for item in table.items[~items].tolist() if self.titles else ():
            if rows := self._titled(item):
                raise InputError(
                    f"ratings: expected the ids of items, got the title {shown(str(item))}, of "
                    f"item {shown(str(self.items.values[rows[0]]))}"
                )
        is_met = users[table.user_index] | items[table.item_index]
        if is_met.any():
            return
        first = table.users[table.user_index[0]], table.items[table.item_index[0]]
        expected, got = (
            f"users like {shown(str(user))} and items like {shown(str(item))}"
            for user, item in ((self.users.values[0], self.items.values[0]), first)
        )
        are_users = are_in(self.items, table.users)[table.user_index]
        if (are_users & are_in(self.users, table.items)[table.item_index]).any():
            raise InputError(
                f"ratings: users and items look swapped: expected {expected}, got {got}; "
                "columns= says which are which"
            )
        if table.n_ratings > FEW:
            raise InputError(
                f"ratings: expected some users or items of {self.source}: {expected}; of "
                f"{table.n_ratings:,} ratings none has, got {got}"
            )

    def check_met(self, pairs: PairsTable, name: str) -> None:
        """Raises InputError if no pair has a user, or an item, that is known.

        Args:
            pairs: that predictions are to be scored by.
            name: what messages call them.
        """
        ids = (self.users, pairs.user_ids), (self.items, pairs.item_ids)
        if any(are_in(known, given).any() for known, given in ids):
            return
        expected = " and ".join(shown(str(known.values[0])) for known, _ in ids)
        got = " and ".join(shown(str(given[0])) for _, given in ids)
        raise InputError(
            f"{name}: expected users or items of {self.source}, such as {expected}, got {got}, and "
            f"none that it has; {pairs.about}"
        )

    def _only(self, title: object, rows: list[int]) -> int:
        """The only row that has a title; UNKNOWN if there is none.

        Raises:
            InputError: there are several.
        """
        if len(rows) > 1:
            ids = ", ".join(str(one) for one in self.items.values[rows[:3]].tolist())
            raise InputError(
                f"item {shown(str(title).strip())}: the title of {len(rows)} items, {ids}: name "
                "one by its id"
            )
        return rows[0] if rows else UNKNOWN

    def _titled(self, item: object) -> list[int]:
        """The rows of the items of that title; none of a number, where ids are numbers."""
        is_id = self.items.values.dtype.kind == "i" and str(item).strip().isdecimal()
        return [] if is_id else self._with_title(item)

    def _with_title(self, item: object) -> list[int]:
        """The rows of the items of that title, in any case; without such, the only one whose
        `plain_title` is the same, with the same year or where one of both has none.
        """
        text = str(item).strip().casefold()
        if same := self._by_title.get(text):
            return same
        title, year = plain_title(text)
        alike = self._by_plain_title.get(title, [])
        rows = [row for row, other in alike if not year or other == year]
        rows = rows or [row for row, other in alike if not other]
        return rows if len(rows) == 1 else []

    @cached_property
    def _by_title(self) -> dict[str, list[int]]:
        """The rows of the items that have each title, whatever its case."""
        found: dict[str, list[int]] = {}
        for row, item in enumerate(self.items.values.tolist() if self.titles else ()):
            if title := self.titles.get(str(item)):
                found.setdefault(title.strip().casefold(), []).append(row)
        return found

    @cached_property
    def _by_plain_title(self) -> dict[str, list[tuple[int, str]]]:
        """The rows of the items that have each `plain_title`, and their years."""
        found: dict[str, list[tuple[int, str]]] = {}
        for text, rows in self._by_title.items():
            title, year = plain_title(text)
            found.setdefault(title, []).extend((row, year) for row in rows)
        return found

    @cached_property
    def _by_user(self) -> NDArray[np.int64]:
        order: NDArray[np.int64] = np.argsort(self.ratings.user_index.numpy(), kind="stable")
        return order

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        first: NDArray[np.int64] = np.concatenate([[0], self.user_counts.cumsum()])
        return first


def plain_title(text: str) -> tuple[str, str]:
    """A title in small letters as it is compared, and the year behind it, empty if there is none:
    `heat, the (2013)` is `the heat`, of 2013.
    """
    found = re.search(r"\(([0-9]{4})\)$", text)
    title, year = (text[: found.start()].rstrip(), found[1]) if found else (text, "")
    for article in ("the", "an", "a"):
        if title.endswith(f", {article}"):
            return f"{article} {title.removesuffix(f', {article}')}", year
    return title, year


def doubt_of_queries(n: int, *, n_known: int) -> str:
    """What seems wrong with n queries, for people, of which so many have a user and an item that
    are known; empty if nothing does.
    """
    if n <= FEW or n_known:
        return ""
    return (
        f"none of the {n:,} queries has a user and an item that the ratings have: are these the "
        "columns, and the ids, that were meant?"
    )


def timed(pairs: Pairs, times: NDArray[np.float64] | None) -> Pairs:
    """The same pairs at (n,) times, NaN where they stay as they are."""
    if pairs.times is None or times is None:
        return pairs
    found = np.where(np.isnan(times), pairs.times.numpy(), times)
    return Pairs(
        user_index=pairs.user_index, item_index=pairs.item_index, times=torch.from_numpy(found)
    )


def _with_more(ids: Ids, more: IdArray) -> tuple[Ids, Tensor]:
    """Ids with those behind them that are new, and the (n,) rows of `more`."""
    unknown = more[~are_in(ids, more)]
    one_kind = ids.values.dtype if ids.values.dtype.kind == more.dtype.kind else TEXT
    longer = Ids(np.concatenate([ids.values.astype(one_kind), unknown.astype(one_kind)]))
    return longer, longer.index(more)


def _longer(descriptions: tuple[Description, ...], n_rows: int) -> tuple[Description, ...]:
    """Descriptions of so many rows, the further ones the average of the others."""
    return tuple(
        replace(
            one,
            values=torch.cat([one.values, one.values.mean(0).expand(n_rows - len(one.values), -1)]),
        )
        for one in descriptions
    )


def row_of(ids: Ids, wanted: object) -> int:
    """The row of a raw id; UNKNOWN if there is none."""
    stripped = wanted.strip() if isinstance(wanted, str) else wanted  # as all ids are
    return int(ids.index(np.asarray([stripped])).item())


def are_in(ids: Ids, wanted: IdArray) -> NDArray[np.bool_]:
    """Which of (n,) raw ids are among some."""
    return (ids.index(wanted) != UNKNOWN).numpy()
