"""How much of models and parsed files stays, and what goes first."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.csv import write_csv

from storage.cache import is_outdated, read_cached
from storage.errors import ParameterError
from storage.keeping import Removed, note_use, parse_size, remove_unneeded, shown_size
from storage.models import load_model, recipe_path, save_model

DAY, HOUR = 86_400.0, 3_600.0
MODEL = "runs/models/a study-{:016x}.safetensors"
PARSED = "runs/cache/{:032x}.arrow"
INPUT = "runs/cache/input-{:032x}.parquet"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(name: str, *, age: float, n_bytes: int = 100) -> Path:
    """A file that was last used so many seconds ago."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * n_bytes)
    return used(path, age)


def used(path: Path, age: float) -> Path:
    then = time.time() - age
    os.utime(path, (then, then - 10 * DAY))
    return path


def left() -> list[str]:
    return sorted(str(path) for path in Path("runs").rglob("*") if path.is_file())


def removed(keep: int, is_unused: Callable[[Path], bool] = lambda path: False) -> Removed:
    return remove_unneeded(Path("runs"), keep=keep, is_unused=is_unused)


def test_what_was_used_longest_ago_goes_first() -> None:
    names = [name.format(n) for n in range(4) for name in (MODEL, PARSED)]
    paths = [put(name, age=(n + 2) * HOUR) for n, name in enumerate(names)]
    assert not removed(800)
    assert left() == sorted(map(str, paths))
    found = removed(350)
    assert left() == sorted(map(str, paths[:3]))
    assert (found.unused, found.oldest, found.n_bytes) == (0, 5, 500)
    assert str(found) == "5 files unused for longest, 500 bytes"


def test_what_was_used_within_the_hour_stays() -> None:
    path = put(MODEL.format(1), age=2 * HOUR)
    note_use(path)
    young = put(MODEL.format(2), age=HOUR / 2)
    assert path.stat().st_mtime < time.time() - DAY  # as it was written
    assert not removed(0)
    assert left() == [str(path), str(young)]


def test_what_nothing_refers_to_goes_after_a_day() -> None:
    old, young = put(MODEL.format(1), age=1.1 * DAY), put(MODEL.format(2), age=0.9 * DAY)
    needed = put(MODEL.format(3), age=2 * DAY)
    found = removed(1000, lambda path: path in (old, young))
    assert left() == [str(young), str(needed)]
    assert str(found) == "1 file that nothing uses now, 100 bytes"


def test_what_came_from_no_file_goes_after_a_month_alone() -> None:
    put(INPUT.format(1), age=31 * DAY)
    young, plain = put(INPUT.format(2), age=29 * DAY), put("runs/cache/input-" + 32 * "0", age=DAY)
    removed(0, lambda path: True)
    assert left() == sorted([str(young), str(plain)])


@pytest.mark.parametrize(
    "name",
    [
        "runs/models/mine.safetensors",
        "runs/models/a-0123456789abcdef.safetensors.bak",
        "runs/models/deeper/a-0123456789abcdef.safetensors",
        "runs/models/0123456789abcdef.arrow",
        "runs/cache/table.arrow",
        "runs/a-0123456789abcdef.safetensors",
    ],
)
def test_files_of_others_stay(name: str) -> None:
    put(name, age=9 * DAY)
    assert not removed(0, lambda path: True)
    assert left() == [name]


def test_links_and_files_of_another_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    target = put("elsewhere", age=9 * DAY)
    link = Path(MODEL.format(1))
    link.parent.mkdir(parents=True)
    link.symlink_to(target.absolute())
    assert not removed(0, lambda path: True)
    path = put(MODEL.format(2), age=9 * DAY)
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    assert not removed(0, lambda path: True)
    assert left() == [str(link), str(path)]


def test_what_cannot_be_removed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(MODEL.format(1), age=9 * DAY)

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert not removed(0, lambda path: True)
    assert path.exists()
    assert not remove_unneeded(Path("nowhere"), keep=0)


def test_a_model_that_is_loaded_is_used() -> None:
    recipe = {"epochs": 3}
    path = recipe_path(Path("runs/models"), "a study", recipe)
    save_model(path, {"factors": np.zeros(3)}, recipe)
    used(path, 9 * DAY)
    assert load_model(path) is not None
    assert not removed(0)
    used(path, 9 * DAY)
    assert removed(0).oldest == 1
    assert load_model(path) is None


def ratings(n: int) -> Path:
    path = Path("ratings.csv")
    write_csv(
        pa.table({"user": [1, 2, 3][:n], "item": [4, 5, 6][:n], "rating": [1, 2, 3][:n]}), path
    )
    return path


def test_a_parsed_file_that_is_read_is_used_and_is_outdated_when_its_file_is() -> None:
    cache = Path("runs/cache")
    path = ratings(2)
    table = read_cached(path, cache)
    (parsed,) = cache.iterdir()
    used(parsed, 9 * DAY)
    assert not removed(1_000_000, is_outdated)
    assert parsed.stat().st_atime < time.time() - 8 * DAY  # to be looked into is no use
    assert read_cached(path, cache).digest == table.digest
    assert parsed.stat().st_atime > time.time() - HOUR

    used(parsed, 9 * DAY)
    read_cached(ratings(3), cache)
    assert removed(1_000_000, is_outdated).unused == 1
    (parsed,) = cache.iterdir()
    used(parsed, 9 * DAY)
    path.unlink()
    assert removed(1_000_000, is_outdated).unused == 1


def test_what_is_no_parsed_file_is_not_outdated() -> None:
    assert not is_outdated(put(PARSED.format(1), age=DAY))
    assert not is_outdated(Path("nowhere.arrow"))


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [("2GB", 2 * 10**9), ("1.5 tb", 15 * 10**11), ("500kB", 500_000), ("0", 0), (12345, 12345)],
)
def test_sizes(size: str | int, n_bytes: int) -> None:
    assert parse_size(size) == n_bytes


@pytest.mark.parametrize("size", ["5", "GB", "-1GB", "2 GiB", "1e9", "", "many"])
def test_what_is_no_size(size: str) -> None:
    with pytest.raises(ParameterError, match=r"^keep: expected a size such as 2GB"):
        parse_size(size)


def test_sizes_are_shown_in_three_digits() -> None:
    sizes = (0, 999, 1234, 29_123_456, 5 * 10**9, 2 * 10**12)
    shown = ["0 bytes", "999 bytes", "1.23 kB", "29.1 MB", "5 GB", "2 TB"]
    assert [shown_size(one) for one in sizes] == shown
