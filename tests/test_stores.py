"""Tables in an object store: read where they are, as they are read from a disk."""

import pickle
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, feather
from pyarrow.parquet import write_table

from model.world import World
from storage.cache import is_outdated, read_cached
from storage.columns import choose_columns
from storage.errors import InputError
from storage.models import read_held
from storage.parts import files_of
from storage.predictions import check_writable
from storage.sources import Sources
from storage.stores import StoredPath, as_path
from storage.tables import read_pairs, read_ratings, scan
from study.cli import Asked
from study.inputs import load_data, with_pairs
from tests.ranks import on_ranks
from tests.served import Bucket, served

DRAW = np.random.default_rng(0)
N_RATINGS = 3_000
TABLE = pa.table(
    {
        "user": DRAW.integers(0, 90, N_RATINGS),
        "note": [DRAW.bytes(150).hex() for _ in range(N_RATINGS)],
        "item": DRAW.integers(0, 40, N_RATINGS),
        "rating": DRAW.integers(1, 6, N_RATINGS),
    }
)
CHOOSE = partial(choose_columns, wanted=None)
FORMATS: dict[str, Callable[[pa.Table, Path], object]] = {
    "parquet": partial(write_table, row_group_size=300),
    "arrow": feather.write_feather,
    "csv": csv.write_csv,
    "gz": lambda table, path: csv.write_csv(table, pa.CompressedOutputStream(str(path), "gzip")),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bucket")
    for kind, write in FORMATS.items():
        (root / kind).mkdir()
        for number in range(3):
            write(TABLE.slice(number * 1_000, 1_000), root / kind / f"part é {number}.{kind}")
        (root / kind / "_SUCCESS").touch()
    csv.write_csv(TABLE.select(["user", "item"]).slice(0, 50), root / "pairs.csv")
    (root / "items.csv").write_text(
        "\n".join(["item,year", *(f"{n},{1950 + n}" for n in range(40))])
    )
    (root / "bad").mkdir()
    (root / "bad" / "a.csv").write_text("user,item,rating\n1,2,3\n2,3,x\n")
    (root / "nothing").mkdir()
    (root / "nothing" / "_SUCCESS").write_text("1")
    return root


@pytest.fixture
def bucket(root: Path) -> Iterator[Bucket]:
    with served(root) as found:
        yield found


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_read_is_what_lies_there(kind: str, bucket: Bucket) -> None:
    expected = read_ratings(bucket.folder / kind)
    found = read_ratings(as_path(bucket.uri(f"{kind}/")))
    assert found.digest == expected.digest
    assert found.about == expected.about
    file = f"{kind}/part%20%C3%A9%201.{kind}"
    one = read_ratings(as_path(bucket.uri(file)))
    assert one.digest == read_ratings(bucket.folder / kind / f"part é 1.{kind}").digest
    pairs = read_pairs(as_path(bucket.uri(kind)))
    assert pairs.user_ids.tolist() == TABLE["user"].to_pylist()


def test_of_parquet_a_reader_fetches_its_own_columns_and_rows(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.stores.HEAD_BYTES", 1_000)
    path = as_path(bucket.uri("parquet"))
    sizes = {file.name: file.stat().st_size for file in (bucket.folder / "parquet").iterdir()}
    for rank in range(3):
        bucket.read.clear()
        assert scan(path, CHOOSE, rank=rank, size=3).n_rows == 1_000
        inner = [
            (Path(key).name, size)
            for key, start, size in bucket.read
            if start and start + size < sizes[Path(key).name]  # neither its beginning nor its end
        ]
        assert {name for name, _ in inner} == {f"part é {rank}.parquet"}
        assert sum(size for _, size in inner) < sizes[f"part é {rank}.parquet"] / 10


@pytest.mark.parametrize("size", [2, 3])
def test_readers_have_the_rows_in_order(
    size: int, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.parts.PIECE_BYTES", 30_000)
    monkeypatch.setattr("storage.stores.HEAD_BYTES", 5_000)
    monkeypatch.setattr("storage.stores.BLOCK_BYTES", 7_001)
    for kind in ("csv", "parquet"):
        path = as_path(bucket.uri(kind))
        parts = [scan(path, CHOOSE, rank=rank, size=size) for rank in range(size)]
        blocks = [block for part in parts for block in part.blocks]
        items = [one for block in blocks for one in block.column(1).to_pylist()]
        assert list(map(str, items)) == list(map(str, TABLE["item"].to_pylist()))
        assert min(part.n_rows for part in parts) > 0


def test_what_was_parsed_is_kept_until_a_file_changes(bucket: Bucket, tmp_path: Path) -> None:
    first = read_cached(as_path(bucket.uri("csv")), tmp_path)
    (kept,) = tmp_path.iterdir()
    bucket.read.clear()
    assert read_cached(as_path(bucket.uri("csv")), tmp_path).digest == first.digest
    assert bucket.read == []
    assert not is_outdated(kept)
    changed = bucket.folder / "csv" / "part é 2.csv"
    before = changed.read_text()
    changed.write_text(before + '1,"x",2,5\n')
    assert read_cached(as_path(bucket.uri("csv")), tmp_path).digest != first.digest
    changed.write_text(before)


def test_a_small_text_is_fetched_once(bucket: Bucket) -> None:
    path = as_path(bucket.uri("csv"))
    read_ratings(path)
    assert bucket.n_bytes == sum(file.stat().st_size for file in files_of(path))


def data_of(bucket: Bucket, runs: Path, **more: Any) -> Any:
    told = Sources(data=bucket.uri("parquet"), items=bucket.uri("items.csv"))
    return with_pairs(load_data(told, runs=runs, **more), bucket.uri("pairs.csv"), runs=runs)


def test_data_say_where_they_lie(bucket: Bucket, tmp_path: Path) -> None:
    data = data_of(bucket, tmp_path)
    local = Sources(data=bucket.folder / "parquet", items=bucket.folder / "items.csv")
    here = load_data(local, runs=tmp_path)
    assert data.table.digest == here.table.digest
    said = data.described()
    assert said.startswith(f"{bucket.shown('parquet')}, {here.totals.n_ratings:,} ratings")
    assert f"Items: {bucket.shown('items.csv')}, 40 rows" in said
    assert f"Queries: {bucket.shown('pairs.csv')}, " in said
    words = Asked(sources=data.sources, storage="x", study_name=None).words
    assert words[:2] == ["--data", bucket.uri("parquet").replace("secret", "***")]
    for shown in (said, repr(data), repr(data.sources), " ".join(words)):
        assert "secret" not in shown
    again = pickle.loads(pickle.dumps(data.sources))
    assert load_data(again, runs=tmp_path).table.digest == data.table.digest


def seen(world: World, folder: Path) -> tuple[str, int, str]:
    with served(folder) as bucket:  # a server each
        data = data_of(bucket, folder / "runs", world=world)
        return data.table.digest, len(data.ratings), data.asked_of


@pytest.mark.slow
def test_ranks_have_together_what_one_process_has(
    root: Path, bucket: Bucket, tmp_path: Path
) -> None:
    alone = data_of(bucket, tmp_path)
    ranks = on_ranks(2, seen, root)
    assert {digest for digest, *_ in ranks} == {alone.table.digest}
    assert sum(n for _, n, _ in ranks) == len(alone.ratings)
    assert {asked_of for *_, asked_of in ranks} == {bucket.shown("pairs.csv")}


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_ratings(path)
    assert "secret" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("none", "no such file, folder or bucket"),
        ("par*", "no such file, folder or bucket; a pattern is none, give its folder"),
        ("nothing", "expected a file, or a folder with files, got an empty one"),
    ],
)
def test_what_is_not_there(key: str, expected: str, bucket: Bucket) -> None:
    assert complaint(as_path(bucket.uri(key))) == f"{bucket.shown(key)}: {expected}"


def test_a_wrong_row_is_told_by_its_uri(bucket: Bucket) -> None:
    shown = bucket.shown("bad/a.csv")
    for key in ("bad", "bad/a.csv"):
        assert complaint(as_path(bucket.uri(key))).startswith(f"{shown}:3: expected a rating")


def test_other_buckets_and_no_access(bucket: Bucket) -> None:
    uri = bucket.uri("csv")
    assert "no such" in complaint(as_path(uri.replace("@bucket/", "@another/")))
    assert "expected a bucket" in complaint(as_path("s3://"))
    assert "cannot be read (Unexpected query parameter" in complaint(as_path(uri + "&my=1"))
    bucket.status = 403
    assert f"{bucket.shown('csv')}: no access (" in complaint(as_path(uri))


def test_a_folder_describes_nothing(bucket: Bucket, tmp_path: Path) -> None:
    told = Sources(data=bucket.uri("csv"), items=bucket.uri("parquet"))
    with pytest.raises(InputError, match="expected a file, got a folder"):
        load_data(told, runs=tmp_path)


@pytest.mark.slow
def test_a_store_that_is_away(tmp_path: Path) -> None:
    with served(tmp_path) as bucket:
        pass
    assert "cannot be reached (" in complaint(as_path(bucket.uri("csv")))


def test_nothing_is_written_there() -> None:
    path = as_path("s3://bucket/answers.csv")
    with pytest.raises(InputError, match="expected a file to write, got what would be standard"):
        check_writable(Path("-"))
    with pytest.raises(InputError, match="expected a file here to write, got a URI"):
        check_writable(path)
    with pytest.raises(InputError, match="expected a saved model in a file here, got a URI"):
        read_held(path)


def test_a_uri_of_a_file_here_is_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a b.csv"
    path.write_text("user,item,rating\n1,2,3\n2,3,4\n")
    assert as_path(path.as_uri()) == path
    assert load_data(path.as_uri(), runs=tmp_path).source == str(path)


def test_schemes_that_are_not_known(tmp_path: Path) -> None:
    for uri in ("zzz://bucket/a.csv", "https://host/a.csv", "file://host/a.csv"):
        with pytest.raises(InputError, match="got a URL other than s3://, gs://, abfs://"):
            load_data(uri, runs=tmp_path)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/folder/", "s3://bucket/folder"),
        ("s3://key:se/c@ret@bucket/a b.csv", "s3://key:***@bucket/a%20b.csv"),
        ("abfs://container@account.dfs/x", "abfs://container@account.dfs/x"),
        ("abfs://container:pw@account/x", "abfs://container:***@account/x"),
        ("s3://bucket/2024:01@x", "s3://bucket/2024:01@x"),
        ("gs://bucket/x?access_token=abc&scheme=http", "gs://bucket/x"),
    ],
)
def test_what_is_shown_of_a_uri(uri: str, shown: str) -> None:
    path = as_path(uri)
    assert isinstance(path, StoredPath)
    assert str(path) == path.__fspath__() == shown
    assert path.absolute() is path.resolve() is path
    assert pickle.loads(pickle.dumps(path)).uri == path.uri
    assert repr(path) == f"StoredPath('{shown}')"
    assert not {"abc", "pw", "ret"} & set(re.split(r"[:=@&/?]", path.word))
