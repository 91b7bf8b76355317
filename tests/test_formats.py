"""JSON lines, Arrow files, what is packed, and files that are something else than a table."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from storage import json_lines
from storage.errors import InputError
from storage.item_tables import read_item_ratings, read_titles
from storage.ratings import RatingsTable
from storage.tables import read_pairs, read_ratings

CSV = 'user_id,book_id,rating,note\nu1,7,5,"a, b"\nu2,7,3.5,\nu1,9,4,"c\nd"\nu2,12,1,x\n'
PLAIN = "1::10::5\n1::30::3.5\n2::10::4\n3::20::1\n"
OBJECTS: list[dict[str, Any]] = [
    {"user_id": "u1", "book_id": 7, "rating": 5, "tags": [{"a": 1}], "note": "a, b"},
    {"user_id": "u2", "rating": 3.5, "book_id": 7},
    {"user_id": "u1", "book_id": 9, "rating": 4, "extra": None},
    {"user_id": "u2", "book_id": 12, "rating": 1, "tags": []},
]
Write = Callable[[str, bytes | str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def zipped(content: bytes, *names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("empty")
        for name in names or ("folder/ratings.csv",):
            archive.writestr(name, content)
    return sink.getvalue()


def zstandard(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


PACKED = {
    "plain": bytes,
    "gzip": gzip.compress,
    "two of gzip": lambda content: gzip.compress(content[:20]) + gzip.compress(content[20:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "zip of a Mac": lambda content: zipped(content, "ratings.csv", "__MACOSX/._ratings.csv"),
}


def lines(objects: list[dict[str, Any]], end: str = "\n") -> str:
    return "".join(json.dumps(one) + end for one in objects)


def the_same(table: RatingsTable, other: RatingsTable) -> bool:
    return table.digest == other.digest


@pytest.fixture
def expected(write: Write) -> RatingsTable:
    return read_ratings(write("expected.csv", CSV))


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_what_is_packed_is_read_as_it_is(
    write: Write, pack: Callable[[bytes], bytes], expected: RatingsTable
) -> None:
    assert the_same(read_ratings(write("one", pack(CSV.encode()))), expected)
    plain = CSV.replace('"a, b"', "a").replace('"c\nd"', "c").encode()
    assert the_same(read_ratings(write("two", pack(plain))), expected)
    colons = read_ratings(write("three", pack(PLAIN.encode())))
    assert the_same(colons, read_ratings(write("four", PLAIN)))
    objects = read_ratings(write("five", pack(lines(OBJECTS).encode())))
    assert the_same(objects, expected)
    mat_comp = b"3 4 3\n1 1 5\n1 2 3.5\n2 1 4\n1\n2 2\n"
    assert read_ratings(write("six", pack(mat_comp))).n_ratings == 3
    titles = read_titles(write("seven", pack(b"item::title\n1::One\n2::Two\n")))
    assert titles == {"1": "One", "2": "Two"}


@pytest.mark.parametrize("pack", [lzma.compress, zipped, bz2.compress], ids=["xz", "zip", "bzip2"])
def test_what_is_packed_may_go_over_many_blocks(
    write: Write, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.delimited.BLOCK_BYTES", 100)
    content = CSV + "".join(f'u{n},{n % 7},{n % 5},"{n}, or\nso"\n' for n in range(500))
    assert the_same(
        read_ratings(write("packed", pack(content.encode()))), read_ratings(write("plain", content))
    )


WRONGLY_PACKED = {
    "of one file, got 2, x/ratings.csv, a.txt; unpack": zipped(b"", "a.txt", "x/ratings.csv"),
    "of one file, got 6, a, b, c and 3 more; unpack it": zipped(b"", *"abcdef"),
    "expected a zip file of one file, got none": zipped(b"", "__MACOSX/._a"),
    "got an Excel workbook; save the sheet as CSV": zipped(b"", "xl/workbook.xml", "b"),
    "got an OpenDocument file; save": zipped(b"", "content.xml", "b"),
    "got arrays of NumPy; numpy.load": zipped(b"", "a.npy", "b.npy"),
    "damaged zip file": zipped(CSV.encode())[:90],
    "damaged xz file": lzma.compress(CSV.encode())[:60],
    "damaged bz2 file": bz2.compress(CSV.encode())[:60],
    r"damaged bz2 file \(": bz2.compress(CSV.encode())[:30] + b"junk" * 30,
    "damaged gzip file": gzip.compress(CSV.encode())[:60],
    "zstd": zstandard(CSV.encode())[:60],
}


@pytest.mark.parametrize("message", WRONGLY_PACKED)
def test_what_is_packed_otherwise_is_refused(write: Write, message: str) -> None:
    path = write("file", WRONGLY_PACKED[message])
    for read in (read_ratings, read_pairs, read_titles):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_zip_file_with_a_password_is_refused(write: Write) -> None:
    content = bytearray(zipped(CSV.encode(), "ratings.csv"))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.rfind(magic)
        content[place + at] |= 1
    with pytest.raises(InputError, match="expected a zip file without a password; unpack it"):
        read_ratings(write("ratings.zip", bytes(content)))


def test_objects_on_lines_are_rows(write: Write, expected: RatingsTable) -> None:
    for number, text in enumerate(
        (
            lines(OBJECTS),
            "\ufeff" + lines(OBJECTS, "\r\n"),
            "\n" + lines(OBJECTS, "\n\n").rstrip("\n"),
            lines(OBJECTS).replace(": ", ":"),
        )
    ):
        table = read_ratings(write(f"{number}.json", text))
        assert the_same(table, expected)
    assert (table.user_name, table.item_name, table.rating_name) == ("user_id", "book_id", "rating")
    assert table.about == "user user_id, item book_id, rating rating; tags, note, extra not used"


@pytest.mark.parametrize(
    ("names", "rest"),
    [
        (("reviewerID", "asin", "overall"), {"reviewerName": "x", "unixReviewTime": 1}),
        (("user_id", "business_id", "stars"), {"review_id": "x", "useful": 0, "text": "y"}),
        (("user_id", "book_id", "rating"), {"review_id": "x", "is_read": True}),
    ],
    ids=["Amazon", "Yelp", "Goodreads"],
)
def test_public_data_are_known(
    write: Write, names: tuple[str, str, str], rest: dict[str, Any], expected: RatingsTable
) -> None:
    objects = [
        dict(zip(names, (one["user_id"], one["book_id"], one["rating"]), strict=True)) | rest
        for one in OBJECTS
    ]
    assert the_same(read_ratings(write("ratings.json", lines(objects))), expected)


def test_ratings_may_be_texts_and_columns_told(write: Write, expected: RatingsTable) -> None:
    objects = [
        {"who": one["user_id"], "what": one["book_id"], "how": str(one["rating"])}
        for one in OBJECTS
    ]
    path = write("ratings.json", lines(objects))
    assert the_same(read_ratings(path, ("who", "what", "how")), expected)
    assert the_same(read_ratings(path, ("1", "2", "3")), expected)
    objects[2]["how"] = "good"
    path = write("ratings.json", lines(objects))
    with pytest.raises(
        InputError, match=":3: expected a number as 'how', as above, got '\"good\"'"
    ):
        read_ratings(path, ("who", "what", "how"))


@pytest.mark.parametrize("block", [1, 200, 1 << 24])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"user_id": "u1", "book_id": 7', r":5: expected a JSON object .*, got '\{\"user_id\""),
        ("[1, 2]", ":5: expected a JSON object on a line of its own, got an array"),
        ("u1,7,5", ":5: expected a JSON object on a line of its own, got 'u1,7,5'"),
        ('{"user_id": 5, "book_id": 7, "rating": 1}', ":5: expected a text as 'user_id', as above"),
        (
            '{"user_id": "u", "book_id": "7", "rating": 1}',
            """:5: expected a whole number as 'book_id', as above, got '"7"'""",
        ),
        ('{"user_id": "u", "book_id": 7.5, "rating": 1}', ":5: expected a whole number as"),
        ('{"user_id": "u", "book_id": 99999999999999999999, "rating": 1}', ":5: expected a whole"),
        ('{"user_id": "u", "book_id": 7, "rating": NaN}', ": row 5: expected a rating, a number"),
        ('{"user_id": "u", "book_id": 7, "rating": true}', ":5: expected a number as 'rating'"),
        ('{"user_id": "u", "book_id": 7, "rating": [1]}', ":5: expected a number as 'rating'"),
        ('{"user_id": "u", "book_id": 7, "rating": 1e99}', ": row 5: expected a rating, a number"),
        ('{"user_id": "u", "book_id": 7}', ": row 5: expected rating, got nothing"),
        ('{"user_id": "", "book_id": 7, "rating": 1}', ": row 5: expected user, got nothing"),
        ('{"user_id": "a\\nb", "book_id": 7, "rating": 1}', ": row 5: expected user, got a line b"),
    ],
)
def test_lines_that_are_wrong_are_told(
    write: Write, text: str, message: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "first_lines", lambda path: lines(OBJECTS))
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", block)
    path = write("ratings.json", lines(OBJECTS) + text + "\n" + lines(OBJECTS))
    with pytest.raises(InputError, match=message) as caught:
        read_ratings(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"user": {"id": 1}, "item": 1, "rating": 2}\n', "texts as 'user', got an object"),
        ('{"user": true, "item": 1, "rating": 2}\n', "texts as 'user', got true or false"),
        ('{"user": 1, "item": 1, "rating": [2]}\n', "expected numbers as 'rating', got an array"),
        (
            '{"user": 1, "item": 1, "rating": 2}\n{"user": "x", "item": 1, "rating": 2}\n',
            "expected whole numbers or texts as 'user', got a number and a text",
        ),
        ('{"user": 1, "item": 1}\n', "expected at least three columns"),
        ('{"a": 1, "item": 1, "rating": 1}\n', "cannot tell which columns hold user, item and r"),
        ('{"user":\n1, "item": 1, "rating": 2}\n', ":1: expected a JSON object on a line of its"),
        ("{}\n", "cannot tell which columns"),
        ("{'user': 1, 'item': 1, 'rating': 2}\n", r"got dicts of Python; json.dumps\(ast"),
        ('[\n{"user": 1, "item": 1, "rating": 2}]\n', "got one JSON array; jq -c '.*' FILE makes"),
    ],
)
def test_json_of_another_kind_is_refused(write: Write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_ratings(write("ratings.json", text))


def test_pairs_titles_and_newcomers_may_be_json(write: Write) -> None:
    pairs = read_pairs(write("pairs.json", lines(OBJECTS)), names=("user_id", "book_id"))
    assert pairs.user_ids.tolist() == ["u1", "u2", "u1", "u2"]
    assert pairs.item_ids.tolist() == [7, 7, 9, 12]
    books = [
        {"book_id": "7", "title": " One ", "isbn": "x", "description": "long" * 40_000},
        {"title": None, "book_id": "9"},
        {"title": "Three", "book_id": "12"},
    ]
    titles = read_titles(
        write("books.json.gz", gzip.compress(lines(books).encode())), item_name="book_id"
    )
    assert titles == {"7": "One", "9": "", "12": "Three"}
    mine = write("mine.json", lines([{"book_id": 7, "rating": 5}, {"book_id": 9, "rating": 3.5}]))
    items, ratings, _ = read_item_ratings(mine, names=("book_id", "rating"))
    assert (items.tolist(), ratings.tolist()) == (["7", "9"], [5, 3.5])


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_arrow_files_are_read(
    tmp_path: Path, expected: RatingsTable, compression: str, write: Write
) -> None:
    table = pa.Table.from_pylist(OBJECTS).select(["rating", "tags", "user_id", "book_id"])
    feather.write_feather(table, tmp_path / "a", compression=compression, chunksize=3)
    assert the_same(read_ratings(tmp_path / "a"), expected)
    assert read_pairs(tmp_path / "a").user_ids.tolist() == ["u1", "u2", "u1", "u2"]
    table = pa.table({"title": ["One", None], "item": pa.array(["7", "9"]).dictionary_encode()})
    feather.write_feather(table, tmp_path / "b", compression=compression)
    assert read_titles(tmp_path / "b") == {"7": "One", "9": ""}
    content = (tmp_path / "a").read_bytes()
    with pytest.raises(InputError, match="cannot be read as Arrow"):
        read_ratings(write("cut", content[:-200]))
    with pytest.raises(InputError, match="expected a file of Arrow as it is, got one in gzip"):
        read_ratings(write("packed", gzip.compress(content)))


def test_parquet_that_is_packed_again_is_refused(tmp_path: Path, write: Write) -> None:
    parquet.write_table(pa.Table.from_pylist(OBJECTS), tmp_path / "a")
    with pytest.raises(InputError, match="expected a file of Parquet as it is, got one in xz"):
        read_ratings(write("packed", lzma.compress((tmp_path / "a").read_bytes())))


def saved(array: np.ndarray[Any, Any]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("ratings.csv"))
    return sink.getvalue()


FOREIGN = {
    "git lfs pull gets the file": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    "got a web page; a download may": b"\n<!-- x -->\n<!DOCTYPE html>\n<html><body>",
    "got a web page": b"<HTML lang='en'><head>",
    "got XML": b"<?xml version='1.0'?><a/>",
    "got text in UTF-32; iconv": "user,item,rating\n1,2,3\n".encode("utf-32"),
    "got text in UTF-16; iconv": "user,item,rating\n1,2,3\n".encode("utf-16"),
    "got an array of NumPy; study.load takes from Python what numpy.load": saved(np.eye(3)),
    "got a MAT-file; scipy.io.loadmat": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "got HDF5": b"\x89HDF\r\n\x1a\n" + bytes(50),
    "got a pickle of Python; pandas.read_pickle": pickle.dumps([1, 2, 3]),
    "got an old Excel workbook": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50),
    "got a tar archive; unpack it": tarred(),
    "got an archive; unpack it": b"7z\xbc\xaf\x27\x1c" + bytes(50),
    "got a file of R": b"X\n\x00\x00\x00\x03\x00\x04\x03\x00",
    "got Feather of version 1": b"FEA1\x00\x00\x00\x00",
    "got ORC": b"ORC\x0a\x01",
    "got Avro": b"Obj\x01\x04\x14avro.codec",
    "got a PDF": b"%PDF-1.7\n",
}


@pytest.mark.parametrize("message", FOREIGN)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_what_it_is_instead_is_told(
    write: Write, message: str, pack: Callable[[bytes], bytes]
) -> None:
    path = write("file", pack(FOREIGN[message]))
    for read in (read_ratings, read_pairs, read_titles, read_item_ratings):
        with pytest.raises(InputError) as caught:
            read(path)
        assert f"{path}: expected a table, {'' if message[:3] == 'got' else 'got '}" in str(
            caught.value
        )
        assert message in str(caught.value)


def test_an_sqlite_database_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ratings.db") as connection:
        connection.execute("CREATE TABLE ratings (user, item, rating)")
    connection.close()
    with pytest.raises(InputError, match="got an SQLite database; sqlite3 -csv -header FILE"):
        read_ratings(tmp_path / "ratings.db")


@pytest.mark.parametrize("begin", ["ORCID", "FEA1", "user", "BZh", "PK"])
def test_columns_that_are_called_like_formats_are_columns(write: Write, begin: str) -> None:
    text = f"{begin},item,rating\na,1,2\nb,1,3\n"
    assert read_ratings(write("file", text), (begin, "item", "rating")).n_ratings == 2


@pytest.mark.parametrize("long", [70_000, 900_000])
def test_a_first_line_may_be_long(write: Write, long: int, expected: RatingsTable) -> None:
    head, rest = CSV.split("\n", 1)
    table = read_ratings(write("one.csv", f"{head.replace('note', 'x' * long)}\n{rest}"))
    assert the_same(table, expected)
    objects = [OBJECTS[0] | {"note": "x" * long}, *OBJECTS[1:]]
    assert the_same(read_ratings(write("one.json", lines(objects))), expected)


def test_a_first_line_may_not_be_longer_than_lines_may_be(write: Write) -> None:
    with pytest.raises(InputError, match=":1: expected lines of at most 1048576 characters"):
        read_ratings(write("one.csv", "user,item,rating," + "x" * 2_000_000 + "\n1,2,3,4\n"))


def test_a_stream_of_arrow(tmp_path: Path) -> None:
    table = pa.table({"note": ["x", "y"], "user": [1, 2], "rating": [3.0, 4.0], "item": ["a", "b"]})
    path = tmp_path / "ratings.arrows"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    found = read_ratings(path)
    assert found.user_ids.tolist() == [1, 2]
    assert found.item_ids.tolist() == ["a", "b"]
    assert found.ratings.tolist() == [3.0, 4.0]


def test_what_systems_add_to_a_zip_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "ratings.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings/ratings.csv", CSV)
        for name in (".DS_Store", "ratings/.DS_Store", "__MACOSX/ratings/._ratings.csv"):
            archive.writestr(name, "\0")
    assert read_ratings(path).n_ratings == 4


def test_whole_numbers_beyond_64_bits_are_told_how_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text("".join(f'{{"user": {2**63 + n}, "item": {n}, "rating": 3}}\n' for n in (1, 2)))
    with pytest.raises(InputError, match=":1: expected a whole number of 64 bits, or a text in"):
        read_ratings(path)
