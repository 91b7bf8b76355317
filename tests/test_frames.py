"""Frames of many libraries in memory: their columns as they are, matrices, and the kind back."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import sparse

from storage.errors import InputError
from storage.frames import as_frame, read_frame
from storage.ratings import RatingsTable
from storage.tables import read_pairs, read_ratings
from study import load
from study.inputs import load_data

RATED = {"user_id": ["a", "b", "a"], "movie_id": [1, 2, 2], "rating": [1.0, 2.0, 3.0]}
PAIRS = {("a", 1): 1.0, ("a", 2): 3.0, ("b", 2): 2.0}
MATRIX = np.array([[5, np.nan, 3, np.nan], [np.nan, 1, 2, 4]])
IN_MATRIX = {(0, 0): 5.0, (0, 2): 3.0, (1, 1): 1.0, (1, 2): 2.0, (1, 3): 4.0}


def rated(source: Any, **named: bool) -> dict[tuple[object, object], float]:
    return as_dict(read_ratings(read_frame(source, **named)))


def as_dict(table: RatingsTable) -> dict[tuple[object, object], float]:
    pairs = zip(table.user_ids.tolist(), table.item_ids.tolist(), strict=True)
    return dict(zip(pairs, table.ratings.tolist(), strict=True))


def refused(source: Any, **named: bool) -> str:
    with pytest.raises(InputError) as caught:
        read_ratings(read_frame(source, **named))
    message = str(caught.value)
    assert message.isprintable()
    return message


class Stream:
    """A frame that speaks Arrow and nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(pd.DataFrame(RATED), id="pandas"),
        pytest.param(pd.DataFrame(RATED, index=[5, 5, 7]), id="an index"),
        pytest.param(pd.DataFrame(RATED).set_index("user_id"), id="an index with a name"),
        pytest.param(pd.DataFrame(RATED).set_index("movie_id"), id="a range of numbers"),
        pytest.param(pd.DataFrame(RATED).set_index(["movie_id", "user_id"]), id="two levels"),
        pytest.param(pd.DataFrame(RATED).set_index("user_id", drop=False), id="the same name"),
        pytest.param(pd.DataFrame(RATED).convert_dtypes(), id="nullable"),
        pytest.param(pd.DataFrame(RATED).rename_axis(columns="field"), id="named columns"),
        pytest.param(pl.DataFrame(RATED), id="Polars"),
        pytest.param(pl.LazyFrame(RATED), id="LazyFrame"),
        pytest.param(
            pl.DataFrame(RATED).with_columns(pl.col("user_id").cast(pl.Categorical)),
            id="Categorical",
        ),
        pytest.param(
            pl.DataFrame(RATED).with_columns(pl.col("user_id").cast(pl.Enum(["z", "b", "a"]))),
            id="Enum",
        ),
        pytest.param(pa.table(RATED), id="Arrow"),
        pytest.param(pa.concat_tables([pa.table(RATED)[:1], pa.table(RATED)[1:]]), id="chunks"),
        pytest.param(pa.record_batch(RATED), id="a batch"),
        pytest.param(Stream(pa.table(RATED)), id="a stream"),
        pytest.param(duckdb.from_arrow(pa.table(RATED)), id="DuckDB"),
        pytest.param({name: pd.Series(c) for name, c in RATED.items()}, id="Series"),
        pytest.param({name: pl.Series(c) for name, c in RATED.items()}, id="Series of Polars"),
        pytest.param({name: pa.chunked_array([c]) for name, c in RATED.items()}, id="chunked"),
        pytest.param({name: iter(c) for name, c in RATED.items()}, id="iterators"),
    ],
)
def test_the_ratings_of_any_frame(source: Any) -> None:
    assert rated(source) == PAIRS


@pytest.mark.parametrize("categories", [["q", "a", "b"], ["b", "a"]])
def test_a_category_that_nobody_has_is_no_user(categories: list[str]) -> None:
    users = pd.Categorical(RATED["user_id"], categories)
    assert read_ratings(read_frame(RATED | {"user_id": users})).users.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "unused",
    [
        pytest.param([1, "a", None], id="mixed"),
        pytest.param([Path("a"), Path("b"), Path("c")], id="paths"),
        pytest.param([1j, 2j, 3j], id="complex"),
        pytest.param([object()] * 3, id="objects"),
    ],
)
def test_what_is_not_used_may_be_anything(unused: list[object]) -> None:
    columns = RATED | {"more": unused}
    for source in (columns, pd.DataFrame(columns)):
        assert rated(source) == PAIRS
        assert read_pairs(read_frame(source)).user_ids.tolist() == RATED["user_id"]
    used = pd.DataFrame(columns).drop(columns="rating").rename(columns={"more": "rating"})
    said = ("DataFrame", "expected numbers in column 'rating'", "row 3: expected rating, got noth")
    assert any(one in refused(used) for one in said)


@pytest.mark.parametrize("kind", [float, np.float32, np.float16, "Float64", "category"])
def test_whole_numbers_that_a_merge_made_floating_are_ids(kind: Any, tmp_path: Path) -> None:
    rows = pd.DataFrame(RATED).drop(columns="movie_id")
    merged = rows.assign(movie_id=pd.Series([1.0, 2.0, 2.0]).astype(kind))
    assert rated(merged) == PAIRS
    if kind is not np.float16:
        merged.to_parquet(tmp_path / "table")
        assert as_dict(read_ratings(tmp_path / "table")) == PAIRS
    assert read_pairs(read_frame(merged)).item_ids.dtype == np.int64


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([1.0, 1.5, 2.0], "row 2: expected whole numbers or texts in column 'movie_id', got 1.5"),
        ([1.0, 2.0, 2.0**54], "row 3: expected whole numbers or texts in column"),
        ([1.0, np.inf, 2.0], "row 2: expected whole numbers or texts in column 'movie_id', got in"),
        ([1.0, np.nan, 2.0], "row 2: expected "),
        ([Decimal("1.5")] * 3, "expected whole numbers or texts in column 'movie_id', got 1.5"),
        ([b"a", b"b", b"c"], "expected whole numbers or texts in column 'movie_id', got binary"),
    ],
)
def test_numbers_that_are_not_whole_are_no_ids(ids: list[object], said: str) -> None:
    for kind in (dict, pd.DataFrame, pl.DataFrame):
        assert said in refused(kind(RATED | {"movie_id": ids}))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (np.array([1, 2**64 - 1, 3], np.uint64), ["1", str(2**64 - 1), "3"]),
        (np.array([1, 2**63 - 1, 3], np.uint64), [1, 2**63 - 1, 3]),
        ([1, 2**63, -3], ["1", str(2**63), "-3"]),
        ([1, 2**99, 3], ["1", str(2**99), "3"]),
        ([1, "x", 3], ["1", "x", "3"]),
    ],
)
def test_ids_beyond_64_bits_are_texts_as_in_a_file(
    ids: Any, expected: list[object], tmp_path: Path
) -> None:
    columns = {"user": ids, "item": [1, 1, 1], "rating": [1, 2, 3]}
    lines = [f"{user},1,{n}" for n, user in enumerate(ids, 1)]
    (tmp_path / "csv").write_text("\n".join(["user,item,rating", *lines]))
    digest = read_ratings(tmp_path / "csv").digest
    rows = zip(*columns.values(), strict=True)
    for source in (columns, pd.DataFrame(columns), list(rows)):
        assert read_ratings(read_frame(source)).digest == digest
        assert read_pairs(read_frame(columns)).user_ids.tolist() == expected
    if isinstance(ids, np.ndarray):
        parquet.write_table(pa.table(columns), tmp_path / "parquet")
        assert read_ratings(tmp_path / "parquet").digest == digest


def test_numbers_of_128_bits() -> None:
    ids = pl.Series([1, 2**99, 3], dtype=pl.Int128)
    assert {user for user, _ in rated(RATED | {"user_id": ids})} == {"1", str(2**99), "3"}
    relation = duckdb.sql(f"SELECT {2**99}::HUGEINT AS u, n AS i, n AS r FROM range(3) t(n)")
    assert read_ratings(read_frame(relation), ("u", "i", "r")).users.tolist() == [str(2**99)]


def test_a_lazy_frame_is_asked_for_what_is_used_alone() -> None:
    asked = []

    def told(frame: pl.DataFrame) -> pl.DataFrame:
        asked.append(frame.columns)
        return frame

    lazy = pl.LazyFrame(RATED | {"more": [1, 2, 3]}).map_batches(told, projection_pushdown=True)
    assert rated(lazy) == PAIRS
    assert asked == [["user_id", "movie_id", "rating"]]
    wrong = pl.LazyFrame(RATED).with_columns(rating=pl.col("user_id").str.to_integer())
    assert "got LazyFrame (" in refused(wrong)
    assert "got LazyFrame (" in refused(pl.LazyFrame(RATED).select("none"))
    wrong = duckdb.sql("SELECT 'a' AS user, 1 AS item, 'x'::INT AS rating")
    assert "got DuckDBPyRelation (Conversion Error" in refused(wrong)


@pytest.mark.parametrize("kind", ["coo_array", "csr_matrix", "csc_array", "lil_array", "dok_array"])
def test_what_a_sparse_matrix_stores_is_rated(kind: str) -> None:
    matrix = getattr(sparse, kind)(np.nan_to_num(MATRIX))
    assert rated(matrix, may_be_matrix=True) == IN_MATRIX
    said = refused(matrix)
    assert said.endswith(
        f"got {kind}: a sparse matrix holds ratings, and takes no columns=; "
        "np.stack(matrix.nonzero(), axis=1) has its pairs"
    )
    pairs = read_pairs(read_frame(np.stack(matrix.nonzero(), axis=1)))
    assert set(zip(pairs.user_ids.tolist(), pairs.item_ids.tolist(), strict=True)) == {*IN_MATRIX}


def test_a_small_sparse_matrix_is_never_read_as_rows() -> None:
    matrix = sparse.csr_array(np.array([[1, 2, 5], [0, 2, 4]]))
    expected = {(0, 0): 1.0, (0, 1): 2.0, (0, 2): 5.0, (1, 1): 2.0, (1, 2): 4.0}
    assert rated(matrix, may_be_matrix=True) == expected
    stored = sparse.coo_array(([0.0, 2.0, 4.0], ([0, 1, 1], [0, 0, 0])), shape=(2, 1))
    assert rated(stored, may_be_matrix=True) == {(0, 0): 0.0, (1, 0): 3.0}  # twice, so the mean


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(MATRIX, id="array"),
        pytest.param(MATRIX.astype(np.float32), id="single"),
        pytest.param(np.ma.masked_invalid(MATRIX), id="masked"),
        pytest.param(np.ma.masked_equal(np.nan_to_num(MATRIX), 0), id="masked zeros"),
        pytest.param(pd.DataFrame(MATRIX), id="pandas"),
    ],
)
def test_an_array_with_nothing_where_ids_would_be_is_a_matrix(matrix: Any) -> None:
    assert rated(matrix, may_be_matrix=True) == IN_MATRIX


@pytest.mark.parametrize(
    "array",
    [
        np.nan_to_num(MATRIX),
        np.nan_to_num(MATRIX).astype(int),
    ],
)
def test_an_array_that_may_be_rows_with_more_fields_is_refused(array: Any) -> None:
    assert refused(array, may_be_matrix=True).endswith(
        "expected rows of user, item and maybe rating, got 4 fields; a matrix of users × items has "
        "NaN for what is not rated, in its first two columns too, or is "
        "scipy.sparse.coo_array(matrix), where 0 is not rated"
    )
    assert "unpivot a matrix of users × items" in refused(pd.DataFrame(array), may_be_matrix=True)


def test_an_array_of_three_columns_holds_rows() -> None:
    array = np.array([[1, 10, 4.5], [2, 10, 3.0]])
    assert rated(array, may_be_matrix=True) == {(1, 10): 4.5, (2, 10): 3.0}


@pytest.mark.parametrize("kind", [float, "Int64", "Float64"])
def test_a_pivoted_frame_is_a_matrix(kind: str) -> None:
    long = pd.DataFrame(RATED).astype({"rating": kind})
    wide = long.pivot(index="user_id", columns="movie_id", values="rating")
    assert rated(wide, may_be_matrix=True) == PAIRS
    turned = long.pivot(index="movie_id", columns="user_id", values="rating")
    assert rated(turned, may_be_matrix=True) == PAIRS  # by the names of its axes
    for rows, columns in (("movie_id", "who"), ("what", "user_id")):
        one_named = turned.rename_axis(rows).rename_axis(columns, axis=1)
        assert rated(one_named, may_be_matrix=True) == PAIRS
    unnamed = turned.rename_axis("x").rename_axis("y", axis=1)
    expected = {(item, user): rating for (user, item), rating in PAIRS.items()}
    assert rated(unnamed, may_be_matrix=True) == expected
    for flat in (
        wide.reset_index(),
        long.pivot(index="user_id", columns="movie_id").reset_index(),
        pl.DataFrame(RATED).pivot("movie_id", index="user_id", values="rating"),
    ):
        assert refused(flat, may_be_matrix=True).endswith(
            ", or unpivot a matrix of users × items into rows"
        )


def test_a_matrix_is_told_in_the_first_line(tmp_path: Path) -> None:
    told = load_data(MATRIX, runs=tmp_path).described().splitlines()[0]
    assert told == (
        "matrix of 2 users × 4 items, numbered from 0, 5 ratings, 2 users, 4 items, 0 queries"
    )
    wide = pd.DataFrame(RATED).pivot(index="user_id", columns="movie_id", values="rating")
    told = load(wide).described().splitlines()[0]
    assert told == "matrix of 2 users × 2 items, 3 ratings, 2 users, 2 items, 0 queries"
    named = pd.DataFrame([[1, 2, 3], [2, 3, 4]], columns=pd.Index(["x", "y", "z"], name="field"))
    data = load(named.rename_axis(index="n"), columns="x,y,z")
    assert as_dict(data.table) == {(1, 2): 3.0, (2, 3): 4.0}


ANSWERS = pa.table({"user_id": ["a", "b"], "movie_id": [1, 2], "prediction": [1.5, 2.5]})


@pytest.mark.parametrize(
    ("like", "kind"),
    [
        (pd.DataFrame(RATED), pd.DataFrame),
        (pl.DataFrame(RATED), pl.DataFrame),
        (pl.LazyFrame(RATED), pl.DataFrame),
        (pa.table(RATED), pa.Table),
        (pa.record_batch(RATED), pa.Table),
        (Stream(pa.table(RATED)), pa.Table),
        (duckdb.from_arrow(pa.table(RATED)), pa.Table),
        (RATED, dict),
        ([("a", 1), ("b", 2)], dict),
        (np.array([[1, 2], [3, 4]]), dict),
        ("pairs.csv", pa.Table),
        (None, pa.Table),
    ],
)
def test_answers_are_of_the_kind_of_the_question(like: Any, kind: type[object]) -> None:
    like = like[:2] if isinstance(like, pd.DataFrame | pl.DataFrame) else like
    answers = as_frame(ANSWERS, like=like)
    assert type(answers) is kind
    assert pa.table(answers).to_pydict() == ANSWERS.to_pydict()


@pytest.mark.parametrize(
    ("set_index", "columns"),
    [
        (lambda frame: frame.set_axis([7, 7]), ["user_id", "movie_id", "prediction"]),
        (lambda frame: frame.set_index("user_id"), ["movie_id", "prediction"]),
        (lambda frame: frame.set_index(["movie_id", "user_id"]), ["prediction"]),
    ],
)
def test_answers_have_the_index_of_the_question(
    set_index: Callable[[pd.DataFrame], pd.DataFrame], columns: list[str]
) -> None:
    asked = set_index(pd.DataFrame({"user_id": ["a", "b"], "movie_id": [1, 2]}))
    answers = as_frame(ANSWERS, like=asked)
    assert answers.columns.tolist() == columns
    pd.testing.assert_index_equal(answers.index, asked.index)
    asked["prediction"] = answers["prediction"]
    assert asked["prediction"].tolist() == [1.5, 2.5]


def test_a_grouped_series_is_a_table_by_its_index() -> None:
    frame = pd.DataFrame(RATED)
    grouped = frame.groupby(["user_id", "movie_id"])["rating"].mean()
    assert rated(grouped) == PAIRS
    assert rated(grouped.rename(None)) == PAIRS


def test_sparse_columns_of_pandas() -> None:
    assert rated(pd.DataFrame(RATED).astype({"rating": pd.SparseDtype("float64")})) == PAIRS


def test_whole_decimals_are_ids() -> None:
    ids = pa.array([Decimal(1), Decimal(2), Decimal(2)], pa.decimal128(12, 2))
    assert rated(pa.table(RATED).set_column(1, "movie_id", ids)) == PAIRS


def test_ids_that_programs_write_for_nothing_are_told() -> None:
    data = load(RATED | {"user_id": ["NULL", "b", "a"]})
    assert "Named: 1 rows are of user NULL" in data.described()
    assert "Named" not in load(RATED).described()


@pytest.mark.parametrize("dtype", ["str", "category", object])
def test_ratings_may_be_texts(dtype: object) -> None:
    frame = pd.DataFrame(RATED)
    assert rated(frame.assign(rating=frame.rating.map(" {} ".format).astype(dtype))) == PAIRS
    frame = frame.assign(rating=["5", "good", "1"]).astype({"rating": dtype})
    with pytest.raises(InputError, match=r"row 2: expected a rating, a number .*, got 'good'"):
        load(frame)


def test_ids_that_differ_in_zeros_before_them_are_told() -> None:
    data = load(RATED | {"user_id": ["1", "001", "a"]})
    assert "Padded: 1 users, such as 001, are called like others but for" in data.described()
    assert "Padded" not in load(RATED | {"user_id": ["2", "001", "a"]}).described()
