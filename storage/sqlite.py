"""What SQLite needs and a server does not: a URL that names one file, a log, and locks in time."""

import os
import re

import sqlalchemy
from sqlalchemy.engine import URL, Engine

from storage.errors import ParameterError
from storage.proxy import shown
from storage.urls import hidden


def check_path(text: str, url: URL) -> None:
    """Raises InputError if a URL of SQLite names no file that lasts, or other than it seems to."""
    path, why = url.database or "", ""
    is_more = any((url.host, url.port, url.username, url.password))
    if path in ("", ":memory:") and not is_more and "?" not in text:
        raise ParameterError(
            "storage", f"expected a database that lasts, got {shown(url)}, in memory"
        )
    if "?" in text:
        why = "; a ? in a name is written %3F"
    elif url.host and hidden(text) == text:
        why = f"; did you mean sqlite:///{text.partition('://')[2]}?"
    elif re.match("~[^/]*/", path):
        why = "; ~ stands for no folder here"
    elif path.endswith("/") or os.path.basename(path) in (".", ".."):
        why = ", a folder"
    elif not is_more and path.isprintable() and not path.startswith("file:"):
        return
    raise ParameterError("storage", f"expected sqlite:/// and a path, got '{hidden(text)}'{why}")


def tune(engine: Engine) -> None:
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
