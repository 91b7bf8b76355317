"""Where ratings come from, and how they are read: what travels together, in one object.

Imports nothing heavy.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.errors import ParameterError

if TYPE_CHECKING:
    from storage.columns import Columns


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The ratings, the tables that describe their users and items, and what was told of them."""

    data: Any = None  # a file, or a data frame; None for ./mat_comp or the demonstration
    columns: "Columns | None" = None  # of user, item, rating and maybe time; found if None
    missing: float | None = None  # the rating that stands for none
    items: Any = None  # a table of items: a file, or a data frame
    users: Any = None  # and one of users


def parse_columns(text: str) -> tuple[str, ...]:
    """The columns of a text such as `user_id,movie_id,rating` or `1,2,3,4`: three, or four.

    Raises:
        ValueError: it has more or fewer.
    """
    columns = tuple(column.strip() for column in next(csv.reader([text]), []))
    if len(columns) not in (3, 4) or not all(columns):
        raise ValueError
    return columns


def as_columns(columns: str | Sequence[str] | None) -> "Columns | None":
    """The columns as whoever calls from Python may tell them: a text, or each by itself.

    Raises:
        ParameterError: they are more or fewer than three or four.
    """
    if columns is None:
        return None
    try:
        found = parse_columns(columns) if isinstance(columns, str) else tuple(map(str, columns))
        if len(found) not in (3, 4):
            raise ValueError
    except (ValueError, TypeError):
        raise ParameterError(
            "columns", f"expected three, of user, item and rating, got {columns!r}"
        ) from None
    return found
