"""From a storage URL to an Optuna storage: checked before it is made, quick and safe on SQLite."""

import os
import random
import re
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast

import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from storage import lines, sqlite
from storage.errors import InputError, ParameterError, UnreachableError
from storage.proxy import check_proxy_url, how_to_get, is_proxy, open_proxy, shown
from storage.snapshot import snapshot, unwritable
from storage.urls import hidden, without_secrets

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

SQLITE_BUSY_SECONDS = 60
LONGEST_URL = 1000  # characters
OF_OPTIONS = (TypeError, ValueError, AttributeError, OSError)  # in a URL that a driver cannot take
ENCODED = "in a password and in options @ is written %40, / %2F, ? %3F and % %25"
TRIES = 10  # to make the tables, which several processes may do in the same instant


def parse_storage_url(text: str) -> URL:
    """The URL, if it is one of a database that lasts, or of a proxy before one.

    Raises:
        InputError: it is no SQLAlchemy URL, its driver is missing, or its database is in memory.
    """
    if not isinstance(text, str):
        got = type(text).__name__
        raise ParameterError("storage", f"expected a database URL as a text, got a {got}")
    said = hidden(text)
    if not text.isprintable() or len(text) > LONGEST_URL:
        raise ParameterError("storage", f"expected a database URL, got {lines.shown(said)}")
    _check_at(text)
    try:
        url = make_url(text)
        if not is_proxy(url):
            url.get_dialect().import_dbapi()
    except NoSuchModuleError:  # an ArgumentError too
        kind = text.partition(":")[0]
        raise ParameterError("storage", f"SQLAlchemy knows no database '{kind}'") from None
    except (ArgumentError, ValueError):
        path = text.removeprefix("sqlite:")
        is_path = path and "://" not in text and said == text
        hint = f"; did you mean sqlite:///{path.replace('%', '%25')}?" if is_path else ""
        raise ParameterError("storage", f"expected a database URL, got '{said}'{hint}") from None
    except ImportError as error:
        raise ParameterError("storage", f"{shown(url)} needs {how_to_get(error.name)}") from None
    if is_proxy(url):
        return check_proxy_url(url)
    if _is_sqlite(url):
        sqlite.check_path(text, url)
    return url


def runs_folder(url: URL) -> Path:
    """Where files beside the database go: the folder of an SQLite file, else `runs`."""
    file = database_file(url)
    return file.parent if file else Path("runs")


def database_file(url: URL) -> Path | None:
    """The file of an SQLite database, the very one that SQLite opens; None of another one."""
    return Path(os.path.normpath(url.database or "")) if _is_sqlite(url) else None


def absolute(url: URL) -> URL:
    """The URL that names the same database from any folder."""
    file = database_file(url)
    return url if file is None else url.set(database=os.path.abspath(file))


def check_database(url: URL, *, must_exist: bool = False) -> None:
    """Looks at the database without changing it, or what lies beside it.

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
    if file is not None and not file.is_file():
        kind = "a directory" if file.is_dir() else "something else"
        raise InputError(f"{shown(url)}: expected a file, got {kind}")
    with _readable(url) as where:
        try:
            engine = sqlalchemy.create_engine(where)
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
    to_read: bool = False,
    on_wait: Callable[[str], None] = lambda reason: None,
    give_up: Callable[[], bool] = lambda: False,
) -> "BaseStorage":
    """The Optuna storage, its tables and the folder of an SQLite file made if need be.

    Later it waits while its database cannot be reached.

    Args:
        url: of the database, or of a proxy.
        to_read: whether nothing need be kept: an SQLite database that cannot be written to here is
            read from a copy, made now and removed with the storage.
        on_wait: called with the reason when it begins to wait.
        give_up: whether not to wait any longer.

    Raises:
        InputError: the database cannot be made, reached or used.
    """
    from optuna.storages import BaseStorage

    from storage.optuna_internals import cached
    from storage.patience import PatientStorage

    check_database(url)
    storage: BaseStorage
    if is_proxy(url):
        storage = open_proxy(url)
    elif to_read:
        with ExitStack() as stack:
            storage = cached(_open_tables(url, stack.enter_context(_readable(url))))
            weakref.finalize(storage, stack.pop_all().close)
    else:
        _check_writable(url)
        storage = cached(_open_tables(url, url))
    patient = PatientStorage(
        storage, on_wait=lambda why: on_wait(without_secrets(why, url)), give_up=give_up
    )
    return cast(BaseStorage, patient)


@contextmanager
def _readable(url: URL) -> Iterator[URL]:
    """The URL, or that of a copy if it is of an SQLite file that is there and cannot be written to.

    Raises:
        InputError: the file cannot be copied.
    """
    file = database_file(url)
    if file is None or not file.exists() or unwritable(file) is None:
        yield url
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rating-study-"))
            copy = snapshot(file, Path(folder))
        except OSError as error:
            why = error.strerror
            raise InputError(f"{shown(url)}: cannot be copied to be read ({why})") from None
        yield url.set(database=str(copy))


def _check_writable(url: URL) -> None:
    """Raises InputError if an SQLite file is there and cannot be written to."""
    file = database_file(url)
    if file is not None and file.exists() and (cause := unwritable(file)):
        raise InputError(f"{shown(url)}: cannot be written to ({cause} is read-only for this user)")


def _open_tables(url: URL, where: URL) -> "RDBStorage":
    """The storage of a database, whose URL is told, or of a copy of it."""
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    # Optuna takes a URL for a template.
    plain = absolute(where).render_as_string(hide_password=False)
    template = re.sub("[{}]", r"\g<0>\g<0>", plain)
    # A server takes about a hundred connections: a process keeps one, and has more while it must.
    engine_kwargs: dict[str, object] = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": -1}
    try:
        if file := database_file(where):
            engine_kwargs = {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}
            file.parent.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(TRIES)):
            try:
                storage = RDBStorage(template, engine_kwargs)
                break
            except (SQLAlchemyError, StorageInternalError, AssertionError) as error:
                if not tries_left or not _is_making_of_another(error):
                    raise
                time.sleep(random.uniform(0.05, 0.5))
        if _is_sqlite(url):
            sqlite.tune(storage.engine)
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
    from optuna.storages import RDBStorage

    if tables >= {"studies", "trials", "version_info"}:
        return set()
    whole = sqlalchemy.inspect(RDBStorage("sqlite://").engine)  # in memory
    ours = {
        name: {column["name"] for column in whole.get_columns(name)}
        for name in whole.get_table_names()
    }
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
        return f"did you mean storage=sqlite:///{names[0]}?"
    return "python -m study.run makes it"


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _check_at(text: str) -> None:
    """Raises InputError if a URL has another @ than the one before its host.

    What SQLAlchemy takes for the host would be part of a password, which a name server is asked
    for.
    """
    # As SQLAlchemy takes a URL apart; that of SQLite has nothing but a path.
    login = re.match(r"(?!sqlite\b)[\w+]+://(?:[^:/]*(:[^@]*)?@)?", text)
    if login and ("@" in text[login.end() :] or re.search(r"\?\w+=", login[1] or "")):
        got = hidden(text)
        raise ParameterError("storage", f"expected one @, before the host, got '{got}'; {ENCODED}")


def _unusable(url: URL, error: Exception) -> InputError:
    from optuna.exceptions import StorageInternalError

    from storage.patience import why_unreachable

    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    reason = cause.orig if isinstance(cause, DBAPIError) else cause
    kind = UnreachableError if why_unreachable(error) else InputError
    said = without_secrets(str(reason), url)
    if isinstance(cause, UnicodeError):  # of which characters are quoted
        said = "the driver cannot encode its user or password"
    return kind(f"{shown(url)}: cannot be used ({said})")
