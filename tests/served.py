"""A folder served as a bucket of S3, as much of it as readers ask for."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


@dataclass
class Bucket:
    """What is served, and what was asked for."""

    folder: Path
    port: int = 0
    status: int = 200  # of all answers; another refuses
    read: list[tuple[str, int, int]] = field(default_factory=list)  # key, first byte, how many

    def uri(self, key: str = "") -> str:
        """The URI of a file or a folder."""
        options = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"s3://me:secret@{BUCKET}/{key}?{options}"

    def shown(self, key: str = "") -> str:
        """The same, as people see it."""
        return f"s3://me:***@{BUCKET}/{key}"

    @property
    def n_bytes(self) -> int:
        """How much was read."""
        return sum(size for *_, size in self.read)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Bucket]:
    """The files of a folder in a bucket."""
    bucket = Bucket(folder)
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        bucket.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        """A list of keys, or the bytes of a file, or some of them."""
        url = urlsplit(self.path)
        name, _, key = unquote(url.path).lstrip("/").partition("/")
        path = self.bucket.folder / key
        if self.bucket.status != 200:
            self._answer(self.bucket.status, b"")
        elif name != BUCKET or (key and not path.is_file()):
            self._answer(404, b"")
        elif key:
            self._file(key, path)
        else:
            self._answer(200, self._listed(parse_qs(url.query).get("prefix", [""])[0]))

    def _file(self, key: str, path: Path) -> None:
        content = path.read_bytes()
        start = 0
        more = {"Last-Modified": formatdate(path.stat().st_mtime, usegmt=True)}
        if asked := self.headers["Range"]:
            start, end = map(int, asked.removeprefix("bytes=").split("-"))
            more["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content = content[start : end + 1]
        if self.command == "GET":
            self.bucket.read.append((key, start, len(content)))
        self._answer(206 if asked else 200, content, more)

    def _listed(self, prefix: str) -> bytes:
        files = [one for one in sorted(self.bucket.folder.rglob("*")) if one.is_file()]
        keys = {str(one.relative_to(self.bucket.folder)): one.stat() for one in files}
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{about.st_size}</Size><LastModified>"
            f"2024-01-01T00:00:{int(about.st_mtime) % 60:02}.000Z</LastModified></Contents>"
            for key, about in keys.items()
            if key.startswith(prefix)
        )
        head = f"<IsTruncated>false</IsTruncated><KeyCount>{found.count('<Key>')}</KeyCount>"
        return f"<ListBucketResult>{head}{found}</ListBucketResult>".encode()

    def _answer(self, status: int, content: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
