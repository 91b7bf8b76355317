"""`python -m study.serve_database`: lets machines that have no database server share a study."""

from collections.abc import Sequence

import click

from study.cli import run_command
from study.drawing import Drawing
from study.options import options
from study.tuning import DEFAULT_STORAGE

PROG = "study.serve_database"
EPILOG = """\
They run
  python -m study.run --storage grpc://HOST:PORT --data FILE
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; runs until it is stopped, and exits with 2 for bad input."""
    run_command(serve_database, PROG, arguments, epilog=EPILOG)


@options(
    click.option(
        "--storage",
        default=DEFAULT_STORAGE,
        show_default=True,
        metavar="URL",
        help="The database, a SQLAlchemy URL.",
    ),
    click.option(
        "--host",
        default="localhost",
        help="The address to listen on; this machine alone if not told.",
    ),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=13000,
        show_default=True,
        help="The port to listen on.",
    ),
)
def serve_database(drawing: Drawing, *, storage: str, host: str, port: int) -> int:
    """Serves a database to others by gRPC. It asks for no password and encrypts nothing: serve a
    network that you trust.
    """
    import optuna

    from storage.database import open_storage, parse_storage_url
    from storage.errors import ParameterError
    from storage.proxy import is_proxy, serve_proxy, shown

    url = parse_storage_url(storage)
    if is_proxy(url):
        raise ParameterError("storage", f"expected a database, got {shown(url)}, a proxy")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = open_storage(url)
    drawing.say(f"Serving: {shown(url)} at grpc://{host}:{port}, Ctrl-C ends")
    serve_proxy(opened, host, port)
    return 0


if __name__ == "__main__":
    main()
