"""Data frames of any library as Arrow tables, and answers in the kind that was given.

Narwhals knows pandas, Polars, Modin, cuDF, Arrow and the lazy frames of Polars, DuckDB and others.
What it does not know may speak Arrow (the PyCapsule interface) or the older interchange protocol.
None of these libraries is imported here.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.columns import FRAME
from storage.errors import InputError
from storage.lines import reason_of
from storage.matrices import as_matrix, is_sparse
from storage.rows import EXPECTED, as_texts, columns_of_rows, is_series, listed_column

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Columns in memory, of which those that are chosen become Arrow's, and no others."""

    column_names: list[str]
    converted: Callable[[list[int]], "pa.Table"]
    kind: str  # of its type
    name: str = str(FRAME)  # for people

    def select(self, columns: list[int], /) -> "pa.Table":
        """The table of the columns at these positions.

        Raises:
            InputError: they cannot become Arrow's.
        """
        with _refused(self.kind):
            return self.converted(columns)

    def arrays(self) -> Iterator[tuple[str, "pa.Array"]]:
        """All columns, but those behind the first that cannot become one of Arrow's.

        Raises:
            InputError: the first cannot.
        """
        import pyarrow as pa

        for at, name in enumerate(self.column_names):
            try:
                column = self.select([at]).column(0).combine_chunks()
            except InputError:
                if at == 0:
                    raise
                continue
            if isinstance(column, pa.ChunkedArray):
                column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
            yield name, column


def is_frame(source: object) -> bool:
    """Whether ratings are in memory, not in a file."""
    return source is not None and not isinstance(source, Path)


def read_frame(source: Any, *, may_be_matrix: bool = False) -> Frame:
    """A data frame, a dict of columns, or rows of user, item and maybe rating.

    Args:
        source: any of these.
        may_be_matrix: whether it may be a matrix of users × items as well.

    Raises:
        InputError: it is none of these.
    """
    import narwhals.stable.v2 as nw
    import pyarrow as pa
    from pyarrow.interchange import from_dataframe

    kind = type(source).__name__
    with _refused(kind):
        if may_be_matrix and (matrix := as_matrix(source)):
            return _of_columns(list(matrix.columns.items()), kind, name=matrix.name)
        if is_sparse(source):
            raise InputError(
                f"{EXPECTED}, got {kind}: a sparse matrix holds ratings, and takes no columns=; "
                "np.stack(matrix.nonzero(), axis=1) has its pairs"
            )
        source = _unstacked(source)
        frame = nw.from_native(source, pass_through=True)
        if isinstance(frame, nw.DataFrame):
            return _of_columns(_columns(frame), kind)
        if isinstance(frame, nw.LazyFrame):
            names = frame.collect_schema().names()

            def collected(chosen: list[int]) -> pa.Table:
                return frame.select([names[at] for at in chosen]).collect().to_arrow()

            return Frame(column_names=names, converted=collected, kind=kind)
        is_stream = hasattr(frame, "__arrow_c_stream__") and not is_series(frame)
        if is_stream or hasattr(frame, "__dataframe__"):
            table = pa.table(frame) if is_stream else from_dataframe(frame)
            return Frame(column_names=table.column_names, converted=table.select, kind=kind)
        columns = frame if isinstance(frame, Mapping) else columns_of_rows(frame)
        return _of_columns([(str(name), column) for name, column in columns.items()], kind)


def as_frame(table: "pa.Table", *, like: Any) -> Any:
    """The table as a frame of the kind that `like` is, one of pandas or alike with its index.

    What is in that index is no column of it. Of Polars' LazyFrame it is a DataFrame; of a dict or
    rows a dict of NumPy arrays; of all else the Arrow table.
    """
    import narwhals.stable.v2 as nw

    frame = nw.from_native(like, pass_through=True)
    if isinstance(frame, nw.DataFrame | nw.LazyFrame):
        kind = frame.implementation
        if not (kind.is_polars() or kind.is_pandas_like()):
            return table
        index = nw.maybe_get_index(frame)
        if index is not None:
            table = table.drop([name for name in table.column_names if name in index.names])
        answers = nw.from_arrow(table, backend=kind).to_native()
        if index is not None:
            answers.index = index
        return answers
    is_table = hasattr(like, "__arrow_c_stream__") or hasattr(like, "__dataframe__")
    if is_table or like is None or isinstance(like, str | os.PathLike):
        return table
    return {
        name: column.to_numpy()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _unstacked(source: Any) -> Any:
    """A Series of pandas by user and item, as grouping gives it, as a frame; others as they are."""
    if not is_series(source) or getattr(getattr(source, "index", None), "nlevels", 1) < 2:
        return source
    return source.rename("rating" if source.name is None else source.name).reset_index()


def _columns(frame: "nw.DataFrame[Any]") -> list[tuple[str, Any]]:
    """The columns of a frame, and the levels of its index that have names of their own."""
    import narwhals.stable.v2 as nw

    columns = [(str(name), frame[:, at]) for at, name in enumerate(frame.columns)]
    if (index := nw.maybe_get_index(frame)) is not None:
        taken = dict(columns)
        for level, name in enumerate(index.names):
            if name is not None and str(name) not in taken:
                columns.append((str(name), index.get_level_values(level)))
    return columns


def _of_columns(columns: list[tuple[str, Any]], kind: str, name: str = str(FRAME)) -> Frame:
    import pyarrow as pa

    names = [name for name, _ in columns]

    def converted(chosen: list[int]) -> pa.Table:
        return pa.table([_array(*columns[at]) for at in chosen], [names[at] for at in chosen])

    return Frame(column_names=names, converted=converted, kind=kind, name=name)


def _array(name: str, column: Any) -> "pa.Array | pa.ChunkedArray":
    """A column as Arrow's; of numbers beyond 64 bits, or of numbers and texts, as texts."""
    import narwhals.stable.v2 as nw
    import pyarrow as pa

    column = nw.from_native(column, series_only=True, pass_through=True)
    is_series = isinstance(column, nw.Series)
    values = column if is_series else listed_column(name, column)
    if is_series and hasattr(native := column.to_native(), "sparse"):
        values = nw.from_native(native.sparse.to_dense(), series_only=True)
    try:
        return pa.chunked_array(values) if is_series else pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError):
        if (texts := as_texts(values)) is None:
            raise
        return pa.array(texts, pa.string())


@contextmanager
def _refused(kind: str) -> Iterator[None]:
    """Whatever goes wrong in a library, of which there are many, is an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{EXPECTED}, got {kind} ({reason_of(error)})") from error
