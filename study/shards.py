"""Tables that the ranks of a world read together: each has the rows of its own users at the end.

Every rank reads a share of the files' pieces. A sample of the rows says where, in the order of
users' ids, one rank's users end and the next one's begin, so that all have about as many ratings
and users are numbered through as in one process. Rows go to their owners a block at a time; items
are numbered alike everywhere. Blocks cross as streams of Arrow, whatever they hold.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from model.selection import drawn_keys, first_rows
from model.world import World
from storage import times
from storage.columns import Columns
from storage.errors import InputError
from storage.files import TEXT
from storage.frames import Frame
from storage.ids import WHOLE, id_array
from storage.missing import suspected_code
from storage.names import ROLES, TIME
from storage.ratings import IdArray, RatingsTable, arrow_ids, digest_of
from storage.tables import (
    Choose,
    Read,
    Scanned,
    is_mat_comp,
    joined_ids,
    no_rows,
    read_ratings,
    release,
    scan,
)

SAMPLED = 1_000  # rows a rank whose users say where ranges end
LOOKED_AT = 100_000  # values of all ranks that tell the unit of times, or a code
ROWS_AT_ONCE, BYTES_AT_ONCE = 1 << 20, 1 << 24  # that a rank sends
NUMBER = "number"  # the column of rows' numbers

Owners = Callable[["pa.RecordBatch"], NDArray[np.int64]]


@dataclass(frozen=True)
class Ranges:
    """Which users each rank has: those from one id on, up to the next."""

    begins: IdArray  # (size - 1,) ids of the first users of all ranks but the first; int64 or TEXT

    @property
    def are_texts(self) -> bool:
        """Whether the ids of users are texts."""
        return bool(self.begins.dtype == TEXT)

    def owners(self, ids: IdArray) -> NDArray[np.int64]:
        """The (n,) ranks that have users of (n,) ids, or would have them if they were known."""
        if self.are_texts:
            ids = ids.astype(TEXT)
        elif ids.dtype == TEXT:  # a text that is no number is nobody's
            whole = [int(one) if re.match(WHOLE, one) else 0 for one in ids.tolist()]
            ids = np.array([one if abs(one) < 2**63 else 0 for one in whole], np.int64)
        found = np.zeros(len(ids), np.int64)
        for begin in self.begins:  # which are few; `numpy.searchsorted` is wrong of long texts
            found += ids >= np.array(begin, dtype=self.begins.dtype)
        return found


class Together:
    """Reads a table with all ranks of a world; a `storage.tables.Reader`."""

    def __init__(self, world: World, ranges: Ranges | None = None) -> None:
        """A reader.

        Args:
            world: of the ranks, all of which read.
            ranges: of users; found by the rows that are read if not told.
        """
        self.world = world
        self.ranges = ranges
        self.code: tuple[float, int] | None = None  # as of `suspected_code`

    def __call__(
        self, source: "Path | Frame | pa.Table", choose: Choose, missing: float | None
    ) -> Read:
        """The rows of this rank's users.

        Raises:
            InputError: the same on all ranks.
        """
        world = self.world
        found = world.together(
            lambda: scan(source, choose, missing, rank=world.rank, size=world.size), InputError
        )
        if len(set(world.everyones(found.n_weighed))) > 1:
            raise InputError(f"{found.path}: expected the same files for all ranks, got others")
        n_rows = world.everyones(found.n_rows)
        if not sum(n_rows):
            raise no_rows(found.path)
        seconds, note = self._seconds(found)
        chosen = found.chosen if seconds is not None else replace(found.chosen, time=None)
        n_missing = int(_sum(world, found.n_rows - sum(map(len, found.blocks))))
        names, are_pairs = chosen.roles[: len(chosen.positions)], self.ranges is not None
        more: dict[str, NDArray[Any]] = {} if seconds is None else {TIME: seconds}
        if are_pairs:
            first = sum(n_rows[: world.rank])
            more[NUMBER] = np.arange(first, first + found.n_rows)
        about = chosen.described(found.n_columns)
        batches = _with_more(found.blocks, names, more)
        del found, seconds, more
        return replace(
            self.shared(batches, are_pairs=are_pairs),
            chosen=chosen,
            about=about,
            time_note=note,
            n_missing=n_missing,
        )

    def shared(self, batches: "list[pa.RecordBatch]", *, are_pairs: bool) -> Read:
        """The columns of this rank's users, of batches of users, items and maybe more of all ranks.

        Args:
            batches: which are used up.
            are_pairs: whether they are to be in the order of their numbers, which they have, with
                ids of these items alone; else items are those of all ranks.
        """
        world = self.world
        users_are_texts, items_are_texts = (
            any(world.everyones(any(_is_text(one.column(side)) for one in batches)))
            for side in range(2)
        )
        ranges = self.ranges or self._found_ranges(batches, users_are_texts)
        if self.ranges is None:
            self.ranges = ranges
            self.code = self._found_code(batches)

        def owners(batch: "pa.RecordBatch") -> NDArray[np.int64]:
            users = batch.column(0)
            of_ids = ranges.owners(id_array(users.dictionary))
            found: NDArray[np.int64] = of_ids[users.indices.to_numpy()]
            return found

        names = next(filter(None, world.everyones(_names(batches))))
        received = exchanged(world, batches, owners)
        release()
        users = joined_ids(_chunks(received, 0), are_texts=users_are_texts)
        if are_pairs:
            items = joined_ids(_chunks(received, 1), are_texts=items_are_texts)
        else:
            items = _of_all(world, _chunks(received, 1), are_texts=items_are_texts)
        rows = [users[1], items[1]]
        columns = {
            name: np.concatenate([one.column(name).to_numpy() for one in received] or [np.empty(0)])
            for name in names[2:]
        }
        del received
        release()
        if are_pairs:
            order = np.argsort(columns[NUMBER])
            rows = [one[order] for one in rows]
            columns = {name: column[order] for name, column in columns.items()}
        n_joined = int(_sum(world, users[2])) + (
            int(_sum(world, items[2])) if are_pairs else items[2]
        )
        return Read(
            chosen=None,  # type: ignore[arg-type]
            about="",
            ids=[(users[0], rows[0]), (items[0], rows[1])],
            ratings=columns.get(ROLES[2], np.empty(0)),
            times=columns.get(TIME),
            time_note="",
            n_joined=n_joined,
            n_missing=0,
            numbers=columns[NUMBER].astype(np.int64) if are_pairs else None,
        )

    def _seconds(self, found: Scanned) -> tuple[NDArray[np.float64] | None, str]:
        """The times of this rank's rows, as all ranks see them together."""
        world = self.world
        if found.chosen.time is None:
            return None, ""
        like = [
            block for some in world.everyones(_some(found.moments, world.size)) for block in some
        ]
        seconds, note = world.together(lambda: found.seconds(like), InputError)
        said = list(zip(world.everyones(seconds is None), world.everyones(note), strict=True))
        if refused := [note for is_none, note in said if is_none]:
            return None, refused[0]
        assert seconds is not None
        if not _sum(world, np.isfinite(seconds).sum()):
            return None, "none"
        return seconds, "; ".join(dict.fromkeys(filter(None, (note for _, note in said))))

    def _found_ranges(self, batches: "list[pa.RecordBatch]", are_texts: bool) -> Ranges:
        """Ranges of users that have about as many rows each, by a sample of them."""
        world, n_rows = self.world, sum(map(len, batches))
        sample: list[Any] = []
        n = min(n_rows, SAMPLED)
        sampled, start = np.arange(n) * n_rows // max(n, 1), 0
        for batch in batches:
            rows = sampled[(sampled >= start) & (sampled < start + len(batch))] - start
            users = batch.column(0)
            ids = id_array(users.dictionary)
            ids = ids.astype(TEXT) if are_texts else ids
            sample += ids[users.indices.to_numpy()[rows]].tolist()
            start += len(batch)
        weighted = sorted(
            (one, of / max(len(some), 1))
            for some, of in world.everyones((sample, n_rows))
            for one in some
        )
        weights = np.cumsum([weight for _, weight in weighted])
        ends = np.searchsorted(weights, weights[-1] * np.arange(1, world.size) / world.size)
        begins = [weighted[0][0]]
        for end in ends:  # one user may have more than a rank's part
            beyond = (one for one, _ in weighted[end:] if one > begins[-1])
            begins.append(next(beyond, begins[-1]))
        return Ranges(np.array(begins[1:], TEXT if are_texts else np.int64))

    def _found_code(self, batches: "list[pa.RecordBatch]") -> tuple[float, int] | None:
        """What `suspected_code` says of the ratings of all ranks, by a part of them if many."""
        world = self.world
        n_rows = int(_sum(world, sum(map(len, batches))))
        every = n_rows // LOOKED_AT + 1
        ratings = [batch.column(2).to_numpy() for batch in batches]
        some = world.everyones([one[::every] for one in ratings])
        code = suspected_code(np.concatenate([one for ranks in some for one in ranks]))
        if code is None:
            return None
        return code[0], int(_sum(world, sum(int((one == code[0]).sum()) for one in ratings)))


def read_shard(
    source: "Path | Frame | pa.Table | RatingsTable",
    columns: Columns | None,
    missing: float | None,
    world: World,
) -> tuple[RatingsTable, Ranges, NDArray[np.int64]]:
    """The ratings of this rank's users and its queries, the ranges of all, and the (n_queries,)
    numbers of its queries.

    All that is said of the table, and its items, are of all ranks. What is no table in files is
    read by the first rank.

    Raises:
        InputError: it cannot be read, or has too few users for a world of that size; the same on
            all ranks.
    """
    reader = Together(world)
    is_whole = not isinstance(source, Path) or world.together(
        lambda: is_mat_comp(source, columns), InputError
    )
    numbers = np.empty(0, np.int64)
    if not is_whole:
        assert not isinstance(source, RatingsTable)
        table = read_ratings(source, columns, missing, fewest=0, read=reader)
        table = replace(table, n_repeated=int(_sum(world, table.n_repeated)))
        code, n_code = reader.code or (None, 0)
    else:
        whole = world.together(
            lambda: None if world.rank else _whole(source, columns, missing), InputError
        )
        told = world.everyones(whole and replace(whole, **_nothing(whole)))[0]
        assert told is not None
        queries = [] if whole is None else list(_of_queries(whole))
        found = reader.shared([] if whole is None else list(_of_ratings(whole)), are_pairs=False)
        table = RatingsTable.from_indices(
            *found.ids,
            ratings=found.ratings,
            times=found.times,
            query_user_ids=told.query_user_ids,
            query_item_ids=told.query_item_ids,
        )
        own = {name: getattr(table, name) for name in _nothing(table)}
        own["times"] = table.times
        table, code, n_code = replace(told, **own), told.code, told.n_code
        if any(world.everyones(len(queries) > 0)):
            asked = Together(world, reader.ranges).shared(queries, are_pairs=True)
            (users, user_rows), (items, item_rows) = asked.ids
            assert asked.numbers is not None
            numbers = asked.numbers
            table = replace(table, query_user_ids=users[user_rows], query_item_ids=items[item_rows])
    assert reader.ranges is not None
    if not all(world.everyones(table.n_ratings > 0)):
        raise InputError(
            f"{source if isinstance(source, Path) else 'ratings'}: expected users enough for "
            f"{world.size} ranks, of which each has its own; start fewer"
        )
    return replace(table, code=code, n_code=n_code), reader.ranges, numbers


def digest_of_all(table: RatingsTable, world: World, *, first_user: int, context: str) -> str:
    """The digest of the ratings of all ranks, as one process would have it: the first rank sees
    them pass.

    Args:
        table: of this rank.
        world: of the ranks.
        first_user: how many users the ranks before have.
        context: as of the table.
    """
    are_short = all(world.everyones(table.are_short))
    is_last = world.rank == world.size - 1

    def passing() -> Iterator[memoryview]:
        hashed = table.hashed(are_short=are_short, first_user=first_user, is_last=is_last)
        for column in hashed:
            for rank, size in enumerate(world.everyones(len(column))):
                for start in range(0, size, BYTES_AT_ONCE):
                    end = start + BYTES_AT_ONCE if rank == world.rank else start
                    sent = torch.from_numpy(column[start:end].copy())
                    to_first = [len(sent)] + [0] * (world.size - 1)
                    yield world.exchanged(sent, to_first).numpy().data

    return world.everyones(digest_of(passing(), context))[0]


def of_some_users(
    table: RatingsTable, world: World, *, n_ratings: int, seed: int
) -> RatingsTable | None:
    """On the first rank all ratings of users of all ranks drawn at random, about `n_ratings`.

    Whom it draws does not depend on how many ranks there are; None elsewhere.
    """
    counts = np.bincount(table.user_index, minlength=len(table.users))
    keys = drawn_keys(seed, len(counts), world)
    rows = first_rows([keys], n_ratings, world, weights=counts)[table.user_index]
    some = replace(
        table,
        user_index=table.user_index[rows],
        item_index=table.item_index[rows],
        ratings=table.ratings[rows],
        times=None if table.times is None else table.times[rows],
    )
    received = exchanged(world, list(_of_ratings(some)), _first_of)
    if world.rank:
        return None
    sides = [
        joined_ids(_chunks(received, side), are_texts=ids.dtype == TEXT)
        for side, ids in enumerate((table.users, table.items))
    ]
    columns = {
        name: np.concatenate([one.column(name).to_numpy() for one in received])
        for name in received[0].schema.names[2:]
    }
    found = RatingsTable.from_indices(
        *((ids, index) for ids, index, _ in sides),
        ratings=columns[ROLES[2]],
        times=columns.get(TIME),
        query_user_ids=table.query_user_ids[:0],
        query_item_ids=table.query_item_ids[:0],
    )
    names = ("user_name", "item_name", "rating_name", "time_name")
    return replace(found, **{name: getattr(table, name) for name in names})


def exchanged(
    world: World, batches: "list[pa.RecordBatch]", owners: Owners
) -> "list[pa.RecordBatch]":
    """The rows that all ranks have for this one.

    Args:
        world: of the ranks.
        batches: of this rank, which are used up.
        owners: of a batch, the ranks that its (n,) rows go to.
    """
    received: list[pa.RecordBatch] = []
    batches.reverse()
    while any(world.everyones(bool(batches))):
        parts = [b""] * world.size
        if batches:
            batch = batches.pop()
            whose = owners(batch)
            order = np.argsort(whose, kind="stable")
            ends = np.searchsorted(whose[order], np.arange(world.size + 1))
            for rank, (start, end) in enumerate(pairwise(ends.tolist())):
                if end > start:
                    parts[rank] = _written(batch.take(pa.array(order[start:end])))
        sent = torch.frombuffer(bytearray(b"".join(parts)) or bytearray(1), dtype=torch.uint8)
        sizes = [len(part) for part in parts]
        found = world.exchanged(sent[: sum(sizes)], sizes)
        received += _read(found.numpy())
    return received


def gathered_first(
    world: World, numbers: NDArray[np.int64], columns: Sequence[tuple[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]] | None:
    """The columns of all ranks in the order of the rows' numbers, on the first; None elsewhere.

    Args:
        world: of the ranks.
        numbers: (n,) of this rank's rows.
        columns: (n,) each.
    """
    arrays = [arrow_ids(one) if one.dtype == TEXT else pa.array(one) for _, one in columns]
    names = [*(str(n) for n in range(len(columns))), NUMBER]
    whole = pa.table([*arrays, pa.array(numbers)], names=names)
    batches = whole.combine_chunks().to_batches(max_chunksize=ROWS_AT_ONCE)
    received = exchanged(world, batches, _first_of)
    if world.rank:
        return None
    order = np.argsort(np.concatenate([one.column(NUMBER).to_numpy() for one in received]))
    found: dict[str, NDArray[Any]] = {}
    for at, (name, mine) in enumerate(columns):
        parts = [one.column(at) for one in received]
        if mine.dtype == TEXT:
            texts = [text for part in parts for text in part.to_pylist()]
            found[name] = np.array(texts, dtype=TEXT)[order]
        else:
            values = [part.to_numpy(zero_copy_only=False) for part in parts]
            found[name] = np.concatenate(values)[order]
    return found


def _first_of(batch: "pa.RecordBatch") -> NDArray[np.int64]:
    """The owners of rows that all go to the first rank."""
    return np.zeros(len(batch), np.int64)


def _sum(world: World, value: Any) -> float:
    return float(world.sum(torch.tensor([float(value)], dtype=torch.float64)).item())


def _is_text(ids: "pa.DictionaryArray") -> bool:
    return bool(id_array(ids.dictionary).dtype == TEXT)


def _names(batches: "list[pa.RecordBatch]") -> list[str] | None:
    """The names of columns, if there is a batch."""
    return batches[0].schema.names if batches else None


def _chunks(batches: "Iterable[pa.RecordBatch]", side: int) -> "list[pa.DictionaryArray]":
    """The ids of users or items; of no batches none."""
    nobody = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.int64()))
    return [batch.column(side) for batch in batches] or [nobody]


def _of_all(
    world: World, chunks: "list[pa.DictionaryArray]", *, are_texts: bool
) -> tuple[IdArray, NDArray[np.int32], int]:
    """What `joined_ids` gives of the columns of all ranks together, with the rows of this one's."""
    if len({chunk.type for chunk in chunks}) > 1:
        chunks = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.string()))
            for chunk in chunks
        ]
    mine = pa.chunked_array(chunks).unify_dictionaries()
    of_ranks = world.everyones(mine.chunk(0).dictionary)
    indexed = [
        pa.DictionaryArray.from_arrays(pa.array(np.arange(len(one), dtype=np.int32)), one)
        for one in of_ranks
    ]
    ids, rows, n_joined = joined_ids(indexed, are_texts=are_texts)
    before = sum(map(len, of_ranks[: world.rank]))
    own = rows[before : before + len(of_ranks[world.rank])]
    return ids, own[np.concatenate([one.indices.to_numpy() for one in mine.chunks])], n_joined


def _with_more(
    blocks: "list[pa.RecordBatch]", names: Sequence[str], more: Mapping[str, NDArray[Any]]
) -> "list[pa.RecordBatch]":
    """The blocks, which are used up, with more columns than these of all their rows."""
    found, start = [], 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        own = [pa.array(column[start : start + len(block)]) for column in more.values()]
        found.append(
            pa.RecordBatch.from_arrays([*block.columns, *own], names=[*names, *more.keys()])
        )
        start += len(block)
    return found


def _some(blocks: Sequence[times.Block], size: int) -> list[times.Block]:
    """Blocks of some of the values, one in so many, so that those of all ranks are LOOKED_AT."""
    n_rows = sum(len(block.values) for block in blocks)
    every = n_rows * size // LOOKED_AT + 1
    known = [replace(one, wrong=None) for one in blocks]
    if every > 1:
        known = [replace(one, values=one.values[::every]) for one in known]
    return known


def _whole(source: Any, columns: Columns | None, missing: float | None) -> RatingsTable:
    return source if isinstance(source, RatingsTable) else read_ratings(source, columns, missing)


def _nothing(table: RatingsTable) -> dict[str, Any]:
    """The columns of a table without rows."""
    names = ("users", "items", "user_index", "item_index", "ratings", "query_user_ids")
    found = {name: getattr(table, name)[:0] for name in (*names, "query_item_ids")}
    return {**found, "times": None, "query_times": None}


def _of_ratings(table: RatingsTable) -> "Iterator[pa.RecordBatch]":
    """The ratings of a table in batches, as readers give them."""
    for start in range(0, table.n_ratings, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        columns = [_coded(table.users[table.user_index[rows]])]
        columns += [_coded(table.items[table.item_index[rows]]), pa.array(table.ratings[rows])]
        names = list(ROLES)
        if table.times is not None:
            columns.append(pa.array(table.times[rows]))
            names.append(TIME)
        yield pa.RecordBatch.from_arrays(columns, names=names)


def _of_queries(table: RatingsTable) -> "Iterator[pa.RecordBatch]":
    """The queries of a table in batches."""
    for start in range(0, table.n_queries, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        users, items = _coded(table.query_user_ids[rows]), _coded(table.query_item_ids[rows])
        numbers = pa.array(np.arange(start, start + len(users)))
        yield pa.RecordBatch.from_arrays([users, items, numbers], names=[*ROLES[:2], NUMBER])


def _coded(ids: IdArray) -> "pa.DictionaryArray":
    return arrow_ids(ids).dictionary_encode()


def _written(batch: "pa.RecordBatch") -> bytes:
    """The bytes of a batch, with no ids but those that it has."""
    columns = [
        one.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(one.type) else one
        for one in batch.columns
    ]
    compact = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, compact.schema) as writer:
        writer.write_batch(compact)
    return bytes(sink.getvalue())


def _read(content: NDArray[np.uint8]) -> "list[pa.RecordBatch]":
    """The batches of streams that stand one behind the other."""
    found, source = [], pa.BufferReader(pa.py_buffer(content))
    while source.tell() < len(content):
        with pa.ipc.open_stream(source) as stream:
            found += list(stream)
    return found
