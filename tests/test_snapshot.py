"""A database that may be read and not written to: a copy of it is read, whole and as of now."""

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import optuna
import pytest
from planted_studies import plant, some_trials

from storage import snapshot
from storage.database import check_database, open_storage, parse_storage_url
from storage.errors import InputError
from study import best_predict, recommend, run, serve_database
from study.report import __main__ as report

NOBODY = 65534
MAT_COMP = "3 4 9\n1 1 5\n1 2 3\n1 3 4\n2 1 4\n2 2 2\n2 4 5\n3 1 1\n3 3 2\n3 4 3\n1\n3 2\n"
Call = Callable[..., tuple[int, str, str]]
AsReader = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike that of pytest."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    for inside in path.rglob("*"):
        if inside.is_dir():
            inside.chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture
def reading(folder: Path) -> AsReader:
    """Makes what is in the folder read-only, but for `mine`, to somebody with no more rights."""

    @contextmanager
    def as_reader() -> Iterator[None]:
        mine = folder / "mine"
        mine.mkdir(exist_ok=True)
        mine.chmod(0o777)
        for path in (folder, *folder.rglob("*")):
            if path != mine and mine not in path.parents:
                path.chmod(0o555 if path.is_dir() else 0o444)
        was = os.geteuid()
        if was == 0:
            try:
                os.seteuid(NOBODY)
            except OSError as error:
                pytest.skip(f"root may write anywhere, and can be nobody else here: {error}")
        try:
            if os.access(folder, os.W_OK, effective_ids=True):
                pytest.skip("this user may write anywhere")
            modules = (optuna.__file__, run.__file__)
            if not all(os.access(one, os.R_OK, effective_ids=True) for one in modules):
                pytest.skip("nobody cannot read this Python")
            yield
        finally:
            os.seteuid(was)
            folder.chmod(0o755)

    return as_reader


def planted(path: Path) -> str:
    """The URL of a database with a study in it, closed."""
    url = f"sqlite:///{path}"
    optuna.create_study(study_name="mine", storage=open_storage(parse_storage_url(url)))
    gc.collect()
    return url


def names(url: str) -> list[str]:
    parsed = parse_storage_url(url)
    check_database(parsed, must_exist=True)
    return sorted(optuna.get_all_study_names(open_storage(parsed, to_read=True)))


def listed(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def rename(connection: sqlite3.Connection, name: str) -> None:
    with connection:
        connection.execute("UPDATE studies SET study_name = ?", [name])


@pytest.mark.parametrize("left", ["nothing", "log", "log and index"])
def test_what_cannot_be_written_to_is_read_with_its_log(
    left: str, folder: Path, reading: AsReader
) -> None:
    runs = folder / "runs"
    url = planted(runs / "study.db")
    with closing(sqlite3.connect(runs / "study.db")) as writer:
        if left != "nothing":
            rename(writer, "newer")
            (kept := folder / "kept").mkdir()
            for path in runs.iterdir():
                shutil.copy(path, kept)
            if left == "log":
                (kept / "study.db-shm").unlink()
            url = f"sqlite:///{kept}/study.db"
    where = Path(url.removeprefix("sqlite:///")).parent
    assert (where / "study.db-wal").exists() == (left != "nothing")
    before = listed(where)
    with reading():
        assert names(url) == ["mine" if left == "nothing" else "newer"]
    assert listed(where) == before


@pytest.mark.parametrize("closed", ["runs/study.db", "runs"])
def test_a_file_or_a_folder_alone_is_enough(
    closed: str, folder: Path, reading: AsReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    planted(folder / "runs" / "study.db")
    before = listed(folder / "runs")
    with reading():
        pass
    other = {"runs": folder / "runs" / "study.db", "runs/study.db": folder / "runs"}[closed]
    (folder / "link.db").symlink_to("runs/study.db")
    was = os.geteuid()
    other.chmod(0o777)
    os.seteuid(NOBODY if was == 0 else was)
    try:
        for url in ("sqlite:///runs/study.db", "sqlite:///link.db"):
            assert names(url) == ["mine"]
            with pytest.raises(InputError) as error:
                open_storage(parse_storage_url(url))
            cause = (folder / closed).resolve()
            said = f"{url}: cannot be written to ({cause} is read-only for this user)"
            assert str(error.value) == said
    finally:
        os.seteuid(was)
    assert listed(folder / "runs") == before


def test_a_study_that_runs_is_read_as_it_is_now(folder: Path, reading: AsReader) -> None:
    path = folder / "runs" / "study.db"
    url = planted(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        rename(writer, "newer")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE studies SET study_name = 'not yet'")
        with reading():
            assert names(url) == ["newer"]
        writer.execute("ROLLBACK")


def test_a_copy_is_made_again_if_the_database_was_written_to_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.db"
    planted(path)
    (copies := tmp_path / "copies").mkdir()
    left, before = ["second", "first"], shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        before(source, target)
        if left and source == path:
            with closing(sqlite3.connect(path)) as writer:  # which moves its log into it, closing
                rename(writer, left.pop())

    monkeypatch.setattr("storage.snapshot.shutil.copyfile", copy)
    monkeypatch.setattr("storage.snapshot.PAUSE", 0)
    assert names(f"sqlite:///{snapshot.snapshot(path, copies)}") == ["second"]
    left.extend("abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(snapshot.BusyError, match="being written to; try again"):
        snapshot.snapshot(path, copies)


def test_a_log_that_is_removed_in_between_keeps_nobody_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.db"
    planted(path)
    log = tmp_path / "study.db-wal"
    before = os.access

    def access(asked: Path, *arguments: int, **options: bool) -> bool:
        log.unlink(missing_ok=True)
        return before(asked, *arguments, **options)

    log.touch()
    monkeypatch.setattr(os, "supports_effective_ids", {access})
    monkeypatch.setattr(os, "access", access)
    assert snapshot.unwritable(path) is None


def test_the_copy_is_removed_with_the_storage(
    folder: Path, reading: AsReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = planted(folder / "runs" / "study.db")
    (mine := folder / "mine").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(mine))
    with reading():
        storage = open_storage(parse_storage_url(url), to_read=True)
        assert len(list(mine.iterdir())) == 1
        del storage
        gc.collect()
        assert not list(mine.iterdir())


def test_one_that_cannot_be_read_or_copied_is_one_line(
    folder: Path, reading: AsReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = planted(folder / "runs" / "study.db")
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "runs"))
    with reading():
        with pytest.raises(InputError, match=r"cannot be copied to be read \(Permission denied\)"):
            names(url)
        os.seteuid(os.getuid())
        (folder / "runs" / "study.db").chmod(0)
        monkeypatch.setattr(tempfile, "tempdir", str(folder / "mine"))
        os.seteuid(NOBODY if os.getuid() == 0 else os.getuid())
        with pytest.raises(InputError, match=r"cannot be copied to be read \(Permission denied\)"):
            names(url)


def test_commands_that_only_read_answer_from_a_folder_that_is_read_only(
    few_epochs: None,
    outcome_of: Call,
    folder: Path,
    reading: AsReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "mat_comp").write_text(MAT_COMP)
    assert outcome_of(run.main, "--trials", 2)[0] == 0
    shutil.rmtree(folder / "runs" / "models", ignore_errors=True)
    gc.collect()
    (folder / "mine").mkdir()
    before = sorted((folder / "runs").rglob("*"))
    with reading():
        code, out, err = outcome_of(report.main, "--out", "mine/page.html")
        assert (code, err) == (0, "")
        assert "Report: mine/page.html" in out
        assert "</html>" in Path("mine/page.html").read_text()
        code, out, err = outcome_of(report.main)
        assert (code, out) == (2, "")
        assert err.endswith("cannot be written (Permission denied); --out writes it elsewhere\n")
        code, _, err = outcome_of(best_predict.main, "--out", "mine/answers")
        assert (code, err) == (0, "")
        assert len(Path("mine/answers").read_text().splitlines()) == 1
        assert outcome_of(best_predict.main)[0] == 2  # into a folder that is read-only too
        code, _, err = outcome_of(recommend.main, "--user", 1)
        assert (code, err) == (0, "")
        for command in (run.main, serve_database.main):
            code, _, err = outcome_of(command)
            assert code == 2
            assert err.endswith(f"({folder}/runs is read-only for this user)\n")
            assert len(err.splitlines()) == 1
    assert sorted((folder / "runs").rglob("*")) == before


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs setpriv")
def test_a_process_of_nobody_writes_a_report(folder: Path) -> None:
    url = f"sqlite:///{folder}/runs/study.db"
    plant(open_storage(parse_storage_url(url)), "mine", some_trials(12))
    gc.collect()
    (mine := folder / "mine").mkdir()
    mine.chmod(0o777)
    env = os.environ | {"HOME": str(mine)}  # where compiled code is kept
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    command = [sys.executable, "-m", "study.report", "--storage", url, "--out", "page.html"]
    trial = [*nobody, sys.executable, "-c", "import study.report"]
    if subprocess.run(trial, env=env, capture_output=True, check=False).returncode:
        pytest.skip("nobody cannot read this Python")
    ended = subprocess.run(
        [*nobody, *command], cwd=mine, env=env, capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
    assert "</html>" in (mine / "page.html").read_text()
