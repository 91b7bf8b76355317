"""Ids as texts: without the blanks around them, and on one line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def trimmed(texts: "pa.Array") -> "pa.Array":
    """The (n,) texts without the blanks around them."""
    from pyarrow import compute

    return compute.utf8_trim_whitespace(texts)


def unusable(texts: "pa.StringArray") -> "pa.BooleanArray":
    """Which of (n,) texts are blank, or hold a line break: no ids."""
    import pyarrow as pa
    from pyarrow import compute

    bad = compute.or_(compute.equal(texts, ""), compute.utf8_is_space(texts))
    content = (texts.buffers()[2] or pa.py_buffer(b"")).to_pybytes()
    for end in ("\r", "\n"):
        if end.encode() in content:  # which takes no time
            bad = compute.or_(bad, compute.match_substring(trimmed(texts), end))
    return compute.fill_null(bad, True)


def is_id(text: str) -> bool:
    """The same of one text: whether it is an id."""
    return bool(text.strip()) and not set(text.strip()) & set("\r\n")
