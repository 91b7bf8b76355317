"""Any file or frame of ratings or of query pairs: found out what it is, and read into columns."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage import delimited, parquet, times
from storage.columnar import format_of
from storage.columns import FRAME, Chosen, Columns, choose_columns, choose_pair_columns
from storage.errors import InputError
from storage.frames import Frame
from storage.ids import id_array
from storage.lines import first_lines, shown
from storage.mat_comp import looks_like_mat_comp, read_mat_comp
from storage.memory import fitting
from storage.missing import are_missing, rated_rows
from storage.names import ROLES
from storage.ratings import IdArray, RatingsTable, indexed

if TYPE_CHECKING:
    import pyarrow as pa


def read_ratings(
    source: "Path | Frame | pa.Table",
    columns: Columns | None = None,
    missing: float | None = None,
    *,
    fewest: int = 2,
) -> RatingsTable:
    """The ratings of a `mat_comp` file, a table in any format, or a table in memory.

    Args:
        source: the file, or the table.
        columns: what the columns of user, item and rating are called, or their positions from 1;
            guessed where it is plain; and maybe that of the time, found by its name if not told.
        missing: the rating that stands for none: rows with it are left out.
        fewest: how many pairs are to be rated: one to train on and one to validate on, if both
            are to be done.

    Raises:
        InputError: the file cannot be read, is of no such format, or rates fewer pairs.
    """
    if columns is None and isinstance(source, Path) and looks_like_mat_comp(first_lines(source)):
        table = read_mat_comp(source, missing)
    else:
        table = _read_table(source, columns, missing)
    if table.n_ratings < fewest:
        raise InputError(
            f"{_named(source)}: expected at least 2 different pairs rated, one to train on and one "
            f"to validate on, got {table.n_ratings}"
            + (f" besides {table.n_missing:,} rated {missing:g}" if table.n_missing else "")
        )
    return table


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs to predict, in their order."""

    user_ids: IdArray  # (n_pairs,)
    item_ids: IdArray  # (n_pairs,)
    ratings: NDArray[np.float64] | None = None  # (n_pairs,) if the table has them
    times: NDArray[np.float64] | None  # (n_pairs,) seconds since 1970, NaN if not known
    user_name: str
    item_name: str
    rating_name: str = ""  # of the column that has them; empty if it has no name
    has_header: bool
    about: str


def read_pairs(
    source: "Path | Frame | pa.Table",
    *,
    names: tuple[str, str] = ("user", "item"),
    rating_name: str = "",
    time_name: str = "",
    positions: Columns | None = None,
    needs_ratings: bool = False,
) -> Pairs:
    """The pairs of a table in any format, or of a table in memory, with their ratings if it has
    them.

    Args:
        source: the file, or the table.
        names: what the ratings call the columns of user and item.
        rating_name: and that of the rating; names such as `stars` are known too.
        time_name: and that of the time, if they have one; names such as `timestamp` are known too.
        positions: where they are in a file without a header; the first two if not told.
        needs_ratings: whether ratings must be there and be numbers; a column of them that is not,
            as where they are left blank to be predicted, is otherwise not used.

    Raises:
        InputError: the file cannot be read, is of no such format, or lacks ratings that must be.
    """
    choose = partial(choose_pair_columns, names=names, time_name=time_name, positions=positions)
    note = ""
    try:
        found = _read_columns(source, partial(choose, rating_name=rating_name))
    except InputError as error:
        if needs_ratings:
            raise
        found, note = _read_columns(source, choose), str(error)
    (users, user_rows), (items, item_rows) = found.ids
    has_ratings = len(found.chosen.positions) == len(ROLES)
    if needs_ratings and not has_ratings:
        called = f", called {shown(rating_name)}" if rating_name else ""
        raise InputError(
            f"{_named(source)}: expected a column of ratings to score predictions by{called}, got "
            f"{found.about}"
        )
    return Pairs(
        user_ids=users[user_rows],
        item_ids=items[item_rows],
        ratings=found.ratings if has_ratings else None,
        times=found.times,
        user_name=found.chosen.user_name,
        item_name=found.chosen.item_name,
        rating_name=found.chosen.rating_name,
        has_header=bool(found.chosen.names),
        about=f"{found.about}; ratings are not used ({note})" if note else found.about,
    )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """The columns of a table."""

    chosen: Chosen
    about: str
    ids: list[tuple[IdArray, NDArray[np.int32]]]  # of users and items: sorted ids, rows of them
    ratings: NDArray[np.float64]  # empty if they were not asked for
    times: NDArray[np.float64] | None
    time_note: str
    n_joined: int  # ids that differ from others in the blanks around them alone
    n_missing: int  # rows left out


def _read_table(
    source: "Path | Frame | pa.Table", columns: Columns | None, missing: float | None
) -> RatingsTable:
    found = _read_columns(source, partial(choose_columns, wanted=columns), missing)
    chosen, nobody = found.chosen, np.empty(0, np.int64)
    return RatingsTable.from_indices(
        *found.ids,
        ratings=found.ratings,
        times=found.times,
        query_user_ids=nobody,
        query_item_ids=nobody,
        user_name=chosen.user_name,
        item_name=chosen.item_name,
        rating_name=chosen.rating_name,
        time_name=chosen.time_name,
        time_note=found.time_note,
        n_joined=found.n_joined,
        n_missing=found.n_missing,
        about=found.about,
    )


def _read_columns(
    source: "Path | Frame | pa.Table", choose: Callable[..., Chosen], missing: float | None = None
) -> _Read:
    path = _named(source)
    columnar = format_of(source) if isinstance(source, Path) else None
    if not isinstance(source, Path):
        names = source.column_names
        chosen = choose(path, [names], has_header=True)
        chosen, table = _selected(source, chosen)
        read = parquet.table_batches(path, table, chosen)
        n_columns = len(names)
    elif columnar:
        names = columnar.column_names(path)
        chosen = choose(path, [names], has_header=True)
        read = fitting(path, columnar.batches(path, chosen))
        n_columns = len(names)
    else:
        head = delimited.read_head(path, first_lines(path))
        chosen = choose(path, head.rows)
        read = fitting(path, delimited.batches(path, head, chosen))
        n_columns = len(head.rows[0])

    def place(row: int) -> str:
        """Where a row stands."""
        if columnar or not isinstance(source, Path):
            return f"{path}: row {row + 1:,}"
        return f"{path}:{delimited.line_of(path, head, row, has_header=bool(chosen.names))}"

    blocks, kept, moments = [], [], []
    for block in read:
        if chosen.time is not None:
            moments.append(times.read_block(block.column(len(chosen.positions))))
        rated = block.select(list(range(len(chosen.positions))))
        if missing is not None:
            kept.append(~are_missing(rated.column(2).to_numpy(), missing))
            rated = rated_rows(rated, missing)
        blocks.append(rated)
    if not (n_rows := sum(map(len, kept or blocks))):
        raise InputError(f"{path}: expected at least one row below the header, got none")
    seconds, note = None, ""
    if chosen.time is not None:
        seconds, note = _times(moments, chosen, place)
        if seconds is None:
            chosen = replace(chosen, time=None)
        elif kept:
            seconds = seconds[np.concatenate(kept)]
    if seconds is not None and np.isnan(seconds).all():
        seconds, note = None, "none"
    n_missing = n_rows - sum(map(len, blocks))
    joined = [_joined([block.column(side) for block in blocks]) for side in range(2)]
    has_ratings = len(chosen.positions) == len(ROLES)
    ratings = [block.column(2).to_numpy() for block in blocks] if has_ratings else []
    whole = np.concatenate(ratings) if ratings else np.empty(0)
    del blocks, ratings, moments
    _release()
    return _Read(
        chosen=chosen,
        about=chosen.described(n_columns),
        ids=[(ids, rows) for ids, rows, _ in joined],
        ratings=whole,
        times=seconds,
        time_note=note,
        n_joined=sum(n for _, _, n in joined),
        n_missing=n_missing,
    )


def _selected(source: "Frame | pa.Table", chosen: Chosen) -> "tuple[Chosen, pa.Table]":
    """The chosen columns; without times that were only found by their name, if they are none of
    Arrow's.
    """
    try:
        return chosen, source.select(list(chosen.read))
    except InputError:
        if chosen.time is None or chosen.time_is_told:
            raise
        chosen = replace(chosen, time=None)
        return chosen, source.select(list(chosen.positions))


def _times(
    blocks: list[times.Block], chosen: Chosen, place: Callable[[int], str]
) -> tuple[NDArray[np.float64] | None, str]:
    """The (n,) seconds, or None if a column that was only found by its name holds something else;
    and what is to be said of them.

    Raises:
        InputError: a column that was told holds something else.
    """
    named = chosen.name(chosen.time or 0)
    try:
        found = times.joined(blocks)
    except times.NoTimeError as error:
        if chosen.time_is_told:
            expected = f"expected a time in {named} {times.EXPECTED}"
            raise InputError(f"{place(error.row)}: {expected}, got {error}") from None
        return None, f"none: {named} has {error} ({place(error.row)})"
    notes = []
    if found.n_odd:
        others = f", as are {found.n_odd - 1:,} more" if found.n_odd > 1 else ""
        notes.append(f"{found.odd} ({place(found.odd_row)}), counts as not known{others}")
    if found.is_mixed:
        notes.append("those without a time zone are taken as UTC")
    return found.seconds, "; ".join(notes)


def _named(source: "Path | Frame | pa.Table") -> Path:
    """What messages call it."""
    return source if isinstance(source, Path) else FRAME


def _release() -> None:
    """Gives back what Arrow keeps of the memory that it does not need any more."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _joined(chunks: list["pa.DictionaryArray"]) -> tuple[IdArray, NDArray[np.int32], int]:
    """The distinct ids of a column, sorted, the row among them of each of its values, and how
    many differed from others in the blanks around them alone.
    """
    import pyarrow as pa

    whole = pa.chunked_array(chunks).unify_dictionaries()
    ids, place = indexed(id_array(whole.chunk(0).dictionary))
    rows = place[np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])]
    return ids, rows, len(place) - len(ids)
