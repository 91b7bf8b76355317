"""Which kind of question a set of queries asks: what was held out in the same way answers it."""

from collections.abc import Sequence

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
    known_users, known_items = ((counts > 0).numpy() for counts in ratings.counts(pairs))
    is_worth = len(pairs) >= ENOUGH
    if is_worth and known_items.mean() < HALF:
        return Split.ITEMS
    if len(pairs) and ratings.times is not None and pairs.times is not None:
        last, times = ratings.last_times(), pairs.times.numpy()
        if (times >= last.max().item()).mean() >= MOST and (is_worth or Split.TIME in met):
            return Split.TIME
        if (times >= last[pairs.user_index].numpy())[known_users].sum() >= MOST * max(
            known_users.sum(), 1
        ):
            return Split.LATEST if Split.LATEST in met or is_worth else met[0]
    return Split.USERS if is_worth and known_users.mean() < HALF else met[0]


def kind_at_present(data: Data, met: Sequence[Split]) -> Split:
    """The kind of split that is like questions of the present, after all ratings."""
    return met[0] if data.ratings.times is None else Split.TIME
