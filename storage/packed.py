"""What a file is packed with, told by its content, and what is packed in it: one file, as a stream.

Of a zip file it is its only member. Formats that are zip files themselves are called by their name.
"""

import bz2
import gzip
import io
import lzma
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast

from storage.errors import InputError, printable

MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06)"),
}
UNPACKED_BY_ARROW = ("gzip", "zstd", "bz2")
# Not RuntimeError nor MemoryError, which may be those of whoever reads.
FAULTS = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile)
FAULTS_OF_ZIP = (*FAULTS, ValueError, struct.error, LookupError, NotImplementedError)
ADDED = re.compile(r"(^|/)(__MACOSX/|\._|(\.DS_Store|Thumbs\.db|desktop\.ini)$)")  # by systems
ZIPPED_FORMATS = {  # a member that they have
    "xl/workbook.xml": "an Excel workbook; save the sheet as CSV",
    "xl/workbook.bin": "an Excel workbook; save the sheet as CSV",
    "content.xml": "an OpenDocument file; save the sheet as CSV",
}


def compression(path: Path) -> str | None:
    """`gzip`, `zstd`, `bz2`, `xz`, `zip`, or None.

    Raises:
        OSError: the file cannot be read.
        InputError: it is a pipe, of which nothing can be read twice.
    """
    if path.is_fifo():
        raise InputError(f"{path}: expected a file, got a pipe")
    with path.open("rb") as file:
        begin = file.read(10)
    return next((kind for kind, magic in MAGIC.items() if magic.match(begin)), None)


def check_plain(path: Path, what: str) -> None:
    """Raises InputError if a file is packed whose format packs its own blocks."""
    if kind := compression(path):
        raise InputError(
            f"{path}: expected a file of {what} as it is, got one in {kind}; unpack it"
        )


def unpacked(path: Path, file: IO[bytes], kind: str | None) -> IO[bytes]:
    """The content of a file that is open.

    Raises:
        InputError: a zip file holds more or less than one file, or what needs a password.
        Exception: one of `FAULTS`, or an OSError, now or when it is read.
    """
    match kind:
        case "gzip":
            return cast(IO[bytes], gzip.GzipFile(fileobj=file))
        case "bz2":
            return cast(IO[bytes], bz2.BZ2File(file))
        case "xz":
            return cast(IO[bytes], lzma.LZMAFile(file))
        case "zstd":
            import pyarrow as pa

            return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file), "zstd"))
        case "zip":
            return _only_member(path, file)
        case _:
            return file


def _only_member(path: Path, file: IO[bytes]) -> IO[bytes]:
    """What is in a zip file of one file, besides what systems add."""
    try:
        archive = zipfile.ZipFile(file)
        inside = {one.filename: one for one in archive.infolist() if not one.is_dir()}
        for name, what in ZIPPED_FORMATS.items():
            if name in inside:
                raise InputError(f"{path}: expected a table, got {what}")
        if inside and all(name.endswith(".npy") for name in inside):
            raise InputError(
                f"{path}: expected a table, got arrays of NumPy; numpy.load opens them, and "
                "study.load takes one of users, items and ratings from Python"
            )
        files = [one for name, one in inside.items() if not ADDED.search(name)]
        if len(files) != 1:
            raise InputError(f"{path}: expected a zip file of one file, got {_listed(files)}")
        if files[0].flag_bits & 1:
            raise InputError(f"{path}: expected a zip file without a password; unpack it")
        return archive.open(files[0])
    except InputError:
        raise
    except FAULTS_OF_ZIP as error:
        raise zipfile.BadZipFile(str(error)) from error


def _listed(files: list[zipfile.ZipInfo]) -> str:
    """How many files these are, and what to do: the one that is most like ratings comes first."""
    if not files:
        return "none"
    names = sorted((one.filename for one in files), key=lambda name: ("rating" not in name, name))
    shown = ", ".join(printable(name[:60]) for name in names[:3])
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return f"{len(names):,}, {shown}{more}; unpack it, and give the one that is meant"
