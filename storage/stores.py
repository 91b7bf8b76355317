"""Files in a store such as S3, read where they are: paths whose bytes PyArrow's file systems give.

A URI such as `s3://bucket/folder` is the path of a file or a folder, of which readers ask what they
ask of any other. Arrow reads Parquet there by itself, no more than the columns and row groups that
are wanted; of other files what was read last is kept in memory for a while, since whoever finds out
how a text is written begins again and again.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path, PosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from storage.errors import InputError, printable
from storage.urls import shown_uri

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileInfo, FileSystem

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
KNOWN = "s3://, gs://, abfs://, hdfs:// or file://"
RESERVED = "%:/?#[]@!$&'()*+,;=~"  # what a URI may hold besides letters and digits
HEAD_BYTES, BLOCK_BYTES, N_BLOCKS = 1 << 17, 1 << 24, 8  # that are read at once, and kept
GOOGLE_PATIENCE = "retry_limit_seconds=30"  # not a quarter of an hour
REASONS = {  # of what the libraries say
    "no access": (
        *("ACCESS_DENIED", "INVALID_ACCESS_KEY", "INVALID_CLIENT_TOKEN", "SIGNATURE", "EXPIRED"),
        *("HTTP status 401", "HTTP status 403", "PERMISSION_DENIED", "UNAUTHENTICATED"),
        *("Authentication", "Authorization", "Forbidden", "credential"),
    ),
    "cannot be reached": (
        *("NETWORK_CONNECTION", "REQUEST_TIMEOUT", "SERVICE_UNAVAILABLE", "resolve host"),
        *("UNAVAILABLE", "connect"),
    ),
}


class StoredPath(PosixPath):
    """A file, or a folder with some, in a store; as a text its URI without what may be secret."""

    uri: str  # passwords and all
    options: str  # behind it, without passwords
    _text: str

    @classmethod
    def at(cls, uri: str) -> "StoredPath":
        """The path that a URI tells."""
        uri = quote(uri, safe=RESERVED)
        text, mark, options = shown_uri(uri).partition("?")
        return cls._made(uri, text.rstrip("/"), mark + options)

    @classmethod
    def _made(cls, uri: str, text: str, options: str) -> "StoredPath":
        path = cls(text)
        path.uri, path._text, path.options = uri, text, options
        return path

    @property
    def word(self) -> str:
        """What tells it to a command, but for passwords."""
        return self._text + self.options

    def __str__(self) -> str:
        return self._text

    def __fspath__(self) -> str:
        return self._text

    def __reduce__(self) -> Any:
        return StoredPath.at, (self.uri,)

    def with_segments(self, *parts: str | os.PathLike[str]) -> Path:
        """What is made of its parts, which is no path to ask for anything."""
        return Path(*parts)

    def absolute(self) -> "StoredPath":
        """Itself."""
        return self

    def resolve(self, strict: bool = False) -> "StoredPath":
        """Itself."""
        return self

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is a file or a folder."""
        return self.is_file() or self.is_dir()

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file."""
        return bool(self._about.is_file)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder: that there are files in it."""
        return bool(self._about.type.name == "Directory")

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Its size, and when it was modified.

        Raises:
            FileNotFoundError: there is no such file or folder.
        """
        if not self.exists():
            raise FileNotFoundError(2, "no such file", str(self))
        mode, n_bytes = stat.S_IFREG if self.is_file() else stat.S_IFDIR, self._about.size or 0
        when = self._about.mtime_ns or 0
        return os.stat_result((mode, 0, 0, 0, 0, 0, n_bytes, 0, 0, 0), {"st_mtime_ns": when})

    def files(self) -> "list[StoredPath]":
        """All files in a folder.

        Raises:
            InputError: it cannot be reached.
        """
        from pyarrow.fs import FileSelector

        store, folder = self._place
        with self._reached():
            found = store.get_file_info(FileSelector(folder, recursive=True))
        return [self._inside(one) for one in found if one.is_file]

    def open(self, *_: object, **__: object) -> IO[bytes]:  # type: ignore[override]
        """The bytes of a file.

        Raises:
            InputError: there is no such file, or it cannot be read, now or later.
        """
        self._check_file()
        return io.BufferedReader(_Bytes(self))

    def arrow_file(self) -> "pa.NativeFile":
        """The file as Arrow reads it, of which each part is a request.

        Raises:
            InputError: there is no such file, or it cannot be read.
        """
        self._check_file()
        store, key = self._place
        with self._reached():
            return store.open_input_file(key)

    @cached_property
    def _place(self) -> "tuple[FileSystem, str]":
        """The store, and what it calls the file or folder."""
        from pyarrow.fs import FileSystem

        uri = self.uri
        if uri.startswith(("gs:", "gcs:")) and "retry_limit_seconds=" not in uri:
            uri += ("&" if "?" in uri else "?") + GOOGLE_PATIENCE
        with self._reached():
            store, key = FileSystem.from_uri(uri)
        if not (key := key.rstrip("/")):
            raise InputError(f"{self}: expected a bucket, and a file or a folder in it, got none")
        return store, key

    @cached_property
    def _about(self) -> "FileInfo":
        store, key = self._place
        with self._reached():
            return store.get_file_info(key)

    def _inside(self, about: "FileInfo") -> "StoredPath":
        """A file in this folder."""
        store, folder = self._place
        name = quote(about.path[len(folder) + 1 :])
        begin, mark, options = self.uri.partition("?")
        uri = f"{begin.rstrip('/')}/{name}{mark}{options}"
        path = self._made(uri, f"{self}/{name}", self.options)
        path.__dict__.update(_place=(store, about.path), _about=about)
        return path

    def _check_file(self) -> None:
        """Raises InputError if it is none."""
        if self.is_dir():
            raise InputError(f"{self}: expected a file, got a folder")
        if not self.is_file():
            more = "; a pattern is none, give its folder" if "*" in self.name else ""
            raise InputError(f"{self}: no such file, folder or bucket{more}")

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever goes wrong in a store is an InputError."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            said = " ".join(str(error).split()).replace(self.uri, self.word)
            why = (why for why, words in REASONS.items() if any(word in said for word in words))
            what = next(why, "cannot be read")
            raise InputError(f"{self}: {what} ({printable(said[:200])})") from None


def as_path(given: str | os.PathLike[str]) -> Path:
    """The path of a file that was told, by a path or a URI."""
    if isinstance(given, Path):
        return given
    scheme, is_uri, _ = str(given).partition("://")
    if is_uri and scheme in SCHEMES:
        return StoredPath.at(str(given))
    if is_uri and scheme == "file" and urlsplit(str(given)).netloc in ("", "localhost"):
        return Path(unquote(urlsplit(str(given)).path))
    return Path(given)


def arrow_file(path: Path) -> "pa.NativeFile":
    """A file as Arrow reads it.

    Raises:
        OSError: it cannot be opened.
        InputError: it lies in a store, and there is no such file, or it cannot be reached.
    """
    import pyarrow as pa

    return path.arrow_file() if isinstance(path, StoredPath) else pa.OSFile(os.fsencode(path))


def forget() -> None:
    """Gives back the memory of what was read last."""
    _block.cache_clear()


class _Bytes(io.RawIOBase):
    """The bytes of a file in a store, a block at a time."""

    def __init__(self, path: StoredPath) -> None:
        self._path, self._at, self._about = path, 0, path.stat()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._about.st_size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        number = (self._at - HEAD_BYTES) // BLOCK_BYTES + 1 if self._at >= HEAD_BYTES else 0
        start = HEAD_BYTES + (number - 1) * BLOCK_BYTES if number else 0
        size = self._about.st_size
        if self._at >= size:
            return 0
        version = (self._path.uri, size, self._about.st_mtime_ns)
        n_bytes = min(BLOCK_BYTES if number else HEAD_BYTES, size - start)
        block = _block(self._path, version, start, n_bytes)
        found = memoryview(block)[self._at - start :][: len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


@lru_cache(maxsize=N_BLOCKS)
def _block(path: StoredPath, version: object, start: int, n_bytes: int) -> bytes:
    """Some bytes of a file as it was then.

    Raises:
        InputError: they cannot be read.
    """
    with path.arrow_file() as file, path._reached():
        found: bytes = file.read_at(n_bytes, start)
    if len(found) < n_bytes:
        raise InputError(f"{path}: expected {start + n_bytes:,} bytes, got fewer")
    return found
