"""The regressions of users and of items, in the form that suits the device of their ratings."""

from torch import Tensor

from model.dataset import Ratings
from model.kernels.normal_equations import Batched, Regressions
from model.kernels.threads import in_threads


def regressions(own: Tensor, other: Tensor, *, n_rows: int, n_others: int) -> Regressions:
    """The regressions of one side, for the device that its ratings are on.

    Args:
        own: (n_ratings,) int64, the row of this side that each rating belongs to.
        other: (n_ratings,) int64, its row of the other side.
        n_rows: the number of rows of this side.
        n_others: the number of rows of the other side.
    """
    if own.device.type != "cpu":
        return Batched(own, other, n_rows=n_rows, n_others=n_others)
    from model.kernels.compiled_normal_equations import Compiled

    return Compiled(own, other, n_rows=n_rows)


def both_sides(ratings: Ratings) -> tuple[Regressions, Regressions]:
    """The regressions of users, and of items."""
    users, items = (ratings.user_index, ratings.n_users), (ratings.item_index, ratings.n_items)
    user_side, item_side = in_threads(
        lambda side: regressions(side[0][0], side[1][0], n_rows=side[0][1], n_others=side[1][1]),
        [(users, items), (items, users)],
    )
    return user_side, item_side
