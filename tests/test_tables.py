"""Tables of ratings: the same from any format, ids as they were, and one line for what is wrong."""

import gzip
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from storage.errors import InputError
from storage.files import TEXT
from storage.mat_comp import read_mat_comp
from storage.memory import ROW_BYTES
from storage.missing import suspected_code
from storage.ratings import RatingsTable
from storage.tables import read_pairs, read_ratings

WriteFile = Callable[[str | bytes], Path]

RATED = {(1, 10): 5.0, (1, 30): 3.5, (2, 10): 4.0, (3, 20): 1.0}
LINES = [f"{u},{i},{r:g}" for (u, i), r in RATED.items()]
MAT_COMP = "3 30 4\n1 10 5\n1 30 3.5\n2 10 4\n3 20 1\n0\n"
BARE = "\n".join(LINES) + "\n"
CSV = "user_id,movie_id,rating\n" + BARE
STAMPED = "".join(f"{line},97830076{n}\n" for n, line in enumerate(LINES))
TEXTS = "stars,book,user\n5,b/1,ann\n3,b 2,bo\n1,007,ann\n2,7,bo\n4,b/1,Zoë\n"


def rated(table: RatingsTable) -> dict[tuple[Any, Any], float]:
    pairs = zip(table.user_ids.tolist(), table.item_ids.tolist(), strict=True)
    return dict(zip(pairs, table.ratings.tolist(), strict=True))


def complaint(path: Path, columns: Any = None) -> str:
    with pytest.raises(InputError) as error:
        read_ratings(path, columns)
    message = str(error.value)
    assert message.isprintable()
    assert message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:")


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CSV, id="CSV"),
        pytest.param(CSV.replace("\n", "\r\n"), id="CRLF"),
        pytest.param("\ufeff" + CSV, id="BOM"),
        pytest.param("\n\n" + CSV.replace("\n", "\n\n"), id="blank lines"),
        pytest.param(CSV.rstrip("\n"), id="no newline at the end"),
        pytest.param(CSV.replace(",", ";"), id="semicolons"),
        pytest.param(CSV.replace(",", "|"), id="bars"),
        pytest.param(CSV.replace(",", "\t"), id="TSV"),
        pytest.param(CSV.replace(",", "::"), id="colons with header"),
        pytest.param(CSV.replace(",", ", "), id="blanks behind commas"),
        pytest.param(CSV.replace("movie_id", '"Movie-ID"'), id="quoted name"),
        pytest.param('"' + CSV.replace(",", '","').replace("\n", '"\n"')[:-1], id="all quoted"),
        pytest.param("userId,movieId,rating,timestamp\n" + STAMPED, id="MovieLens 32M"),
        pytest.param(
            "user:token\titem:token\trating:float\n" + BARE.replace(",", "\t"), id="atomic"
        ),
        pytest.param(STAMPED.replace(",", "\t"), id="u.data"),
        pytest.param(STAMPED.replace(",", "::"), id="ratings.dat"),
        pytest.param(BARE, id="no header"),
        pytest.param(BARE.replace(",", "::"), id="colons"),
        pytest.param(STAMPED.replace(",", "  "), id="runs of blanks"),
        pytest.param(" " + STAMPED.replace(",", " ").replace("\n", " \r\n  "), id="blanks around"),
        pytest.param(gzip.compress(CSV.encode()), id="gzip"),
        pytest.param(zstd(CSV.encode()), id="zstd"),
        pytest.param(zstd(STAMPED.replace(",", "::").encode()), id="zstd, colons"),
    ],
)
def test_the_same_table_from_any_format(content: str | bytes, write_file: WriteFile) -> None:
    table = read_ratings(write_file(content))
    assert rated(table) == RATED
    assert table.user_ids.dtype == table.item_ids.dtype == np.int64
    assert (table.n_ratings, table.n_queries, table.n_repeated) == (4, 0, 0)


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("separator", ["::", "   "])
def test_blocks_do_not_cut_separators(
    block: int, separator: str, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.delimited.BLOCK_BYTES", block)
    monkeypatch.setattr("storage.dialect.GLANCE_BYTES", block)
    assert rated(read_ratings(write_file(STAMPED.replace(",", separator)))) == RATED


def test_many_blocks_make_one_table(write_file: WriteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows = [f"u{u},{i},{r}" for u, i, r in draw.integers(0, 50, (3000, 3))]
    path = write_file("user,item,rating\n" + "\n".join(rows))
    whole = read_ratings(path)
    monkeypatch.setattr("storage.delimited.BLOCK_BYTES", 200)
    blocks = read_ratings(path)
    assert blocks.digest == whole.digest
    assert blocks.n_repeated == whole.n_repeated > 0
    pairs = {tuple(row.split(",")[:2]) for row in rows}
    assert set(rated(whole)) == {(user, int(item)) for user, item in pairs}


def test_the_same_ids_and_ratings_have_the_same_digest(tmp_path: Path) -> None:
    header, *lines = CSV.splitlines()
    (tmp_path / "mat_comp").write_text("\n".join(["9 99 4", *lines, "0"]).replace(",", " "))
    (tmp_path / "csv").write_text("\n".join([header, *reversed(lines)]))
    digest = read_mat_comp(tmp_path / "mat_comp").digest
    assert read_ratings(tmp_path / "mat_comp").digest == digest
    assert read_ratings(tmp_path / "csv").digest == digest


def test_the_digest_of_a_known_file_is_that_of_every_version(write_file: WriteFile) -> None:
    path = write_file("2 3 4\n1 1 5\n1 2 3\n2 1 4\n2 3 1\n2\n1 3\n2 2\n")
    assert read_ratings(path).digest == "c44cf135c54787fb98701f881745a682"


def test_texts_stay_as_they_are(write_file: WriteFile) -> None:
    table = read_ratings(write_file(TEXTS))
    assert rated(table) == {
        ("Zoë", "b/1"): 4.0,
        ("ann", "007"): 1.0,
        ("ann", "b/1"): 5.0,
        ("bo", "7"): 2.0,
        ("bo", "b 2"): 3.0,
    }
    assert table.users.dtype == table.items.dtype == TEXT
    assert (table.user_name, table.item_name) == ("user", "book")
    assert table.users.tolist() == sorted(table.users.tolist())


@pytest.mark.parametrize("odd", ["07", "7.5", "7.00", "x", "+7", "-0", str(2**63), " 7 x"])
def test_one_id_that_is_no_whole_number_makes_all_texts(odd: str, write_file: WriteFile) -> None:
    table = read_ratings(write_file(f"user,item,rating\n7,1,2\n{odd},1,3\n-3,1,2\n"))
    assert set(table.users.tolist()) == {"7", "-3", odd.strip()}
    assert table.items.tolist() == [1]


def test_large_and_negative_numbers_are_numbers(write_file: WriteFile) -> None:
    table = read_ratings(write_file(f"user,item,rating\n{2**63 - 1},1,2\n{-(2**63)},1,3\n0,1,2\n"))
    assert table.users.tolist() == [-(2**63), 0, 2**63 - 1]


def test_texts_have_digests_that_tell_them_apart(write_file: WriteFile) -> None:
    texts = ["a,b,1\na,c,2\n", "a,b,1\na,d,2\n", "aa,b,1\naa,c,2\n", "a,b,1\na,c,3\n"]
    digests = {read_ratings(write_file("user,item,rating\n" + text)).digest for text in texts}
    assert len(digests) == 4


def test_a_field_may_hold_separators_and_quotes(write_file: WriteFile) -> None:
    odd = 'a,"b" c'
    quoted = '"' + odd.replace('"', '""') + '"'
    table = read_ratings(write_file(f"user,item,rating,note\n{quoted},1,2,x\n1,1,3,{quoted}\n"))
    assert table.users.tolist() == ["1", odd]


def test_repeated_pairs_have_the_mean(write_file: WriteFile) -> None:
    table = read_ratings(write_file(CSV + "3,20,2\n 3,20,6\n"))
    assert rated(table) == RATED | {(3, 20): 3.0}
    assert table.n_repeated == 2


@pytest.mark.parametrize(
    "columns", [("who", "what", "how"), ("3", "2", "4")], ids=["names", "positions"]
)
@pytest.mark.parametrize("kind", ["text", "parquet"])
def test_columns_as_told(columns: Any, kind: str, tmp_path: Path) -> None:
    named = {
        "user": ["9", "9"],
        "what": ["x", "y"],
        "who": ["a", "b"],
        "how": [1.5, 2.5],
    }
    path = tmp_path / "table"
    if kind == "parquet":
        parquet.write_table(pa.table(named), path)
    else:
        rows = [list(named), *zip(*named.values(), strict=True)]
        path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    table = read_ratings(path, columns)
    assert rated(table) == {("a", "x"): 1.5, ("b", "y"): 2.5}
    assert (table.user_name, table.item_name) == ("who", "what")
    assert table.about == "user who, item what, rating how; user not used"


def test_a_header_that_stands_again_is_no_pair(write_file: WriteFile) -> None:
    path = write_file("user_id,item_id\n5,10\nuser_id,item_id\n1,30\n")
    with pytest.raises(InputError, match="mat_comp: pair 2: expected user and item, got the head"):
        read_pairs(path)


PLAIN = [(u, 10 * i, u * i % 5 + 1, 5 * 10**8 + u) for u in range(1, 7) for i in (1, 2)]
ROWS = "".join("{},{},{},{}\n".format(*row) for row in PLAIN)


def test_columns_that_are_called_by_numbers_are_no_rating(write_file: WriteFile) -> None:
    """What pandas writes of an array; a first row of ratings may be the same."""
    three = re.sub(r",\d+$", "", ROWS, flags=re.MULTILINE)
    path = write_file(f"0,1,2\n{three}")
    with pytest.raises(InputError, match="mat_comp:1: cannot tell whether '0', '1', '2' are"):
        read_ratings(path)
    assert read_ratings(path, ("0", "1", "2")).n_ratings == 12
    assert read_ratings(path, ("1", "2", "3")).n_ratings == 13
    assert read_ratings(write_file(f"0,1,2\n0,20,3\n{three}")).n_ratings == 14
    path = write_file(f"0,1,2,3\n{ROWS}")
    with pytest.raises(InputError, match="like columns='0,1,2'"):
        read_ratings(path)
    assert read_ratings(path, ("0", "1", "2", "3")).n_ratings == 12
    lines = "".join(f"{n},{line}\n" for n, line in enumerate(three.split()))
    assert read_ratings(write_file(f",0,1,2\n{lines}"), ("2", "3", "4")).n_ratings == 12


@pytest.mark.parametrize("ids", [("12", "12.0"), ("12.0", "12.0"), ("12.0", "12")])
def test_whole_numbers_that_were_floats_are_whole(write_file: WriteFile, ids: list[str]) -> None:
    table = read_ratings(write_file(f"user,item,rating\n{ids[0]},1,5\n{ids[1]},2,3\n7,1,4\n"))
    assert table.users.tolist() == [7, 12]
    assert table.n_joined == (ids[0] != ids[1])
    table = read_ratings(write_file("user,item,rating\n12.0,1,5\n12.5,2,3\n12,1,4\n"))
    assert table.users.tolist() == ["12", "12.0", "12.5"]


def test_positions_in_a_file_without_a_header(write_file: WriteFile) -> None:
    table = read_ratings(write_file("5,x,a\n3,y,b\n"), ("3", "2", "1"))
    assert rated(table) == {("a", "x"): 5.0, ("b", "y"): 3.0}
    assert table.about == "user 3, item 2, rating 1, no header"


@pytest.mark.parametrize("separator", [",", "::", " "])
def test_positions_are_not_mistaken_for_what_the_first_row_holds(
    separator: str, write_file: WriteFile
) -> None:
    path = write_file("3,1,2,7\n4,1,5,7\n".replace(",", separator))
    assert rated(read_ratings(path, ("1", "2", "3"))) == {(3, 1): 2.0, (4, 1): 5.0}
    assert rated(read_ratings(path, ("2", "1", "4"))) == {(1, 3): 7.0, (1, 4): 7.0}
    assert read_pairs(path, positions=("3", "1", "2")).user_ids.tolist() == [2, 5]


T = 1_100_000_000


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(lambda u, i, r, n: (n, u, i, r), id="an index first"),
        pytest.param(lambda u, i, r, n: (n + 1, u, i, r), id="an index from 1 first"),
        pytest.param(lambda u, i, r, n: (T + n, u, i, r), id="the time first"),
        pytest.param(lambda u, i, r, n: (u, i, T + n, r), id="the time third"),
        pytest.param(lambda u, i, r, n: (u, i, r, 1), id="a decimal comma"),
        pytest.param(lambda u, i, r, n: (u, i, r, 5 * (n % 2)), id="half stars, decimal commas"),
        pytest.param(lambda u, i, r, n: (u, i, r, n), id="an index last"),
        pytest.param(lambda u, i, r, n: (n, u, i, T + n), id="an index, no rating"),
        pytest.param(lambda u, i, r, n: (n, i, r, T + n), id="an index, no user"),
        pytest.param(lambda u, i, r, n: (r, u, i, T + n), id="the rating first"),
        pytest.param(lambda u, i, r, n: (u, r, i, T + n), id="the rating second"),
        pytest.param(lambda u, i, r, n: (r, u, i), id="the rating first, no time"),
        pytest.param(lambda u, i, r, n: (r / 2, u, i % 4), id="half stars first"),
        pytest.param(lambda u, i, r, n: (u, i, T + n), id="a time, no rating"),
        pytest.param(lambda u, i, r, n: (n, u, i), id="an index, no rating, no time"),
        pytest.param(lambda u, i, r, n: (f"i{i}", f"u{u}", r), id="items first"),
        pytest.param(
            lambda u, i, r, n: (f"00{1e7 + i:.0f}X", f"A{u}XYZ{1e9:.0f}", r, T), id="ISBN"
        ),
        pytest.param(lambda u, i, r, n: (f"B0{1e7 + i:.0f}", f"A{u}XYZ{1e9:.0f}", r, T), id="ASIN"),
        pytest.param(lambda u, i, r, n: ("x" * u, "y" * i, r), id="texts that say nothing"),
    ],
)
@pytest.mark.parametrize("separator", [",", "\t", "::"])
@pytest.mark.parametrize("n_rows", [6, 60])
def test_columns_that_may_be_others_are_asked_for(
    row: Callable[..., tuple[object, ...]], separator: str, n_rows: int, write_file: WriteFile
) -> None:
    rows = [row(18 + n % 3, 40 + n * 7 % 23, n % 5 + 1, n) for n in range(n_rows)]
    text = "".join(separator.join(map(str, fields)) + "\n" for fields in rows)
    said = complaint(write_file(text))
    if separator != "\t":  # or it may begin like a mat_comp file
        assert said.startswith(" cannot tell w")
        assert "columns=" in said


@pytest.mark.parametrize(
    "row",
    [
        lambda u, i, r, n: (u, i, r),
        lambda u, i, r, n: (u, i, r, T + n),
        lambda u, i, r, n: (u, i, r, 1000 * (T + n)),
        lambda u, i, r, n: (u, i, r, f"2005-03-{n % 28 + 1:02d}"),
        lambda u, i, r, n: (u, i, r / 2, T + n),
        lambda u, i, r, n: (u, i, 20 * r, T + n),
        lambda u, i, r, n: (u, i, r - 3.25),
        lambda u, i, r, n: (f"u{u}", f"i{i}", r),
        lambda u, i, r, n: (f"user_{u}", i, r),
        lambda u, i, r, n: (u, f"tt{1e6 + i:.0f}", r),
        lambda u, i, r, n: (f"A{u}XYZ{1e9:.0f}", f"B0{1e7 + i:.0f}", r, T),
    ],
)
def test_columns_that_are_plain_are_guessed(
    row: Callable[..., tuple[object, ...]], write_file: WriteFile
) -> None:
    rows = [row(18 + n % 3, 40 + n * 7 % 23, n % 5 + 1, n) for n in range(60)]
    table = read_ratings(write_file("".join(",".join(map(str, one)) + "\n" for one in rows)))
    assert {str(user) for user in table.users} == {str(fields[0]) for fields in rows}
    assert {str(item) for item in table.items} == {str(fields[1]) for fields in rows}
    assert table.n_ratings + table.n_repeated == 60


def test_pairs_with_an_index_are_asked_for(write_file: WriteFile) -> None:
    with pytest.raises(InputError, match="cannot tell which columns hold user and item"):
        read_pairs(write_file("".join(f"{n},18,{n % 3}\n" for n in range(6))))
    with pytest.raises(InputError, match="cannot tell which columns hold user and item"):
        read_pairs(write_file(f"{T},18,10,4\n{T + 1},18,11,3\n"))


def test_blanks_around_ids_do_not_count_and_what_they_joined_is_told(
    write_file: WriteFile, tmp_path: Path
) -> None:
    rows = [("u0", "a b", 1.0), (" u0", "c", 2.0), ("u0 ", "\u00a0c", 3.0), ("u1\t", "c", 4.0)]
    lines = "".join(f"{u},{i},{r:g}\n" for u, i, r in rows)
    columns = dict(zip(("user", "item", "rating"), zip(*rows, strict=True), strict=True))
    parquet.write_table(pa.table(columns), tmp_path / "parquet")
    path = write_file("user,item,rating\n" + lines)
    for source in (path, tmp_path / "parquet", pa.table(columns)):
        table = read_ratings(source)
        assert (table.users.tolist(), table.items.tolist()) == (["u0", "u1"], ["a b", "c"])
        assert (table.n_ratings, table.n_repeated, table.n_joined) == (3, 1, 3)
    assert read_pairs(path).user_ids.tolist() == ["u0", "u0", "u0", "u1"]
    table = read_ratings(write_file("user,item,rating\n1,1,2\n 1,2,3\n"))
    assert (table.users.tolist(), table.n_joined) == ([1], 1)
    table = read_ratings(write_file('user, item, rating\n"u1", "i0", 4\n"u 2" , "i, ""1""", 3\n'))
    assert rated(table) == {("u1", "i0"): 4.0, ("u 2", 'i, "1"'): 3.0}
    assert table.n_joined == 0


def test_a_blank_id_is_none(write_file: WriteFile, tmp_path: Path) -> None:
    found = complaint(write_file("user,item,rating\nu1,i1,2\n  ,i1,3\n"))
    assert found == "3: expected a user, got an empty field"
    columns = {"user": ["u1", "u2"], "item": ["i1", " "], "rating": [1, 2]}
    parquet.write_table(pa.table(columns), tmp_path / "table")
    assert complaint(tmp_path / "table") == " row 2: expected item, got nothing but blanks"
    columns["item"][1] = "i\n2"
    with pytest.raises(InputError, match="row 2: expected item, got a line break in 'i\ufffd2'"):
        read_ratings(pa.table(columns))


def coded(code: float, scale: list[float], share: float) -> list[float]:
    """A hundred ratings, of which a share are the code."""
    n = round(100 * share)
    return [code] * n + [scale[k % len(scale)] for k in range(100 - n)]


TEN = [float(n) for n in range(1, 11)]
HALVES = [n / 2 for n in range(1, 11)]
JOKES = [round(-9.97 + 0.31 * n, 2) for n in range(65)]


@pytest.mark.parametrize(
    ("code", "scale"),
    [
        *((99, JOKES), (99, [n - 10.0 for n in range(21)]), (-1, TEN), (0, TEN), (0, HALVES)),
        *((-1, HALVES), (99, TEN), (-99, JOKES), (9, TEN[:5]), (0, TEN[:5]), (255, TEN[:5])),
        (-1, [0.0, *TEN, *TEN]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet", "mat_comp", "frame"])
def test_a_code_for_no_rating_is_noticed_and_left_out(
    code: float, scale: list[float], kind: str, tmp_path: Path
) -> None:
    for share in (0.1, 0.6):
        values = coded(code, scale, share)
        n = round(100 * share)
        ids = [k % 10 + 1 for k in range(100)], [k // 10 + 1 for k in range(100)]
        columns = {"user": ids[0], "item": ids[1], "rating": values}
        path: Any = tmp_path / kind
        match kind:
            case "parquet":
                parquet.write_table(pa.table(columns), path)
            case "frame":
                path = pa.table(columns)
            case _:
                lines = [f"{u} {i} {r:g}" for u, i, r in zip(*ids, values, strict=True)]
                text = "\n".join(lines).replace(" ", ",")
                is_csv = kind == "csv"
                path.write_text(
                    "user,item,rating\n" + text
                    if is_csv
                    else "10 10 100\n" + "\n".join(lines) + "\n0\n"
                )
        table = read_ratings(path)
        assert (table.n_ratings, table.code, table.n_code) == (100, code, n)
        table = read_ratings(path, missing=float(code))
        assert (table.n_ratings, table.n_missing, table.code) == (100 - n, n, None)
        assert code not in table.ratings
        rest = {
            name: [v for v, r in zip(c, values, strict=True) if r != code]
            for name, c in columns.items()
        }
        assert table.digest == read_ratings(pa.table(rest)).digest


@pytest.mark.parametrize(
    ("code", "scale", "share"),
    [
        *((99, JOKES, 0.05), (0, TEN, 0.09), (5, TEN[:4], 0.4), (1, TEN[1:], 0.3)),
        *((0, [1.0], 0.5), (-10, JOKES, 0.2), (0.5, HALVES[1:], 0.2), (-1, [0.0, 1.0], 0.3)),
        (10, JOKES, 0.3),
    ],
)
def test_what_belongs_to_the_scale_is_no_code(
    code: float, scale: list[float], share: float
) -> None:
    assert suspected_code(np.array(coded(code, scale, share))) is None
    assert suspected_code(np.empty(0)) is None


def test_ratings_that_are_all_missing(write_file: WriteFile) -> None:
    path = write_file("user,item,rating\n1,1,99\n1,2,99\n")
    with pytest.raises(InputError, match="to validate on, got 0 besides 2 rated 99"):
        read_ratings(path, missing=99.0)
    frame = pa.table(
        {"user": [1, 1, 2], "item": [1, 2, 2], "rating": pa.array([0.1, 2, 3], "float")}
    )
    assert read_ratings(frame, missing=0.1).ratings.tolist() == [2.0, 3.0]


def test_what_was_guessed_is_told(write_file: WriteFile) -> None:
    header, row = "user,item,rating", "1,2,3\n2,1,4\n"
    wide = "".join(f",{'x' * 20}{n}" for n in range(9))
    for more, said in ((",where,why", "where, why not used"), (wide, "9 more not used")):
        fields = row.replace("\n", "," * more.count(",") + "\n")
        about = read_ratings(write_file(f"{header}{more}\n{fields}")).about
        assert about == f"user user, item item, rating rating; {said}"
    assert read_ratings(write_file(STAMPED)).about == (
        "user 1, item 2, rating 3, time 4, no header; if that is wrong, give columns="
    )
    assert read_ratings(write_file("1 2 2\n1 1 5\n1 2 4\n0\n")).about == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("a,b,c\n1,2,3\n", "like columns='a,b,c'", id="names that say nothing"),
        pytest.param(
            "User,isbn,grade,n\na,0195153448,5,1\nb,0002005018,0,2\n" * 3,
            "name them in that order, as columns=USER,ITEM,RATING",
            id="two may be ratings",
        ),
        pytest.param(
            "isbn,User,grade\n0195153448,a,5\n0002005018,b,0\n",
            "like columns='User,isbn,grade'",
            id="no ISBN is a rating",
        ),
        pytest.param(
            "user,code,number,grade\na,x,0195153448,5\nb,y,0002005018,0\n",
            "as columns=USER,ITEM,RATING, unless this is a table of users and no ratings",
            id="the item may be any",
        ),
        pytest.param(
            "user,item,rating,rating\na,x,PG-13,5\nb,y,R,1\n", "like columns='1,2,4'", id="two"
        ),
        pytest.param(
            "user_id,country,age\n1,US,25\n2,DE,30\n",
            "as columns=USER,ITEM,RATING, unless this is a table of users and no ratings",
            id="a table of users",
        ),
        pytest.param("18,40,1100000000,1\n19,41,1100000001,2\n", "'1,2,4'", id="a time between"),
        pytest.param("u_x,movie,rating\n1,2,3\n", "user, item and rating", id="one is unknown"),
        pytest.param("user,user_id,item,rating\n1,2,3,4\n", "'user', 'user_id'", id="two users"),
        pytest.param("user,item\n1,2\n", "'user' and 'item': a rating is missing", id="no rating"),
        pytest.param("item,stars\n1,2\n", "'item' and 'stars': the user is missing", id="no user"),
        pytest.param("1,2\n1,3\n", "such pairs can be predicted, not lear", id="two columns"),
        pytest.param("1,2,3,4,5\n1,3,4,5,6\n", "a first line of '1', '2'", id="five columns"),
        pytest.param("1,2,3,x\n1,3,4,y\n", "cannot tell", id="the fourth is no timestamp"),
        pytest.param("1,2,x\n1,3,y\n", "cannot tell", id="the third is no number"),
        pytest.param(
            "".join(f"{n % 5},{n},{n * 7}\n" for n in range(300)), "cannot tell", id="ids third"
        ),
        pytest.param("hello\nworld\n", "separated by commas", id="one column"),
        pytest.param("a\0b,c,d\n", "got binary data", id="binary"),
        pytest.param("user,item,rating\n", "at least one row below the header", id="header only"),
        pytest.param("user,item,rating\n1,1,3\n", "at least 2 different pairs", id="one pair"),
    ],
)
def test_what_is_not_plain_is_asked_for(content: str, said: str, write_file: WriteFile) -> None:
    assert said in complaint(write_file(content))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            ("user_id", "movie", "rating"),
            "no column 'movie' among 'user_id', 'movie_id', 'rating'; did you mean 'movie_id'?",
        ),
        (("UserID", "movie_id", "rating"), "; did you mean 'user_id'?"),
        (
            ("rating", "movie_id", "user_id"),
            "expected user, item and rating in this order, got 'rating' as user, 'movie_id' as "
            "item, 'user_id' as rating",
        ),
        (("1", "3", "2"), "in this order, got 'user_id' as user, 'rating' as item"),
        (("1", "2", "4"), "no column '4'"),
        (("1", "2", "0"), "no column '0'"),
        (("1", "2", "2"), "expected different columns, got 1,2,2"),
        (("1", "2", "9" * 5000), "no column '9999"),
        (("user_id", "1", "rating"), "no column '1'"),
        (("user_id", "user_id", "rating"), "expected different columns"),
    ],
)
def test_columns_that_are_not_there(columns: Any, said: str, write_file: WriteFile) -> None:
    assert said in complaint(write_file(CSV), columns)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("1,30", "expected 3 fields, got 2 fields", id="a field less"),
        pytest.param("1,30,2,2", "expected 3 fields, got 4 fields", id="a field more"),
        pytest.param("1,30,", "expected a rating, got an empty field", id="no rating"),
        pytest.param("1,30,  ", "expected a rating, got an empty field", id="blanks"),
        pytest.param(",30,2", "expected a user, got an empty field", id="no user"),
        pytest.param('1,"",2', "expected an item, got an empty field", id="no item"),
        pytest.param("1,30,nan", "1e+15, got 'nan'", id="nan"),
        pytest.param("1,30,-inf", "1e+15, got '-inf'", id="inf"),
        pytest.param("1,30,2e15", "1e+15, got '2e15'", id="too large"),
        pytest.param("1,30,1e400", "1e+15, got '1e400'", id="1e400"),
        pytest.param("1,30,NA", "1e+15, got 'NA'", id="NA"),
        pytest.param("1,30,five", "1e+15, got 'five'", id="a word"),
        pytest.param('1,30,"3,5"', "1e+15, got '3,5'", id="a comma for a point"),
        pytest.param("1,30,1_0", "1e+15, got '1_0'", id="underscore"),
        pytest.param("\x1b[2J,30,x", "1e+15, got 'x'", id="terminal controls"),
    ],
)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_bad_line_is_named(line: str, said: str, separator: str, write_file: WriteFile) -> None:
    if separator == "\t":
        if '"3,5"' in line:
            return
        line = line.replace(",", "\t")
    content = CSV.replace(",", separator)
    first, second, rest = content.split("\n", 2)
    found = complaint(write_file(f"{first}\n\n{second}\n{line}\n{rest}"))
    assert found == f"4: {said}" or (found.startswith("4: ") and found.endswith(said))


@pytest.mark.parametrize("separator", ["::", " "])
def test_a_bad_line_of_long_separators_is_named(separator: str, write_file: WriteFile) -> None:
    content = STAMPED.replace(",", separator)
    assert complaint(write_file(content + "1::2\n")).startswith("5: expected 4 fields, got ")
    found = complaint(write_file(content + separator.join("12x3") + "\n"))
    assert found == "5: expected a rating in column 3, a number from -1e+15 to 1e+15, got 'x'"


def test_ids_that_are_no_utf8(write_file: WriteFile) -> None:
    found = complaint(write_file(CSV.encode() + b"\xff,30,3\n"))
    assert found == "6: expected a user in UTF-8, got other bytes"


def test_a_damaged_compressed_table(write_file: WriteFile) -> None:
    many = ("user,item,rating\n" + "".join(f"{n},{n * n},{n % 5}\n" for n in range(9999))).encode()
    for name, packed in (("gzip", gzip.compress(many)), ("zstd", zstd(many))):
        for content in (packed[:-1], packed[: len(packed) // 2], packed + b"more"):
            assert f" damaged {name} file" in complaint(write_file(content))


@pytest.mark.skipif(sys.platform == "darwin", reason="names must be UTF-8 there")
@pytest.mark.parametrize("name", ["ratings.txt", "é 語.csv", "\udcff.csv"])
def test_a_file_may_have_any_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (CSV.encode(), gzip.compress(CSV.encode()), STAMPED.replace(",", "::").encode()):
        path.write_bytes(content)
        assert rated(read_ratings(path)) == RATED
    with path.open("wb") as file:
        parquet.write_table(pa.table(PLAIN), file)
    assert rated(read_ratings(path)) == RATED


def test_what_is_no_file(tmp_path: Path) -> None:
    assert complaint(tmp_path / "nowhere") == " no such file"
    assert complaint(tmp_path) == " expected a file, or a folder with files, got an empty one"


def test_three_columns_of_whole_numbers_are_told_from_mat_comp(write_file: WriteFile) -> None:
    table = read_ratings(write_file("196 242 3\n186 302 3\n22 377 1\n244 51 2\n166 346 1\n"))
    assert table.users.tolist() == [22, 166, 186, 196, 244]
    cut = "2 3 3\n1 1 5\n1 2 3\n2 1 4\n2 3 1\n2\n1 3\n2 2\n"
    assert complaint(write_file(cut)).startswith("5: expected 1 field, the number of queries")


PLAIN = {"user_id": [1, 1, 2, 3], "item_id": [10, 30, 10, 20], "rating": [5.0, 3.5, 4.0, 1.0]}


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(pa.table(PLAIN), id="plain"),
        pytest.param(pa.table({"x": [[1]] * 4} | dict(reversed(PLAIN.items()))), id="other order"),
        pytest.param(
            pa.table(
                {name: pa.array(values).dictionary_encode() for name, values in PLAIN.items()}
            ),
            id="categorical",
        ),
        pytest.param(
            pa.table(
                [
                    pa.array(PLAIN["user_id"], pa.uint16()),
                    pa.array(PLAIN["item_id"], pa.int8()),
                    pa.array(PLAIN["rating"], pa.float32()),
                ],
                [*PLAIN],
            ),
            id="small types",
        ),
        pytest.param(
            pa.table(PLAIN | {"user_id": pa.array(["1", "1", "2", "3"], pa.large_string())}),
            id="numbers as texts",
        ),
    ],
)
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_parquet(
    table: pa.Table, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.parquet.ROWS_AT_ONCE", rows)
    parquet.write_table(table, tmp_path / "table", row_group_size=rows)
    assert rated(read_ratings(tmp_path / "table")) == RATED


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("rating", [1.0, None, 3.0, 4.0], " row 2: expected rating, got nothing"),
        ("rating", [1.0, 2.0, float("nan"), 4.0], " row 3: expected a rating, a number from"),
        ("rating", [1.0, 2.0, 2.0, 1e16], " row 4: expected a rating, a number from"),
        ("user_id", [None, 1, 2, 3], " row 1: expected user, got nothing"),
        ("user_id", ["a", "", "b", "c"], " row 2: expected user, got nothing"),
        (
            "item_id",
            [1.0, 2.0, 3.5, 4.0],
            " row 3: expected whole numbers or texts in column 'item_id'",
        ),
        ("item_id", [[1], [2], [3], [4]], "expected whole numbers or texts in column 'item_id'"),
        ("rating", ["a", "b", "c", "d"], " row 1: expected a rating, a number from"),
        ("item_id", [1.0, 2.0, 3.0, 2.0**60], " row 4: expected whole numbers or texts in"),
    ],
)
@pytest.mark.parametrize("rows", [1, 100])
def test_bad_parquet(  # noqa: PLR0917
    column: str, values: Any, said: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.parquet.ROWS_AT_ONCE", rows)
    parquet.write_table(pa.table(PLAIN | {column: values}), tmp_path / "table")
    assert said in complaint(tmp_path / "table")


def test_parquet_with_odd_names(tmp_path: Path) -> None:
    path = tmp_path / "table"
    columns = [pa.array(values) for values in PLAIN.values()]
    parquet.write_table(pa.table(columns, [" user ", "item.id", "rating"]), path)
    assert rated(read_ratings(path)) == RATED
    parquet.write_table(pa.table(columns, ["a", "a", "a"]), path)
    assert "cannot be read as Parquet" in complaint(path, ("1", "2", "3"))


def test_parquet_with_texts_that_are_no_utf8(tmp_path: Path) -> None:
    binary = pa.array([b"a", b"\xff", b"b", b"c"])
    texts = pa.StringArray.from_buffers(4, binary.buffers()[1], binary.buffers()[2])
    parquet.write_table(pa.table(PLAIN | {"user_id": texts}), tmp_path / "table")
    assert "Invalid UTF8" in complaint(tmp_path / "table")


def test_parquet_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "table"
    parquet.write_table(pa.table(PLAIN), path)
    content = path.read_bytes()
    for length in (4, 8, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "cannot be read as Parquet" in complaint(path)


@pytest.mark.parametrize(
    "content",
    [
        "user_id,movie_id\n1,x\n5,y\n1,x\n",
        "movie,user\nx,1\ny,5\nx,1\n",
        "1,x\n5,y\n1,x\n",
        "1::x::3\n5::y::1\n1::x::2\n",
        "rating,movie_id,user_id\n1,x,1\n,y,5\n7,x,1\n",
    ],
)
def test_pairs(content: str, write_file: WriteFile) -> None:
    pairs = read_pairs(write_file(content))
    assert pairs.user_ids.tolist() == [1, 5, 1]
    assert pairs.item_ids.tolist() == ["x", "y", "x"]


def test_pairs_by_the_columns_of_the_ratings(write_file: WriteFile) -> None:
    for names in (("b", "a"), ("b", "book")):
        path = write_file(f"{names[1]},b,c\n1,x,2\n5,y,2\n")
        pairs = read_pairs(path, names=("b", "a"))
        assert (pairs.user_ids.tolist(), pairs.item_ids.tolist()) == (["x", "y"], [1, 5])
        assert (pairs.user_name, pairs.item_name) == names


def test_ids_with_digits_are_no_header(write_file: WriteFile) -> None:
    pairs = read_pairs(write_file("user3,item4\nuser5,item6\n"))
    assert pairs.user_ids.tolist() == ["user3", "user5"]
    assert rated(read_ratings(write_file("u1,i1,2\nu2,i1,3\n"))) == {
        ("u1", "i1"): 2.0,
        ("u2", "i1"): 3.0,
    }


def test_pairs_by_positions(write_file: WriteFile) -> None:
    positions = ("2", "1", "3")
    for first in ("movie,user\n", ""):
        pairs = read_pairs(write_file(first + "x,1\ny,5\n"), positions=positions)
        assert (pairs.user_ids.tolist(), pairs.item_ids.tolist()) == ([1, 5], ["x", "y"])
    for content, said in (
        ("a,b\nx,1\ny,5\n", "cannot tell which columns hold user and item, got 'a', 'b'; begin"),
        ("x,1\n", "no column '3' among 'x', '1'"),
    ):
        with pytest.raises(InputError, match=said):
            read_pairs(write_file(content), positions=(positions[0], "3", "1"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n3,4\n", "cannot tell which columns hold user and item"),
        ("user,item\n1,\n", "2: expected an item, got an empty field"),
        ("user,item\n1\n", "2: expected 2 fields, got 1 field, '1'"),
        ("1,2,3,4,5\n", "cannot tell"),
    ],
)
def test_bad_pairs(content: str, said: str, write_file: WriteFile) -> None:
    with pytest.raises(InputError, match=said):
        read_pairs(write_file(content))


@pytest.mark.parametrize("kind", ["csv", "mat_comp", "parquet"])
def test_a_table_that_does_not_fit_into_memory_is_refused(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A small packed file may unpack to anything."""
    if kind == "parquet":
        sink = io.BytesIO()
        parquet.write_table(pa.table({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0]}), sink)
        path = write_file(sink.getvalue())
    else:
        path = write_file(gzip.compress({"csv": CSV, "mat_comp": MAT_COMP}[kind].encode()))
    read_ratings(path)
    free = SimpleNamespace(available=ROW_BYTES + 1)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    assert complaint(path) == (
        " expected at most 1 rows, which fit into the 0.0 GB of memory that are free, got more"
    )


@pytest.mark.parametrize(
    "text",
    [
        "User,isbn,grade\na,0195153448,5\nb,0002005018,0\n",
        "user,item,rating,rating\na,x,PG-13,5\nb,y,R,1\n",
        "who,what,how\na,x,5\nb,y,1\n",
        "18,40,1100000000,1\n19,41,1100000001,2\n",
        "x1,y1,5\nx2,y2,4\n",
    ],
)
def test_columns_that_are_proposed_are_taken(write_file: WriteFile, text: str) -> None:
    path = write_file(text)
    proposed = re.search("like columns='(.*?)'|or columns='(.*?)'", complaint(path))
    assert proposed
    columns = (proposed[1] or proposed[2]).split(",")
    assert read_ratings(path, (columns[0], columns[1], columns[2])).n_ratings == 2


def test_of_columns_with_one_name_the_positions_are_told(write_file: WriteFile) -> None:
    path = write_file("user,item,rating,rating\na,x,PG-13,5\nb,y,R,1\n")
    with pytest.raises(InputError, match=r"; tell all three by position: they are 3 and 4$"):
        read_ratings(path, ("user", "item", "rating"))
    assert read_ratings(path, ("1", "2", "4")).n_ratings == 2


@pytest.mark.parametrize("row", ["1,1,NA", "u1,i7,", "7,x,bad", "x,7,n/a"])
def test_a_first_row_without_a_rating_is_no_header(write_file: WriteFile, row: str) -> None:
    text = f"{row}\nu1,i2,3\nu2,i2,4\n"
    with pytest.raises(InputError, match=":1: expected a rating"):
        read_ratings(write_file(text), ("1", "2", "3"))


@pytest.mark.parametrize("header", ["who,what,how", "user 1,item,stars"])
def test_a_header_above_ids_is_one(write_file: WriteFile, header: str) -> None:
    table = read_ratings(write_file(f"{header}\nuna,i2,3\nu2,i2,4\n"), ("1", "2", "3"))
    assert table.n_ratings == 2
    assert table.user_name == header.partition(",")[0]


@pytest.mark.parametrize(
    "text",
    [
        '"user" "item" "rating"\n"1" "u1" "i1" 5\n"2" "u2" "i1" 4\n',
        "user,item,rating\n1,u1,i1,5\n2,u2,i1,4\n",
        '"user"\t"item"\t"rating"\n"1"\t"u 1"\t"i1"\t5\n"2"\t"u2"\t"i1"\t4\n',
    ],
)
def test_names_of_rows_of_r_are_told(write_file: WriteFile, text: str) -> None:
    assert complaint(write_file(text)) == (
        "2: expected 3 fields, got 4 fields; if R wrote the file, row.names = FALSE leaves the "
        "names of rows out"
    )
    ends = "user,item,rating\nu1,i1,5,\nu2,i1,4,\n"
    assert complaint(write_file(ends)).endswith(
        "; a line ends in a separator, and the first does not"
    )
    third = "user,item,rating\nu1,i1,5\n2,u2,i1,4\n"
    assert complaint(write_file(third)) == "3: expected 3 fields, got 4 fields"


@pytest.mark.parametrize(
    "above",
    [
        "# made by hand, twice\n# and again\nuser,item,rating\n",
        "#user,item,rating\n",
        "% a b\n",
        "",
    ],
)
def test_comments_above_the_rows_are_no_rows(write_file: WriteFile, above: str) -> None:
    assert rated(read_ratings(write_file(above + BARE))) == RATED


def test_rows_whose_ids_begin_like_comments_are_rows(write_file: WriteFile) -> None:
    table = read_ratings(write_file("user,item,rating\n#1,10,5\n2,10,4\n#3,20,1\n"))
    assert set(table.users.tolist()) == {"#1", "2", "#3"}


def test_rows_without_a_header_that_begin_like_comments_are_rows(write_file: WriteFile) -> None:
    with pytest.raises(InputError, match="cannot tell whether users or items come first"):
        read_ratings(write_file("#1,10,5\n2,10,4\n#3,20,1\n"))
    told = read_ratings(write_file("#1,10,5\n2,10,4\n#3,20,1\n"), ("1", "2", "3"))
    assert told.n_ratings == 3


def test_comments_may_be_many(write_file: WriteFile) -> None:
    assert rated(read_ratings(write_file("# again\n" * 3_000 + CSV))) == RATED


def test_quoted_decimal_commas_between_commas(write_file: WriteFile) -> None:
    rows = "".join(f'{u},{i},"{r:.1f}"\n'.replace(".", ",") for (u, i), r in RATED.items())
    assert rated(read_ratings(write_file(f"user,item,rating\n{rows}"))) == RATED


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ('user,item,rating\n1,10,"1,200"\n2,10,"3,400"\n', "'1,200'"),
        ("user;item;rating\n1;10;500\n2;10;1,234\n", "'1,234'"),
        ('user,item,rating\n1,10,500\n2,10,"1,234,567"\n', "'1,234,567'"),
    ],
)
def test_thousands_are_no_decimals(write_file: WriteFile, rows: str, wrong: str) -> None:
    with pytest.raises(InputError, match=f"got {wrong}: write thousands without a comma, and"):
        read_ratings(write_file(rows))


def test_a_mark_of_byte_order_within_a_file_is_no_part_of_an_id(write_file: WriteFile) -> None:
    table = read_ratings(write_file("user,item,rating\n1,10,5\n\ufeff1,11,4\n"))
    assert (rated(table), table.n_joined) == ({(1, 10): 5.0, (1, 11): 4.0}, 1)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_header_alone_is_no_table(write_file: WriteFile, end: str) -> None:
    with pytest.raises(InputError, match="expected at least one row below the header, got none"):
        read_ratings(write_file(f"user,item,rating{end}"))


def test_three_decimals_are_decimals(write_file: WriteFile) -> None:
    table = read_ratings(write_file("user;item;rating\n1;10;0,500\n2;10;1,234\n"))
    assert rated(table) == {(1, 10): 0.5, (2, 10): 1.234}
    table = read_ratings(write_file("user;item;rating\n1;10;4\n2;10;1,234\n"))
    assert rated(table) == {(1, 10): 4.0, (2, 10): 1.234}


def test_blanks_that_are_none_are_named(write_file: WriteFile) -> None:
    with pytest.raises(InputError, match="mat_comp:3: expected a rating in column 'rating'"):
        read_ratings(write_file("user,item,rating\n1,10,5\n2,10,\N{NO-BREAK SPACE}4\n"))


def test_a_few_rows_with_larger_ids_than_the_first_are_no_mat_comp(write_file: WriteFile) -> None:
    table = read_ratings(write_file("10 20 4\n11 20 3\n12 21 5\n"))
    assert rated(table) == {(10, 20): 4.0, (11, 20): 3.0, (12, 21): 5.0}


def test_a_long_mat_comp_with_a_wrong_id_is_one(write_file: WriteFile) -> None:
    rows = "".join(f"{n % 90 + 1} {n % 70 + 1} 4\n" for n in range(20_000))
    with pytest.raises(InputError, match="mat_comp:101: expected as user a whole number, 1 to 90"):
        read_ratings(write_file("90 70 20000\n" + rows.replace("10 30 4", "91 30 4", 1)))


def test_a_level_that_a_scale_leaves_out_is_no_code() -> None:
    assert suspected_code(np.array([1.0, 2.0, 3.0, 5.0] * 10)) is None
    assert suspected_code(np.array([1.0, 2.0, 3.0, 9.0] * 10)) == (9.0, 10)


def test_why_times_of_pairs_are_not_used_is_said(write_file: WriteFile) -> None:
    pairs = read_pairs(write_file("user,item,time\n1,10,soon\n2,10,later\n"))
    assert pairs.times is None
    assert "times: none: column 'time' has 'soon'" in pairs.about
