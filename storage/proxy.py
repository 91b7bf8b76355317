"""Optuna's gRPC proxy before a database, for machines that cannot reach the database itself.

It has neither a password nor encryption.
"""

import threading
import warnings
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL

from storage.errors import InputError, ParameterError, UnreachableError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, GrpcStorageProxy

SCHEME, PORT = "grpc", 13000  # of an address: grpc://host:port
ANSWER_SECONDS = 10.0  # in which a proxy has to answer at first
EXTRAS = {"psycopg": "postgres", "pymysql": "mysql", "grpc": "grpc"}
EXTRAS |= dict.fromkeys(("fastapi", "pydantic", "uvicorn"), "serve")


def is_proxy(url: URL) -> bool:
    """Whether it is the address of a proxy."""
    return url.drivername == SCHEME


def check_proxy_url(url: URL) -> URL:
    """The address of a proxy, with its port.

    Raises:
        InputError: it says more or less than host and port, or gRPC is not installed.
    """
    if not url.host or url.username or url.password or url.database or url.query:
        raise ParameterError("storage", f"expected grpc://host:port, got '{shown(url)}'")
    _need_grpc(url)
    return url.set(port=url.port or PORT)


def open_proxy(url: URL) -> "GrpcStorageProxy":
    """The storage behind a proxy.

    Raises:
        UnreachableError: nobody answers.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import GrpcStorageProxy

    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        storage = GrpcStorageProxy(host=url.host or "", port=url.port or PORT)
    try:
        storage.wait_server_ready(timeout=ANSWER_SECONDS)
    except ConnectionError:
        raise UnreachableError(
            f"{shown(url)}: no answer in {ANSWER_SECONDS:.0f} seconds; "
            "python -m study.serve_database starts a proxy"
        ) from None
    return storage


def serve_proxy(storage: "BaseStorage", host: str, port: int) -> None:
    """Puts a proxy before a storage, and serves until it is stopped.

    Raises:
        InputError: the address cannot be listened on, or gRPC is not installed.
    """
    address = URL.create(SCHEME, host=host, port=port)
    _need_grpc(address)
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import run_grpc_proxy_server

    raised: list[Exception] = []

    def serve() -> None:
        try:
            run_grpc_proxy_server(storage, host=host, port=port)
        except Exception as error:
            raised.append(error)

    # In a thread, for a Ctrl-C that comes while gRPC starts would wait there for ever.
    thread = threading.Thread(target=serve, name="proxy", daemon=True)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        thread.start()
        thread.join()
    for error in raised:
        if isinstance(error, RuntimeError):
            raise InputError(f"{shown(address)}: cannot be listened on") from None
        raise error


def shown(url: URL) -> str:
    """The URL to print: without its password, and without options that may hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def how_to_get(package: str | None) -> str:
    """What to install for a package that is missing."""
    extra = EXTRAS.get(package or "")
    how = f": pip install 'rating-study[{extra}]'" if extra else ""
    return f"the Python package {package}{how}"


def _need_grpc(url: URL) -> None:
    try:
        import grpc  # noqa: F401
    except ImportError as error:
        raise ParameterError("storage", f"{shown(url)} needs {how_to_get(error.name)}") from None
