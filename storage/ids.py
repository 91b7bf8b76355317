"""Ids as texts: without the blanks around them, and on one line."""

from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def trimmed(texts: "pa.Array") -> "pa.Array":
    """The (n,) texts without the blanks around them."""
    from pyarrow import compute

    return compute.utf8_trim_whitespace(texts)


def unusable(texts: "pa.Array") -> "pa.BooleanArray":
    """Which of (n,) texts are blank, or hold a line break: no ids."""
    from pyarrow import compute

    ids = trimmed(texts)
    breaks = [compute.match_substring(ids, end) for end in "\r\n"]  # quicker than a pattern
    return compute.fill_null(reduce(compute.or_, breaks, compute.equal(ids, "")), True)


def is_id(text: str) -> bool:
    """The same of one text: whether it is an id."""
    return bool(text.strip()) and not set(text.strip()) & set("\r\n")
