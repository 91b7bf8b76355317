"""Whether ratings are nearly those of a study, told by a small sample that the study keeps.

Of its users, its items and its ratings those with the least hashes are kept: a sample drawn at
random, from which everybody draws alike (bottom-k sketches: Cohen & Kaplan 2007, Summarizing Data
Using Bottom-k Sketches, sec. 2). The share p of the sample that other ratings have is that of the
whole, with a standard error of √(p (1 − p) / k). Ids count as texts, so that one that is no number
does not change all others.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.ratings import IdArray, RatingsTable
from study.record.attributes import Drawn, Sample

if TYPE_CHECKING:
    from model.world import World

SAMPLED = 256  # k: an error of 3 % at most, and 3 kB each
MOST_IDS = 0.9  # share of a study's users, and of its items, that are to be among the others
HALF = 0.5  # share of a study's ratings that are to be among the others, and of the others in it
BLOCK = 1 << 20  # ratings that are hashed at a time

Hashes = NDArray[np.uint64]
Value = TypeVar("Value")


class Known(Protocol):
    """A set of ratings that can be told from others."""

    def sample(self) -> Sample:
        """What a study of these ratings keeps."""
        ...

    def shared_with(self, other: Sample | None) -> int:
        """How many ratings these have of a study that kept a sample; 0 if it is not nearly the
        same, or kept none.
        """
        ...


@dataclass(frozen=True)
class Hashed:
    """A set of ratings, known by hashes; of all ranks together, if these are one rank's."""

    table: RatingsTable
    world: "World | None" = None  # of ranks; a process alone if not told

    def sample(self) -> Sample:
        """What a study of these ratings keeps."""
        least = np.empty(0, np.uint64)
        for block in self._ratings():
            least = _least(np.concatenate([least, block]))
        own = (_least(self._users), least, len(self._users), self.table.n_ratings)
        users, ratings, n_users, n_ratings = zip(*self._everyones(own), strict=True)
        return {
            "users": _drawn(np.concatenate(users), of=sum(n_users)),
            "items": _drawn(self._items, of=len(self._items)),
            "ratings": _drawn(np.concatenate(ratings), of=sum(n_ratings)),
        }

    def shared_with(self, other: Sample | None) -> int:
        """As `Known` says.

        Nearly the same: of its users and items at least nine in ten are here, of its ratings at
        least half, and these are at least half of those here.
        """
        if other is None:
            return 0
        for mine, theirs in ((self._users, other["users"]), (self._items, other["items"])):
            if self._share(_hashes(theirs), mine) < MOST_IDS:
                return 0
        wanted = _hashes(other["ratings"])
        found = [block[block <= wanted[-1]] for block in self._ratings()]
        share = self._share(wanted, np.concatenate(found))
        shared = round(share * other["ratings"]["of"])
        n_ratings = sum(self._everyones(self.table.n_ratings))
        return shared if share >= HALF and shared >= HALF * n_ratings else 0

    def _share(self, sampled: Hashes, whole: Hashes) -> float:
        """The share of a sample that is in the whole, of which each rank has some."""
        found = np.any(self._everyones(np.isin(sampled, whole)), axis=0)
        return float(found.mean())

    def _everyones(self, value: Value) -> list[Value]:
        """What each rank has."""
        return [value] if self.world is None else self.world.everyones(value)

    @cached_property
    def _users(self) -> Hashes:
        return _of_ids(self.table.users)

    @cached_property
    def _items(self) -> Hashes:
        return _of_ids(self.table.items)

    def _ratings(self) -> Iterator[Hashes]:
        """Those of (n_ratings,) triples of user, item and rating, a block at a time."""
        table = self.table
        for start in range(0, table.n_ratings, BLOCK):
            rows = slice(start, start + BLOCK)
            values = np.asarray(table.ratings[rows] + 0.0, "<f8").view("<u8")  # -0 is 0
            of_items = _mixed(self._items[table.item_index[rows]] + _mixed(values))
            yield _mixed(self._users[table.user_index[rows]] + of_items)


def _of_ids(ids: IdArray) -> Hashes:
    digests = (hashlib.blake2b(str(one).encode(), digest_size=8).digest() for one in ids.tolist())
    return np.frombuffer(b"".join(digests), "<u8")


def _mixed(hashes: Hashes) -> Hashes:
    """Each bit depends on every other: the last step of SplitMix64 (Steele, Lea & Flood 2014, Fast
    Splittable Pseudorandom Number Generators), in Stafford's variant 13.
    """
    mixed = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _least(hashes: Hashes) -> Hashes:
    """The SAMPLED least of them, in order."""
    if len(hashes) > SAMPLED:
        hashes = np.partition(hashes, SAMPLED)[:SAMPLED]
    return np.sort(hashes)


def _drawn(hashes: Hashes, *, of: int) -> Drawn:
    content = _least(hashes).astype("<u8").tobytes()
    return {"of": of, "hashes": base64.b64encode(content).decode()}


def _hashes(drawn: Drawn) -> Hashes:
    return np.frombuffer(base64.b64decode(drawn["hashes"]), "<u8")
