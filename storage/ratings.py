"""Ratings and query pairs as columns, whatever file they came from."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from storage.files import TEXT
from storage.missing import suspected_code

if TYPE_CHECKING:
    import pyarrow as pa

IdArray = NDArray[Any]  # of int64 or TEXT


@dataclass(frozen=True, kw_only=True)
class RatingsTable:
    """Ratings, one a (user, item) pair and sorted by it, and the pairs to predict.

    Ids are whole numbers or texts, as they were read. A pair that was rated more than once has its
    newest rating, or without times the mean of its ratings.
    """

    users: IdArray  # (n_users,) ids of those who rated, sorted
    items: IdArray  # (n_items,) ids of what was rated, sorted
    user_index: NDArray[np.int32]  # (n_ratings,) rows of `users`
    item_index: NDArray[np.int32]  # (n_ratings,) rows of `items`
    ratings: NDArray[np.float64]  # (n_ratings,)
    query_user_ids: IdArray  # (n_queries,) any ids
    query_item_ids: IdArray  # (n_queries,)
    times: NDArray[np.float64] | None = None  # (n_ratings,) seconds since 1970, NaN if not known
    query_times: NDArray[np.float64] | None = None  # (n_queries,)
    n_repeated: int = 0  # lines that rated a pair rated by another line too
    user_name: str = "user"  # what the columns are called where they came from
    item_name: str = "item"
    rating_name: str = ""  # empty if nothing names the columns
    time_name: str = ""
    time_note: str = ""  # for people: what is odd about the times, or why there are none
    context: str = ""  # a digest of what is known of users and items; empty if nothing is
    n_joined: int = 0  # ids that differ from others in blanks around them, or in a .0, alone
    n_missing: int = 0  # rows left out, for their rating stands for none
    code: float | None = None  # a rating that seems to stand for none
    n_code: int = 0  # rows that have it
    about: str = ""  # for people: which columns were read, if it had to be found out
    digest_of_all: str = ""  # if these are the ratings of some users, that of the ratings of all

    @classmethod
    def from_columns(
        cls,
        *,
        user_ids: ArrayLike,
        item_ids: ArrayLike,
        ratings: NDArray[np.float64],
        query_user_ids: ArrayLike,
        query_item_ids: ArrayLike,
        times: NDArray[np.float64] | None = None,
        n_missing: int = 0,
    ) -> "RatingsTable":
        """The table of (n,) columns of raw ids in any order, repeated pairs merged."""
        return cls.from_indices(
            indexed(as_ids(user_ids)),
            indexed(as_ids(item_ids)),
            ratings=ratings,
            query_user_ids=as_ids(query_user_ids),
            query_item_ids=as_ids(query_item_ids),
            times=times,
            n_missing=n_missing,
        )

    @classmethod
    def from_indices(
        cls,
        users: tuple[IdArray, NDArray[np.int32]],
        items: tuple[IdArray, NDArray[np.int32]],
        *,
        ratings: NDArray[np.float64],
        times: NDArray[np.float64] | None = None,
        **others: Any,
    ) -> "RatingsTable":
        """The table of sorted ids with (n,) rows of them, in any order, repeated pairs merged."""
        code, n_code = suspected_code(ratings) or (None, 0)
        item_bits = len(items[0]).bit_length()
        pair = users[1].astype(np.int64) << item_bits
        pair |= items[1]
        user_index, item_index, n_repeated = users[1], items[1], 0
        if (pair[1:] <= pair[:-1]).any():
            pair, order = _sorted(pair, len(users[0]).bit_length() + item_bits)
            ratings = ratings[order]
            times = None if times is None else times[order]
            del order
            is_first = np.append(True, pair[1:] != pair[:-1])
            n_repeated = len(pair) - int(is_first.sum())
            if n_repeated:
                if times is not None:
                    kept = _newest(pair, times)
                    pair, ratings, times = pair[kept], ratings[kept], times[kept]
                    is_first = np.append(True, pair[1:] != pair[:-1])
                # Values sorted within a pair too: their sum does not depend on the lines' order.
                ratings = ratings[np.lexsort((ratings, pair))]
                first = np.flatnonzero(is_first)
                ratings = np.add.reduceat(ratings, first) / np.diff(np.append(first, len(pair)))
                pair, times = pair[first], None if times is None else times[first]
            user_index = (pair >> item_bits).astype(np.int32)
            item_index = (pair & ((1 << item_bits) - 1)).astype(np.int32)
        return cls(
            users=users[0],
            items=items[0],
            user_index=user_index,
            item_index=item_index,
            ratings=ratings,
            times=times,
            n_repeated=n_repeated,
            code=code,
            n_code=n_code,
            **others,
        )

    @property
    def n_ratings(self) -> int:
        return len(self.ratings)

    @property
    def n_queries(self) -> int:
        return len(self.query_user_ids)

    @property
    def user_ids(self) -> IdArray:
        """The (n_ratings,) ids of who gave each rating."""
        return self.users[self.user_index]

    @property
    def item_ids(self) -> IdArray:
        """The (n_ratings,) ids of what each rating is of."""
        return self.items[self.item_index]

    @property
    def digest(self) -> str:
        """A digest of the ratings, their times and what is known of users and items, whatever the
        file, the order of its lines, the queries.
        """
        if self.digest_of_all:
            return self.digest_of_all
        columns = self.hashed(are_short=self.are_short)
        return digest_of((column.data for column in columns), self.context)

    @property
    def are_short(self) -> bool:
        """Whether all ids are whole numbers of at most 32 bits."""
        return all(_are_short(ids) for ids in (self.users, self.items))

    def hashed(
        self, *, are_short: bool, first_user: int = 0, is_last: bool = True
    ) -> Iterator[NDArray[np.uint8]]:
        """The bytes of each column that the digest is of; those of all users are those of some, one
        behind the other.

        Args:
            are_short: whether those of all are.
            first_user: how many users come before these.
            is_last: whether none come behind.
        """
        text = ""
        if not are_short:
            text = ", " if first_user else "[["
            text += json.dumps(self.users.tolist())[1:-1]
            text += f"], {json.dumps(self.items.tolist())}]" if is_last else ""
        yield np.frombuffer(text.encode(), np.uint8)
        if are_short:
            yield _bytes_of(self.users.astype("<i4")[self.user_index], "<i4")
            yield _bytes_of(self.items.astype("<i4")[self.item_index], "<i4")
        else:
            yield _bytes_of(self.user_index + np.int32(first_user), "<i4")
            yield _bytes_of(self.item_index, "<i4")
        yield _bytes_of(self.ratings, "<f8")
        if self.times is not None:
            yield np.frombuffer(b"times" if is_last else b"", np.uint8)
            yield _bytes_of(self.times, "<f8")


def digest_of(columns: Iterable[bytes | memoryview], context: str) -> str:
    """The digest of the bytes of `RatingsTable.hashed`, and of what is known besides."""
    digest = hashlib.sha256(b"ratings")
    for column in columns:
        digest.update(column)
    digest.update(context.encode())
    return digest.hexdigest()[:32]


def as_ids(ids: ArrayLike) -> IdArray:
    """The ids as int64, or as TEXT if they are no whole numbers."""
    ids = np.asarray(ids)
    return ids.astype(np.int64 if ids.dtype.kind in "iu" else TEXT, copy=False)


def arrow_ids(ids: IdArray) -> "pa.Array":
    """The ids as an Arrow array."""
    import pyarrow as pa

    return pa.array(ids.tolist(), pa.string()) if ids.dtype == TEXT else pa.array(ids)


def indexed(ids: IdArray) -> tuple[IdArray, NDArray[np.int32]]:
    """The distinct ids, sorted, and the row among them of each."""
    if len(ids) and ids.dtype.kind == "i":
        lowest = ids.min()
        extent = int(ids.max()) - int(lowest) + 1
        if extent <= len(ids):  # counted, not sorted: in a fraction of the time
            ids = ids - lowest
            counts = np.bincount(ids, minlength=extent)
            rows = (counts > 0).cumsum(dtype=np.int32) - 1
            return np.flatnonzero(counts) + lowest, rows[ids]
    distinct, rows = np.unique(ids, return_inverse=True)
    return distinct, rows.astype(np.int32)


def _sorted(pair: NDArray[np.int64], pair_bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs in order, and the rows where they were, of equal ones in any order; uses `pair`."""
    row_bits = len(pair).bit_length()
    if pair_bits + row_bits > 63:
        order = np.argsort(pair)
        return pair[order], order
    pair <<= row_bits  # with its row behind each pair, plain numbers are sorted: half the time
    pair |= np.arange(len(pair))
    pair.sort()
    order = pair & ((1 << row_bits) - 1)
    pair >>= row_bits
    return pair, order


def _newest(pair: NDArray[np.int64], times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of (n,) rows, sorted by their pair, have its newest time; one not known is oldest."""
    is_again = pair[1:] == pair[:-1]
    rows = np.flatnonzero(np.append(False, is_again) | np.append(is_again, False))
    ages = np.where(np.isnan(times[rows]), -np.inf, times[rows])
    order = np.lexsort((ages, pair[rows]))
    rows, ages = rows[order], ages[order]
    last = np.flatnonzero(np.append(pair[rows[1:]] != pair[rows[:-1]], True))
    newest = np.repeat(ages[last], np.diff(np.append(-1, last)))
    kept = np.ones(len(pair), np.bool_)
    kept[rows] = ages == newest
    return kept


def _bytes_of(column: NDArray[Any], kind: str) -> NDArray[np.uint8]:
    """The bytes of a column as of that kind."""
    return np.ascontiguousarray(column, dtype=kind).view(np.uint8)


def _are_short(ids: IdArray) -> bool:
    """Whether all are whole numbers of at most 32 bits."""
    limits = np.iinfo(np.int32)
    return ids.dtype.kind == "i" and bool(ids[0] >= limits.min and ids[-1] <= limits.max)
