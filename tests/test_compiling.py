"""What is compiled is kept somewhere, even where numba finds no place by itself."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import pytest

from model.kernels import compiling
from study import tune
from study.events import Event, Said

NOBODY = 65534


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What is known of places does not count, before and after."""
    known = (compiling._has_place, compiling.private_folder)
    for one in known:
        one.cache_clear()
    yield
    for one in known:
        one.cache_clear()


@pytest.fixture
def no_place(forgotten: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """numba finds no place by itself; the folder for temporary files."""

    def njit(*, cache: bool = False, **options: Any) -> Callable[..., Any]:
        if cache and not numba.config.CACHE_DIR:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(cache=cache, **options)

    stand_in = SimpleNamespace(njit=njit, config=numba.config)
    monkeypatch.setattr(compiling, "numba", stand_in)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def double(x: float) -> float:
    return 2 * x


def test_it_is_kept_where_numba_keeps_it(forgotten: None) -> None:
    assert compiling.where_kept() == ""


def test_a_private_folder_takes_its_place(no_place: Path) -> None:
    compiled = compiling.njit(cache=True)(double)
    assert compiled(4.0) == 8
    (folder,) = no_place.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.rglob("*.nbc"))
    assert numba.config.CACHE_DIR == ""  # of functions of others
    said = compiling.where_kept()
    assert said.startswith(f"Compiled code: kept in {folder} for now, ")
    assert "NUMBA_CACHE_DIR" in said


@pytest.mark.parametrize("taken", ["file", "link", "open to others"])
def test_a_folder_that_somebody_made_before_is_not_trusted(no_place: Path, taken: str) -> None:
    folder = no_place / f"rating-study-{os.geteuid()}"
    other = no_place / "other"
    other.mkdir()
    if taken == "file":
        folder.write_text("")
    elif taken == "link":
        folder.symlink_to(other)
    else:
        folder.mkdir()
        folder.chmod(0o770)
    assert compiling.njit(cache=True)(double)(4.0) == 8
    assert compiling.private_folder() is None
    assert "made anew by every process" in compiling.where_kept()
    assert not list(no_place.rglob("*.nb?"))


def test_a_study_says_so_in_one_line(
    no_place: Path, few_epochs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Said):
            said.append(event.text)

    rows = [(user, item, (user * item) % 5) for user in range(9) for item in range(9)]
    result = tune(rows, trials=1, on_event=note)
    assert len([text for text in said if text.startswith("Compiled code: ")]) == 1
    said.clear()
    result.predict([(1, 2)])
    assert len([text for text in said if text.startswith("Compiled code: ")]) == 1
    said.clear()
    result.predict([(1, 2)])
    tune(rows, trials=1, on_event=note)
    assert not [text for text in said if text.startswith("Compiled code: ")]


def test_numba_says_that_it_has_no_place_as_expected(
    forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    was = os.geteuid()
    if was:
        pytest.skip("only root can be somebody else for a while")
    try:
        os.seteuid(NOBODY)
    except OSError as error:
        pytest.skip(f"root can be nobody else here: {error}")
    try:
        if not os.access(compiling.__file__, os.R_OK, effective_ids=True):
            pytest.skip("nobody cannot read this program")
        assert not compiling._can_keep()
    finally:
        os.seteuid(was)
