"""From a storage URL to an Optuna storage: what is refused, and what SQLite is made to do."""

import itertools
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError

from storage.database import (
    check_database,
    open_storage,
    parse_storage_url,
    runs_folder,
)
from storage.errors import InputError, UnreachableError
from storage.proxy import shown

N_WAITING = 40
N_PROCESSES = 3


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made, in a folder that is not there yet."""
    return tmp_path / "runs" / "study.db"


def url_of(path: Path) -> sqlalchemy.URL:
    return parse_storage_url(f"sqlite:///{path}")


def complaint(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    assert str(error.value).isprintable()  # so it is one line
    return str(error.value)


def execute(path: Path, *statements: str) -> list[Any]:
    """The rows of the last statement, run past SQLAlchemy."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


@pytest.mark.parametrize("text", ["study.db", "runs/study.db", "/tmp/study.db", "C:\\study.db"])
def test_a_bare_path_gets_a_suggestion(text: str) -> None:
    said = complaint(parse_storage_url, text)
    assert "expected a database URL" in said
    assert said.endswith(f"did you mean sqlite:///{text}?")


@pytest.mark.parametrize("text", ["", "://", "://study.db", "not a url://x"])
def test_nonsense_gets_none(text: str) -> None:
    said = complaint(parse_storage_url, text)
    assert f"expected a database URL, got '{text}'" in said
    assert "did you mean" not in said


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user@host:port/study",
        "mysql://user@[::1/study",
        "postgresql://host:99999999x/",
    ],
)
def test_a_url_that_cannot_be_taken_apart(text: str) -> None:
    complaint(parse_storage_url, text)


@pytest.mark.parametrize("kind", ["nosql", "sqlite+nodriver"])
def test_an_unknown_database(kind: str) -> None:
    assert f"no database '{kind}'" in complaint(parse_storage_url, f"{kind}://user:secret@host/x")


@pytest.mark.parametrize(
    ("kind", "package"), [("mysql+mysqldb", "MySQLdb"), ("postgresql+psycopg2", "psycopg2")]
)
def test_a_missing_driver_is_named(kind: str, package: str) -> None:
    try:
        __import__(package)
    except ImportError:
        said = complaint(parse_storage_url, f"{kind}://user:secret@host/x")
        assert said.endswith(f"needs the Python package {package}")
        assert f"{kind}://user:***@host/x" in said
    else:
        pytest.skip(f"{package} is installed")


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(text: str) -> None:
    assert "expected a database that lasts" in complaint(parse_storage_url, text)


@pytest.mark.parametrize(
    "text",
    [
        "nosql://user:secret@host/x",
        "mysql+mysqldb://user:secret@host/x",
        "postgresql://user:secret@host:port/x",
        "postgresql//user:secret@host/x",
        "postgresql:/user:secret@host/x",
        "postgresql://host:port/x?password=secret",
        "postgresql//host/x?password=secret",
        "postgresql://host/x?password=secret\n",
        "sqlite:///x.db?password=secret",
    ],
)
def test_no_message_holds_the_password(text: str) -> None:
    try:
        parse_storage_url(text)
    except InputError as error:
        assert "secret" not in str(error)
        assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    "option", ["foo=1", "connect_timeout=abc", "ssl_ca=/gone", "charset=nonsense", "plugin=gone"]
)
def test_an_option_that_a_driver_does_not_take_is_one_line(option: str) -> None:
    pytest.importorskip("pymysql")
    url = parse_storage_url(f"mysql+pymysql://user:secret@localhost:1/x?{option}")
    said = complaint(check_database, url)
    assert said.startswith("mysql+pymysql://user:***@localhost:1/x: cannot be used (")


def test_a_url_is_shown_without_its_password() -> None:
    url = sqlalchemy.make_url("postgresql://user:secret@host/study")
    assert shown(url) == "postgresql://user:***@host/study"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sqlite:///a?b.db", "a ? in a name is written %3F"),
        ("sqlite:///a?mode=ro", "a ? in a name is written %3F"),
        ("sqlite:///file:a.db?uri=true", "a ? in a name is written %3F"),
        ("sqlite:///file:a.db", "got 'sqlite:///file:a.db'"),
        ("sqlite://runs/a.db", "did you mean sqlite:///runs/a.db?"),
        ("sqlite://a.db", "did you mean sqlite:///a.db?"),
        ("sqlite://:5/a.db", "got 'sqlite://:5/a.db'"),
        ("sqlite://me:secret@/a.db", "got 'sqlite://me:***@/a.db'"),
        ("sqlite:///~/a.db", "~ stands for no folder here"),
        ("sqlite:///runs/", "got 'sqlite:///runs/', a folder"),
        ("sqlite:///runs/..", "got 'sqlite:///runs/..', a folder"),
        ("sqlite:///a%0Ab.db", "got 'sqlite:///a%0Ab.db'"),
        ("sqlite:///a%00b.db", "got 'sqlite:///a%00b.db'"),
    ],
)
def test_a_url_of_sqlite_that_names_no_file_or_another(text: str, why: str) -> None:
    said = complaint(parse_storage_url, text)
    assert "expected sqlite:/// and a path" in said
    assert said.endswith(why)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("sqlite:a.db", "sqlite:///a.db"),
        ("sqlite:/abs/a.db", "sqlite:////abs/a.db"),
        ("100%25.db", "sqlite:///100%2525.db"),
    ],
)
def test_a_url_of_sqlite_with_too_little(text: str, meant: str) -> None:
    assert complaint(parse_storage_url, text).endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a%3Fb.db", "a?b.db"),
        ("a#b.db", "a#b.db"),
        ("100%.db", "100%.db"),
        ("a%25b%41.db", "a%bA.db"),
        ("a b+c.db", "a b+c.db"),
        ("{a}{{b}}{SCHEMA_VERSION}.db", "{a}{{b}}{SCHEMA_VERSION}.db"),
        ("me:1@home.db", "me:1@home.db"),
        ("C:\\runs\\a.db", "C:\\runs\\a.db"),
        ("é;&=.db", "é;&=.db"),
        ("runs/a.db", "runs/a.db"),
        ("runs//./a.db", "runs/a.db"),
        ("link/../a.db", "a.db"),
    ],
)
def test_the_file_that_is_written_is_the_one_that_is_told(
    text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("link").symlink_to(tmp_path / "far" / "away")
    for url in (f"sqlite:///{text}", f"sqlite:///{tmp_path}/here/{text}"):
        parsed = parse_storage_url(url)
        optuna.create_study(study_name="mine", storage=open_storage(parsed))
        file = Path(name).resolve()
        assert runs_folder(parsed).resolve() == file.parent
        assert optuna.get_all_study_names(open_storage(parse_storage_url(shown(parsed)))) == [
            "mine"
        ]
        written = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".db"}
        assert written == {file}
        for path in file.parent.glob("*.db*"):
            path.unlink()


def test_files_go_beside_an_sqlite_file() -> None:
    assert runs_folder(parse_storage_url("sqlite:///some/folder/study.db")) == Path("some/folder")
    assert runs_folder(parse_storage_url("sqlite:////abs/study.db")) == Path("/abs")
    assert runs_folder(sqlalchemy.make_url("postgresql://host/study")) == Path("runs")


def test_a_study_is_there_when_opened_again(path: Path) -> None:
    study = optuna.create_study(study_name="mine", storage=open_storage(url_of(path)))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    study.set_user_attr("name", "é")
    check_database(url_of(path), must_exist=True)

    again = optuna.load_study(study_name="mine", storage=open_storage(url_of(path)))
    assert [trial.params for trial in again.trials] == [trial.params for trial in study.trials]
    assert [trial.state for trial in again.trials] == [TrialState.COMPLETE] * 3
    assert again.user_attrs == {"name": "é"}


def test_looking_makes_nothing(path: Path) -> None:
    check_database(url_of(path))
    assert not path.parent.exists()


def test_a_database_that_must_exist(path: Path) -> None:
    assert "no such database" in complaint(check_database, url_of(path), must_exist=True)
    assert not path.parent.exists()


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    check_database(url_of(path))
    assert "got an empty one" in complaint(check_database, url_of(path), must_exist=True)
    assert path.stat().st_size == 0
    optuna.create_study(study_name="mine", storage=open_storage(url_of(path)))
    assert optuna.get_all_study_names(open_storage(url_of(path))) == ["mine"]


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["CREATE TABLE customers (name TEXT)"], id="foreign"),
        pytest.param(
            ["CREATE TABLE studies (name TEXT)", "CREATE TABLE trials (x REAL)"], id="alike"
        ),
    ],
)
def test_a_foreign_database_is_refused_and_left_as_it_is(
    statements: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "foreign.db"
    execute(path, *statements, f"INSERT INTO {statements[0].split()[2]} VALUES ('Ann')")
    content = path.read_bytes()
    for call in (check_database, open_storage):
        said = complaint(call, url_of(path))
        assert "expected an Optuna database" in said
        assert statements[0].split()[2] in said
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_another_table_beside_optunas_does_not_matter(path: Path) -> None:
    open_storage(url_of(path))
    execute(path, "CREATE TABLE notes (text TEXT)")
    check_database(url_of(path), must_exist=True)
    open_storage(url_of(path))


def test_a_text_file_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_text("To whom it may concern\n" * 100)
    for call in (check_database, open_storage):
        assert "not a database" in complaint(call, url_of(path))
    assert path.read_text() == "To whom it may concern\n" * 100


def test_a_path_that_cannot_be_a_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "got a directory" in complaint(check_database, url_of(tmp_path))
    assert "got something else" in complaint(check_database, url_of(Path("/dev/null")))
    for path in (tmp_path, tmp_path / "file" / "study.db", tmp_path / "file" / "below" / "s.db"):
        said = complaint(open_storage, url_of(path))
        assert said.startswith(f"sqlite:///{path}: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_tables_of_another_optuna_are_refused(path: Path) -> None:
    open_storage(url_of(path))
    execute(path, "UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    said = complaint(open_storage, url_of(path))
    assert said.startswith(f"sqlite:///{path}: ")
    assert "version" in said


@contextmanager
def at_every_commit(do: Callable[[Connection], None]) -> Iterator[None]:
    sqlalchemy.event.listen(Engine, "commit", do)
    try:
        yield
    finally:
        sqlalchemy.event.remove(Engine, "commit", do)


def test_a_transaction_that_only_reads_keeps_other_writers_out(path: Path) -> None:
    storage = open_storage(url_of(path))
    kept_out = []
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:

        def try_to_write(_connection: Connection) -> None:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                kept_out.append(True)
            else:
                other.execute("ROLLBACK")
                kept_out.append(False)

        with at_every_commit(try_to_write):
            assert storage.get_all_studies() == []
    assert kept_out
    assert all(kept_out)


def test_a_log_is_written_ahead_and_synced_seldom(path: Path) -> None:
    storage = open_storage(url_of(path))
    synchronous = []

    def look(connection: Connection) -> None:
        synchronous.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())

    with at_every_commit(look):
        storage.get_all_studies()
    assert synchronous
    assert set(synchronous) == {1}  # NORMAL
    assert execute(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_reader_is_not_kept_waiting_by_a_writer(path: Path) -> None:
    optuna.create_study(study_name="mine", storage=open_storage(url_of(path)))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM studies")
        check_database(url_of(path), must_exist=True)
        writer.execute("ROLLBACK")


def claim(path: Path, barrier: Any, claimed: Any) -> None:
    """Takes waiting trials until there are none, and says which it got."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    numbers: list[int] = []
    try:
        sampler = optuna.samplers.RandomSampler()
        storage = open_storage(url_of(path))
        study = optuna.load_study(study_name="mine", storage=storage, sampler=sampler)
        barrier.wait(timeout=20)
        while (trial := study.ask()).number < N_WAITING:
            numbers.append(trial.number)
    finally:
        claimed.put(numbers)


def test_processes_claim_every_waiting_trial_once(path: Path) -> None:
    study = optuna.create_study(study_name="mine", storage=open_storage(url_of(path)))
    for x in range(N_WAITING):
        study.enqueue_trial({"x": x})

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["alembic", "optuna", "pytest", "sqlalchemy", "storage.database"]
    )
    barrier, claimed = context.Barrier(N_PROCESSES), context.Queue()
    processes = [
        context.Process(target=claim, args=(path, barrier, claimed)) for _ in range(N_PROCESSES)
    ]
    for process in processes:
        process.start()
    numbers = [claimed.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(itertools.chain(*numbers)) == list(range(N_WAITING))
    assert all(trial.state == TrialState.RUNNING for trial in study.trials)


def test_a_server_that_has_too_many_clients_when_tables_are_looked_at_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> NoReturn:
        lost = OperationalError("SELECT 1", {}, Exception("too many clients already"))
        raise StorageInternalError("An exception is raised during the commit.") from lost

    monkeypatch.setattr("optuna.storages.RDBStorage", full)
    with pytest.raises(UnreachableError, match="too many clients already"):
        open_storage(parse_storage_url(f"sqlite:///{tmp_path}/study.db"))
