"""Ids as texts: without the blanks around them, and on one line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

LINE_BREAK = "[\\r\\n]"


def trimmed(texts: "pa.Array") -> "pa.Array":
    """The (n,) texts without the blanks around them."""
    from pyarrow import compute

    return compute.utf8_trim_whitespace(texts)


def unusable(texts: "pa.Array") -> "pa.BooleanArray":
    """Which of (n,) texts are blank, or hold a line break: no ids."""
    from pyarrow import compute

    ids = trimmed(texts)
    breaks = compute.match_substring_regex(ids, LINE_BREAK)
    return compute.fill_null(compute.or_(compute.equal(ids, ""), breaks), True)


def is_id(text: str) -> bool:
    """The same of one text: whether it is an id."""
    return bool(text.strip()) and not set(text.strip()) & set("\r\n")
