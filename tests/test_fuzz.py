"""Broken files are refused in one line, whatever broke them; `benchmarks.fuzz` tries many more."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import NAMES, attempt, files, readers

READERS = readers()


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_taken_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    n_taken = [0, 0]

    @settings(
        max_examples=20 if name == "sqlite" else 60,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(content=files(reader.good))
    def fuzz(content: bytes) -> None:
        n_taken[attempt(reader, tmp_path / "file", content)] += 1

    assert attempt(reader, tmp_path / "file", reader.good[0])
    fuzz()
    assert n_taken[1] > 0  # so that not all was nonsense from the first byte
    if reader.refuses_by:
        assert n_taken[0] > 0


def test_every_reader_is_tried() -> None:
    assert tuple(READERS) == NAMES


@given(data=st.data())
@settings(max_examples=20, derandomize=True, database=None)
def test_most_files_are_near_to_good_ones(data: st.DataObject) -> None:
    content = data.draw(files([b"0123456789" * 20]))
    assert isinstance(content, bytes)
    assert len(content) < 50_000
