"""Times of ratings: found, read in any unit and spelling, said, or refused with the line."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.cache import kept, read_cached
from storage.errors import InputError
from storage.frames import read_frame
from storage.tables import read_pairs, read_ratings
from study import run
from study.inputs import load_data, with_pairs

WriteFile = Callable[[str | bytes], Path]
T = 1_580_478_245  # 2020-01-31 13:44:05
ROWS = [(1, 7, 5.0, T), (2, 7, 3.0, T + 86_400), (2, 9, 4.0, T - 3600)]
SECONDS = [float(T), float(T + 86_400), float(T - 3600)]


def written(name: str, times: list[object], n: int = 3) -> str:
    rows = [f"{u},{i},{r:g},{t}" for (u, i, r, _), t in zip(ROWS, times, strict=True)]
    return f"user,item,rating,{name}\n" + "\n".join(rows[:n]) + "\n"


def iso(style: str) -> list[str]:
    return [datetime.fromtimestamp(t, UTC).strftime(style) for t in SECONDS]


def seconds(source: Any, columns: Any = None) -> list[float]:
    found = read_ratings(source, columns).times
    assert found is not None
    assert found.dtype == np.float64
    return list(found.tolist())


def complaint(path: Path, columns: Any) -> str:
    with pytest.raises(InputError) as error:
        read_ratings(path, columns)
    assert str(error.value).isprintable()
    return str(error.value).removeprefix(str(path))


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([int(t) for t in SECONDS], id="seconds"),
        pytest.param([f"{t:.1f}" for t in SECONDS], id="with a fraction"),
        pytest.param([f"{int(t)}000" for t in SECONDS], id="milliseconds"),
        pytest.param([f"{int(t)}000000" for t in SECONDS], id="microseconds"),
        pytest.param([f"{int(t)}000000000" for t in SECONDS], id="nanoseconds"),
        pytest.param(iso("%Y-%m-%d %H:%M:%S"), id="without a zone"),
        pytest.param(iso("%Y-%m-%dT%H:%M:%SZ"), id="Z"),
        pytest.param(iso("%Y-%m-%d %H:%M:%S UTC"), id="UTC"),
        pytest.param(iso("%Y-%m-%dT%H:%M:%S.000000000+00:00"), id="nanoseconds of pandas"),
    ],
)
def test_times_in_any_spelling(times: list[object], write_file: WriteFile) -> None:
    table = read_ratings(write_file(written("timestamp", times)))
    assert table.times is not None
    assert table.times.tolist() == SECONDS
    assert table.about == "user user, item item, rating rating, time timestamp"
    assert (table.time_name, table.time_note) == ("timestamp", "")


def test_days_fractions_and_zones(write_file: WriteFile) -> None:
    days = ["2020-01-31", "2020/02/01", "1999-12-31"]
    expected = [1580428800.0, 1580515200.0, 946598400.0]
    assert seconds(write_file(written("date", days))) == expected  # type: ignore[arg-type]
    plain = [re.sub(r"\D", "", day) for day in days]
    assert seconds(write_file(written("date", plain))) == expected  # type: ignore[arg-type]
    odd = ["2020-01-31T14:44:05.25+01:00", "2020-02-01 13:44:05", "2020-01-31 07:14:05-0530"]
    table = read_ratings(write_file(written("rated_at", odd)))  # type: ignore[arg-type]
    assert table.times is not None
    assert table.times.tolist() == [T + 0.25, T + 86_400.0, T - 3600.0]
    assert table.time_note == "those without a time zone are taken as UTC"


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pd.to_datetime(SECONDS, unit="s"), id="pandas"),
        pytest.param(
            pd.to_datetime(SECONDS, unit="s", utc=True).tz_convert("Asia/Tokyo"), id="zone"
        ),
        pytest.param(pd.Categorical(iso("%Y-%m-%d %H:%M:%S")), id="categories"),
        pytest.param([datetime.fromtimestamp(t, UTC) for t in SECONDS], id="datetimes"),
        pytest.param(np.array(SECONDS).astype("datetime64[s]"), id="NumPy"),
        pytest.param(np.array(SECONDS) * 1e3, id="floats"),
    ],
)
def test_times_in_memory(column: Any) -> None:
    columns = {"user": [1, 2, 2], "item": [7, 7, 9], "rating": [5, 3, 4], "time": column}
    assert seconds(read_frame(columns)) == SECONDS
    frame = pd.DataFrame(columns)
    assert seconds(read_frame(frame)) == SECONDS
    assert seconds(pa.Table.from_pandas(frame)) == SECONDS


def test_times_of_polars_parquet_and_rows(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"user": [1, 2, 2], "item": [7, 7, 9], "rating": [5, 3, 4], "when": np.array(SECONDS)}
    ).with_columns(pl.from_epoch("when", time_unit="s"))
    assert seconds(read_frame(frame.lazy())) == SECONDS
    frame.write_parquet(tmp_path / "table")
    assert seconds(tmp_path / "table") == SECONDS
    assert seconds(read_frame(ROWS)) == SECONDS
    assert seconds(read_frame(np.array(ROWS))) == SECONDS
    days = [(u, i, r, date(2020, 1, n)) for n, (u, i, r, _) in enumerate(ROWS, 1)]
    assert seconds(read_frame(days)) == [1577836800.0 + n * 86_400 for n in range(3)]


def test_a_fourth_column_without_a_header(write_file: WriteFile) -> None:
    bare = written("x", [int(t) for t in SECONDS]).partition("\n")[2]
    assert seconds(write_file(bare.replace(",", "\t"))) == SECONDS
    assert seconds(write_file(bare), ("1", "2", "3")) == SECONDS
    assert seconds(write_file(bare), ("1", "2", "3", "4")) == SECONDS
    assert read_ratings(write_file("1,7,5\n2,7,3\n2,9,4\n")).times is None


def test_the_time_is_the_fourth_that_is_told(write_file: WriteFile) -> None:
    path = write_file(written("moment", [int(t) for t in SECONDS]))
    assert read_ratings(path).times is None
    assert read_ratings(path).about.endswith("; moment not used")
    assert seconds(path, ("user", "item", "rating", "moment")) == SECONDS
    assert seconds(path, ("1", "2", "3", "4")) == SECONDS
    path = write_file(written("time", [int(t) for t in SECONDS]))
    assert seconds(path, ("user", "item", "rating")) == SECONDS  # found by its name


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        ("time,date", 1),
        ("reviewTime,unixReviewTime", 1),
        ("timestamp,date", 0),
        ("date,time,timestamp", 2),
        ("created_at,updated_at", 0),
    ],
)
def test_of_columns_of_times_one_is_taken_and_said(
    names: str, taken: int, write_file: WriteFile
) -> None:
    columns = names.split(",")
    rows = [["soon"] * len(columns) for _ in SECONDS]
    for row, moment in zip(rows, SECONDS, strict=True):
        row[taken] = f"{int(moment)}"
    path = write_file(written(names, [",".join(row) for row in rows]))
    assert seconds(path) == SECONDS
    others = ", ".join(one for one in columns if one != columns[taken])
    assert read_ratings(path).about.endswith(f", time {columns[taken]}; {others} not used")


@pytest.mark.parametrize(
    ("style", "smallest"), [("%Y%m%d%H", 3_600), ("%Y%m%d%H%M", 60), ("%Y%m%d%H%M%S", 1)]
)
def test_digits_of_days_and_clocks(style: str, smallest: int, write_file: WriteFile) -> None:
    moments = [datetime(2011 + n, 1 + n, 28, 23 - n, 59, 7 + n, tzinfo=UTC) for n in range(3)]
    path = write_file(written("timestamp", [one.strftime(style) for one in moments]))
    expected = [one.timestamp() // smallest * smallest for one in moments]
    assert seconds(path) == expected


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([T, "soon", T], "'soon' (FILE:3)"),
        (["2020-01-01", "2020-01-01", "2020-13-01"], "'2020-13-01' (FILE:4)"),
        (["2020-01-01", T, "2020-01-02"], f"'{T}' (FILE:3)"),
        (["", "NaT", "null"], "nothing in all rows (FILE:2)"),
        (["", 17, 18], "17, in the year 1970, if in seconds (FILE:3)"),
        ([T, T, 1000 * T], f"{1000 * T}, in the year 52053, if others are seconds (FILE:4)"),
        ([1000 * T, 1000 * T, T], f"{T}, in the year 1970, if others are milliseconds (FILE:4)"),
        (["2020-01-01", "1970-01-01", "2020-01-02"], "1970-01-01 (FILE:3)"),
    ],
)
def test_a_column_that_holds_no_times(
    times: list[object], said: str, write_file: WriteFile, tmp_path: Path
) -> None:
    path = write_file(written("time", times))
    table = read_ratings(path)  # only guessed: left out, and said
    assert table.times is None
    assert table.time_note == f"none: column 'time' has {said.replace('FILE', str(path))}"
    assert table.about.endswith("; time not used")
    what, _, place = said.rpartition(" (FILE")
    assert complaint(path, ("user", "item", "rating", "time")) == (
        f"{place[:-1]}: expected a time in column 'time' (seconds since 1970, or like "
        f"2020-01-31 13:45:00), got {what}"
    )


def test_types_that_are_no_times(tmp_path: Path) -> None:
    frame = pa.table({"user": [1, 2], "item": [1, 2], "rating": [1, 2], "time": [[1], [2]]})
    said = "none: column 'time' has values of type list<item: int64> (data frame: row 1)"
    assert read_ratings(frame).time_note.replace("element", "item") == said
    parquet.write_table(frame, tmp_path / "table")
    assert "of type list" in complaint(tmp_path / "table", ("1", "2", "3", "4"))
    mixed = {"user": [1, 2], "item": [1, 2], "rating": [1, 2], "time": [1, object()]}
    assert read_ratings(read_frame(mixed)).times is None
    with pytest.raises(InputError):
        read_ratings(read_frame(mixed), ("user", "item", "rating", "time"))


def test_a_few_odd_times_count_as_not_known(write_file: WriteFile) -> None:
    rows = [f"{n},{n % 7},{n % 5},{T + n}" for n in range(40)]
    rows[3], rows[8], rows[9] = "3,3,3,0", f"8,1,3,{1000 * T}", "9,2,4,"
    table = read_ratings(write_file("user,item,rating,time\n" + "\n".join(rows)))
    assert table.times is not None
    assert np.flatnonzero(np.isnan(table.times)).tolist() == [3, 8, 9]
    assert table.time_note.startswith("0, in the year 1970 (")
    assert table.time_note.endswith("mat_comp:5), counts as not known, as are 1 more")


@pytest.mark.parametrize("year", [1990, 2011, 2036, 2062])
def test_a_few_times_that_are_far_from_all_others_count_as_not_known(
    year: int, write_file: WriteFile
) -> None:
    days = [f"20{22 + n // 200}-0{1 + n % 9}-1{n % 9}" for n in range(400)]
    far = f"{year}-06-01"
    for some, known in (([far], 400), ([far] * 4, 400), ([far] * 5, 405)):  # of a hundred, one
        rows = [f"{n},{n % 7},{n % 5},{day}" for n, day in enumerate([*days, *some])]
        path = write_file("user,item,rating,time\n" + "\n".join(rows))
        table = read_ratings(path)
        assert table.times is not None
        assert int((~np.isnan(table.times)).sum()) == known
        assert (far in table.time_note) == (known == 400)


def test_times_that_are_a_few_years_apart_are_known(write_file: WriteFile) -> None:
    rows = [f"{n},{n % 7},{n % 5},2022-0{1 + n % 9}-01" for n in range(400)]
    rows += ["400,1,3,2015-01-01", "401,1,3,2029-01-01"]
    table = read_ratings(write_file("user,item,rating,time\n" + "\n".join(rows)))
    assert table.times is not None
    assert not np.isnan(table.times).any()


@pytest.mark.parametrize("shuffled", [False, True])
def test_of_a_repeated_pair_the_newest_counts(shuffled: bool, write_file: WriteFile) -> None:
    rows = [f"1,1,2,{T + 5}", f"1,1,4,{T + 9}", f"1,1,5,{T}", "1,2,1,", f"1,2,3,{T}", "2,2,4,"]
    rows += ["2,2,1,", f"3,1,1,{T}", f"3,1,2,{T}"]
    if shuffled:
        rows.reverse()
    table = read_ratings(write_file("user,item,rating,time\n" + "\n".join(rows)))
    assert table.ratings.tolist() == [4.0, 3.0, 2.5, 1.5]
    assert table.times is not None
    assert table.times.tolist()[:2] == [T + 9, T]
    assert np.isnan(table.times[2])
    assert table.n_repeated == 5


def test_times_follow_the_rows_that_are_left(write_file: WriteFile) -> None:
    rows = ["2,1,99,oddly", f"2,2,4,{T}", f"1,5,3,{T + 1}", f"1,1,99,{T}"]
    path = write_file("user,item,rating,time\n" + "\n".join(rows).replace("oddly", str(T)))
    table = read_ratings(path, missing=99)
    assert table.times is not None
    assert table.times.tolist() == [T + 1, T]
    assert table.n_missing == 2


def test_times_go_over_many_blocks(write_file: WriteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{n},{n % 7},{n % 5},{T + n if n % 9 else ''}" for n in range(500)]
    path = write_file("user,item,rating,time\n" + "\n".join(rows))
    whole = read_ratings(path)
    monkeypatch.setattr("storage.delimited.BLOCK_BYTES", 300)
    assert read_ratings(path).digest == whole.digest
    rows[400] = "400,1,2,later"
    path.write_text("user,item,rating,time\n" + "\n".join(rows))
    assert "'later'" in read_ratings(path).time_note
    assert "mat_comp:402)" in read_ratings(path).time_note


def test_the_digest_has_the_times(write_file: WriteFile) -> None:
    bare = read_ratings(write_file("user,item,rating\n1,7,5\n2,7,3\n2,9,4\n")).digest
    without = read_ratings(write_file(written("other", [int(t) for t in SECONDS]))).digest
    timed = read_ratings(write_file(written("time", [int(t) for t in SECONDS]))).digest
    assert bare == without != timed
    texts = read_ratings(write_file(written("time", iso("%Y-%m-%d %H:%M:%S")))).digest  # type: ignore[arg-type]
    assert texts == timed
    later = read_ratings(write_file(written("time", [int(t) + 1 for t in SECONDS]))).digest
    assert later != timed


def test_times_are_kept(write_file: WriteFile, tmp_path: Path) -> None:
    path = write_file(written("time", [f"{T}.1234567", "", T - 1]))
    table = read_ratings(path)
    for again in (
        read_cached(path, tmp_path / "cache"),
        read_cached(path, tmp_path / "cache"),
        read_ratings(*kept(table, tmp_path / "cache")),
    ):
        assert again.digest == table.digest
        np.testing.assert_array_equal(again.times, table.times)


PAIRS = {
    "a header": f"item,user,timestamp\n9,1,{T}\n9,2,\n",
    "a header, the name of the ratings": f"item,user,moment\n9,1,{T}\n9,2,\n",
    "no header": f"1,9,{T}\n2,9,{T + 1}\n",
    "with ratings": f"1,9,3,{T}\n2,9,4,{T + 1}\n",
}


@pytest.mark.parametrize("text", PAIRS.values(), ids=PAIRS.keys())
def test_times_of_pairs(text: str, write_file: WriteFile) -> None:
    pairs = read_pairs(write_file(text), time_name="moment")
    assert (pairs.user_ids.tolist(), pairs.item_ids.tolist()) == ([1, 2], [9, 9])
    assert pairs.times is not None
    assert pairs.times[0] == T


def test_times_reach_the_tensors(write_file: WriteFile, tmp_path: Path) -> None:
    data = load_data(write_file(written("time", [T, "", T + 86_400])), runs=tmp_path)
    assert data.ratings.times is not None
    assert data.ratings.times.tolist()[::2] == [T, T + 86_400]
    assert "\nTimes: 2020-01-31 to 2020-02-01; 1 of 3 ratings without\n" in data.described() + "\n"
    pairs = {"user": [1, 2, 5], "item": [9, 9, 7], "time": [T - 5.0, None, T + 5.0]}
    asked = with_pairs(data, pairs, runs=tmp_path).queries
    assert asked.user_index.tolist() == [0, 1, -1]
    assert asked.item_index.tolist() == [1, 1, 0]
    assert asked.times is not None
    assert asked.times.tolist() == [T - 5, T + 86_400, T + 5]  # the present is the last rating
    untimed = with_pairs(data, {"user": [1], "item": [9]}, runs=tmp_path).queries
    assert untimed.times is not None
    assert untimed.times.tolist() == [T + 86_400]
    bare = load_data(write_file("user,item,rating\n1,7,5\n2,7,3\n2,9,4\n"), runs=tmp_path)
    assert bare.ratings.times is None
    assert with_pairs(bare, pairs, runs=tmp_path).queries.times is None


@pytest.mark.parametrize("n", [2, 5])
def test_a_wrong_number_of_columns(n: int, outcome_of: Callable[..., Any]) -> None:
    code, _, err = outcome_of(run.main, "--columns", ",".join("abcde"[:n]))
    assert code == 2
    assert "expected three columns, like user_id,movie_id,rating or 1,2,3, or four" in err


@pytest.mark.parametrize(
    ("value", "said"), [({"$date": "2020-01-01"}, "an object"), (True, "true or false")]
)
def test_values_of_json_that_are_no_times(value: object, said: str, write_file: WriteFile) -> None:
    rows = [{"user": n, "item": n % 2, "rating": 3, "timestamp": value} for n in range(4)]
    path = write_file("\n".join(map(json.dumps, rows)))
    table = read_ratings(path)
    assert (table.n_ratings, table.times) == (4, None)
    assert table.time_note.startswith(f"none: column 'timestamp' has '{said}'")
    with pytest.raises(InputError, match=f"expected a time in column 'timestamp' .*, got '{said}'"):
        read_ratings(path, ("user", "item", "rating", "timestamp"))
