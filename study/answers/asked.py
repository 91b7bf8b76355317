"""Which kind of question a set of queries asks: what was held out in the same way answers it."""

from collections.abc import Sequence

import torch

from model.dataset import Pairs
from model.splits import Split
from study.inputs import Data

MOST = 0.9  # share of known users' queries that come after what the user has rated
ENOUGH = 100  # queries that are worth a training of their own
HALF = 0.5  # share of queries whose item, or user, is unknown

SAID = {
    Split.LATEST: "later than what their users have rated",
    Split.TIME: "later than all ratings",
    Split.ITEMS: "of items without ratings, most of them",
    Split.USERS: "of users without ratings, most of them",
}


def kind_asked(data: Data, met: Sequence[Split]) -> Split:
    """The kind of split that is like what the queries ask of the ratings.

    Args:
        data: ratings and queries.
        met: the kinds that the study has tried its finalists on. Any other takes one more training,
            which a handful of queries is not worth.
    """
    pairs, ratings = data.queries, data.ratings
    n, n_users, n_items, *n_later = _counted(data, pairs)
    is_worth = n >= ENOUGH
    if is_worth and n_items < HALF * n:
        return Split.ITEMS
    if n and ratings.times is not None and pairs.times is not None:
        after_all, after_own = n_later
        if after_all >= MOST * n and (is_worth or Split.TIME in met):
            return Split.TIME
        if after_own >= MOST * max(n_users, 1):
            return Split.LATEST if Split.LATEST in met or is_worth else met[0]
    return Split.USERS if is_worth and n_users < HALF * n else met[0]


def _counted(data: Data, pairs: Pairs) -> list[int]:
    """How many pairs there are, of known users, of known items, later than all ratings, and later
    than the last of their users, on all ranks.
    """
    ratings = data.ratings
    known_users, known_items = (counts > 0 for counts in ratings.counts(pairs))
    found = [torch.tensor(len(pairs)), known_users.sum(), known_items.sum()]
    if ratings.times is not None and pairs.times is not None:
        last = ratings.last_times()
        end = ratings.world.most(last.max())
        later = pairs.times >= last[pairs.user_index]
        found += [(pairs.times >= end).sum(), (later & known_users).sum()]
    return [int(one) for one in ratings.world.sum(torch.stack(found)).tolist()]


def kind_at_present(data: Data, met: Sequence[Split]) -> Split:
    """The kind of split that is like questions of the present, after all ratings."""
    return met[0] if data.ratings.times is None else Split.TIME


def kind_of_list(data: Data, met: Sequence[Split]) -> Split:
    """The same of the kinds that the study has met on, as of a few pairs: a list is not worth a
    training of its own.
    """
    if data.ratings.times is None:
        return met[0]
    return next((kind for kind in (Split.TIME, Split.LATEST) if kind in met), met[0])
