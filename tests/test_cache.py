"""Files that are whole or not there, arrays in them, and parsed ratings that are kept."""

import io
import os
from collections.abc import Callable
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.cache import read_cached, read_parsed, spooled, write_parsed
from storage.errors import InputError
from storage.files import TEXT, DamagedFileError, read_arrays, replacing, write_arrays
from storage.mat_comp import read_mat_comp
from storage.ratings import RatingsTable

WriteFile = Callable[[str | bytes], Path]
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)

CONTENT = "3 4 5\n3 1 2.5\n1 1 5\n2 2 3\n3 1 3.5\n2 4 -1\n2\n1 3\n3 4\n"
ARRAYS = {
    "matrix": np.arange(6, dtype=np.int32).reshape(2, 3),
    "column": np.array([1.5, np.nan, -np.inf]),
    "single": np.array([0.1, 7], dtype=np.float32),
    "empty": np.empty(0, np.int64),
    "scalar": np.array(2.0),
}
COLUMNS = {name: np.arange(2) for name in ("user_ids", "item_ids")} | {
    "ratings": np.array([1.0, 2.0]),
    "query_user_ids": np.array(["a", "é"], TEXT),
    "query_item_ids": np.array([1, 2**40]),
}
OFFSETS, ENDS = (pa.py_buffer(np.array([0, end, 2, 3], np.int32)) for end in (10**9, 1))
METADATA = {"rank": 3, "names": ["é", None], "rate": 0.1}


def assert_same_table(table: RatingsTable, expected: RatingsTable) -> None:
    for field in fields(RatingsTable):
        ours, theirs = getattr(table, field.name), getattr(expected, field.name)
        assert type(ours) is type(theirs)
        np.testing.assert_array_equal(ours, theirs, strict=True)


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "below" / "cache"


@pytest.fixture
def no_parsing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, a file that is parsed fails the test."""

    def parsed(path: Path, *_: object) -> NoReturn:
        raise AssertionError(f"{path} was parsed")

    return lambda: monkeypatch.setattr("storage.cache.read_ratings", parsed)


@pytest.mark.parametrize(
    "content", [CONTENT, "1 2 2\n1 1 4\n1 2 5\n0\n"], ids=["queries", "no queries"]
)
def test_a_file_is_parsed_once(
    content: str, write_file: WriteFile, cache: Path, no_parsing: Callable[[], None]
) -> None:
    path = write_file(content)
    expected = read_mat_comp(path)
    assert_same_table(read_cached(path, cache), expected)
    (kept,) = files_below(cache)
    changed = kept.stat().st_mtime_ns
    no_parsing()
    assert_same_table(read_cached(path, cache), expected)
    assert files_below(cache) == [kept]
    assert kept.stat().st_mtime_ns == changed


def test_the_content_counts_not_the_name_or_the_time(
    write_file: WriteFile, cache: Path, no_parsing: Callable[[], None]
) -> None:
    path = write_file(CONTENT)
    table = read_cached(path, cache)
    path = path.rename(path.with_name("renamed"))
    os.utime(path, (1, 1))
    no_parsing()
    assert_same_table(read_cached(path, cache), table)


def test_changed_content_is_parsed_anew(write_file: WriteFile, cache: Path) -> None:
    path = write_file(CONTENT)
    read_cached(path, cache)
    before = path.stat()
    path = write_file(CONTENT.replace("1 1 5", "1 1 4"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert 4.0 in read_cached(path, cache).ratings
    assert len(files_below(cache)) == 2
    assert 5.0 in read_cached(write_file(CONTENT), cache).ratings


def test_what_stands_for_no_rating_is_parsed_anew(write_file: WriteFile, cache: Path) -> None:
    path = write_file(CONTENT)
    for _ in range(2):
        assert read_cached(path, cache).n_ratings == 4
        table = read_cached(path, cache, missing=-1.0)
        assert (table.n_ratings, table.n_missing, table.n_queries) == (3, 1, 2)
    assert len(files_below(cache)) == 2


def test_another_format_is_parsed_anew(
    write_file: WriteFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(CONTENT)
    read_cached(path, cache)
    monkeypatch.setattr("storage.cache.FORMAT", 1_000)
    read_cached(path, cache)
    assert len(files_below(cache)) == 2


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flipped, id="flipped"),
        pytest.param(lambda content: content[:-1], id="cut"),
        pytest.param(lambda content: content[:20], id="cut in the header"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"another kind of file", id="other"),
    ],
)
def test_a_damaged_cached_file_is_made_again(
    damage: Callable[[bytes], bytes],
    write_file: WriteFile,
    cache: Path,
    no_parsing: Callable[[], None],
) -> None:
    path = write_file(CONTENT)
    expected = read_cached(path, cache)
    (kept,) = files_below(cache)
    kept.write_bytes(damage(kept.read_bytes()))
    assert_same_table(read_cached(path, cache), expected)
    assert files_below(cache) == [kept]
    no_parsing()
    assert_same_table(read_cached(path, cache), expected)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"user_index": np.full(4, 10**9, np.int32)}, id="too far"),
        pytest.param({"item_index": np.full(4, -1, np.int32)}, id="below the first"),
        pytest.param({"item_index": np.zeros(3, np.int32)}, id="too few"),
        pytest.param({"item_index": np.zeros(4)}, id="no index"),
        pytest.param({"query_item_ids": np.zeros(9, np.int64)}, id="queries without a user"),
        pytest.param({"unheard_of": np.zeros(1)}, id="another field"),
        pytest.param({"ratings": np.ones(4, np.float32)}, id="single precision"),
        pytest.param({"ratings": np.ones(4, np.bool_)}, id="bits"),
        pytest.param({"users": np.ones(3)}, id="ids that are floating"),
        pytest.param({"users": pa.nulls(3)}, id="nothing"),
        pytest.param({"users": pa.array([[1], [2], [3]])}, id="lists"),
        pytest.param({"users": pa.array([0, 1, 2], pa.time32("s"))}, id="times"),
        pytest.param(
            {"users": pa.StringArray.from_buffers(3, OFFSETS, pa.py_buffer(b"abc"))},
            id="texts beyond the end",
        ),
        pytest.param(
            {"users": pa.StringArray.from_buffers(3, ENDS, pa.py_buffer(b"a\xffc"))}, id="no UTF-8"
        ),
    ],
)
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_cached_file_that_somebody_planted_is_made_again(
    change: dict[str, Any], compression: str | None, write_file: WriteFile, cache: Path
) -> None:
    path = write_file(CONTENT)
    expected = read_cached(path, cache)
    (kept,) = files_below(cache)
    content = kept.read_bytes()
    row = pa.ipc.open_file(content[:-32]).get_batch(0)
    columns = dict(zip(row.schema.names, row.columns, strict=True))
    for name, array in change.items():
        columns[name] = pa.LargeListArray.from_arrays([0, len(array)], pa.array(array))
    sink, metadata = io.BytesIO(), row.schema.metadata
    row = pa.record_batch(list(columns.values()), names=list(columns), metadata=metadata)
    with pa.ipc.new_file(
        sink, row.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as writer:
        writer.write(row)
    planted = sink.getvalue()
    kept.write_bytes(planted + sha256(planted).digest())
    assert_same_table(read_cached(path, cache), expected)
    assert kept.read_bytes() == content


def test_what_is_read_from_the_cache_can_be_written_to(write_file: WriteFile, cache: Path) -> None:
    path = write_file(CONTENT)
    for _ in range(2):
        table = read_cached(path, cache)
        assert table.ratings.flags.writeable
        table.ratings[:] = 0
    assert 5.0 in read_cached(path, cache).ratings


def test_any_flipped_byte_of_a_cached_table_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "table"
    write_parsed(path, RatingsTable.from_columns(**COLUMNS))
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            read_parsed(path)
    for length in range(0, len(content), 29):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError):
            read_parsed(path)


@given(
    texts=st.lists(st.tuples(any_text, any_text), min_size=2, max_size=9),
    queries=st.lists(st.tuples(any_text, any_text), max_size=3),
)
def test_any_texts_come_back(
    texts: list[tuple[str, str]], queries: list[tuple[str, str]], tmp_path_factory: Any
) -> None:
    users, items = zip(*texts, strict=True)
    table = RatingsTable.from_columns(
        user_ids=np.array(users, TEXT),
        item_ids=np.array(items, TEXT),
        ratings=np.arange(len(texts), dtype=float),
        query_user_ids=np.array([user for user, _ in queries], TEXT),
        query_item_ids=np.array([item for _, item in queries], TEXT),
    )
    path = tmp_path_factory.getbasetemp() / "any texts"
    write_parsed(path, table)
    assert_same_table(read_parsed(path), table)


def test_a_folder_that_cannot_be_written_to_is_done_without(
    write_file: WriteFile, tmp_path: Path
) -> None:
    path = write_file(CONTENT)
    in_the_way = tmp_path / "in the way"
    in_the_way.write_text("mine")
    for folder in (in_the_way, in_the_way / "below"):
        assert_same_table(read_cached(path, folder), read_mat_comp(path))
    assert in_the_way.read_text() == "mine"


TABLE = "b,note,a,who\n1,x,2,é\n2,yy,4,é\n1,z,5,b\n"


def test_texts_are_kept_too(
    write_file: WriteFile, cache: Path, no_parsing: Callable[[], None]
) -> None:
    path = write_file(TABLE)
    expected = read_cached(path, cache, ("who", "note", "a"))
    assert expected.users.tolist() == ["b", "é"]
    no_parsing()
    assert_same_table(read_cached(path, cache, ("who", "note", "a")), expected)


def test_the_columns_count(write_file: WriteFile, cache: Path) -> None:
    path = write_file(TABLE)
    assert read_cached(path, cache, ("who", "note", "a")).users.tolist() == ["b", "é"]
    assert read_cached(path, cache, ("note", "who", "a")).users.tolist() == ["x", "yy", "z"]
    assert read_cached(path, cache, ("who", "note", "a")).users.tolist() == ["b", "é"]
    assert len(files_below(cache)) == 2


@pytest.mark.parametrize("content", [b"", b"user,item,rating\n", bytes(range(256)) * 9999])
def test_a_stream_is_kept_under_its_content(content: bytes, cache: Path) -> None:
    path = spooled(io.BytesIO(content), cache)
    assert path.read_bytes() == content
    assert spooled(io.BytesIO(content), cache) == path
    assert files_below(cache) == [path]


def test_a_stream_that_breaks_leaves_nothing(cache: Path) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise KeyboardInterrupt
            return super().read(2)

    with pytest.raises(KeyboardInterrupt):
        spooled(Breaking(b"many bytes"), cache)
    assert files_below(cache) == []


def test_a_stream_that_cannot_be_kept(tmp_path: Path) -> None:
    in_the_way = tmp_path / "in the way"
    in_the_way.write_text("mine")
    with pytest.raises(InputError, match="cannot keep standard input"):
        spooled(io.BytesIO(b"1"), in_the_way)


def test_a_bad_file_is_refused_every_time_and_not_kept(write_file: WriteFile, cache: Path) -> None:
    path = write_file(CONTENT.replace("1 1 5", "1 1 five"))
    for _ in range(2):
        with pytest.raises(InputError, match=":3: expected a rating"):
            read_cached(path, cache)
    assert files_below(cache) == []


def test_what_is_no_file_is_refused_as_without_a_cache(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_cached(tmp_path / "nowhere", cache)
    with pytest.raises(InputError, match="a folder with files, got an empty one"):
        read_cached(tmp_path, cache)


def test_arrays_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "arrays"
    write_arrays(path, ARRAYS, METADATA)
    arrays, metadata = read_arrays(path)
    assert metadata == METADATA
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


@pytest.mark.parametrize("view", [np.s_[:, ::2], np.s_[::-1], np.s_[1:, 1]])
@pytest.mark.parametrize("order", ["C", "F"])
def test_views_are_written_as_what_they_show(view: object, order: str, tmp_path: Path) -> None:
    array = np.asarray(np.arange(12.0).reshape(3, 4), order=order)[view]  # type: ignore[call-overload]
    write_arrays(tmp_path / "arrays", {"view": array}, {})
    np.testing.assert_array_equal(read_arrays(tmp_path / "arrays")[0]["view"], array, strict=True)


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    write_arrays(path, {"a": np.arange(3, dtype=np.int16), "b": np.ones(1)}, {"rank": 3})
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            read_arrays(path)


def test_any_missing_end_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    write_arrays(path, {"a": np.arange(3)}, {})
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError):
            read_arrays(path)


def test_arrays_that_another_program_wrote_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3)}, tmp_path / "arrays")
    with pytest.raises(DamagedFileError):
        read_arrays(tmp_path / "arrays")


def test_missing_arrays(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "nowhere")


def test_a_file_takes_its_place_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with replacing(path) as file:
        file.write("é\r\nü\n")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == "é\r\nü\n".encode()
    with replacing(path, "wb") as file:
        file.write(b"\x00\xff")
        file.flush()
        assert path.read_bytes() == "é\r\nü\n".encode()
    assert path.read_bytes() == b"\x00\xff"
    assert files_below(tmp_path) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_block_that_raises_leaves_all_as_it_was(
    old: bytes | None, error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error), replacing(path) as file:
        file.write("new")
        raise error
    assert [kept.read_bytes() for kept in files_below(tmp_path)] == ([old] if old else [])


def test_a_link_is_replaced_and_where_it_leads_is_left_alone(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    path.symlink_to(elsewhere)
    with replacing(path) as file:
        file.write("new")
    assert (path.read_text(), path.is_symlink()) == ("new", False)
    assert elsewhere.read_text() == "precious"


def test_a_path_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError), replacing(folder) as file:
        file.write("new")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_open_to_others_as_any(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "file") as file:
            file.write("new")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "語" * 85], ids=["1", "2", "3 bytes"])
def test_a_name_may_be_as_long_as_names_may_be(name: str, tmp_path: Path) -> None:
    with replacing(tmp_path / name) as file:
        file.write("new")
    assert (tmp_path / name).read_text() == "new"


def test_a_folder_that_cannot_be_written_to_is_told_with_the_file_that_was_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(tmp_path / ".file.abcd.tmp"))

    monkeypatch.setattr("tempfile.mkstemp", denied)
    with pytest.raises(PermissionError) as error, replacing(tmp_path / "file"):
        pass
    assert str(error.value) == f"[Errno 13] Permission denied: '{tmp_path}/file'"


def test_what_a_killed_process_left_unfinished_is_removed_when_nobody_can_be_writing_it(
    tmp_path: Path,
) -> None:
    fresh, old, other = (tmp_path / name for name in (".a[1].x.tmp", ".a[1].y.tmp", ".b.z.tmp"))
    for path in (fresh, old, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    with replacing(tmp_path / "a[1]") as file:
        file.write("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a[1].x.tmp", ".b.z.tmp", "a[1]"]
