"""What a command works on: the ratings, indexed, and where they came from."""

import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from model.dataset import Ids, Pairs, Ratings
from model.world import ALONE, World
from storage.cache import kept, kept_frame, read_cached, spooled
from storage.columns import FRAME, Columns
from storage.datasets import demonstration
from storage.descriptions import MOST_ROWS
from storage.errors import InputError, ParameterError, printable
from storage.frames import Frame as HeldFrame
from storage.frames import is_frame, read_frame
from storage.ids import are_nameless, padded_twins
from storage.missing import are_missing
from storage.movielens import NAMES, Files, fetch
from storage.parts import is_pattern
from storage.ratings import RatingsTable
from storage.sources import Sources
from storage.stores import KNOWN, StoredPath, as_path
from storage.tables import read_pairs, read_ratings
from storage.times import span_of
from storage.urls import hidden
from study.events import OnEvent, Said, ignored
from study.known import Known, are_in, doubt_of_queries, timed
from study.shards import Ranges, Together, digest_of_all, gathered_first, read_shard
from study.sides import Side, read_side, rows_of


class ArrowStream(Protocol):
    """A data frame that speaks Arrow."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


Source = str | os.PathLike[str]  # a file, or the name of a public data set
Columnar = Mapping[str, Sequence[object] | NDArray[Any]]  # a dict of columns
Rows = Sequence[object] | NDArray[Any]  # of user, item and rating
Frame = ArrowStream | Columnar | Rows

DEFAULT_FILE = Path("mat_comp")
WORTH_A_GPU = 3_000_000  # ratings: a GPU waits for what it is told more than it works on fewer
STANDARD_INPUT = "-"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """How much there is, on all ranks together."""

    n_ratings: int
    n_users: int  # with ratings
    n_timeless: int = 0  # ratings whose time is not known
    times: tuple[float, float] | None = None  # the first and the last
    n_queries: int
    n_known: int  # queries whose user and item both have ratings, or are in a table

    @classmethod
    def of(cls, table: RatingsTable, users: Ids, items: Ids, world: World) -> Self:
        """Those of the ratings and queries that each rank has."""
        known = are_in(users, table.query_user_ids) & are_in(items, table.query_item_ids)
        counts = [table.n_ratings, len(table.users), table.n_queries, int(known.sum())]
        span = None
        if table.times is not None:
            is_known = ~np.isnan(table.times)
            counts.append(int((~is_known).sum()))
            ends = [table.times[is_known].min(initial=np.inf)]
            ends.append(table.times[is_known].max(initial=-np.inf))
            lowest, highest = world.most(torch.tensor([-ends[0], ends[1]])).tolist()
            span = (-lowest, highest)
        n_ratings, n_users, n_queries, n_known, *more = world.sum(torch.tensor(counts)).tolist()
        return cls(
            n_ratings=n_ratings,
            n_users=n_users,
            n_timeless=sum(more),
            times=span,
            n_queries=n_queries,
            n_known=n_known,
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Data:
    """A set of ratings to learn from and pairs to predict; of several ranks each has its own."""

    source: str  # for people: the file, or what else it is
    sources: Sources  # files where they are, frames as Arrow's
    table: RatingsTable
    ratings: Ratings
    user_side: Side
    item_side: Side
    totals: Totals
    ranges: Ranges | None = None  # of the users of all ranks
    sample: "Data | None" = None  # of the ratings of all ranks, for trials; on the first
    query_numbers: NDArray[np.int64] | None = None  # (n_queries,) their places among those of all
    truth: NDArray[np.float64] | None = None  # (n_queries,) if known, NaN where it is not
    truth_name: str = ""  # of the column of queries that it stands in
    noise_std: float | None = None  # of the demonstration
    asked_of: str = ""  # for people: the file of queries, if there is one
    asked: str = ""  # for people: that, and its columns

    @property
    def is_demonstration(self) -> bool:
        """Whether these are the built-in ratings, which every process has."""
        return self.noise_std is not None

    @property
    def file(self) -> Path | None:
        """The file of the ratings, if they came from one."""
        return self.sources.data if isinstance(self.sources.data, Path) else None

    @property
    def users(self) -> Ids:
        """Those who have ratings, and behind them those whom a table of users has besides."""
        return self.user_side.ids

    @property
    def items(self) -> Ids:
        """What has ratings, and behind it what a table of items has besides."""
        return self.item_side.ids

    def titles(self, column: str = "") -> dict[str, str]:
        """The titles by item id as text, if the table of items has some.

        Args:
            column: what it calls them, where they are not called titles or names.

        Raises:
            InputError: there is no such column.
        """
        table = self.item_side.table
        return table.titles(column) if table else {}

    @property
    def files(self) -> list[Path]:
        """All files that these came from."""
        found = (self.sources.data, self.sources.items, self.sources.users)
        return [one for one in found if isinstance(one, Path)]

    @cached_property
    def known(self) -> Known:
        """What answers need to know of these."""
        present = None
        if self.ratings.times is not None:
            present = self.totals.times[1] if self.totals.times else None
        return Known(
            source=self.source,
            users=self.users,
            items=self.items,
            user_name=self.table.user_name,
            item_name=self.table.item_name,
            rating_name=self.table.rating_name,
            time_name=self.table.time_name,
            ratings=self.ratings,
            present=present,
            titles=self.titles(),
        )

    @cached_property
    def queries(self) -> Pairs:
        """The pairs to predict, UNKNOWN where the ratings do not have a user or an item.

        If ratings have times, a pair without one is of the present, that of the last rating.
        """
        present = self.known.at_present(
            self.users.index(self.table.query_user_ids),
            self.items.index(self.table.query_item_ids),
        )
        return timed(present, self.table.query_times)

    def of_all_queries(
        self, columns: Mapping[str, NDArray[Any]]
    ) -> tuple[RatingsTable, Mapping[str, NDArray[Any]]] | None:
        """The queries of all ranks in their order, with (n_queries,) columns; on the first rank."""
        if self.query_numbers is None:
            return self.table, columns
        ids = [("user", self.table.query_user_ids), ("item", self.table.query_item_ids)]
        given = [*ids, *columns.items()]
        found = gathered_first(self.ratings.world, self.query_numbers, given)
        if found is None:
            return None
        users, items = found.pop("user"), found.pop("item")
        return replace(self.table, query_user_ids=users, query_item_ids=items), found

    def in_files(self, folder: Path) -> Sources:
        """Where another process reads the same; what came from memory is kept in `folder`.

        Raises:
            InputError: it cannot be written.
        """
        sources = self.sources
        if isinstance(sources.data, HeldFrame):
            path, columns = kept(self.table, folder)
            sources = replace(sources, data=path, columns=columns, missing=None)
        if isinstance(sources.items, HeldFrame):
            sources = replace(sources, items=kept_frame(sources.items, folder))
        if isinstance(sources.users, HeldFrame):
            sources = replace(sources, users=kept_frame(sources.users, folder))
        return sources

    @property
    def summary(self) -> str:
        """Where they came from, and how many they are, for people."""
        return (
            f"{self.source}, {self.totals.n_ratings:,} ratings, {self.totals.n_users:,} users, "
            f"{len(self.table.items):,} items"
        )

    @property
    def positions(self) -> Columns | None:
        """Where the columns of other tables of the same kind are, if the ratings have no header."""
        return None if self.table.rating_name else self.sources.columns

    @property
    def doubt(self) -> str:
        """What seems wrong with the queries, for people; empty if nothing does."""
        return doubt_of_queries(self.totals.n_queries, n_known=self.totals.n_known)

    def __repr__(self) -> str:
        text = self.described().replace("\n", "\n ")
        return f"<Data: {text}>"

    def described(self) -> str:
        """A line for people, and more for what was guessed, asked or rated more than once."""
        table, totals = self.table, self.totals
        text = f"{self.summary}, {totals.n_queries:,} queries"
        if table.about:
            text += f"\nColumns: {table.about}"
        if self.asked:
            n_unknown = totals.n_queries - totals.n_known
            text += f"\nQueries: {self.asked}, {n_unknown:,} of unknown users or items"
        if table.times is not None or table.time_note:
            text += f"\nTimes: {self._times_described()}"
        for role, side in (("item", self.item_side), ("user", self.user_side)):
            if side.table:
                text += f"\n{role.capitalize()}s: {side.described(role)}"
        if table.n_repeated:
            what = "such a pair has the mean of its ratings"
            text += f"\nRepeated: {table.n_repeated:,} lines rate a pair again; "
            text += what if table.times is None else "the newest counts"
        if table.n_joined:
            text += (
                f"\nAlike: {table.n_joined:,} ids differ from others in blanks, or marks of byte "
                "order, around them, or in a .0 at the end, alone, and count as the same"
            )
        text += self._nameless_described()
        missing = self.sources.missing
        if missing is not None and not self.is_demonstration:
            text += f"\nMissing: {table.n_missing:,} rows rated {missing:g} are left out"
        if table.code is not None:
            text += (
                f"\nApart: {table.n_code:,} rows are rated {table.code:g}, unlike all others; if "
                f"that stands for no rating, missing={table.code:.15g} leaves them out"
            )
        return text

    def _nameless_described(self) -> str:
        """Lines of ids that may stand for none, or for others, of users and of items."""
        text, table = "", self.table
        sides = (("user", table.users, table.user_index), ("item", table.items, table.item_index))
        for role, ids, index in sides:
            nameless = are_nameless(ids)
            if n_rows := int(nameless[index].sum()):
                named = " or ".join(ids[nameless].tolist())
                text += (
                    f"\nNamed: {n_rows:,} rows are of {role} {named}; "
                    "if that stands for nobody or nothing, leave these rows out"
                )
            if padded := padded_twins(ids):
                text += (
                    f"\nPadded: {len(padded):,} {role}s, such as {padded[0]}, are called like "
                    "others but for zeros before, and count as others than these"
                )
        return text

    def _times_described(self) -> str:
        """From when to when, and what is odd."""
        totals, note = self.totals, self.table.time_note
        if totals.times is None:
            return note
        n, of = totals.n_timeless, totals.n_ratings
        without = f"{n:,} of {of:,} ratings without" if n else ""
        return "; ".join(filter(None, (span_of(np.array(totals.times)), without, note)))


def load_data(
    source: object,
    *,
    runs: Path,
    on_event: OnEvent = ignored,
    world: World = ALONE,
) -> Data:
    """The ratings of a file, a data frame, of ./mat_comp, or of the built-in demonstration.

    Args:
        source: the `Sources`, or their data alone: a file of any known format, `-` for standard
            input, the name of a public data set, or a data frame. What a stream gives is kept in
            `runs`, so that the file of the result can be read again.
        runs: the folder whose `cache` holds what was parsed before.
        on_event: told that a public data set is downloaded, and on what terms.
        world: of the ranks that share the users out, all of which call this.

    Raises:
        InputError: a file cannot be read, or there are fewer than two ratings.
    """
    told = source if isinstance(source, Sources) else Sources(data=source)
    file, columns, missing = _as_path(told.data), told.columns, told.missing
    if file is None and (DEFAULT_FILE.exists() or DEFAULT_FILE.is_symlink()):
        file = DEFAULT_FILE
    truth, noise_std = None, None
    public: tuple[Path | None, ...] = ()
    found: Path | HeldFrame | RatingsTable
    if file is None:
        demo = demonstration()
        found, name = demo.table, "built-in demo"
        truth, noise_std = demo.truth, demo.noise_std
    elif is_frame(file):
        file = found = read_frame(file, may_be_matrix=columns is None)
        name = file.name
    else:
        located = world.together(lambda: _located(file, runs, on_event), InputError)
        found, name, fetched = located
        file = found.absolute()  # which may be read again, from another folder
        if fetched:
            public = (fetched.items, fetched.users)
            items = fetched.items if told.items is None else told.items
            users = fetched.users if told.users is None else told.users
            told = replace(told, items=items, users=users)
    ranges, numbers = None, None
    if world.size > 1:
        table, ranges, numbers = read_shard(found, columns, missing, world)
    elif isinstance(found, RatingsTable):
        table = found
    elif isinstance(found, Path):
        table = read_cached(found, runs / "cache", columns, missing)
    else:
        table = read_ratings(found, columns, missing)
    item_source, item_side = world.together(
        lambda: _side(told.items, table, "item", public=public, runs=runs, on_event=on_event),
        InputError,
    )
    user_source, user_side, user_numbers = _users_side(
        told.users, table, world, ranges, public=public, runs=runs, on_event=on_event
    )
    context = item_side.digest + user_side.digest
    table = replace(table, context=context)
    if world.size > 1:
        n_before = sum(world.everyones(len(table.users))[: world.rank])
        digest = digest_of_all(table, world, first_user=n_before, context=context)
        table = replace(table, digest_of_all=digest)
        if truth is not None:
            truth = truth[numbers]
    ratings = Ratings(
        n_users=len(user_side.ids),
        n_items=len(item_side.ids),
        user_index=torch.from_numpy(table.user_index.astype(np.int64)),
        item_index=torch.from_numpy(table.item_index.astype(np.int64)),
        values=torch.from_numpy(table.ratings),
        times=None if table.times is None else torch.from_numpy(table.times),
        user_descriptions=user_side.descriptions,
        item_descriptions=item_side.descriptions,
        world=world,
        user_numbers=user_numbers,
    )
    return Data(
        source=printable(name),
        sources=replace(told, data=file, items=item_source, users=user_source),
        table=table,
        ratings=ratings,
        user_side=user_side,
        item_side=item_side,
        totals=Totals.of(table, user_side.ids, item_side.ids, world),
        ranges=ranges,
        query_numbers=numbers,
        truth=truth,
        noise_std=noise_std,
    )


def with_pairs(
    data: Data,
    pairs: object,
    *,
    runs: Path,
    rated: bool = False,
    on_event: OnEvent = ignored,
) -> Data:
    """The same ratings with the pairs of a file or a data frame in place of their own.

    Where the pairs come with ratings, these are their truth; where they need them, those without
    are left out.

    Raises:
        InputError: the pairs cannot be read, their users are the items of the ratings, or they have
            no ratings and need them.
    """
    source, table, world = _as_path(pairs), data.table, data.ratings.world
    is_in_memory = is_frame(source)
    name = str(FRAME if is_in_memory else source)
    located = world.together(
        lambda: read_frame(source) if is_in_memory else _located(source, runs, on_event)[0],
        InputError,
    )
    found = read_pairs(
        located,
        names=(table.user_name, table.item_name),
        rating_name=table.rating_name,
        time_name=table.time_name,
        positions=data.positions,
        needs_ratings=rated,
        read=Together(world, data.ranges) if world.size > 1 else None,
    )
    data.known.check(found, name)
    truth, kept = found.ratings, np.full(len(found.user_ids), True)
    if truth is not None:
        truth = np.where(are_missing(truth, data.sources.missing), np.nan, truth)
        kept = ~np.isnan(truth) if rated else kept
        is_known = any(world.everyones(not np.isnan(truth).all()))
        truth = truth[kept] if is_known else None
    if rated and not kept.any():
        raise InputError(
            f"{name}: expected ratings to score predictions by, got none but "
            f"{data.sources.missing:g}, which stands for none"
        )
    if rated:
        data.known.check_met(found, name)
    table = replace(
        table,
        query_user_ids=found.user_ids[kept],
        query_item_ids=found.item_ids[kept],
        query_times=None if found.times is None else found.times[kept],
        user_name=found.user_name,
        item_name=found.item_name,
    )
    return replace(
        data,
        table=table,
        totals=Totals.of(table, data.users, data.items, world),
        query_numbers=None if found.numbers is None else found.numbers[kept],
        truth=truth,
        truth_name=found.rating_name,
        asked=f"{printable(name)}, {found.about}",
        asked_of=printable(name),
    )


def check_device(name: str) -> None:
    """Looks whether there is such a device.

    Raises:
        InputError: `cuda` was asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device", "cuda was asked for, but PyTorch finds no GPU here")


def choose_device(name: str, n_ratings: int) -> torch.device:
    """The device of that name; `auto` is a GPU if there is one and that many ratings are worth it.

    Raises:
        InputError: `cuda` was asked for where there is none.
    """
    check_device(name)
    if name == "auto":
        is_faster = n_ratings >= WORTH_A_GPU and torch.cuda.is_available()
        name = "cuda" if is_faster else "cpu"
    return torch.device(name)


def _side(
    source: object,
    table: RatingsTable,
    role: str,
    *,
    public: Collection[Path | None],
    runs: Path,
    on_event: OnEvent,
) -> tuple[Path | HeldFrame | None, Side]:
    """The users or the items, with what a table says of them, and where that can be read again.

    Raises:
        InputError: the table cannot be read, or has nothing to do with the ratings.
    """
    given, name = _as_path(source), f"{role}s, a {FRAME}"
    if is_frame(given):
        given = read_frame(given)
    elif given is not None:
        given, name, _ = _located(given, runs, on_event)
        name = given.name if given in public else name
    ids, id_name = (table.items, table.item_name)
    if role == "user":
        ids, id_name = (table.users, table.user_name)
    side = read_side(given, ids, role=role, id_name=id_name, name=printable(name))
    return given.absolute() if isinstance(given, Path) else given, side


def _users_side(
    source: object,
    table: RatingsTable,
    world: World,
    ranges: Ranges | None,
    *,
    public: Collection[Path | None],
    runs: Path,
    on_event: OnEvent,
) -> tuple[Path | HeldFrame | None, Side, NDArray[np.int64] | None]:
    """The same of users, of whom each of several ranks keeps its own, and these users' numbers.

    Who is in the table alone comes behind the others of the rank that would have their ratings.

    Raises:
        InputError: the table cannot be read, has nothing to do with the ratings, or these have more
            users than a table may have.
    """
    if world.size == 1:
        found, side = _side(source, table, "user", public=public, runs=runs, on_event=on_event)
        return found, side, None
    n_users = world.everyones(len(table.users))
    if source is None:
        found, side = _side(source, table, "user", public=public, runs=runs, on_event=on_event)
        first = sum(n_users[: world.rank])
        numbers = np.arange(first, first + len(table.users))
        return found, replace(side, n_rated=sum(n_users)), numbers
    if sum(n_users) > MOST_ROWS:
        raise ParameterError(
            "users", f"expected at most {MOST_ROWS:,} users to describe, got {sum(n_users):,}"
        )
    of_all = replace(table, users=np.concatenate(world.everyones(table.users)))
    found, side = world.together(
        lambda: _side(source, of_all, "user", public=public, runs=runs, on_event=on_event),
        InputError,
    )
    assert ranges is not None
    mine = np.flatnonzero(ranges.owners(side.ids.values) == world.rank)
    return found, rows_of(side, mine), mine


def _as_path(source: Any) -> Any:
    return as_path(source) if isinstance(source, str | os.PathLike) else source


def _located(file: Path, runs: Path, on_event: OnEvent) -> tuple[Path, str, Files | None]:
    """The file that is meant, a stream kept, public data downloaded; what to call it; and all files
    of public data.

    Raises:
        InputError: there is no such file.
    """
    name = str(file)
    if isinstance(file, StoredPath):
        return file, name, None
    if name == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError("-: expected a table from standard input, got a terminal")
        return spooled(sys.stdin.buffer, runs / "cache"), "standard input", None
    if file.is_fifo():
        with file.open("rb") as stream:
            return spooled(stream, runs / "cache"), "a pipe", None
    if file.is_dir():
        inside = [file / known for known in ("ratings.csv", "ratings.dat", "u.data")]
        for path in filter(Path.exists, inside):
            raise InputError(f"{file}: expected a file, got a directory; did you mean {path}?")
    elif not file.exists() and not file.is_symlink():
        if re.match(r"\w[\w+]+:/|[^/]*:.*@", name):
            raise InputError(f"{hidden(name)}: expected a file, got a URL other than {KNOWN}")
        if is_pattern(file):
            return file, name, None
        if name in NAMES:
            files = fetch(name, say=lambda text: on_event(Said(text)))
            return files.ratings, name, files
        if similar := get_close_matches(name, [*_beside(file), *NAMES], n=1):
            raise InputError(f"{file}: no such file; did you mean {similar[0]}?")
    return file, name, None


def _beside(file: Path) -> list[str]:
    """What a file that is not there may have been meant to be called."""
    try:
        return [str(other) for other in file.parent.iterdir() if other.is_file()]
    except OSError:
        return []
