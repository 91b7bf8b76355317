"""What the columns of a table of items or users hold, told by their content.

Numbers, years and dates; categories; several categories in one field. Ids and free text describe
nothing that rows share, and are left out.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage import times
from storage.ids import is_text, trimmed
from storage.lines import bare, shown

if TYPE_CHECKING:
    import pyarrow as pa

NOTHING = (*times.NOTHING, "(no genres listed)")  # of MovieLens
YEARS = (1800, 2100)
DATES = ("%d-%b-%Y", "%Y/%m/%d", "%d %B %Y", "%B %d, %Y", "%d.%m.%Y")  # beside ISO 8601
SEPARATORS = "|;,"
LONGEST_LABEL = 60  # characters; texts with longer parts between separators are no lists
USES = 2.0  # of a label, from which on parts between semicolons or commas are labels
FEWEST_LISTS = 0.1  # of the rows have more than one, then
DECIMAL = 0.9  # of the rows that have a comma, from which on it is a decimal one
THOUSANDS = r"^[+-]?[$€£]? ?([1-9][0-9]{0,2}(,[0-9]{3})+|[0-9]+)$"
MOST_ODD = 0.05  # of the rows of a column of numbers or dates may have something else
FEWEST_FIGURES = 11  # different ones: of fewer, something else is one category more
LOOKED_AT = 1_000  # texts that tell how dates are spelt
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
FIGURES = r"^[-+0-9][-+0-9.,:eETZ /]*$"  # what numbers and dates are written with
ROWS_EACH = 2.0  # that a category has: of fewer, what stands there is an id or a text
FRACTION = re.compile(r"[+-]?(?:[0-9]*\.[0-9]*(?:e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+)", re.I)
CODE = re.compile(r"(?:^|[\W_])(?:id|key|code|zip|isbn|asin|index|idx|uuid|url)s?(?:$|[\W_])", re.I)
CODE_BEHIND = re.compile(r"[a-z](?:Id|ID|Key|Code)$")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A number, or a year or a date as years."""

    name: str
    kind: str  # number or date
    values: NDArray[np.float64]  # (n_rows,) NaN if not known
    odd: str = ""  # for people: texts among them, which count as not known

    @property
    def about(self) -> str:
        return f"{bare(self.name)} {self.kind}{self.odd}"

    def at(self, rows: NDArray[np.int64], n_rows: int) -> "Numbers":
        """The same of `n_rows` rows, of which these are at `rows`, and of others nothing."""
        values = np.full(n_rows, np.nan)
        values[rows] = self.values
        return replace(self, values=values)


@dataclass(frozen=True, kw_only=True)
class Categories:
    """One of some labels."""

    name: str
    labels: tuple[str, ...]  # sorted
    codes: NDArray[np.int64]  # (n_rows,) places among the labels, -1 if not known

    @property
    def about(self) -> str:
        return f"{bare(self.name)} categories ({len(self.labels):,})"

    def at(self, rows: NDArray[np.int64], n_rows: int) -> "Categories":
        """The same of `n_rows` rows, of which these are at `rows`, and of others nothing."""
        codes = np.full(n_rows, -1)
        codes[rows] = self.codes
        return replace(self, codes=codes)


@dataclass(frozen=True, kw_only=True)
class Several:
    """Any number of some labels."""

    name: str
    labels: tuple[str, ...]  # sorted
    rows: NDArray[np.int64]  # (m,) rows that have a label,
    codes: NDArray[np.int64]  # (m,) and which: places among the labels
    known: NDArray[np.bool_]  # (n_rows,) whether anything is known of a row

    @property
    def about(self) -> str:
        return f"{bare(self.name)} several ({len(self.labels):,})"

    def at(self, rows: NDArray[np.int64], n_rows: int) -> "Several":
        """The same of `n_rows` rows, of which these are at `rows`, and of others nothing."""
        known = np.zeros(n_rows, np.bool_)
        known[rows] = self.known
        return replace(self, rows=rows[self.rows], known=known)


Column = Numbers | Categories | Several


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A column that is not used."""

    name: str
    why: str

    @property
    def about(self) -> str:
        return f"{bare(self.name)} ({self.why})"


def column_of(name: str, values: "pa.Array", *, are_categories: bool = False) -> Column | LeftOut:
    """What the (n_rows,) values of a column are.

    Args:
        name: of the column.
        values: of any type.
        are_categories: whether numbers are known to be codes of categories.
    """
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(values.type):
        values = values.dictionary.take(values.indices)
    kind = values.type
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if types.is_boolean(kind) or (is_number and are_categories):
        values = values.cast(pa.string())
    found: Column | LeftOut = LeftOut(name=name, why=f"of type {kind}")
    if types.is_null(kind) or values.null_count == len(values):
        found = LeftOut(name=name, why="empty")
    elif is_text(values.type):
        found = _of_texts(name, known_texts(values), are_categories=are_categories)
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        found = _of_lists(name, values)
    elif is_number:
        found = _of_numbers(name, values.cast(pa.float64(), safe=False))
    elif types.is_timestamp(kind) or types.is_date(kind):
        found = _of_seconds(name, times.read_block(values).values)
    return found


def without_views(values: "pa.Array") -> "pa.Array":
    """The values with texts in one piece, which Arrow can take and fill: Polars gives views."""
    return values.cast(_without_views(values.type))


def _without_views(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa
    from pyarrow import types

    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.large_list(_without_views(kind.value_type))
    return kind


def known_texts(texts: "pa.Array") -> "pa.StringArray":
    """The texts without blanks around them, null for what stands for nothing."""
    import pyarrow as pa
    from pyarrow import compute

    texts = trimmed(texts.cast(pa.string()))
    nothing = compute.is_in(texts, pa.array(NOTHING))
    return compute.if_else(nothing, pa.scalar(None, pa.string()), texts)


def year_behind(name: str, titles: "pa.Array") -> Numbers | None:
    """The years in parentheses behind titles, as in `Toy Story (1995)`; None if most have none."""
    import pyarrow as pa
    from pyarrow import compute

    texts = known_texts(titles)
    found = compute.extract_regex(texts, r"\((?P<year>(?:1[89]|20)[0-9]{2})\)$")
    years = compute.struct_field(found, "year").cast(pa.float64())
    if years.null_count > 0.5 * len(years) or years.null_count == len(years):
        return None
    values = np.array(years.to_numpy(zero_copy_only=False), np.float64)
    return Numbers(name=name, kind="number", values=values)


def of_flags(name: str, flags: Sequence[tuple[str, "pa.Array"]]) -> Several | None:
    """Columns of 0 and 1 as one; None if they are something else."""
    import pyarrow as pa

    try:
        values = np.stack([np.asarray(one.cast(pa.int64()).to_numpy()) for _, one in flags], axis=1)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if not np.isin(values, (0, 1)).all():
        return None
    rows, codes = np.nonzero(values)
    labels = tuple(label for label, _ in flags)
    known = np.bincount(rows, minlength=len(values)) > 0
    return Several(name=name, labels=labels, rows=rows, codes=codes, known=known)


def year_of(text: str) -> float | None:
    """The year of a day, with its fraction, as a column of dates has it; None of another text."""
    import pyarrow as pa

    seconds = _dates(pa.array([text], pa.string()))
    return None if seconds is None or np.isnan(seconds[0]) else float(_years(seconds)[0])


def digest_of(columns: Iterable[Column]) -> str:
    """A digest of what columns say of their rows."""
    digest = hashlib.sha256()
    for column in columns:
        labels = () if isinstance(column, Numbers) else column.labels
        digest.update(json.dumps([type(column).__name__, column.name, labels]).encode())
        match column:
            case Numbers(values=values):
                digest.update(np.ascontiguousarray(values, dtype="<f8").data)
            case Categories(codes=codes):
                digest.update(np.ascontiguousarray(codes, dtype="<i8").data)
            case Several(rows=rows, codes=codes, known=known):
                order = np.lexsort((codes, rows))
                for one in (rows[order], codes[order], known):
                    digest.update(np.ascontiguousarray(one, dtype="<i8").data)
    return digest.hexdigest()


def is_code(name: str) -> bool:
    """Whether a column is called like one of ids or codes, whose numbers are no amounts."""
    return bool(CODE.search(name) or CODE_BEHIND.search(name))


def _of_texts(name: str, texts: "pa.StringArray", *, are_categories: bool) -> Column | LeftOut:
    """Of texts, null where nothing is known."""

    if texts.null_count == len(texts):
        return LeftOut(name=name, why="empty")
    if are_categories:
        return _categories(name, texts, fewest=0.0)
    if not is_code(name):
        found = _of_figures(name, texts) or _of_figures_but_few(name, texts)
        if found is not None:
            return found
    lists = _lists(texts)
    return _categories(name, texts, fewest=ROWS_EACH) if lists is None else _several(name, lists)


def _of_figures(name: str, texts: "pa.StringArray") -> Column | LeftOut | None:
    """Of numbers or dates, null where nothing is known; None if one is neither."""
    import pyarrow as pa
    from pyarrow import compute

    texts = _without_thousands(texts)
    is_padded = compute.any(compute.match_substring_regex(texts, r"^[+-]?0[0-9]")).as_py()
    with suppress(pa.ArrowInvalid):
        numbers = _with_points(texts).cast(pa.float64())
        if not is_padded and compute.all(compute.is_finite(numbers)).as_py():
            return _of_numbers(name, numbers)
    seconds = _dates(texts)
    return None if seconds is None else _of_seconds(name, seconds)


def _of_figures_but_few(name: str, texts: "pa.StringArray") -> Column | LeftOut | None:
    """Of numbers or dates among which are a few texts, which count as not known and are said."""
    from pyarrow import compute

    n_known = len(texts) - texts.null_count
    for are_figures in (
        _most_days,
        lambda some: compute.match_substring_regex(some, FIGURES),
        lambda some: compute.match_substring_regex(some, NUMBER),
    ):
        found = _of_most(name, texts, are_figures(texts), fewest=(1 - MOST_ODD) * n_known)
        if isinstance(found, Numbers):
            return found
    return None


def _of_most(
    name: str, texts: "pa.StringArray", is_figure: "pa.BooleanArray | None", *, fewest: float
) -> Column | LeftOut | None:
    """Of the texts that are figures, if there are at least so many, and several different ones."""
    import pyarrow as pa
    from pyarrow import compute

    if is_figure is None or is_figure.true_count < fewest:
        return None
    figures = compute.if_else(is_figure, texts, pa.scalar(None, pa.string()))
    if compute.count_distinct(figures).as_py() < FEWEST_FIGURES:
        return None
    found = _of_figures(name, figures)
    odd = texts.filter(compute.invert(is_figure))
    if not isinstance(found, Numbers) or not len(odd):
        return found
    more = f" and {len(odd) - 1:,} more" if len(odd) > 1 else ""
    return replace(found, odd=f" ({shown(odd[0].as_py())}{more} not known)")


def _most_days(texts: "pa.StringArray") -> "pa.BooleanArray | None":
    """Which of the texts are days of one spelling; None if fewer than nearly all are."""
    from pyarrow import compute

    for style in ("%Y-%m-%d", *DATES):
        for some in (texts.drop_null().slice(0, LOOKED_AT), texts):
            days = compute.strptime(some, format=style, unit="s", error_is_null=True)
            n_known = len(some) - some.null_count
            if len(some) - days.null_count < (1 - 2 * MOST_ODD) * n_known:
                break
        else:
            return compute.if_else(compute.is_null(texts), None, compute.is_valid(days))
    return None


def _without_thousands(texts: "pa.StringArray") -> "pa.StringArray":
    """Numbers such as 1,000,000 or $950 as 1000000 and 950, if nearly all are such, and one has a
    0 behind a comma, or a sign of money: else they may be lists of codes.
    """
    from pyarrow import compute

    is_told = compute.any(compute.match_substring_regex(texts, "^[-+]?[$€£]|,0[0-9]{2}")).as_py()
    is_number = compute.match_substring_regex(texts, THOUSANDS) if is_told else None
    if is_number is None or compute.mean(is_number).as_py() < DECIMAL:
        return texts
    plain = compute.replace_substring_regex(texts, r"[^-+0-9]", "")
    return compute.if_else(is_number, plain, texts)


def _with_points(texts: "pa.StringArray") -> "pa.StringArray":
    """Numbers such as 3,50 with a point, if nearly all have as many digits behind a comma: fewer
    may be a few codes each.
    """
    from pyarrow import compute

    known = texts.drop_null()
    is_whole = compute.match_substring_regex(known, r"^[+-]?[0-9]+$")
    for n_digits in (1, 2):
        has_comma = compute.match_substring_regex(known, rf"^[+-]?[0-9]+,[0-9]{{{n_digits}}}$")
        share = compute.mean(has_comma).as_py() or 0.0
        if share >= DECIMAL and compute.all(compute.or_(has_comma, is_whole)).as_py():
            return compute.replace_substring(texts, ",", ".")
    return texts


def _categories(name: str, texts: "pa.StringArray", *, fewest: float) -> Categories | LeftOut:
    """Of texts, if there are at least so many rows a category."""
    from pyarrow import compute

    coded = texts.dictionary_encode()
    labels, n_known = coded.dictionary.to_pylist(), len(texts) - texts.null_count
    if len(labels) == 1 and not texts.null_count:
        return LeftOut(name=name, why="the same everywhere")
    if len(labels) * fewest > n_known:
        is_free = compute.any(compute.match_substring(texts, " ")).as_py()
        return LeftOut(name=name, why="free text" if is_free else "ids")
    order = sorted(range(len(labels)), key=labels.__getitem__)
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels))
    codes = coded.indices.fill_null(-1).to_numpy().astype(np.int64)
    codes = np.where(codes < 0, -1, place[codes])
    return Categories(name=name, labels=tuple(labels[n] for n in order), codes=codes)


def _of_numbers(name: str, numbers: "pa.DoubleArray") -> Column | LeftOut:
    import pyarrow as pa

    values = np.array(numbers.to_numpy(zero_copy_only=False), np.float64)
    values[~np.isfinite(values)] = np.nan
    known = values[~np.isnan(values)]
    if not len(known):
        return LeftOut(name=name, why="empty")
    distinct = np.unique(known)
    if len(distinct) == 1 and len(known) == len(values):
        return LeftOut(name=name, why="the same everywhere")
    are_whole = bool((known == np.rint(known)).all())
    if are_whole and is_code(name) and np.abs(known).max() < 2**53:
        whole = pa.array(values, from_pandas=True).cast(pa.int64()).cast(pa.string())
        return _of_texts(name, whole, are_categories=False)
    is_row = are_whole and len(distinct) == len(known) == distinct[-1] - distinct[0] + 1
    if is_row and len(known) > 2 and distinct[0] in (0, 1):
        return LeftOut(name=name, why="numbers the rows")
    return Numbers(name=name, kind="number", values=values)


def _of_seconds(name: str, seconds: NDArray[np.float64]) -> Column | LeftOut:
    known = seconds[~np.isnan(seconds)]
    if not len(known):
        return LeftOut(name=name, why="empty")
    if len(known) == len(seconds) and (known == known[0]).all():
        return LeftOut(name=name, why="the same everywhere")
    return Numbers(name=name, kind="date", values=_years(seconds))


def _years(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1970 + seconds / times.SECONDS_A_YEAR


def _dates(texts: "pa.StringArray") -> NDArray[np.float64] | None:
    """The (n_rows,) seconds since 1970 of dates in one spelling; None if one is none."""
    import pyarrow as pa
    from pyarrow import compute

    if (found := times.of_texts(texts)) is not None:
        return found
    first = texts.drop_null().slice(0, 1)
    for style in DATES:
        for some in (first, texts):
            days = compute.strptime(some, format=style, unit="s", error_is_null=True)
            if days.null_count > some.null_count:
                break
        else:
            seconds = days.cast(pa.int64()).cast(pa.float64())
            return np.array(seconds.to_numpy(zero_copy_only=False), np.float64)
    return None


def _lists(texts: "pa.StringArray") -> list[list[str] | None] | None:
    """The lists that the texts are, None where nothing is known; None if they are no lists."""
    from pyarrow import compute

    values = texts.to_pylist()
    known = [value for value in values if value is not None]
    if all(value[0] == "[" and value[-1] == "]" for value in known):
        read = {value: _listed(value) for value in set(known)}
        if None in read.values():
            return None
        return [None if value is None else read[value] for value in values]
    for separator in SEPARATORS:
        n_lists = compute.match_substring(texts, separator).true_count
        if not n_lists:
            continue
        lists = [None if value is None else _parts(value, separator) for value in values]
        parts = [part for one in lists for part in one or ()]
        labels = set(parts)
        if not labels or max(map(len, labels)) > LONGEST_LABEL:
            continue
        is_plain = separator == "|"
        if is_plain or (n_lists >= FEWEST_LISTS * len(known) and len(parts) >= USES * len(labels)):
            return lists
    return None


def _parts(text: str, separator: str) -> list[str]:
    """What stands between separators."""
    return [part for one in text.split(separator) if (part := one.strip())]


def _listed(text: str) -> list[str] | None:
    """The labels of a list as JSON or Python write it, of texts or of dicts with a name."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    if not isinstance(found, list):
        return None
    labels = [one.get("name") if isinstance(one, dict) else one for one in found]
    if any(isinstance(one, list | dict | set | tuple) for one in labels):
        return None
    return [str(one).strip() for one in labels if one is not None and str(one).strip()]


def _of_lists(name: str, values: "pa.ListArray") -> Column | LeftOut:
    """Of Arrow's lists."""
    import pyarrow as pa

    try:
        lists = values.cast(pa.list_(pa.string())).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return LeftOut(name=name, why=f"of type {values.type}")
    return _several(
        name,
        [None if one is None else [p.strip() for p in one if p and p.strip()] for one in lists],
    )


def _several(name: str, lists: Sequence[Sequence[str] | None]) -> Column | LeftOut:
    labels = sorted({label for one in lists for label in one or ()})
    if not labels:
        return LeftOut(name=name, why="empty")
    n_uses = sum(len(one or ()) for one in lists)
    if n_uses < USES * len(labels) and all(FRACTION.fullmatch(label) for label in labels):
        return LeftOut(name=name, why="lists of numbers")
    place = {label: n for n, label in enumerate(labels)}
    pairs = sorted({(row, place[label]) for row, one in enumerate(lists) for label in one or ()})
    rows, codes = np.array(pairs, np.int64).T
    known = np.array([one is not None for one in lists])
    return Several(name=name, labels=tuple(labels), rows=rows, codes=codes, known=known)
