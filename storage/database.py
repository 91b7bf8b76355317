"""From a storage URL to an Optuna storage: checked before it is made, quick and safe on SQLite."""

import random
import re
import time
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast

import sqlalchemy
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from storage import lines
from storage.errors import InputError, UnreachableError
from storage.proxy import check_proxy_url, how_to_get, is_proxy, open_proxy, shown

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

SQLITE_BUSY_SECONDS = 60
LONGEST_URL = 1000  # characters
OF_OPTIONS = (TypeError, ValueError, AttributeError, OSError)  # in a URL that a driver cannot take
TRIES = 10  # to make the tables, which several processes may do in the same instant


def parse_storage_url(text: str) -> URL:
    """The URL, if it is one of a database that lasts, or of a proxy before one.

    Raises:
        InputError: it is no SQLAlchemy URL, its driver is missing, or its database is in memory.
    """
    if not text.isprintable() or len(text) > LONGEST_URL:
        raise InputError(f"--storage: expected a database URL, got {lines.shown(_hidden(text))}")
    try:
        url = make_url(text)
        if not is_proxy(url):
            url.get_dialect().import_dbapi()
    except NoSuchModuleError:  # an ArgumentError too
        kind = text.partition(":")[0]
        raise InputError(f"--storage: SQLAlchemy knows no database '{kind}'") from None
    except (ArgumentError, ValueError):
        said = _hidden(text)
        hint = f"; did you mean sqlite:///{said}?" if text and "://" not in text else ""
        raise InputError(f"--storage: expected a database URL, got '{said}'{hint}") from None
    except ImportError as error:
        raise InputError(f"--storage: {shown(url)} needs {how_to_get(error.name)}") from None
    if is_proxy(url):
        return check_proxy_url(url)
    if _is_sqlite(url) and url.database in (None, "", ":memory:"):
        raise InputError(f"--storage: expected a database that lasts, got {shown(url)}, in memory")
    if _is_sqlite(url) and (url.query or str(url.database).startswith("file:")):
        raise InputError(f"--storage: expected sqlite:/// and a path, got '{_hidden(text)}'")
    return url


def runs_folder(url: URL) -> Path:
    """Where files beside the database go: the folder of an SQLite file, else `runs`."""
    file = database_file(url)
    return file.parent if file else Path("runs")


def database_file(url: URL) -> Path | None:
    """The file of an SQLite database; None of another one."""
    return Path(url.database or "") if _is_sqlite(url) else None


def check_database(url: URL, *, must_exist: bool = False) -> None:
    """Looks at the database without changing it.

    Raises:
        InputError: it cannot be reached, holds something else than Optuna's tables, or is missing
            although it must exist.
    """
    if is_proxy(url):
        open_proxy(url).close()
        return
    file = database_file(url)
    try:
        missing = file is not None and not file.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(url)}: cannot be used ({error})") from None
    if missing and must_exist:
        raise InputError(f"{shown(url)}: no such database; {_another(file)}")
    if missing:
        return
    try:
        engine = sqlalchemy.create_engine(url)
    except (SQLAlchemyError, *OF_OPTIONS) as error:
        raise _unusable(url, error) from None
    try:
        inspector = sqlalchemy.inspect(engine)
        tables = set(inspector.get_table_names())
        foreign = _foreign_tables(inspector, tables)
    except (SQLAlchemyError, *OF_OPTIONS) as error:
        raise _unusable(url, error) from None
    finally:
        engine.dispose()
    if foreign:
        found = ", ".join(sorted(foreign)[:3])
        raise InputError(f"{shown(url)}: expected an Optuna database, got one with tables {found}")
    if must_exist and not tables:
        raise InputError(f"{shown(url)}: expected an Optuna database, got an empty one")


def open_storage(
    url: URL,
    *,
    on_wait: Callable[[str], None] = lambda reason: None,
    give_up: Callable[[], bool] = lambda: False,
) -> "BaseStorage":
    """The Optuna storage, its tables and the folder of an SQLite file made if need be.

    Later it waits while its database cannot be reached.

    Args:
        url: of the database, or of a proxy.
        on_wait: called with the reason when it begins to wait.
        give_up: whether not to wait any longer.

    Raises:
        InputError: the database cannot be made, reached or used.
    """
    from optuna.storages import BaseStorage, get_storage

    from storage.patience import PatientStorage

    check_database(url)
    storage = open_proxy(url) if is_proxy(url) else get_storage(_open_tables(url))
    return cast(BaseStorage, PatientStorage(storage, on_wait=on_wait, give_up=give_up))


def _open_tables(url: URL) -> "RDBStorage":
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    # A server takes about a hundred connections: a process keeps one, and has more while it must.
    engine_kwargs: dict[str, object] = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": -1}
    try:
        if file := database_file(url):
            engine_kwargs = {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}
            file.parent.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(TRIES)):
            try:
                storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs)
                break
            except (SQLAlchemyError, StorageInternalError, AssertionError) as error:
                if not tries_left or not _is_making_of_another(error):
                    raise
                time.sleep(random.uniform(0.05, 0.5))
        if _is_sqlite(url):
            _tune_sqlite(storage.engine)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise _unusable(url, error) from None
    except OSError as error:
        raise InputError(f"{shown(url)}: cannot be made ({error.strerror})") from None
    except RuntimeError as error:  # the schema of another version of Optuna
        raise InputError(f"{shown(url)}: {' '.join(str(error).split())}") from None
    return storage


def _is_making_of_another(error: Exception) -> bool:
    """Whether the tables could not be made since another process just makes them."""
    said = str(error.__cause__ or error).lower()
    signs = ("exist", "duplicate", "unique", "locked", "concurrent", "deadlock")
    return isinstance(error, AssertionError) or any(sign in said for sign in signs)


def _foreign_tables(inspector: sqlalchemy.Inspector, tables: set[str]) -> set[str]:
    """The tables that keep the database from being Optuna's.

    If its making was cut short it holds some of Optuna's tables only, and is made whole later.
    """
    from optuna.storages._rdb.models import BaseModel

    if tables >= {"studies", "trials", "version_info"}:
        return set()
    ours = {
        name: set(table.columns.keys()) for name, table in BaseModel.metadata.tables.items()
    } | {"alembic_version": {"version_num"}}
    return {
        name
        for name in tables
        if {column["name"] for column in inspector.get_columns(name)} != ours.get(name)
    }


def _another(missing: Path | None) -> str:
    """What a database that is not there may have been meant to be, or how it comes to be."""
    found = [file for folder in (Path("runs"), Path()) for file in sorted(folder.glob("*.db"))]
    names = get_close_matches(str(missing), map(str, found), n=1, cutoff=0.3)
    if names:
        return f"did you mean --storage sqlite:///{names[0]}?"
    return "python -m study.run makes it"


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _tune_sqlite(engine: Engine) -> None:
    """Write-ahead log, no sync at every commit, and transactions that lock at once.

    With the log, a kill loses nothing and a power cut at most the last commits, never the file.
    SQLite knows no SELECT … FOR UPDATE, on which Optuna relies when several processes claim
    trials: BEGIN IMMEDIATE takes its place.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def _on_connect(connection, _record) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None  # leaves BEGIN to the listener below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @sqlalchemy.event.listens_for(engine, "begin")
    def _on_begin(connection) -> None:  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before have neither


def _hidden(text: str) -> str:
    """A text that should be a URL, without its password and options, which may hold one too."""
    return re.sub(r"(?s)\?.*", "?***", re.sub(r"(?s):.*@", ":***@", text))


def _unusable(url: URL, error: Exception) -> InputError:
    from optuna.exceptions import StorageInternalError

    from storage.patience import why_unreachable

    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    reason = cause.orig if isinstance(cause, DBAPIError) else cause
    kind = UnreachableError if why_unreachable(error) else InputError
    return kind(f"{shown(url)}: cannot be used ({' '.join(str(reason).split())})")
