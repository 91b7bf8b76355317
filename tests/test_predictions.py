"""The answers file: one number a line, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from storage.errors import InputError
from storage.lines import read_numbers
from storage.predictions import check_writable, write_predictions


def test_one_prediction_a_line_in_order(tmp_path: Path) -> None:
    path = tmp_path / "mat_comp_ans"
    write_predictions(path, np.array([3.0, -0.1234567, 1234567.5, 1e-9]))
    assert path.read_bytes() == b"3.000000\n-0.123457\n1234567.500000\n0.000000\n"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_reads_back(dtype: type[np.floating], tmp_path: Path) -> None:
    predictions = np.random.default_rng(6).normal(3, 2, 500).astype(dtype)
    write_predictions(tmp_path / "answers", predictions)
    read = read_numbers(tmp_path / "answers", expected=500)
    np.testing.assert_allclose(read, predictions, rtol=0, atol=0.500001e-6)


def test_no_queries_no_lines(tmp_path: Path) -> None:
    write_predictions(tmp_path / "answers", np.empty(0))
    assert (tmp_path / "answers").read_bytes() == b""


def test_a_missing_folder_is_made_and_an_old_file_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "answers"
    write_predictions(path, np.zeros(1000))
    write_predictions(path, np.ones(1))
    assert path.read_text() == "1.000000\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("below", ["", "file/answers", "file/folder/answers"])
def test_a_path_that_cannot_be_written(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path / below
    for attempt in (check_writable, lambda path: write_predictions(path, np.ones(3))):
        with pytest.raises(InputError) as error:
            attempt(path)
        assert str(error.value).startswith(f"{path}: ")
        assert str(error.value).isprintable()
    assert [kept.name for kept in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["answers", "x" * 255])
def test_looking_whether_a_path_can_be_written_changes_nothing(name: str, tmp_path: Path) -> None:
    check_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).write_text("old")
    check_writable(tmp_path / name)
    assert [kept.name for kept in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
