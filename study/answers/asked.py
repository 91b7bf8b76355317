"""Which kind of question a set of queries asks: what was held out in the same way answers it."""

from collections.abc import Sequence

import numpy as np

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
    users, items = pairs.user_index.numpy(), pairs.item_index.numpy()
    per_user = np.bincount(ratings.user_index.numpy(), minlength=ratings.n_users)
    per_item = np.bincount(ratings.item_index.numpy(), minlength=ratings.n_items)
    known_users, known_items = np.append(per_user, 0)[users] > 0, np.append(per_item, 0)[items] > 0
    is_worth = len(pairs) >= ENOUGH
    if is_worth and known_items.mean() < HALF:
        return Split.ITEMS
    if len(pairs) and ratings.times is not None and pairs.times is not None:
        last = np.full(ratings.n_users + 1, -np.inf)
        given = np.nan_to_num(ratings.times.numpy(), nan=-np.inf)
        np.maximum.at(last, ratings.user_index.numpy(), given)
        times = pairs.times.numpy()
        if (times >= given.max()).mean() >= MOST and (is_worth or Split.TIME in met):
            return Split.TIME
        if (times >= last[users])[known_users].sum() >= MOST * max(known_users.sum(), 1):
            return Split.LATEST if Split.LATEST in met or is_worth else met[0]
    return Split.USERS if is_worth and known_users.mean() < HALF else met[0]
