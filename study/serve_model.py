"""`python -m study.serve_model`: answers over HTTP with a saved model; a page for people."""

import signal
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.cli import run_command
from study.drawing import Drawing
from study.options import FilePath, options

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from study.service.source import Source

PROG = "study.serve_model"
BACKLOG = 2048  # connections that wait to be taken
GRACE_SECONDS = 30  # for what is being answered when it is to end
EPILOG = """\
examples:
  python -m study.serve_model --model my.model
  python -m study.serve_model --model my.model --workers 4 --port 80
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; runs until it is stopped, and exits with 2 for bad input."""
    run_command(serve_model, PROG, arguments, epilog=EPILOG)


@options(
    click.option(
        "--model",
        type=FilePath(),
        required=True,
        metavar="FILE",
        help="A saved model. One that takes its place (mv) is taken up within seconds.",
    ),
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="The address to listen on; this machine alone if not told.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8000,
        show_default=True,
        help="The port to listen on; 0 takes a free one.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        metavar="W",
        help="How many processes answer; they share the file's memory.",
    ),
)
def serve_model(drawing: Drawing, *, model: Path, host: str, port: int, workers: int) -> int:
    """Answers over HTTP with a saved model, and has a page for people. It asks for no password and
    encrypts nothing: put a web server with TLS and a login before it if others may reach it.
    """
    from storage.errors import InputError
    from storage.proxy import how_to_get

    try:
        from uvicorn import Config, Server
        from uvicorn.supervisors import Multiprocess

        import study.service.app  # noqa: F401
        from study.service.source import Source
    except ImportError as error:
        if error.name not in ("fastapi", "pydantic", "uvicorn"):
            raise
        raise InputError(f"needs {how_to_get(error.name)}") from None

    with drawing.status("Loading the model…"):
        source = Source(model.absolute(), drawing)
    listening = _listening(host, port)
    where = f"[{host}]" if ":" in host else host
    drawing.say(f"Model: {model}, {source.now.model.data}")
    drawing.say(f"Serving: http://{where}:{listening.getsockname()[1]}/, Ctrl-C ends")
    config = Config(
        partial(_app, model.absolute(), workers) if workers > 1 else partial(_of, source, workers),
        factory=True,
        workers=workers,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn answers it, and raises it once more
    signal.signal(signal.SIGINT, lambda *_: None)
    if workers > 1:
        Multiprocess(config, sockets=[listening]).run()
    else:
        Server(config).run(sockets=[listening])
    return 0


def _app(path: Path, workers: int) -> "ASGIApp":
    """The application in a process of its own."""
    from study.service.source import Source

    return _of(Source(path, Drawing()), workers)


def _of(source: "Source", workers: int) -> "ASGIApp":
    from model.kernels.threads import n_threads
    from study.service.app import app_of

    return app_of(source, n_threads=max(2, n_threads() // workers))


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address.

    Raises:
        InputError: it cannot be listened on.
    """
    from storage.errors import InputError

    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Only where the protocol is told does asyncio send small packets at once (TCP_NODELAY):
        # else head and body of an answer are 40 ms apart.
        found = socket.socket(family, kind, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{host}, port {port}: cannot be listened on ({reason})") from None
    return found


if __name__ == "__main__":
    main()
