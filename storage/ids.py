"""Ids as texts: without the blanks around them, and on one line."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage.files import TEXT

if TYPE_CHECKING:
    import pyarrow as pa

BYTE_ORDER = "\ufeff"  # at the beginning of a file, also of one that was put behind another
PADDED = r"^0+[0-9]"
NAMELESS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "\\N")
WHOLE = r"^(0|-?[1-9][0-9]*)$"  # the one way to write a number, so that it comes back as it was
FLOATING = r"^((?:0|-?[1-9][0-9]*))[.]0$"  # the same behind a column that lacked some, as floats


def id_array(values: "pa.Array") -> NDArray[Any]:
    """The ids as int64 if each is a whole number, written in the one way, or as a float; else as
    texts.
    """
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_integer(values.type):
        return np.asarray(values.to_numpy())
    texts = trimmed(values)
    whole = compute.replace_substring_regex(texts, FLOATING, r"\1")
    if compute.all(compute.match_substring_regex(whole, WHOLE)).as_py():
        try:
            return np.asarray(whole.cast(pa.int64()).to_numpy())
        except pa.ArrowInvalid:  # longer than 64 bits
            pass
    return np.array(texts.to_pylist(), dtype=TEXT)


def is_text(kind: "pa.DataType") -> bool:
    """Whether a column is of texts."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def trimmed(texts: "pa.Array") -> "pa.Array":
    """The (n,) texts without the blanks around them, or a mark of the order of bytes before."""
    from pyarrow import compute

    texts = compute.utf8_trim_whitespace(texts)
    if compute.any(compute.starts_with(texts, BYTE_ORDER)).as_py():
        texts = compute.utf8_trim_whitespace(compute.utf8_ltrim(texts, BYTE_ORDER))
    return texts


def unusable(texts: "pa.StringArray") -> "pa.BooleanArray":
    """Which of (n,) texts are blank, or hold a line break: no ids."""
    import pyarrow as pa
    from pyarrow import compute

    if compute.any(compute.starts_with(texts, BYTE_ORDER)).as_py():
        texts = trimmed(texts)
    bad = compute.or_(compute.equal(texts, ""), compute.utf8_is_space(texts))
    content = (texts.buffers()[2] or pa.py_buffer(b"")).to_pybytes()
    for end in ("\r", "\n"):
        if end.encode() in content:  # which takes no time
            bad = compute.or_(bad, compute.match_substring(trimmed(texts), end))
    return compute.fill_null(bad, True)


def are_nameless(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of (n,) ids are texts that programs write for nothing, such as NULL."""
    if ids.dtype != TEXT:
        return np.zeros(len(ids), np.bool_)
    found: NDArray[np.bool_] = np.any([ids == word for word in NAMELESS], axis=0)
    return found


def padded_twins(ids: NDArray[Any]) -> list[str]:
    """Which of (n,) distinct ids are those of others but for zeros before them, such as 007."""
    import pyarrow as pa
    from pyarrow import compute

    if ids.dtype != TEXT or not np.strings.startswith(ids, "0").any():
        return []
    texts = pa.array(ids.tolist(), pa.large_string())
    padded = texts.filter(compute.match_substring_regex(texts, PADDED))
    plain = compute.replace_substring_regex(padded, r"^0+([0-9])", r"\1")
    found: list[str] = padded.filter(compute.is_in(plain, value_set=texts)).to_pylist()
    return found


def is_id(text: str) -> bool:
    """The same of one text: whether it is an id."""
    return bool(text.strip()) and not set(text.strip()) & set("\r\n")
