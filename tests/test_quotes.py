"""Quotes and blanks in text tables: cells come back as they were, or the file is refused."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import InputError
from storage.item_tables import read_titles
from storage.tables import read_pairs, read_ratings

WriteFile = Callable[[str | bytes], Path]
Cells = list[tuple[str, str, float, str]]  # user, item, rating, note

SEPARATORS = [",", ";", "\t", "|", "::"]
NAMES = ["user", "item", "rating", "note"]
ITEMS = ['"Heroes', "Low", "Lodger", '"Heroes', "Heathen", '"Heroes"', '7" vinyl']


def lines(separator: str, rows: list[tuple[Any, ...]]) -> str:
    """The rows as somebody writes them who thinks of no quotes."""
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_ratings(path)
    assert str(error.value).isprintable()
    return str(error.value).removeprefix(f"{path}")


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("header", [True, False])
def test_a_quote_that_nobody_closes_swallows_no_rows(
    separator: str, packed: bool, header: bool, write_file: WriteFile
) -> None:
    items = [item for item in ITEMS if item != '"Heroes"']  # which is quoted, between commas
    rows = [(f"u{n}", item, n % 5 + 1) for n, item in enumerate(items)]
    text = lines(separator, [("user", "item", "rating")] * header + rows)
    if not header:
        text = text.replace('"', "i1 ").replace("L", "i2L").replace("Hea", "i3").replace("7", "i4")
        text = text.replace("i1 ", '"i1')
    content = text.encode()
    path = write_file(gzip.compress(content) if packed else content)
    columns = None if header else ("1", "2", "3")
    table = read_ratings(path, columns)
    assert (table.n_ratings, len(table.users)) == (6, 6)
    if header:
        assert set(table.items) == set(items)
        assert read_pairs(path).item_ids.tolist() == items


@pytest.mark.parametrize("separator", ["\t", "|", "::", "  "])
def test_quotes_that_no_program_has_set_are_characters(
    separator: str, write_file: WriteFile
) -> None:
    items = [item.replace(" ", "_") for item in ITEMS]
    rows = [(f"u{n}", item, n % 5 + 1) for n, item in enumerate(items)]
    path = write_file(lines(separator, [("user", "item", "rating"), *rows]))
    assert read_pairs(path).item_ids.tolist() == items


@pytest.mark.parametrize("separator", SEPARATORS)
def test_quotes_in_a_column_that_is_not_used(separator: str, write_file: WriteFile) -> None:
    notes = ['"Great', "so-so", 'a 7" single', '"no', 'he said "well"?', "", '"']
    rows = [(f"u{n}", f"i{n}", n % 5 + 1, note) for n, note in enumerate(notes)]
    path = write_file(lines(separator, [tuple(NAMES), *rows]))
    assert read_ratings(path).n_ratings == 7
    assert read_pairs(path).user_ids.tolist() == [f"u{n}" for n in range(7)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("style", ["minimal", "strings", "all"])
def test_quotes_of_a_program_hold_fields_together(
    separator: str, style: str, write_file: WriteFile
) -> None:
    quoting = {"minimal": csv.QUOTE_MINIMAL, "strings": csv.QUOTE_NONNUMERIC, "all": csv.QUOTE_ALL}
    rows = [(f"u{n}", item + ",;|\t" * (n == 1), n % 5 + 1, "x") for n, item in enumerate(ITEMS)]
    file = io.StringIO()
    csv.writer(file, delimiter=separator, quoting=quoting[style]).writerows([NAMES, *rows])
    pairs = read_pairs(write_file(file.getvalue()))
    assert pairs.user_ids.tolist() == [row[0] for row in rows]
    assert pairs.item_ids.tolist() == [row[1].strip() for row in rows]


def test_lines_may_break_in_a_column_that_is_not_used(write_file: WriteFile) -> None:
    head = "user,item,rating,note\n"
    path = write_file(f'{head}u1,i1,4,"good,\nor not\n\n""so"" good"\nu2,i1,3,x\n')
    assert read_ratings(path).user_ids.tolist() == ["u1", "u2"]
    path = write_file(f'{head}u1,i1,4,x\nu2,"i\n2",3,x\n')
    assert complaint(path) == ":4: expected an item on one line, got a line break in 'i\ufffd2'"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(
            'user,item,rating\nu1,"Heroes,4\nu2,"Low",3\n',
            ":2: expected a quote that closes",
            id="one of two",
        ),
        pytest.param(
            'user,item,rating\nu1,"a, b",4\nu2,"Heroes,3\n',
            ":3: expected a quote that closes",
            id="the last",
        ),
        pytest.param(
            'user,item,rating\nu1,"a, b",4\nu2,"He" said,3\n',
            ":3: expected a quote that closes at the end of its field, got '\" said,3",
            id="text behind",
        ),
        pytest.param(
            'user\titem\trating\nu1\t"Heroes\t4\nu2\tLow\t3\nu3\tHeroes"\t5\n',
            ":2: expected one way to read the file, got two",
            id="two ways",
        ),
        pytest.param(
            'user,item,rating\nu1,"x,4\nu2,y",3\n',
            ":2: expected one way to read the file",
            id="two ways, commas",
        ),
        pytest.param(
            'user\titem\trating\n"u1"\t"a \\"b\\""\t4\n"u2"\t"c"\t3\n',
            ":2: expected a quote that closes at the end of its field",
            id="escaped by a backslash",
        ),
        pytest.param(
            'user item rating\n"0" "0" 1\n"\\"" " 0" 1\n',
            ":3: expected one way to read the file, got two: a quote behind a backslash",
            id="escaped or doubled",
        ),
        pytest.param(
            'user,item,rating\n"a,b",x,2\nu,y\n', ":3: expected 3 fields, got 2 fields", id="short"
        ),
        pytest.param(
            'user\titem\trating\na"b\tx\t2\n"u\ty\n',
            ":3: expected 3 fields, got 2 fields",
            id="short, tabs",
        ),
        pytest.param("user,item,rating\n", ": expected at least one row", id="none"),
        pytest.param("sep=;\n", ":1: expected a table, got the end of the file", id="Excel, none"),
    ],
)
def test_what_fits_no_way_or_two_is_refused_with_the_line(
    content: str, said: str, write_file: WriteFile
) -> None:
    assert complaint(write_file(content)).startswith(said)


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_the_line_is_told_among_many_without_quotes(
    block: int, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.dialect.GLANCE_BYTES", block)
    plain = lines(",", [(f"u{n}", f"i{n}", n % 5 + 1) for n in range(50)])
    for between, after in (("", plain), (plain, plain), (plain, "")):
        text = f"user,item,rating\r\n{plain}" + 'u,"a, b",4\n' + between + 'u,"He" said,3\n'
        number = text.count("\n")
        assert complaint(write_file(text + after)).startswith(
            f":{number}: expected a quote that closes at the end of its field"
        )
        text = text.replace('"He" said', '"He said"')
        assert read_ratings(write_file(text + after)).n_ratings == 52


def test_a_backslash_may_end_a_field(write_file: WriteFile) -> None:
    path = write_file('user,item,rating\n"C:\\","a, b",1\n"u2","\\""i\\""",2\n')
    assert read_pairs(path).user_ids.tolist() == ["C:\\", "u2"]
    assert read_pairs(path).item_ids.tolist() == ["a, b", '\\"i\\"']


@pytest.mark.parametrize("separator", ["::", " "])
def test_quotes_of_a_program_between_long_separators(separator: str, write_file: WriteFile) -> None:
    rows = [(f"u {n}", item.replace('"', "'") + " :: x", n + 1) for n, item in enumerate(ITEMS)]
    text = "".join(f'"{u}","{i}",{r}\n' for u, i, r in rows).replace('",', f'"{separator}')
    path = write_file('"user","item","rating"\n'.replace(",", separator) + text)
    assert read_pairs(path).user_ids.tolist() == [row[0] for row in rows]
    assert read_pairs(path).item_ids.tolist() == [row[1] for row in rows]
    assert read_ratings(path).n_ratings == 7


def test_titles_with_quotes(write_file: WriteFile) -> None:
    path = write_file('1::"Heroes::A|B\n2::Low::C\n3::"Scary" Monsters::C\n')
    assert read_titles(path) == {"1": '"Heroes', "2": "Low", "3": '"Scary" Monsters'}
    path = write_file('item,title\n1,"Heroes\n2,Low\n3,Lodger\n')
    assert read_titles(path) == {"1": '"Heroes', "2": "Low", "3": "Lodger"}
    path = write_file('item,title\n1,"He said ""no"""\n2,"a, b"\n')
    assert read_titles(path) == {"1": 'He said "no"', "2": "a, b"}


@pytest.mark.parametrize("block", [1, 30, 1 << 24])
def test_blocks_end_anywhere(
    block: int, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.dialect.GLANCE_BYTES", block)
    rows = [(f'u{n}, "x"', f"i{n}", n % 5 + 1, 'a\n"b"\r\n,c' * (n % 3)) for n in range(40)]
    file = io.StringIO()
    csv.writer(file).writerows([NAMES, *rows])
    path = write_file(file.getvalue())
    assert read_pairs(path).user_ids.tolist() == [row[0] for row in rows]
    path = write_file(file.getvalue() + 'u,"i,3,x\n')
    assert "expected a quote that closes" in complaint(path)


text_cell = st.text(alphabet="ab0\"', ;|\t:é", min_size=1, max_size=8)
any_cell = st.text(alphabet="ab0\"', ;|\t\n\r:é", max_size=8)
ids = st.one_of(text_cell, text_cell, text_cell, any_cell)
tables = st.lists(
    st.tuples(ids, ids, st.sampled_from([1.0, 2.5, -3.0, 4.0]), st.just("") | any_cell),
    min_size=2,
    max_size=7,
    unique_by=lambda row: (row[0].strip(), row[1].strip()),
)


def by_csv(cells: Cells, separator: str, quoting: int, end: str) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([NAMES, *cells])
    return file.getvalue()


def by_pandas(cells: Cells, separator: str, quoting: int, end: str) -> str:
    frame = pd.DataFrame(cells, columns=NAMES)
    text: str = frame.to_csv(sep=separator, quoting=quoting, lineterminator=end)  # type: ignore[call-overload]
    return text


def by_polars(cells: Cells, separator: str, quoting: int, end: str) -> str:
    frame = pl.DataFrame(cells, schema=NAMES, orient="row")
    style: Any = {csv.QUOTE_ALL: "always", csv.QUOTE_NONNUMERIC: "non_numeric"}.get(quoting)
    return frame.write_csv(
        separator=separator, line_terminator=end, quote_style=style or "necessary"
    )


def by_duckdb(cells: Cells, separator: str, quoting: int, end: str) -> str:
    frame = pd.DataFrame(cells, columns=NAMES)
    forced = "FORCE_QUOTE *, " if quoting == csv.QUOTE_ALL else ""
    duckdb.register("cells", frame)
    duckdb.execute(f"COPY cells TO 'by_duckdb' (FORMAT csv, {forced}DELIMITER '{separator}')")
    return Path("by_duckdb").read_bytes().decode()


def by_r(cells: Cells, separator: str, quoting: int, end: str) -> str:
    """`write.csv`, and `write.table` with another separator: texts quoted, rows named."""

    def text(value: object) -> str:
        if isinstance(value, float):
            return f"{value:g}"
        doubled = '""' if separator in ",;" else '\\"'
        return '"' + str(value).replace('"', doubled) + '"'

    names = NAMES if quoting == csv.QUOTE_MINIMAL else ["", *NAMES]
    rows = [[str(n), *row] if len(names) == 5 else [*row] for n, row in enumerate(cells, 1)]
    return "".join(
        separator.join(map(text, row)) + end for row in [[name or " " for name in names], *rows]
    )


def by_excel(cells: Cells, separator: str, quoting: int, end: str) -> str:
    head = f"\ufeffsep={separator}\r\n" if quoting == csv.QUOTE_MINIMAL else "\ufeff"
    rows: Any = [(u, i, f"{r:g}".replace(".", ","), note) for u, i, r, note in cells]
    return head + by_csv(rows, separator, csv.QUOTE_MINIMAL, "\r\n")


@pytest.mark.parametrize("write", [by_csv, by_pandas, by_polars, by_duckdb, by_r, by_excel])
def test_cells_come_back_or_are_refused(
    write: Callable[[Cells, str, int, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    n_read = 0

    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        cells=tables,
        separator=st.sampled_from([",", ";", "\t", "|", *[" ", "::"] * (write is by_r)]),
        quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL]),
        end=st.sampled_from(["\n", "\r\n"]),
    )
    def check(cells: Cells, separator: str, quoting: int, end: str) -> None:
        nonlocal n_read
        path = tmp_path / "table"
        path.write_bytes(write(cells, separator, quoting, end).encode())
        try:
            pairs, table = read_pairs(path), read_ratings(path)
        except InputError as error:
            assert str(error).isprintable()
            return
        users, items = pairs.user_ids.tolist(), pairs.item_ids.tolist()
        assert list(map(str, users)) == [row[0].strip() for row in cells]
        assert list(map(str, items)) == [row[1].strip() for row in cells]
        assert table.n_ratings + table.n_repeated == len(cells)
        assert sorted(table.ratings) == sorted(row[2] for row in cells)
        n_read += 1

    check()
    assert n_read > 5


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    cells=st.lists(
        st.tuples(*[st.text(alphabet='ab"', min_size=1, max_size=6)] * 2), min_size=2, max_size=6
    ),
    separator=st.sampled_from([*SEPARATORS, " "]),
)
def test_lines_of_somebody_who_thinks_of_no_quotes(
    cells: list[tuple[str, str]], separator: str
) -> None:
    """Every line is a row, or the file is refused; ids keep their quotes, or all lose them."""
    rows = [(user, item, n % 5 + 1) for n, (user, item) in enumerate(cells)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_text(lines(separator, [("user", "item", "rating"), *rows]))
        try:
            pairs = read_pairs(path)
        except InputError as error:
            assert str(error).isprintable()
            return
    found = list(zip(pairs.user_ids.tolist(), pairs.item_ids.tolist(), strict=True))
    without = [tuple(unquoted(field) for field in row) for row in cells]
    assert found in (cells, without)
    assert found == cells or separator in ",;" or any(any('"' in f for f in row) for row in cells)


def unquoted(field: str) -> str:
    """A field as RFC 4180 reads it."""
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field
