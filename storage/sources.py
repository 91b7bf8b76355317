"""Where ratings come from, and how they are read: what travels together, in one object."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
