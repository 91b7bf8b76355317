"""`mat_comp` files: what is read from good ones, and what is said of bad ones."""

import gzip
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from storage.errors import InputError
from storage.lines import read_numbers
from storage.mat_comp import read_mat_comp
from storage.ratings import RatingsTable, as_ids, indexed

WriteFile = Callable[[str | bytes], Path]

GOOD = "2 3 4\n1 1 5\n1 2 3\n2 1 4\n2 3 1\n2\n1 3\n2 2\n"
RATED = {(1, 1): 5.0, (1, 2): 3.0, (2, 1): 4.0, (2, 3): 1.0}
QUERIES = [(1, 3), (2, 2)]


def rated(table: RatingsTable) -> dict[tuple[int, int], float]:
    pairs = zip(table.user_ids.tolist(), table.item_ids.tolist(), strict=True)
    return dict(zip(pairs, table.ratings.tolist(), strict=True))


def queries(table: RatingsTable) -> list[tuple[int, int]]:
    return list(zip(table.query_user_ids.tolist(), table.query_item_ids.tolist(), strict=True))


def complaint(path: Path) -> str:
    """What is said of a bad file, after its name."""
    with pytest.raises(InputError) as error:
        read_mat_comp(path)
    message = str(error.value)
    assert message.isprintable()  # so it is one line
    assert len(message) < len(str(path)) + 200
    assert message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:")


def with_rating(line: str) -> str:
    """GOOD, with another line in the place of its second rating, line 3 of the file."""
    return GOOD.replace("1 2 3\n", f"{line}\n")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD, id="as documented"),
        pytest.param(GOOD.replace(" ", "\t"), id="tabs"),
        pytest.param(GOOD.replace(" ", "  \t "), id="several blanks"),
        pytest.param(GOOD.replace("\n", " \n  "), id="blanks around lines"),
        pytest.param(GOOD.replace("\n", "\r\n"), id="CRLF"),
        pytest.param("\ufeff" + GOOD, id="BOM"),
        pytest.param("\n \n" + GOOD.replace("\n", "\n\n\t\n"), id="blank lines"),
        pytest.param(GOOD.rstrip("\n"), id="no newline at the end"),
        pytest.param(with_rating("+01 2 3e0"), id="numbers written otherwise"),
        pytest.param(with_rating("1 2 " + " " * 2000 + "3"), id="long line"),
        pytest.param(gzip.compress(GOOD.encode()), id="gzip"),
        pytest.param(gzip.compress(("\ufeff" + GOOD).encode()), id="gzip with BOM"),
        pytest.param(
            gzip.compress(GOOD[:20].encode()) + gzip.compress(GOOD[20:].encode()), id="gzip parts"
        ),
    ],
)
def test_the_same_table_however_it_is_written(content: str | bytes, write_file: WriteFile) -> None:
    table = read_mat_comp(write_file(content))
    assert (len(table.users), len(table.items), table.n_ratings, table.n_queries) == (2, 3, 4, 2)
    assert rated(table) == RATED
    assert queries(table) == QUERIES
    assert table.n_repeated == 0


def test_columns_are_of_the_declared_types(write_file: WriteFile) -> None:
    table = read_mat_comp(write_file(GOOD))
    ids = (table.user_ids, table.item_ids, table.query_user_ids, table.query_item_ids)
    assert {column.dtype for column in ids} == {np.dtype(np.int64)}
    assert {table.user_index.dtype, table.item_index.dtype} == {np.dtype(np.int32)}
    assert table.ratings.dtype == np.float64


@pytest.mark.parametrize("end", ["0\n", "0", "0\n\n \n"])
def test_a_file_without_queries(end: str, write_file: WriteFile) -> None:
    table = read_mat_comp(write_file(GOOD[: GOOD.index("2\n1 3")] + end))
    assert rated(table) == RATED
    assert table.n_queries == 0
    assert queries(table) == []


@pytest.mark.parametrize(
    ("word", "rating"),
    [
        ("2.25", 2.25),
        ("-3", -3.0),
        ("-.5", -0.5),
        ("1e-3", 0.001),
        ("0", 0.0),
        ("1E3", 1000.0),
        ("-1e15", -1e15),
    ],
)
def test_ratings_may_be_of_any_sign_and_size(
    word: str, rating: float, write_file: WriteFile
) -> None:
    assert rated(read_mat_comp(write_file(with_rating(f"1 2 {word}"))))[1, 2] == rating


def test_not_every_id_need_occur_and_ids_may_be_large(write_file: WriteFile) -> None:
    largest = 2**31 - 1
    table = read_mat_comp(write_file(f"{largest} {largest} 2\n{largest} {largest} 1\n1 1 2\n0\n"))
    assert rated(table) == {(1, 1): 2.0, (largest, largest): 1.0}
    assert (table.users.tolist(), table.items.tolist()) == ([1, largest], [1, largest])


@pytest.mark.parametrize(
    "ids",
    [
        [5, 3, 3, 4, 5, 9, 9, 3],
        [-2, 4, -2, 0, 1, 3],
        [2**62, -(2**62), 2**62],
        [2**63 - 1, 2**63 - 2, 2**63 - 1],
        [7],
        [],
        ["b", "a", "b", "10"],
    ],
)
def test_rows_of_ids_are_their_places_among_the_sorted(ids: list[int] | list[str]) -> None:
    raw = as_ids(np.array(ids, dtype=None if ids else np.int64))
    distinct, rows = indexed(raw)
    assert distinct.tolist() == sorted(set(ids))
    assert distinct[rows].tolist() == ids
    assert (distinct.dtype, rows.dtype) == (raw.dtype, np.int32)


def test_queries_keep_their_order_and_may_repeat(write_file: WriteFile) -> None:
    table = read_mat_comp(write_file("2 2 1\n1 1 5\n4\n2 2\n1 1\n2 2\n1 2\n"))
    assert queries(table) == [(2, 2), (1, 1), (2, 2), (1, 2)]


def test_ratings_are_sorted_by_pair(write_file: WriteFile) -> None:
    table = read_mat_comp(write_file("2 3 4\n2 3 1\n1 2 3\n2 1 4\n1 1 5\n0\n"))
    assert list(rated(table).items()) == sorted(RATED.items())


def test_a_repeated_pair_has_the_mean_and_is_counted(write_file: WriteFile) -> None:
    table = read_mat_comp(write_file("2 2 6\n2 2 1\n1 1 5\n2 2 2\n1 2 4\n1 1 2\n2 2 6\n0\n"))
    assert rated(table) == {(1, 1): 3.5, (1, 2): 4.0, (2, 2): 3.0}
    assert table.n_ratings == 3
    assert table.n_repeated == 3


def test_the_order_of_lines_is_irrelevant(write_file: WriteFile) -> None:
    draw = np.random.default_rng(3)
    lines = [f"{u} {i} {draw.normal():.3f}" for u, i in draw.integers(1, 6, (200, 2))]
    tables = []
    for _ in range(5):
        draw.shuffle(lines)
        tables.append(read_mat_comp(write_file("5 5 200\n" + "\n".join(lines) + "\n0\n")))
    assert tables[0].n_repeated == 175
    for table in tables:
        assert rated(table) == rated(tables[0])  # to the last bit
        assert table.digest == tables[0].digest


def test_the_digest_is_of_the_ratings_alone(write_file: WriteFile) -> None:
    digest = read_mat_comp(write_file(GOOD)).digest
    assert read_mat_comp(write_file(GOOD.replace("2\n1 3\n2 2", "1\n1 1"))).digest == digest
    assert read_mat_comp(write_file(GOOD.replace("\n", "\r\n"))).digest == digest


@pytest.mark.parametrize("line", ["1 2 3.0000001", "1 3 3", "2 2 3"])
def test_the_digest_changes_with_a_rating(line: str, write_file: WriteFile) -> None:
    digest = read_mat_comp(write_file(GOOD)).digest
    assert read_mat_comp(write_file(with_rating(line))).digest != digest


@pytest.mark.parametrize("rows_at_once", [1, 7, 100, 1000])
def test_fast_and_slow_reading_agree(
    rows_at_once: int, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.mat_comp.ROWS_AT_ONCE", rows_at_once)
    draw = np.random.default_rng(4)
    blanks, formats = [" ", "\t", "   "], ["{!r}", "{:g}", "{:.2f}", "{:e}"]
    lines = ["", "30 20 400"]
    for user, item, rating in zip(
        draw.integers(1, 31, 400), draw.integers(1, 21, 400), draw.normal(0, 100, 400), strict=True
    ):
        words = [str(user), str(item), formats[draw.integers(4)].format(float(rating))]
        lines += [""] * int(draw.integers(2)) + [blanks[draw.integers(3)].join(words)]
    lines += ["", "150"]
    lines += [f"{draw.integers(1, 31)}\t{draw.integers(1, 21)}" for _ in range(150)]

    rows = [line.split() for line in lines if line][1:]
    slow: dict[tuple[int, int], list[float]] = {}
    for user, item, rating in rows[:400]:
        slow.setdefault((int(user), int(item)), []).append(float(rating))

    table = read_mat_comp(write_file("\n".join(lines)))
    fast = rated(table)
    assert list(fast) == sorted(slow)
    for pair, ratings in slow.items():
        if len(ratings) == 1:
            assert fast[pair] == ratings[0]
        else:
            assert fast[pair] == pytest.approx(sum(ratings) / len(ratings), rel=1e-12, abs=1e-12)
    assert table.n_repeated == 400 - len(slow)
    assert queries(table) == [(int(user), int(item)) for user, item in rows[401:]]


@pytest.mark.parametrize(
    ("content", "line", "gist"),
    [
        pytest.param("2 3\n", 1, "expected a table, or a header of 3 numbers", id="short header"),
        pytest.param("2 3 4 5\n", 1, "got 4 fields", id="long header"),
        pytest.param("users items ratings\n" + GOOD, 1, "number of users", id="words"),
        pytest.param("2 3.0 4\n", 1, "number of items a whole number", id="fraction in header"),
        pytest.param("2 3 4_0\n", 1, "number of ratings", id="underscore in header"),
        pytest.param("٢ 3 4\n", 1, "number of users", id="other digits in header"),
        pytest.param("-2 3 4\n", 1, "number of users", id="users < 0"),
        pytest.param("2 -3 4\n", 1, "number of items", id="items < 0"),
        pytest.param("2 3 -4\n", 1, "number of ratings", id="ratings < 0"),
        pytest.param("0 3 4\n1 1 5\n", 1, "1 to 2,147,483,647, got '0'", id="no users"),
        pytest.param("2 0 4\n1 1 5\n", 1, "1 to 2,147,483,647, got '0'", id="no items"),
        pytest.param("2 3 0\n0\n", 1, "1 or more, got '0'", id="no ratings"),
        pytest.param(f"{10**12} 3 4\n1 1 5\n", 1, "1 to 2,147,483,647", id="10**12 users"),
        pytest.param(f"2 {2**31} 4\n1 1 5\n", 1, "1 to 2,147,483,647", id="2**31 items"),
        pytest.param("2" + "0" * 5000 + " 3 4\n", 1, "at most 1000 characters", id="endless line"),
        pytest.param(GOOD.replace("3 4", "3 5", 1), 6, "rating 5 of 5", id="k too large"),
        pytest.param(GOOD.replace("3 4", "3 3", 1), 5, "number of queries", id="k too small"),
        pytest.param(GOOD.replace("\n2\n", "\n"), 6, "number of queries", id="q missing"),
        pytest.param(
            GOOD.replace("\n2\n", "\n1\n"), 8, "end of the file behind query 1", id="q small"
        ),
        pytest.param(
            GOOD.replace("\n2\n", "\n0\n"), 7, "end of the file behind query 0", id="q zero"
        ),
        pytest.param(GOOD.replace("\n2\n", "\n-2\n"), 6, "0 or more, got '-2'", id="q negative"),
        pytest.param(GOOD.replace("\n2\n", "\n2.5\n"), 6, "got '2.5'", id="q a fraction"),
        pytest.param(GOOD.replace("\n2\n", "\n2.0\n"), 6, "got '2.0'", id="q as a fraction"),
        pytest.param(GOOD.replace("\n2\n", "\n2 2\n"), 6, "got 2 fields", id="q twice"),
        pytest.param(GOOD + "end\n", 9, "expected the end of the file", id="more after the end"),
        pytest.param(GOOD + "\0", 9, "expected the end of the file", id="NUL after the end"),
        pytest.param(with_rating("0 2 3"), 3, "user a whole number, 1 to 2", id="user 0"),
        pytest.param(with_rating("1 0 3"), 3, "item a whole number, 1 to 3", id="item 0"),
        pytest.param(with_rating("-1 2 3"), 3, "user", id="user < 0"),
        pytest.param(with_rating("3 2 3"), 3, "user a whole number, 1 to 2", id="user > n"),
        pytest.param(with_rating("1 4 3"), 3, "item a whole number, 1 to 3", id="item > m"),
        pytest.param(with_rating(f"{2**64 + 1} 2 3"), 3, "user", id="user > 2**64"),
        pytest.param(with_rating(f"{2**32 + 1} 2 3"), 3, "user", id="user > 2**32"),
        pytest.param(with_rating("1.5 2 3"), 3, "user a whole number", id="user a fraction"),
        pytest.param(with_rating("1 2.5 3"), 3, "item a whole number", id="item a fraction"),
        pytest.param(with_rating("1.0 2 3"), 3, "got '1.0'", id="user as a fraction"),
        pytest.param(with_rating("1 2e0 3"), 3, "got '2e0'", id="item with exponent"),
        pytest.param(with_rating("1 2 many"), 3, "expected a rating", id="rating a word"),
        pytest.param(with_rating("1 2 nan"), 3, "1e+15, got 'nan'", id="rating nan"),
        pytest.param(with_rating("1 2 inf"), 3, "1e+15, got 'inf'", id="rating inf"),
        pytest.param(with_rating("1 2 -inf"), 3, "1e+15, got '-inf'", id="rating -inf"),
        pytest.param(with_rating("1 2 -1.1e15"), 3, "-1e+15 to 1e+15", id="too large"),
        pytest.param(with_rating("1 2 1e400"), 3, "1e+15, got '1e400'", id="1e400"),
        pytest.param(with_rating("1 2 " + "9" * 400), 3, "999...'", id="rating of 400 digits"),
        pytest.param(with_rating("1 2 3 4"), 3, "got 4 fields", id="a column more"),
        pytest.param(with_rating("1 2"), 3, "got 2 fields", id="a column less"),
        pytest.param(with_rating("1,2,3"), 3, "got 1 field, '1,2,3'", id="commas"),
        pytest.param(with_rating("# note"), 3, "expected 3 fields", id="comment"),
        pytest.param(with_rating("1 2 3 # note"), 3, "expected 3 fields", id="comment behind"),
        pytest.param(with_rating("1_ 2 3"), 3, "user", id="underscore behind a user"),
        pytest.param(with_rating("0_1 2 3"), 3, "user", id="underscore in a user"),
        pytest.param(with_rating("1 2 3_0"), 3, "a rating", id="underscore in a rating"),
        pytest.param(with_rating("١ 2 3"), 3, "user", id="user of other digits"),
        pytest.param(with_rating("1 2 ٣"), 3, "a rating", id="rating of other digits"),
        pytest.param(with_rating("1 2 3\0"), 3, "a rating", id="NUL in a rating"),
        pytest.param(with_rating("\x1b[2J 2 3"), 3, "user", id="terminal controls"),
        pytest.param(GOOD.replace("1 3\n2 2", "1 0\n2 2"), 7, "item", id="query item 0"),
        pytest.param(GOOD.replace("1 3\n2 2", "1 3\n3 2"), 8, "user", id="query user > n"),
        pytest.param(GOOD.replace("1 3\n2 2", "1 3 5\n2 2"), 7, "query 1 of 2", id="query rated"),
        pytest.param(GOOD.replace("1 3\n2 2", "1 3\n2"), 8, "query 2 of 2", id="half a query"),
        pytest.param("\n\r\n" + with_rating("\n\n1 2"), 7, "got 2 fields", id="blanks count"),
        pytest.param(with_rating("1 2").replace("\n", "\r\n"), 3, "got 2 fields", id="CRLF"),
        pytest.param(gzip.compress(with_rating("1 2").encode()), 3, "got 2 fields", id="in gzip"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\xc2", 1, "a header", id="image"),
        pytest.param(GOOD.encode("utf-16"), 1, "number of users", id="UTF-16"),
        pytest.param(b"\0" * 100, 1, "a header", id="NULs"),
        pytest.param(bytes(range(128, 256)) * 99, 1, "at most 1000", id="garbage"),
    ],
)
def test_a_bad_line_is_named(
    content: str | bytes, line: int, gist: str, write_file: WriteFile
) -> None:
    said = complaint(write_file(content))
    assert said.startswith(f"{line}: ")
    assert gist in said


@pytest.mark.parametrize(
    ("content", "gist"),
    [
        pytest.param("", "expected a table, or a header", id="empty"),
        pytest.param("\n \r\n\t\n", "expected a table, or a header", id="blank lines only"),
        pytest.param("2 3 4\n", "rating 1 of 4", id="header only"),
        pytest.param("2 3 4\n1 1 5\n1 2 3\n", "rating 3 of 4", id="ratings cut"),
        pytest.param("2 3 1\n1 1 5\n", "the number of queries", id="no q"),
        pytest.param(GOOD.replace("\n2\n", "\n3\n"), "query 3 of 3", id="q too large"),
        pytest.param(GOOD.replace("\n2\n", f"\n{10**30}\n"), "query 3 of", id="10**30 queries"),
    ],
)
def test_a_file_that_ends_too_early(content: str, gist: str, write_file: WriteFile) -> None:
    said = complaint(write_file(content))
    assert gist in said
    assert said.endswith("got the end of the file")


@pytest.mark.parametrize("header", [f"2 3 {10**12}", f"2 3 {10**18}", f"{2**31 - 1} 3 {10**12}"])
def test_an_absurd_header_asks_for_no_memory(header: str, write_file: WriteFile) -> None:
    path = write_file(f"{header}\n1 1 5\n")
    tracemalloc.start()
    try:
        said = complaint(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "rating 2 of 1,000,000,000,000" in said
    assert peak < 100e6


def many_ratings() -> bytes:
    draw = np.random.default_rng(5)
    rows = draw.integers(1, 91, (3000, 3))
    return "\n".join(["90 90 3000", *(f"{u} {i} {r}" for u, i, r in rows), "0"]).encode()


def test_gzip_that_is_cut(write_file: WriteFile) -> None:
    content = gzip.compress(many_ratings(), mtime=0)
    assert read_mat_comp(write_file(content)).users.tolist() == list(range(1, 91))
    for length in (2, 5, 12, len(content) // 2, len(content) - 8, len(content) - 1):
        assert "damaged gzip file" in complaint(write_file(content[:length]))


def test_gzip_with_a_flipped_bit_is_never_read_as_something_else(write_file: WriteFile) -> None:
    content = gzip.compress(GOOD.encode(), mtime=0)
    n_refused = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        try:
            table = read_mat_comp(write_file(bytes(flipped)))
        except InputError as error:
            n_refused += 1
            assert str(error).isprintable()
        else:
            assert rated(table) == RATED
    assert n_refused >= len(content) - 10  # a header of ten bytes holds no data


@pytest.mark.parametrize("place", [-1, -5])
def test_gzip_with_a_wrong_checksum(place: int, write_file: WriteFile) -> None:
    content = bytearray(gzip.compress(GOOD.encode()))
    content[place] ^= 1
    assert "damaged gzip file" in complaint(write_file(bytes(content)))


def test_gzip_with_something_behind_it(write_file: WriteFile) -> None:
    assert "damaged gzip file" in complaint(write_file(gzip.compress(GOOD.encode()) + b"more"))


def test_a_missing_file(tmp_path: Path) -> None:
    assert complaint(tmp_path / "nowhere") == " no such file"


def test_a_directory(tmp_path: Path) -> None:
    assert complaint(tmp_path) == " expected a file, got a directory"


def test_a_path_through_a_file(write_file: WriteFile) -> None:
    assert "cannot be read (Not a directory)" in complaint(write_file(GOOD) / "below")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_that_opens_but_cannot_be_read() -> None:
    assert complaint(Path("/proc/self/mem")) == " cannot be read (Input/output error)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(write_file: WriteFile) -> None:
    path = write_file(GOOD)
    path.chmod(0)
    assert complaint(path) == " cannot be read (Permission denied)"


@pytest.mark.parametrize(
    "content",
    [
        "4\n-2.5\n1e1\n",
        "4\r\n\r\n-2.5\r\n10",
        "\ufeff 4\n-2.5 \n10.0\n",
        gzip.compress(b"4 \n-2.5\n10", mtime=0),
    ],
)
def test_numbers_one_a_line(content: str | bytes, write_file: WriteFile) -> None:
    numbers = read_numbers(write_file(content), expected=3)
    assert numbers.dtype == np.float64
    assert numbers.tolist() == [4.0, -2.5, 10.0]


def test_no_numbers(write_file: WriteFile) -> None:
    assert read_numbers(write_file("\n"), expected=0).shape == (0,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1\n2\n", ": expected 3 ratings, one a query, got 2"),
        ("1\n2\n3\n4\n", ": expected 3 ratings, one a query, got 4"),
        ("", ": expected 3 ratings, one a query, got 0"),
        ("1\n\n2 3\n4\n", ":3: expected 1 rating, got 2 fields"),
        ("1\n2\nthree\n", ":3: expected a rating, a number from -1e+15 to 1e+15, got 'three'"),
        ("1\nnan\n3\n", ":2: expected a rating, a number from -1e+15 to 1e+15, got 'nan'"),
        ("1\n2_0\n3\n", ":2: expected a rating, a number from -1e+15 to 1e+15, got '2_0'"),
        ("1\n2\n1e400\n", ":3: expected a rating, a number from -1e+15 to 1e+15, got '1e400'"),
    ],
)
def test_bad_numbers(content: str, said: str, write_file: WriteFile) -> None:
    path = write_file(content)
    with pytest.raises(InputError) as error:
        read_numbers(path, expected=3)
    assert str(error.value) == f"{path}{said}"


def test_numbers_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_numbers(tmp_path / "nowhere", expected=3)
