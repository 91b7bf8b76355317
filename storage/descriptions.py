"""Tables that describe items or users: any format that ratings have, all columns as they are."""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage.columnar import format_of
from storage.contents import (
    Column,
    LeftOut,
    column_of,
    is_code,
    of_flags,
    without_views,
    year_behind,
)
from storage.delimited import read_rows
from storage.dialect import check_fields
from storage.errors import InputError
from storage.files import TEXT
from storage.frames import Frame
from storage.headerless import is_number
from storage.ids import id_array, is_text
from storage.lines import shown, whole_text
from storage.movielens import Layout, layout_of
from storage.names import is_called
from storage.ratings import IdArray

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 1_000
MOST_BYTES = 1 << 28  # of a text table
MOST_ROWS = 20_000_000
INDEX = re.compile(r"(unnamed: ?\d*|index|level_0|row(_?(id|names?|numbers?))?|no\.?|#)?", re.I)
LONGEST_LIST = 100  # characters of the columns that are said to be not used


@dataclass(frozen=True, kw_only=True)
class DescriptionTable:
    """What a table says of items or users."""

    name: str  # for people: the file, or what else it is
    ids: IdArray  # (n_rows,) each once, sorted
    columns: tuple[Column, ...]  # of as many rows
    left_out: tuple[LeftOut, ...]
    texts: Mapping[str, IdArray] = field(repr=False)  # (n_rows,) columns of texts as they are
    title_name: str  # of the column of titles; empty if there is none
    odd: str = ""  # for people: rows that are left out

    @property
    def described(self) -> str:
        """What is used and what is not, for people."""
        used = ", ".join(column.about for column in self.columns) or "nothing to use"
        titles = f"; {self.title_name} for lists" if self.title_name else ""
        others = [one.about for one in self.left_out if one.name != self.title_name]
        if len(", ".join(others)) > LONGEST_LIST:
            others = [f"{len(others)} more"]
        unused = f"; {', '.join(others)} not used" if others else ""
        return f"{self.name}, {len(self.ids):,} rows: {used}{titles}{unused}"

    def titles(self, name: str = "") -> dict[str, str]:
        """The titles by id, or what stands in the column of another name.

        Raises:
            InputError: there is no such column of texts.
        """
        name = name or self.title_name
        if name and name not in self.texts:
            known = ", ".join(map(shown, self.texts)) or "none"
            raise InputError(f"{self.name}: no column {shown(name)} among those of texts, {known}")
        if not name:
            return {}
        return dict(zip(map(str, self.ids.tolist()), self.texts[name].tolist(), strict=True))


def read_descriptions(
    source: Path | Frame, *, role: str, id_name: str, known_ids: Set[str], name: str
) -> DescriptionTable:
    """What a table says of items or users, one a row.

    Ids are in a column called as in the ratings, or such as `item_id`, or in the first.

    Args:
        source: a text table, a Parquet file, or a table in memory.
        role: `item` or `user`.
        id_name: what the ratings call the column of ids.
        known_ids: those of the ratings, as texts.
        name: what messages call the table.

    Raises:
        InputError: the table cannot be read, says two things of an id, or has no id of the ratings.
    """
    read = _read(source, role, id_name, known_ids, name)
    if not (n_rows := len(read.columns[0][1])):
        raise InputError(f"{name}: expected at least one row below the header, got none")
    if n_rows > MOST_ROWS:
        raise InputError(f"{name}: expected at most {MOST_ROWS:,} rows, got {n_rows:,}")
    position = _id_column(read, role, id_name, known_ids)
    ids, rows = _distinct(read, role, position)
    if known_ids.isdisjoint(map(str, ids.tolist())):
        _refuse(read, role, known_ids, str(ids[0]))
    places = _indices(rows)
    others = [one for n, one in enumerate(read.columns) if n != position]
    taken = [(named, values.take(places)) for named, values in others]
    columns, left_out = _typed(taken, read.layout)
    title_name = _title(taken) if role == "item" else ""
    if title_name:
        year = year_behind(f"year of {title_name}", dict(taken)[title_name])
        if year and not any(_is_same(year.values, one) for one in columns):
            columns.append(year)
    return DescriptionTable(
        name=name,
        ids=ids,
        columns=tuple(columns),
        left_out=tuple(left_out),
        texts={
            named: np.array(values.fill_null("").to_pylist(), dtype=TEXT)
            for named, values in taken
            if is_text(values.type)
        },
        title_name=title_name,
        odd=read.odd,
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The columns of a table."""

    name: str
    columns: list[tuple[str, "pa.Array"]]
    place: Callable[[int], str]  # where a row stands
    layout: Layout | None = None
    odd: str = ""


def _read(source: Path | Frame, role: str, id_name: str, known_ids: Set[str], name: str) -> _Table:
    if isinstance(source, Frame):
        _check_width(name, len(source.column_names))
        columns = list(source.arrays())
    elif columnar := format_of(source):
        _check_width(name, len(columnar.column_names(source)))
        columns = columnar.read_arrays(source)
    else:
        return _read_text(source, role, id_name, known_ids, name)
    if not columns:
        raise InputError(f"{name}: expected columns, got none")
    columns = [(named, without_views(values)) for named, values in columns]
    return _Table(name=name, columns=columns, place=lambda row: f"{name}: row {row + 1:,}")


def _read_text(path: Path, role: str, id_name: str, known_ids: Set[str], name: str) -> _Table:
    """The columns of a text table; rows with more or fewer fields are left out.

    Raises:
        InputError: the file cannot be read, or most of its rows are odd.
    """
    import pyarrow as pa

    rows = read_rows(path, whole_text(path, MOST_BYTES))
    first = [one.strip() for one in rows[0][1]]
    _check_width(name, len(first))
    layout = layout_of(path, len(first))
    has_header = layout is None and _is_header(first, role, id_name, known_ids)
    lines, kept, odd = [], [], []
    for line, row in rows[has_header:]:
        try:
            check_fields(f"{path}:{line}", row, len(first))
        except InputError as error:
            odd.append(str(error))
            continue
        lines.append(line)
        kept.append(row)
    if len(odd) > len(kept):
        raise InputError(odd[0])
    names = list(layout.names) if layout else [f"column {n}" for n in range(1, len(first) + 1)]
    names = first if has_header else names
    more = f", as are {len(odd) - 1:,} more" if len(odd) > 1 else ""
    fields = list(zip(*kept, strict=True)) or [()] * len(names)
    return _Table(
        name=name,
        columns=[
            (named, pa.array(values, pa.string()))
            for named, values in zip(names, fields, strict=True)
        ],
        place=lambda row: f"{path}:{lines[row]}",
        layout=layout,
        odd=f"{odd[0]}: left out{more}" if odd else "",
    )


def _is_header(first: list[str], role: str, id_name: str, known_ids: Set[str]) -> bool:
    """Whether the first row names the columns."""
    if id_name in first or any(is_called(one, role) for one in first):
        return True
    return first[0] not in known_ids and not any(map(is_number, first))


def _id_column(read: _Table, role: str, id_name: str, known_ids: Set[str]) -> int:
    """The position of the ids: of the first column, unless one is called as they are, or the first
    is called like a number of rows and another has more of them.

    Raises:
        InputError: none is called as they are, and the first one is as those of the other side.
    """
    names = [named.strip() for named, _ in read.columns]
    if names.count(id_name) == 1:
        return names.index(id_name)
    called = [n for n, one in enumerate(names) if is_called(one, role)]
    other = "user" if role == "item" else "item"
    if not called and is_called(names[0], other):
        raise InputError(
            f"{read.name}: expected a column {shown(id_name)} of {role}s, got "
            f"{shown(names[0])}: is this the table of {other}s?"
        )
    if len(called) == 1:
        return called[0]
    if not INDEX.fullmatch(names[0]):
        return 0
    met = [
        (_n_met(values, known_ids), n > 0 and is_code(named))
        for n, (named, values) in enumerate(read.columns)
    ]
    return met.index(max(met))


def _n_met(values: "pa.Array", known_ids: Set[str]) -> int:
    """How many known ids are in a column; none if it says one twice, or lacks one."""
    ids = None if values.null_count else _ids_of(values)
    texts = [] if ids is None else [*map(str, ids.tolist())]
    return len(known_ids & set(texts)) if len(set(texts)) == len(texts) else 0


def _distinct(read: _Table, role: str, position: int) -> tuple[IdArray, NDArray[np.int64]]:
    """The ids, each once and sorted, and the first row of each.

    Raises:
        InputError: an id is missing, or stands in two rows that differ.
    """
    named, values = read.columns[position]
    ids = _ids_of(values)
    if ids is None or values.null_count:
        at = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        what = f"{role}s in column {shown(named)}"
        if ids is None:
            raise InputError(f"{read.name}: expected {what}, got {values.type}")
        raise InputError(f"{read.place(at)}: expected {role}, got nothing")
    if ids.dtype == TEXT and (empty := np.flatnonzero(ids == "")).size:
        raise InputError(f"{read.place(int(empty[0]))}: expected {role}, got an empty field")
    if ids.dtype == TEXT and (header := np.flatnonzero(ids == named)).size:
        where = read.place(int(header[0]))
        raise InputError(f"{where}: expected {role}, got the header once more, {shown(named)}")
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1]) + 1
    for place in again:
        one, other = int(order[place - 1]), int(order[place])
        if any(values[one].as_py() != values[other].as_py() for _, values in read.columns):
            raise InputError(
                f"{read.place(other)}: {role} {shown(str(ids[other]))} is described once more, "
                f"and otherwise than in {read.place(one)}"
            )
    rows = np.delete(order, again)
    return ids[rows], rows


def _ids_of(values: "pa.Array") -> IdArray | None:
    """The ids; None if they are neither whole numbers nor texts."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(values.type):
        values = values.dictionary.take(values.indices)
    if types.is_floating(values.type):
        numbers = np.array(values.drop_null().to_numpy(), np.float64)
        if not ((numbers == np.rint(numbers)) & (np.abs(numbers) <= 2**53)).all():
            return None
        values = values.cast(pa.int64())
    elif types.is_uint64(values.type) or types.is_decimal(values.type):
        values = values.cast(pa.string())
    if types.is_integer(values.type):
        return id_array(values.fill_null(0))
    return id_array(values.fill_null("").cast(pa.string())) if is_text(values.type) else None


def _refuse(read: _Table, role: str, known_ids: Set[str], first: str) -> None:
    """Raises the InputError of a table with no id of the ratings."""
    example, hint = min(known_ids, key=lambda one: (len(one), one)), ""
    for named, values in read.columns:
        found = _ids_of(values.slice(0, 1000))
        if found is not None and not known_ids.isdisjoint(map(str, found.tolist())):
            hint = f"; column {shown(named)} has some: name it as the ratings do, or put it first"
            break
    raise InputError(
        f"{read.name}: expected {role}s of the ratings, like {shown(example)}, in one row at "
        f"least, got others, like {shown(first)}{hint}"
    )


def _typed(
    columns: list[tuple[str, "pa.Array"]], layout: Layout | None
) -> tuple[list[Column], list[LeftOut]]:
    """What the columns hold, and those that are not used."""
    used: list[Column] = []
    left_out: list[LeftOut] = []
    flags = [one for one in columns if layout and one[0] in layout.flags]
    grouped = of_flags(layout.group, flags) if layout and flags else None
    for named, values in columns:
        if grouped and named in (label for label, _ in flags):
            continue
        are_categories = layout is not None and named in layout.categories
        one = column_of(named, values, are_categories=are_categories)
        if isinstance(one, LeftOut):
            left_out.append(one)
        else:
            used.append(one)
    return used + ([grouped] if grouped else []), left_out


def _title(columns: list[tuple[str, "pa.Array"]]) -> str:
    """The name of the column of titles; empty if there is none."""
    found = [named for named, one in columns if is_called(named, "title") and is_text(one.type)]
    return found[0] if found else ""


def _is_same(years: NDArray[np.float64], column: Column) -> bool:
    """Whether a column says what the years do."""
    values = getattr(column, "values", None)
    if values is None:
        return False
    both = ~np.isnan(years) & ~np.isnan(values)
    return bool(both.any() and (np.abs(years[both] - values[both]) <= 1).mean() > 0.9)


def _indices(rows: NDArray[np.int64]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(rows)


def _check_width(name: str, n_columns: int) -> None:
    if n_columns > MOST_COLUMNS:
        raise InputError(f"{name}: expected at most {MOST_COLUMNS:,} columns, got {n_columns:,}")
