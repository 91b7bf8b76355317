"""Tables in several files: read as one, and dealt out to several readers in order."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from pyarrow.feather import write_feather
from pyarrow.parquet import write_table

from storage.cache import is_outdated, read_cached, read_parsed
from storage.columns import choose_columns
from storage.errors import InputError
from storage.parts import PIECE_BYTES, dealt, files_of, pieces_of
from storage.tables import read_pairs, read_ratings, scan

DRAW = np.random.default_rng(0)
TABLE = pa.table(
    {
        "user": DRAW.integers(0, 90, 900),
        "item": DRAW.integers(0, 40, 900),
        "rating": DRAW.integers(1, 6, 900),
        "timestamp": 1_000_000_000 + DRAW.integers(0, 10**8, 900),
    }
)
PARTS = [TABLE.slice(0, 400), TABLE.slice(400, 0), TABLE.slice(400, 500)]
CHOOSE = partial(choose_columns, wanted=None)


def of_parquet(folder: Path) -> Path:
    for number, part in enumerate(PARTS):
        write_table(part, folder / f"part-{number}.parquet", row_group_size=150)
    return folder


def of_text(folder: Path) -> Path:
    for number, part in enumerate(PARTS):
        csv.write_csv(part, folder / f"part-{number}.csv")
    return folder


def of_lines_of_json(folder: Path) -> Path:
    for number, part in enumerate(PARTS):
        rows = "".join(json.dumps(row) + "\n" for row in part.to_pylist())
        (folder / f"part-{number}.jsonl").write_text(rows)
    return folder


def of_arrow(folder: Path) -> Path:
    for number, part in enumerate(PARTS):
        write_feather(part, str(folder / f"part-{number}.arrow"))
    return folder


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "ratings.csv"
    csv.write_csv(TABLE, path)
    return path


@pytest.mark.parametrize("written", [of_parquet, of_text])
def test_a_folder_is_read_as_one_file(written, whole: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder, expected = written(tmp_path), read_ratings(whole)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.crc").write_text("no,table")
    (folder / "part-9.csv").touch()
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-0.csv").write_text("a,b\n")
    for source in (folder, folder / "part-[0-8]*"):
        found = read_ratings(source)
        assert found.digest == expected.digest
        assert found.n_repeated == expected.n_repeated > 0
        assert found.about == expected.about
        pairs = read_pairs(source)
        assert pairs.user_ids.tolist() == TABLE["user"].to_pylist()
        assert pairs.times is not None


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("written", [of_parquet, of_text, of_lines_of_json, of_arrow])
def test_readers_have_the_rows_in_order(  # type: ignore[no-untyped-def]
    written, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.parts.PIECE_BYTES", 300)
    folder = written(tmp_path)
    parts = [scan(folder, CHOOSE, rank=rank, size=size) for rank in range(size)]
    blocks = [block for part in parts for block in part.blocks]
    found = [[one for block in blocks for one in block.column(at).to_pylist()] for at in (1, 2)]
    items = list(map(str, TABLE["item"].to_pylist()))
    assert list(map(str, found[0])) == items
    assert found[1] == TABLE["rating"].to_pylist()
    largest = 150 if written in (of_parquet, of_text) else 500  # a file at once
    assert max(part.n_rows for part in parts) <= 900 / size + largest


def test_a_reader_says_where_a_row_stands(tmp_path: Path) -> None:
    parquet = of_parquet(tmp_path)
    places = [scan(parquet, CHOOSE, rank=rank, size=2).place(200) for rank in range(2)]
    assert places == [
        f"{parquet}/part-0.parquet: row 201",
        f"{parquet}/part-2.parquet: row 201",
    ]
    whole = scan(parquet, CHOOSE)
    assert whole.place(450) == f"{parquet}/part-2.parquet: row 51"


def test_pieces_are_dealt_out_evenly(tmp_path: Path) -> None:
    pieces = pieces_of(files_of(of_parquet(tmp_path)))
    assert [piece.weight for piece in pieces] == [150, 150, 100, 0, 150, 150, 150, 50]
    shares = [dealt(pieces, rank, 3) for rank in range(3)]
    assert [piece for share in shares for piece in share] == pieces
    assert [sum(piece.weight for piece in share) for share in shares] == [300, 250, 350]
    assert PIECE_BYTES > 1 << 20


def test_ids_of_several_types_are_texts(tmp_path: Path) -> None:
    for name, users in (("a", [1, 2]), ("b", ["x", "3"])):
        rated = pa.table({"user": users, "item": [1, 2], "rating": [1, 2]})
        write_table(rated, tmp_path / name)
    assert read_ratings(tmp_path).users.tolist() == ["1", "2", "3", "x"]


def complaint(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        read_ratings(folder)
    return str(error.value).removeprefix(str(folder))


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    of_text(tmp_path)
    other = tmp_path / "part-7.csv"
    other.write_text("user,item,stars\n1,2,3\n")
    assert complaint(tmp_path) == (
        f"/part-7.csv: expected the columns of {tmp_path}/part-0.csv, "
        "'user', 'item', 'rating', 'timestamp', got 'user', 'item', 'stars'"
    )
    write_table(TABLE, other)
    assert complaint(tmp_path).startswith("/part-7.csv: expected a file of the same format as")
    other.unlink()
    (tmp_path / "part-0.csv").write_text('"user","item","rating","timestamp"\n1,2,x,3\n')
    assert complaint(tmp_path).startswith("/part-0.csv:2: expected a rating in column 'rating'")
    with pytest.raises(InputError, match=r"none\*: no such files"):
        read_ratings(tmp_path / "none*")


def test_what_was_parsed_of_a_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "ratings").mkdir()
    folder, cache = of_text(tmp_path / "ratings"), tmp_path / "cache"
    first = read_cached(folder, cache)
    (kept,) = cache.iterdir()
    assert read_cached(folder, cache).digest == first.digest == read_parsed(kept).digest
    assert not is_outdated(kept)
    (folder / "part-1.csv").write_text('"user","item","rating","timestamp"\n1,2,5,1000000000\n')
    assert is_outdated(kept)
    assert read_cached(folder, cache).digest != first.digest
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("pattern", ["", "*/*"])
def test_users_in_the_names_of_folders_alone_are_refused(pattern: str, tmp_path: Path) -> None:
    folder = tmp_path / "rating=high" / "user_id=7"
    folder.mkdir(parents=True)
    columns: dict[str, list[int]] = {"movie_id": [1, 2], "rating": [4, 5]}
    write_table(pa.table(columns), folder / "a.parquet")
    with pytest.raises(InputError, match="expected a column 'user_id' in the file, got it in the"):
        read_ratings(folder.parent / pattern)
    for name in ("customer", "user_id"):
        write_table(pa.table({name: [8, 9]} | columns), folder / "a.parquet")
        assert read_ratings(folder.parent / pattern).users.tolist() == [8, 9]
    (folder / "a.parquet").unlink()
    (folder / "a.csv").write_text("user_id,movie_id,rating\n8,1,4\n8,2,5\n")
    assert read_ratings(folder.parent / pattern).users.tolist() == [8]
