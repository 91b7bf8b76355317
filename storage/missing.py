"""Codes that stand for no rating, such as 99 beside -10 to 10: noticed, and left out if told."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

SHARE = 0.1  # of the rows that are rated so, from which on a code is suspected
FEWEST_LEVELS = 3  # that make a scale
LOOKED_AT = 100_000  # ratings whose levels tell the scale
WIDE = 2.0  # times the widest gap within the scale, more than that, and
SPAN = 0.1  # of its length: what lies that far away does not belong to it


def are_missing(ratings: NDArray[np.float64], missing: float | None) -> NDArray[np.bool_]:
    """Which of (n,) ratings are the code that stands for none, in single precision or double."""
    if missing is None:
        return np.zeros(len(ratings), np.bool_)
    found: NDArray[np.bool_] = (ratings == missing) | (ratings == np.float64(np.float32(missing)))
    return found


def rated_rows(block: "pa.RecordBatch", missing: float | None) -> "pa.RecordBatch":
    """The rows of a block of user, item and rating that are rated, and no ids of others."""
    import pyarrow as pa

    left_out = are_missing(block.column(2).to_numpy(), missing)
    if not left_out.any():
        return block
    kept = block.filter(pa.array(~left_out))
    ids = [column.dictionary_decode().dictionary_encode() for column in kept.columns[:2]]
    return pa.RecordBatch.from_arrays([*ids, *kept.columns[2:]], names=block.schema.names)


def suspected_code(ratings: NDArray[np.float64]) -> tuple[float, int] | None:
    """The value of (n,) ratings that seems to stand for none, and how many have it.

    A tenth of them or more do; all others are on a scale of three levels or more, from which it
    lies apart: on the other side of zero, or zero itself; or more than twice as far as the levels
    lie from each other and a tenth of their range.
    """
    if not len(ratings):
        return None
    some = ratings[:: len(ratings) // LOOKED_AT + 1]
    found: list[tuple[float, float, int]] = []  # how far apart, the value, how many
    for value in (float(ratings.min()), float(ratings.max())):
        n = int(np.count_nonzero(ratings == value))
        levels = np.unique(some[some != value])
        if n < max(2.0, SHARE * len(ratings)) or len(levels) < FEWEST_LEVELS:
            continue
        low, high = levels[0], levels[-1]
        gap = float(np.abs(levels - value).min())
        is_far = gap > WIDE * np.diff(levels).max() and gap > SPAN * (high - low)
        is_alone = value <= 0 < low or value < 0 <= low or high <= 0 < value
        if is_alone or is_far:
            found.append((gap, value, n))
    return max(found)[1:] if found else None
