"""Matrices of ratings, users × items, as columns: sparse ones, arrays, and pivoted frames.

Of a sparse matrix (SciPy's, or one like it) all that it stores is rated, zeros too; of an array, or
of a pandas frame that was pivoted, all that is not NaN.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from storage.names import ROLES, is_called

FEWEST_COLUMNS = 4  # of an array that is a matrix: one of fewer holds rows


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The ratings of a matrix."""

    name: str  # for people
    columns: dict[str, Any]  # of user, item and rating, as arrays


def as_matrix(source: Any) -> Matrix | None:
    """The ratings of a matrix; None if it is none, or may be something else.

    Users and items are called as the frame calls them, or else numbered from 0. An array may hold
    rows of user, item, rating and more: it is a matrix if NaN stands both in its first column and
    in its second, where ids would be.
    """
    import narwhals.stable.v2 as nw

    if is_sparse(source):
        entries = source.tocoo()
        return _matrix(source.shape, entries.row, entries.col, entries.data)
    if nw.dependencies.is_pandas_dataframe(source):
        if any(column.kind not in "iuf" for column in source.dtypes):
            return None
        if _is_pivoted(source):
            if is_called(str(source.index.name), "item") or is_called(
                str(source.columns.name), "user"
            ):
                source = source.T
            return _of_array(source.to_numpy(float, na_value=np.nan), *source.axes)
        if any(type(axis).__name__ != "RangeIndex" for axis in source.axes):
            return None
        source = source.to_numpy()
    if not isinstance(source, np.ndarray) or source.ndim != 2 or source.dtype.kind != "f":
        return None
    values = np.ma.filled(source, np.nan)
    is_matrix = values.shape[1] >= FEWEST_COLUMNS and np.isnan(values[:, :2]).any(axis=0).all()
    return _of_array(values) if is_matrix else None


def is_sparse(source: object) -> bool:
    """Whether it is a sparse matrix."""
    return hasattr(source, "tocoo") and len(getattr(source, "shape", ())) == 2


def _is_pivoted(frame: Any) -> bool:
    """Whether both axes of a frame have names, and no column has that of a role."""
    if any(axis.nlevels > 1 or axis.name is None for axis in frame.axes):
        return False
    return not any(is_called(str(label), role) for label in frame.columns for role in ROLES)


def _of_array(values: NDArray[np.floating], *labels: Any) -> Matrix:
    """The ratings of (n_users, n_items) values, NaN where there is none."""
    rows, columns = np.nonzero(~np.isnan(values))
    return _matrix(values.shape, rows, columns, values[rows, columns], *labels)


def _matrix(
    shape: tuple[int, ...], rows: ArrayLike, columns: ArrayLike, ratings: ArrayLike, *labels: Any
) -> Matrix:
    """The ratings at (n_ratings,) rows and columns, and what these are called if not by number."""
    import pyarrow as pa

    ids: list[Any] = [rows, columns]
    if labels:
        ids = [
            pa.DictionaryArray.from_arrays(one, pa.array(axis.to_numpy(), from_pandas=True))
            for one, axis in zip(ids, labels, strict=True)
        ]
    name = f"matrix of {shape[0]:,} users × {shape[1]:,} items"
    return Matrix(
        name=name if labels else f"{name}, numbered from 0",
        columns=dict(zip(ROLES, [*ids, ratings], strict=True)),
    )
