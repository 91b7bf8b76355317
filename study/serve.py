"""`python -m study.serve`: lets machines that have no database server share a study."""

import argparse
from collections.abc import Sequence

from study.cli import DEFAULT_STORAGE, Parser, at_least, run_command

PROG = "study.serve"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; runs until it is stopped, and exits with 2 for bad input."""
    parser = Parser(
        prog=f"python -m {PROG}",
        description="Serves a database to others by gRPC: they run\n"
        "    python -m study.run --storage grpc://HOST:PORT --data FILE\n"
        "It asks for no password and encrypts nothing: serve a network that you trust.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--storage",
        default=DEFAULT_STORAGE,
        metavar="URL",
        help="the database, a SQLAlchemy URL (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        default="localhost",
        help="the address to listen on (default: this machine alone)",
    )
    parser.add_argument(
        "--port",
        type=at_least(1, int),
        default=13000,
        help="the port to listen on (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    run_command(lambda: serve(options), PROG)


def serve(options: argparse.Namespace) -> int:
    """Serves the database that the options name, until it is stopped: the exit code."""
    from storage.database import open_storage, parse_storage_url
    from storage.errors import InputError
    from storage.proxy import is_proxy, shown, start_server

    url = parse_storage_url(options.storage)
    if is_proxy(url):
        raise InputError(f"--storage: expected a database, got {shown(url)}, a proxy")
    server = start_server(open_storage(url), options.host, options.port)
    print(f"Serving: {shown(url)} at grpc://{options.host}:{options.port}, Ctrl-C ends", flush=True)
    server.wait_for_termination()
    return 0


if __name__ == "__main__":
    main()
