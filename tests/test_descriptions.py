"""Tables of items and users: read, typed by their content, matched, told, and as numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from pyarrow import parquet

from model.dataset import Description
from model.descriptions import of_categories, of_numbers, of_several
from storage.contents import Categories, LeftOut, Numbers, Several, column_of
from storage.errors import InputError
from storage.sources import Sources
from study import load, recommend, run, tune
from study.inputs import Data, load_data, with_pairs

Call = Callable[..., tuple[int, str, str]]
GENRES = ["Drama", "Comedy", "War"]


def genres_of(n: int) -> list[str]:
    return [genre for bit, genre in enumerate(GENRES) if n % 7 >> bit & 1]


def items(n: int = 40) -> dict[str, Any]:
    """Movies 1 to n, of which `ratings` has those up to 30."""
    draw = np.random.default_rng(3)
    return {
        "movie_id": list(range(1, n + 1)),
        "title": [f"Film no. {i}" for i in range(1, n + 1)],
        "year": draw.integers(1950, 2000, n).tolist(),
        "budget": draw.normal(10, 3, n).round(3).tolist(),
        "genres": [genres_of(i) or None for i in range(n)],
        "country": [["FR", "US", None, "IT"][i % 4] for i in range(n)],
    }


def ratings() -> dict[str, list[float]]:
    draw = np.random.default_rng(1)
    pairs = sorted({(int(u), int(i)) for u, i in draw.integers(1, 31, (300, 2))})
    return {
        "user_id": [u for u, _ in pairs],
        "movie_id": [i for _, i in pairs],
        "rating": [float(1 + (u * i) % 5) for u, i in pairs],
    }


def as_csv(columns: dict[str, Any], several: Callable[[list[str]], str] = "|".join) -> str:
    def word(value: Any) -> str:
        text = several(value) if isinstance(value, list) else "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if set(text) & set(',"') else text

    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "".join(",".join(map(word, row)) + "\n" for row in rows)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works where `ratings.csv` and `items.csv` are."""
    monkeypatch.chdir(tmp_path)
    Path("ratings.csv").write_text(as_csv(ratings()))
    Path("items.csv").write_text(as_csv(items()))
    return tmp_path


def data_with(**tables: Any) -> Data:
    return load_data(Sources(data="ratings.csv", **tables), runs=Path("runs"))


def refused(text: str, **more: Any) -> str:
    Path("items.csv").write_text(text)
    with pytest.raises(InputError) as error:
        data_with(items="items.csv", **more)
    assert str(error.value).isprintable()
    return str(error.value)


def column(values: list[Any], name: str = "x", kind: Any = None) -> Any:
    return column_of(name, pa.array(values, kind))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2.5", "", "-3e2", "7"], [1, 2.5, np.nan, -300, 7]),
        ([1, None, 3, 8], [1, np.nan, 3, 8]),
        (["NA", "1995", "1999", "1995"], [np.nan, 1995, 1999, 1995]),
    ],
)
def test_numbers(values: list[Any], expected: list[float]) -> None:
    found = column(values)
    assert isinstance(found, Numbers)
    np.testing.assert_array_equal(found.values, expected)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (["unknown"], "('unknown' not known)"),
        (["2005–2007", "tbd"], "('2005–2007' and 1 more not known)"),
    ],
)
@pytest.mark.parametrize("style", ["{}", "{}-07-01", "{}.5"])
def test_a_few_texts_among_numbers_or_dates_are_not_known(
    odd: list[str], said: str, style: str
) -> None:
    years = [style.format(year) for year in range(1950, 2000)]
    found, expected = column([*years, *odd]), column([*years, *[None] * len(odd)])
    assert isinstance(found, Numbers)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.about == f"{expected.about} {said}"
    others = [*years, "0000-00-00", "10/10/1990"]
    assert column(others).about == (
        f"{expected.about} ('0000-00-00' and 1 more not known)"
        if style != "{}.5"
        else "x number ('0000-00-00' and 1 more not known)"
    )
    assert isinstance(column([*years[:9] * 5, *odd]), Categories)  # one more of few
    assert not isinstance(column([*years[:20], *odd, "more"]), Numbers)  # too many


@pytest.mark.parametrize(
    "values",
    [
        ["2020-07-01", "2010-07-01", None],
        ["01-Jul-2020", "01-Jul-2010", ""],
        ["2020/07/01", "2010/07/01", "NaT"],
        ["July 01, 2020", "July 01, 2010", None],
        [pd.Timestamp("2020-07-01"), pd.Timestamp("2010-07-01"), None],
    ],
)
def test_dates_are_years(values: list[Any]) -> None:
    found = column(values)
    assert isinstance(found, Numbers)
    assert found.kind == "date"
    np.testing.assert_allclose(found.values, [2020.5, 2010.5, np.nan], atol=0.01)


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "a", "", "b"],
        ["01", "02", "01", "NA", "02"],  # no numbers
        pd.array(["a", "b", "a", None, "b"]),
        [True, False, True, None, False],
    ],
)
def test_categories(values: Any) -> None:
    found = column(values)
    assert isinstance(found, Categories)
    assert sorted(found.codes.tolist()) == [-1, 0, 0, 1, 1]
    assert found.codes[0] == found.codes[2] != found.codes[1] == found.codes[4]
    coded = column_of("x", pa.array(values).dictionary_encode())
    assert coded.labels == found.labels
    assert coded.codes.tolist() == found.codes.tolist()


@pytest.mark.parametrize("style", ["{:,}", "${:,}", "$ {:,}", "+{:,}", "${}"])
def test_thousands_are_no_lists(style: str) -> None:
    numbers = [950, 1_000, 12_345, 1_234_567, 950]
    found = column([*(style.format(one) for one in numbers), None])
    assert isinstance(found, Numbers)
    np.testing.assert_array_equal(found.values, [*numbers, np.nan])


def test_codes_of_three_digits_are_lists() -> None:
    assert isinstance(column(["101,205", "101", "205", "101,205"]), Several)


def test_decimal_commas_are_no_lists() -> None:
    prices = [f"{n % 5},{n % 90:02}" for n in range(40)]
    found = column([*prices, "12", None])
    assert isinstance(found, Numbers)
    assert found.values[:3].tolist() == [0.0, 1.01, 2.02]
    assert found.values[40] == 12.0
    codes = column([f"{n % 3},{n % 2 + 5}" if n % 3 else "4" for n in range(40)])
    assert isinstance(codes, Several)  # a third have one code
    assert isinstance(column(["28,12", "28,16", "12,16,35"] * 10), Several)


@pytest.mark.parametrize(
    "write",
    [
        "|".join,
        " | ".join,
        ", ".join,
        ";".join,
        json.dumps,
        str,
        lambda labels: json.dumps([{"id": 7, "name": label} for label in labels]),
        list,
    ],
)
def test_several_in_one_field(write: Callable[[list[str]], Any]) -> None:
    lists = [["War", "Drama"], ["Drama"], None, ["Comedy", "War"], ["Drama", "Comedy"]] * 4
    found = column([one and write(one) for one in lists])
    assert isinstance(found, Several)
    assert found.labels == ("Comedy", "Drama", "War")
    ours: list[set[str]] = [set() for _ in lists]
    for row, code in zip(found.rows, found.codes, strict=True):
        ours[row].add(found.labels[code])
    assert ours == [set(one or ()) for one in lists]
    assert found.known.tolist() == [one is not None for one in lists]


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("x", ["", "NA", None], "empty"),
        ("x", [None, None], "empty"),
        ("x", [7, 7, 7], "the same everywhere"),
        ("x", ["b", "b"], "the same everywhere"),
        ("x", ["tt1", "tt2", "tt3", "tt4"], "ids"),
        ("x", ["A tale", "Of two", "Cities, and", "More"], "free text"),
        ("imdbId", [7, 19, 4], "ids"),
        ("zip_code", ["85711", "94043", "32067"], "ids"),
        ("row", [0, 1, 2, 3], "numbers the rows"),
        ("x", [{"a": 1}, {"a": 2}], "of type struct<a: int64>"),
        ("x", [b"1", b"2"], "of type binary"),
        ("x", [[0.5, 1.25], [2.5, 1e-7]], "lists of numbers"),
        ("x", ["[0.5, 1.25]", "[2.5, 1e-7]"], "lists of numbers"),
        ("x", [[{"a": 1}], []], "of type list<item: struct<a: int64>>"),
    ],
)
def test_what_is_left_out(name: str, values: list[Any], why: str) -> None:
    found = column(values, name)
    assert isinstance(found, LeftOut)
    assert found.why.replace("element", "item") == why


def test_the_content_of_any_format_is_the_same() -> None:
    columns, frame = items(), pd.DataFrame(items())
    expected = data_with(items="items.csv")
    assert expected.table.context
    frame.to_parquet("items.parquet")
    frame.sample(frac=1, random_state=1).to_csv("shuffled.csv", index=False)
    for table in (
        "items.parquet",
        "shuffled.csv",
        frame,
        frame.set_index("movie_id"),
        pl.DataFrame(columns),
        pl.DataFrame(columns).with_columns(pl.col("country").cast(pl.Categorical)).lazy(),
        pa.table(columns),
        columns,
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
    ):
        found = data_with(items=table)
        assert found.table.digest == expected.table.digest, table
        assert found.titles() == expected.titles()
        for one, other in zip(
            found.ratings.item_descriptions, expected.ratings.item_descriptions, strict=True
        ):
            assert one.labels == other.labels
            assert torch.equal(one.values, other.values)


def test_it_is_said_what_is_used() -> None:
    assert data_with(items="items.csv").described().splitlines()[2:] == [
        "Items: items.csv, 40 rows: year number, budget number, genres several (3), country "
        "categories (3); title for lists; 10 without ratings"
    ]
    odd = items() | {"": [f"tt{n}" for n in range(40)], "note": [""] * 40}
    said = data_with(items=odd).described()
    assert "; one without a name (ids), note (empty) not used; " in said
    short = {name: values[:25] for name, values in items().items()}
    assert (
        data_with(items=short)
        .described()
        .endswith("title for lists; 25 of 30 items are in the table")
    )
    Path("items.csv").write_text(as_csv(items()) + "41,one,field,too,many,of,these\n")
    assert (
        data_with(items="items.csv")
        .described()
        .endswith("; items.csv:42: expected 6 fields, got 7 fields: left out")
    )


def test_who_is_not_rated_is_known_and_stands_behind() -> None:
    bare, data = data_with(), data_with(items="items.csv")
    assert data.items.values.tolist() == list(range(1, 41))
    assert (bare.ratings.n_items, data.ratings.n_items) == (30, 40)
    assert torch.equal(bare.ratings.item_index, data.ratings.item_index)
    pairs = {"user_id": [1, 1, 1], "movie_id": [3, 35, 41]}
    asked = with_pairs(data, pairs, runs=Path("runs"))
    assert asked.queries.item_index.tolist() == [2, 34, -1]
    assert asked.totals.n_known == 2
    assert asked.summary.endswith("30 users, 30 items")


def test_ids_of_another_kind_are_known_too() -> None:
    table = {"movie_id": ["3", "4", "5", "tt9"], "genre": ["a", "a", "b", "b"]}
    data = data_with(items=table)
    assert data.items.values.tolist()[-2:] == ["30", "tt9"]
    assert data.items.index(["tt9", "3"]).tolist() == [30, 2]
    assert data.items.index(np.array([3])).tolist() == [2]


def test_the_digest_has_what_is_used() -> None:
    bare, full = data_with().table.digest, data_with(items="items.csv").table.digest
    titles = {name: items()[name] for name in ("movie_id", "title")}
    assert data_with(items=titles).table.digest == bare != full
    assert len(data_with(items=titles).items) == 30
    renamed = items() | {"title": list("abcd" * 10)}
    assert data_with(items=renamed).table.digest != full
    other = items()
    other["country"][3] = "FR"
    assert data_with(items=other).table.digest not in (bare, full)
    users = {"user_id": list(range(1, 31)), "sex": ["m", "f"] * 15}
    digests = {
        data_with(users=users).table.digest,
        data_with(users=users, items=other).table.digest,
    }
    assert len(digests | {bare, full, data_with(items=other).table.digest}) == 5


def test_the_column_of_ids() -> None:
    table = items()
    ids = table.pop("movie_id")
    expected = data_with(items="items.csv").table.digest
    for named in ({**table, "movie_id": ids}, {"key": ids, **table}, {**table, "item": ids}):
        assert data_with(items=named).table.digest == expected
    Path("bare.csv").write_text(as_csv(items()).partition("\n")[2])
    found = data_with(items="bare.csv").item_side.table
    assert found is not None
    assert [one.name for one in found.columns] == ["column 3", "column 4", "column 5", "column 6"]


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "index", "row"])
@pytest.mark.parametrize("name", ["id", "code", "movie_id"])
def test_a_column_that_numbers_the_rows_has_no_ids(index: str, name: str) -> None:
    columns = {name if one == "movie_id" else one: values for one, values in items().items()}
    first = {index: list(range(40))}
    read = data_with(items=first | columns)
    assert read.ratings.item_descriptions[0].values.equal(
        data_with(items="items.csv").ratings.item_descriptions[0].values
    )
    assert read.titles()["7"] == columns["title"][columns[name].index(7)]
    ranked = {index: list(range(1, 41)), "kind": ["a", "b"] * 20, "rank": list(range(16, 56))}
    assert "10 without ratings" in data_with(items=ranked).described()  # fewer are in the other
    alone = data_with(items={index or "row": [*range(1, 41)], "kind": ["a", "b"] * 20})
    assert "10 without ratings" in alone.described()  # there are no others


def test_bad_tables() -> None:
    text = as_csv(items())
    assert refused(text + "7,Other,1999,1,War,FR\n") == (
        "items.csv:42: item '7' is described once more, and otherwise than in items.csv:8"
    )
    lines = text.splitlines(keepends=True)
    Path("items.csv").write_text(text + lines[7] + lines[9])  # the same again is fine
    assert data_with(items="items.csv").described().count("40 rows") == 1
    moved = {"movie_id": ["a", "b"], "key": [1, 2]}
    assert refused(as_csv(moved)) == (
        "items.csv: expected items of the ratings, like '1', in one row at least, got others, like "
        "'a'; column 'key' has some: name it as the ratings do, or put it first"
    )
    assert refused(as_csv({"movie_id": ["a", "b"], "x": [101, 201]})).endswith("like 'a'")
    assert refused("movie_id,x\n").startswith("items.csv: expected at least one row")
    assert refused("movie_id,x\n1,a\n,b\n") == "items.csv:3: expected item, got an empty field"
    assert (
        refused("movie_id,x\n1,a,b\n2,b,c\n3,x\n") == "items.csv:2: expected 2 fields, got 3 fields"
    )
    assert "expected at most 1,000 columns, got 1,200" in refused(",".join(["x"] * 1200) + "\n1\n")
    assert "expected lines of at most" in refused("x," * 1_000_000 + "\n1\n")
    assert "binary data" in refused("\0\0")
    of_users = as_csv({"user_id": [1, 2, 3], "age": [20, 30, 40]})  # ids that items have too
    assert refused(of_users) == (
        "items.csv: expected a column 'movie_id' of items, got 'user_id': is this the table of "
        "users?"
    )
    Path("items.csv").unlink()
    with pytest.raises(InputError, match=r"items.csv: no such file"):
        data_with(items="items.csv")
    with pytest.raises(InputError, match=r"items, a data frame: row 2: expected item, got nothing"):
        data_with(items={"movie_id": [1, None], "x": [1, 2]})
    with pytest.raises(InputError, match=r"expected items in column 'movie_id', got double"):
        data_with(items={"movie_id": [1.5, 2.0], "x": [1, 2]})
    parquet.write_table(pa.table({f"c{n}": [1] for n in range(1200)}), "wide")
    with pytest.raises(InputError, match=r"wide: expected at most 1,000 columns, got 1,200"):
        data_with(items="wide")


def test_a_column_that_is_no_array_is_left_out() -> None:
    table = items() | {"odd": [object()] * 40}
    assert data_with(items=table).table.digest == data_with(items="items.csv").table.digest


def weighed(description: Description) -> NDArray[np.float64]:
    assert description.values.dtype == torch.float32
    assert len(description.labels) == description.values.shape[1]
    return description.values.double().numpy()


def test_hats_interpolate_between_knots() -> None:
    values = np.append(np.linspace(-3, 12, 200), [np.nan, 99])
    found = of_numbers("x", values)
    weights = weighed(found)
    assert found.labels[-1] == "missing"
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert ((weights > 0).sum(axis=1) <= 2).all()
    knots = np.quantile(values[~np.isnan(values)], np.linspace(0, 1, 10))
    known = ~np.isnan(values)
    np.testing.assert_allclose(weights[known, :-1] @ knots, values[known], atol=1e-4)
    assert weights[200].tolist() == [0.0] * 10 + [1.0]


def test_few_numbers_are_categories() -> None:
    found = of_numbers("x", np.repeat([3.0, 1.5, np.nan], 10))
    assert found.labels == ("1.5", "3", "missing")
    assert weighed(found)[::10].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_rare_labels_are_one() -> None:
    codes = np.repeat([0, 1, 2, 3, -1], [5, 20, 4, 2, 3])
    found = of_categories("x", list("abcd"), codes)
    assert found.labels == ("a", "b", "other", "missing")
    assert weighed(found).sum(axis=0).tolist() == [5, 20, 6, 3]
    often, seldom = np.repeat(np.arange(300), 51), np.repeat(np.arange(300, 2000), 49)
    found = of_categories("x", [str(n) for n in range(2000)], np.append(often[:5100], seldom))
    assert found.labels == (*sorted(map(str, range(100)), key=int), "other")
    many = np.repeat(np.arange(400), np.arange(400) % 50 + 6)
    found = of_categories("x", [str(n) for n in range(400)], many)
    assert len(found.labels) <= 256
    assert found.labels[-1] == "other"


def test_several_labels_are_several_ones() -> None:
    rows, codes = np.array([0, 0, 1, 2, 3, 4, 5]), np.array([0, 1, 1, 1, 1, 1, 2])
    known = np.array([True] * 6 + [False] * 2)
    found = of_several("x", list("abc"), rows, codes, known)
    assert found.labels == ("b", "other", "missing")
    assert weighed(found)[[0, 1, 5, 6]].tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.slow
def test_a_study_with_a_table_of_items(few_epochs: None) -> None:
    data = load("ratings.csv", items=pd.DataFrame(items()), users=None)
    result = tune(data, trials=1, workers=2, quiet=True)
    assert result.best
    assert result.record.name == f"ratings-{data.table.digest[:10]}"
    liked = result.recommend(1, items=3)
    assert all(title.startswith("Film no. ") for title in liked.titles)
    answers = result.predict({"user_id": [1], "movie_id": [38]})
    assert np.isfinite(answers["prediction"]).all()


def test_the_commands_take_tables(outcome_of: Call, few_epochs: None) -> None:
    code, out, err = outcome_of(
        run.main, "--data", "ratings.csv", "--items", "items.csv", "--trials", 1
    )
    assert (code, err) == (0, "")
    assert "\nItems: items.csv, 40 rows: year number" in out
    assert "Next: python -m study.best_predict --data ratings.csv --items items.csv" in out
    asked = ("--data", "ratings.csv", "--items", "items.csv", "--user", 1)
    code, out, _ = outcome_of(recommend.main, *asked, "--top", 2)
    assert code == 0
    assert "Film no. " in out
    code, out, _ = outcome_of(recommend.main, *asked, "--titles", "country")
    assert (code, "US" in out) == (0, True)
    code, _, err = outcome_of(recommend.main, *asked, "--titles", "nowhere")
    assert code == 2
    assert "items.csv: no column 'nowhere' among those of texts, 'title', " in err
    code, _, err = outcome_of(recommend.main, "--data", "ratings.csv", "--user", 1)
    assert (code, "belongs to other ratings" in err or "not in this database" in err) == (2, True)


def test_how_many_to_list_is_no_table(outcome_of: Call) -> None:
    code, _, err = outcome_of(recommend.main, "--user", 1, "--items", 10)
    assert code == 2
    assert err.count("\n") == 1
    assert "expected a table of items, got '10'; --top 10 lists so many" in err
    code, _, err = outcome_of(run.main, "--data", "ratings.csv", "--items", 10)
    assert (code, "10: no such file" in err) == (2, True)
