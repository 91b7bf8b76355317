"""Any file or frame of ratings or of query pairs: found out what it is, and read into columns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from storage import delimited, parquet, times
from storage.columnar import Format, format_of
from storage.columns import FRAME, Chosen, Columns, choose_columns, choose_pair_columns
from storage.errors import InputError
from storage.files import TEXT
from storage.frames import Frame
from storage.ids import id_array
from storage.lines import first_lines, shown
from storage.mat_comp import looks_like_mat_comp, read_mat_comp
from storage.memory import fitting
from storage.missing import are_missing, rated_rows
from storage.names import ROLES
from storage.parts import Piece, dealt, files_of, is_pattern, pieces_of
from storage.ratings import IdArray, RatingsTable, indexed
from storage.stores import forget

if TYPE_CHECKING:
    import pyarrow as pa

MOST_SHOWN = 6  # columns that a message names


@dataclass(frozen=True, kw_only=True)
class Read:
    """The columns of a table."""

    chosen: Chosen
    about: str
    ids: list[tuple[IdArray, NDArray[np.int32]]]  # of users and items: sorted ids, rows of them
    ratings: NDArray[np.float64]  # empty if they were not asked for
    times: NDArray[np.float64] | None
    time_note: str
    n_joined: int  # ids that differ from others in blanks around them, or in a .0, alone
    n_missing: int  # rows left out
    numbers: NDArray[np.int64] | None = None  # of the rows in the table, if these are some of them


Choose = Callable[..., Chosen]
Reader = Callable[["Path | Frame | pa.Table", Choose, float | None], Read]


def read_ratings(
    source: "Path | Frame | pa.Table",
    columns: Columns | None = None,
    missing: float | None = None,
    *,
    fewest: int = 2,
    read: Reader | None = None,
) -> RatingsTable:
    """The ratings of a `mat_comp` file, a table in any format, or a table in memory.

    Args:
        source: the file, a folder or a pattern of some with the same columns, or the table.
        columns: what the columns of user, item and rating are called, or their positions from 1;
            guessed where it is plain; and maybe that of the time, found by its name if not told.
        missing: the rating that stands for none: rows with it are left out.
        fewest: how many pairs are to be rated: one to train on and one to validate on, if both
            are to be done.
        read: gives the columns of a table; those of all its rows if not told.

    Raises:
        InputError: the file cannot be read, is of no such format, or rates fewer pairs.
    """
    if isinstance(source, Path) and len(files := files_of(source)) == 1:
        source = files[0]
    if is_mat_comp(source, columns):
        table = read_mat_comp(source, missing)
    else:
        table = _read_table(source, columns, missing, read or read_all)
    if table.n_ratings < fewest:
        raise InputError(
            f"{_named(source)}: expected at least 2 different pairs rated, one to train on and one "
            f"to validate on, got {table.n_ratings}"
            + (f" besides {table.n_missing:,} rated {missing:g}" if table.n_missing else "")
        )
    return table


def is_mat_comp(source: object, columns: Columns | None) -> "TypeGuard[Path]":
    """Whether ratings are those of a `mat_comp` file, of which no columns are told."""
    is_file = isinstance(source, Path) and not (source.is_dir() or is_pattern(source))
    return columns is None and is_file and looks_like_mat_comp(first_lines(cast(Path, source)))


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
    numbers: NDArray[np.int64] | None = None  # (n_pairs,) of their rows, if these are some of them


def read_pairs(
    source: "Path | Frame | pa.Table",
    *,
    names: tuple[str, str] = ("user", "item"),
    rating_name: str = "",
    time_name: str = "",
    positions: Columns | None = None,
    needs_ratings: bool = False,
    read: Reader | None = None,
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
        read: as of `read_ratings`.

    Raises:
        InputError: the file cannot be read, is of no such format, or lacks ratings that must be.
    """
    read = read or read_all
    choose = partial(choose_pair_columns, names=names, time_name=time_name, positions=positions)
    note = ""
    try:
        found = read(source, partial(choose, rating_name=rating_name), None)
    except InputError as error:
        if needs_ratings:
            raise
        found, note = read(source, choose, None), str(error)
    (users, user_rows), (items, item_rows) = found.ids
    names = found.chosen.user_name, found.chosen.item_name
    if found.chosen.names and users.dtype == items.dtype == TEXT:
        is_header = (users[user_rows] == names[0]) & (items[item_rows] == names[1])
        if is_header.any():
            raise InputError(
                f"{_named(source)}: pair {np.argmax(is_header) + 1:,}: expected user and item, got "
                f"the header once more, {' and '.join(map(shown, names))}"
            )
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
        about="; ".join(
            filter(
                None,
                (
                    found.about,
                    f"ratings are not used ({note})" if note else "",
                    f"times: {found.time_note}" if found.time_note else "",
                ),
            )
        ),
        numbers=found.numbers,
    )


def _read_table(
    source: "Path | Frame | pa.Table",
    columns: Columns | None,
    missing: float | None,
    read: Reader,
) -> RatingsTable:
    found = read(source, partial(choose_columns, wanted=columns), missing)
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


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """Rows of a table as they were read: all of them, or those of some of its pieces."""

    path: Path  # what messages call it
    chosen: Chosen
    n_columns: int
    blocks: list["pa.RecordBatch"]  # of user, item and maybe rating; ids are dictionaries
    moments: list[times.Block]  # of all rows, if there is a column of times
    kept: list[NDArray[np.bool_]]  # which of all rows are rated, if some may not be
    place: Callable[[int], str]  # where a row stands
    n_weighed: int = 0  # rows or bytes of all pieces, if these are some of them

    @property
    def n_rows(self) -> int:
        """Those that are left out among them."""
        return sum(map(len, self.kept or self.blocks))

    def seconds(
        self, like: Sequence[times.Block] | None = None
    ) -> tuple[NDArray[np.float64] | None, str]:
        """The (n,) times, NaN where they are not known; None if a column that was only found by its
        name holds something else. And what is to be said of them.

        Args:
            like: what tells the unit, if these are not all rows.

        Raises:
            InputError: a column that was told holds something else.
        """
        if self.chosen.time is None:
            return None, ""
        seconds, note = _times(self.moments, self.chosen, self.place, like)
        if seconds is not None and self.kept:
            seconds = seconds[np.concatenate(self.kept)]
        return seconds, note


def scan(
    source: "Path | Frame | pa.Table",
    choose: Choose,
    missing: float | None = None,
    *,
    rank: int = 0,
    size: int = 1,
) -> Scanned:
    """The rows of a table, or those that one of several readers has of its files.

    Args:
        source: a file, a folder or a pattern of some, or a table in memory.
        choose: finds the columns in the first rows.
        missing: the rating that stands for none: rows with it are left out.
        rank: of this reader.
        size: how many readers there are.

    Raises:
        InputError: a file cannot be read, is of no known format, or has other columns than the
            first.
    """
    path = _named(source)
    starts: list[tuple[int, Callable[[int], str]]] = []  # of pieces: the first row, and the place
    blocks: list[pa.RecordBatch] = []
    kept: list[NDArray[np.bool_]] = []
    moments: list[times.Block] = []
    n_weighed = 0
    if isinstance(source, Path):
        files = files_of(source)
        first = _opened(files[0])
        chosen = choose(files[0], first.rows, **first.known)
        n_columns = len(first.rows[0])
        pieces = [Piece(path=file, weight=0) for file in files]
        if size > 1:
            pieces = pieces_of(files)
            n_weighed = sum(piece.weight for piece in pieces)
            pieces = dealt(pieces, rank, size)
        read = fitting(path, _rows_of(pieces, first, chosen, starts, lambda: n_read))
    else:
        names = source.column_names
        chosen = choose(path, [names], has_header=True)
        chosen, table = _selected(source, chosen)
        read = parquet.table_batches(path, table, chosen)
        n_columns = len(names)
        starts.append((0, lambda row: f"{path}: row {row + 1:,}"))

    n_read = 0
    for block in read:
        n_read += len(block)
        if chosen.time is not None:
            moments.append(times.read_block(block.column(len(chosen.positions))))
        rated = block.select(list(range(len(chosen.positions))))
        if missing is not None:
            kept.append(~are_missing(rated.column(2).to_numpy(), missing))
            rated = rated_rows(rated, missing)
        blocks.append(rated)

    def place(row: int) -> str:
        begin, named = [one for one in starts if one[0] <= row][-1]
        return named(row - begin)

    return Scanned(
        path=path,
        chosen=chosen,
        n_columns=n_columns,
        blocks=blocks,
        moments=moments,
        kept=kept,
        place=place,
        n_weighed=n_weighed,
    )


def read_all(
    source: "Path | Frame | pa.Table", choose: Choose, missing: float | None = None
) -> Read:
    """The columns of all rows of a table.

    Raises:
        InputError: as `scan` says, or there are no rows.
    """
    found = scan(source, choose, missing)
    if not (n_rows := found.n_rows):
        raise no_rows(found.path)
    seconds, note = found.seconds()
    chosen = found.chosen if seconds is not None else replace(found.chosen, time=None)
    if seconds is not None and np.isnan(seconds).all():
        seconds, note = None, "none"
    blocks = found.blocks
    n_missing = n_rows - sum(map(len, blocks))
    joined = [joined_ids([block.column(side) for block in blocks]) for side in range(2)]
    has_ratings = len(chosen.positions) == len(ROLES)
    ratings = [block.column(2).to_numpy() for block in blocks] if has_ratings else []
    whole = np.concatenate(ratings) if ratings else np.empty(0)
    n_columns = found.n_columns
    del found, blocks, ratings
    release()
    return Read(
        chosen=chosen,
        about=chosen.described(n_columns),
        ids=[(ids, rows) for ids, rows, _ in joined],
        ratings=whole,
        times=seconds,
        time_note=note,
        n_joined=sum(n for _, _, n in joined),
        n_missing=n_missing,
    )


def no_rows(path: Path) -> InputError:
    """What is wrong with a table without rows."""
    return InputError(f"{path}: expected at least one row below the header, got none")


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A file, and how it begins."""

    path: Path
    columnar: Format | None
    head: delimited.Head | None  # of a text table

    @property
    def rows(self) -> list[list[str]]:
        """The first rows: of other formats than text the names of the columns."""
        return self.head.rows if self.head else [self.columnar.column_names(self.path)]  # type: ignore[union-attr]

    @property
    def known(self) -> dict[str, bool]:
        """What `choose` is to know of these."""
        return {} if self.head else {"has_header": True}

    def batches(self, piece: Piece, chosen: Chosen) -> Iterator["pa.RecordBatch"]:
        """The chosen columns of a piece of it."""
        if self.head:
            return delimited.batches(self.path, self.head, chosen, number=piece.number, of=piece.of)
        assert self.columnar is not None
        if piece.of > 1:
            return parquet.batches(self.path, chosen, piece.number)
        return self.columnar.batches(self.path, chosen)

    def place(self, piece: Piece, chosen: Chosen, row: int) -> str:
        """Where a row of a piece stands."""
        if self.head and piece.number:
            return f"{self.path}"
        if self.head:
            has_header = bool(chosen.names)
            line = delimited.line_of(self.path, self.head, row, has_header=has_header)
            return f"{self.path}:{line}"
        before = sum(parquet.rows_of_groups(self.path)[: piece.number]) if piece.number else 0
        return f"{self.path}: row {before + row + 1:,}"

    def check_like(self, first: "_Opened", chosen: Chosen) -> None:
        """Raises InputError if its format, or its columns, are not those of the first file."""
        if self.columnar is not first.columnar:
            raise InputError(f"{self.path}: expected a file of the same format as {first.path}")
        mine, theirs = self.rows[0], first.rows[0]
        are_same = len(mine) == len(theirs)
        if chosen.names:
            mine, theirs = ([field.strip() for field in row] for row in (mine, theirs))
            are_same = mine == theirs
        if not are_same:
            expected, got = (", ".join(map(shown, row[:MOST_SHOWN])) for row in (theirs, mine))
            raise InputError(
                f"{self.path}: expected the columns of {first.path}, {expected}, got {got}"
            )


def _opened(path: Path) -> _Opened:
    columnar = format_of(path)
    head = None if columnar else delimited.read_head(path, first_lines(path))
    return _Opened(path=path, columnar=columnar, head=head)


def _rows_of(
    pieces: Sequence[Piece],
    first: _Opened,
    chosen: Chosen,
    starts: list[tuple[int, Callable[[int], str]]],
    n_read: Callable[[], int],
) -> Iterator["pa.RecordBatch"]:
    """The chosen columns of pieces, one after the other, whose places it adds to `starts`."""
    file = first
    for piece in pieces:
        if piece.path != file.path:
            file = _opened(piece.path)
            file.check_like(first, chosen)
        starts.append((n_read(), partial(file.place, piece, chosen)))
        yield from file.batches(piece, chosen)


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
    blocks: list[times.Block],
    chosen: Chosen,
    place: Callable[[int], str],
    like: Sequence[times.Block] | None,
) -> tuple[NDArray[np.float64] | None, str]:
    """What `Scanned.seconds` gives, of all rows."""
    named = chosen.name(chosen.time or 0)
    try:
        found = times.joined(blocks, like)
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


def release() -> None:
    """Gives back the memory that Arrow, and files in a store, do not need any more."""
    import pyarrow as pa

    forget()
    pa.default_memory_pool().release_unused()


def joined_ids(
    chunks: list["pa.DictionaryArray"], *, are_texts: bool = False
) -> tuple[IdArray, NDArray[np.int32], int]:
    """The distinct ids of a column, sorted, the row among them of each of its values, and how
    many differed from others in blanks around them, or in a .0, alone.

    Args:
        chunks: of the column; not all need be of one type.
        are_texts: whether whole numbers are texts too, as others of the column are.
    """
    import pyarrow as pa

    if len({chunk.type for chunk in chunks}) > 1:  # of several files
        chunks = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.string()))
            for chunk in chunks
        ]
    whole = pa.chunked_array(chunks).unify_dictionaries()
    found = id_array(whole.chunk(0).dictionary)
    ids, place = indexed(found.astype(TEXT) if are_texts else found)
    rows = place[np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])]
    return ids, rows, len(place) - len(ids)
