"""Which columns to propose where it is not plain: such as would be taken, or none."""

import re
from collections.abc import Sequence

from storage.headerless import Rows, may_hold_ratings
from storage.names import ROLES

NAME = re.compile(r"[A-Za-z][\w-]{,30}")  # which needs no quotes, nor may it be a position


def proposal(rows: Rows, found: Sequence[Sequence[int]]) -> str:
    """Columns of user, item and rating, as `columns=` takes them; empty if none are likely.

    Args:
        rows: the first of the table; the very first may be a header.
        found: the positions of the columns that are called by each role.
    """
    first = [field.strip() for field in rows[0]]
    if len(first) < len(ROLES):
        return ""
    if any(found):
        named = {position for positions in found for position in positions}
        others = [position for position in range(len(first)) if position not in named]
        options = [list(positions) or others for positions in found]
        options[2] = [at for at in options[2] if may_hold_ratings([row[at] for row in rows[1:]])]
        if any(len(one) > 1 for one, named in zip(options, found, strict=True) if not named):
            return ""  # it may be any of them
    else:
        below = rows[1:] if all(map(NAME.fullmatch, first[:3])) else rows
        columns = list(zip(*below, strict=True)) or [()] * len(first)
        options = [[0], [1], [at for at in range(2, len(first)) if may_hold_ratings(columns[at])]]
    if not all(options) or len({one[0] for one in options}) < len(ROLES):
        return ""
    names = [first[one[0]] for one in options]
    if all(NAME.fullmatch(name) and first.count(name) == 1 for name in names):
        return ",".join(names)
    return ",".join(str(one[0] + 1) for one in options)
