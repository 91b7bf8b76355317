"""Whether broken files are ever more than one line to their reader: no traceback, hang or hunger.

    python -m benchmarks.fuzz [--examples 2000] [--only READER …] [--keep FOLDER]

Every reader gets files that began as good ones and were cut, flipped, doubled and written into, and
random ones besides. It may take them, or refuse them by the errors that it declares; anything else
counts as a failure, so does a file that takes longer than `SECONDS`. A reader runs in a process of
its own with no more than `BYTES` of address space on top of what it begins with; its peak is that
of the whole process, of which the interpreter and the libraries are most.
"""

# This process stays small, for what is started from it inherits its peak: nothing heavy up here.
import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10
BYTES = 1 << 30

MAT_COMP = b"3 4 6\n1 1 5\n1 2 3.5\n2 1 4\n3 1 1\n3 4 2\n3 4 2.5\n2\n2 2\n3 3\n"
CSV = b'user_id,item,rating,note\n1,a,5,x\n2,"b, c",3.5,"y\nz"\n3,a,1,\n3,\xc3\xa9,2,"q""q"\n'
TITLES = b'item_id,title,year\n1,One,1999\n2,"Two, or so",2000\n3,\xc3\x89tude,2001\n'
JSON = (
    b'{"user_id": "u1", "item": 7, "rating": 5, "tags": [{"a": null}], "note": "\\u00e9\\n"}\n'
    b'{"user_id": "u2", "rating": 3.5, "item": 7}\n{"item": 9, "rating": 4, "user_id": "u1"}\n'
)
STAMPED = b"1,10,5,978300760\n1,30,3.5,978300761\n2,10,4,978300762\n3,20,1,978300763\n"
PIECES = [
    *(b"\0", b"\n", b"\r\n", b" ", b"\t", b",", b"::", b'"', b"'", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(
        b"nan",
        b"inf",
        b"-1",
        b"0",
        b"1e400",
        b"1e15",
        b"1_0",
        b"9" * 30,
        b"2147483648",
        b"x" * 2000,
    ),
    *(b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"SQLite format 3\0", b"\xd9\xa3", b"\x1b[2J"),
    *(
        b"{",
        b"}",
        b"[",
        b"{" * 2000,
        b'{"item":',
        b"null",
        b"true",
        b"\\ud800",
        b"PK\3\4",
        b"ARROW1\0\0",
    ),
    *(b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00" * 8, b"99999999999 1 1\n"),
]


class TooSlowError(Exception):
    """A file took longer than it may."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Something that reads files that others wrote."""

    good: list[bytes]  # files as they should be; the first is taken on every machine
    read: Callable[[Path], object]
    refuses_by: tuple[type[Exception], ...]


def readers() -> dict[str, Reader]:
    """Every reader by its name."""
    import bz2
    import lzma

    from storage.database import parse_storage_url
    from storage.errors import InputError
    from storage.files import DamagedFileError, read_arrays
    from storage.item_tables import read_titles
    from storage.models import load_model
    from storage.tables import read_pairs, read_ratings

    packed = [gzipped, zstandard]
    tables = {
        "mat_comp": [MAT_COMP, *(pack(MAT_COMP) for pack in packed)],
        "csv": [CSV, STAMPED, CSV.replace(b",", b";"), *(pack(CSV) for pack in packed)],
        "tsv": [CSV.replace(b",", b"\t"), STAMPED.replace(b",", b"\t")],
        "colons": [STAMPED.replace(b",", b"::"), gzipped(STAMPED.replace(b",", b"::"))],
        "blanks": [STAMPED.replace(b",", b"  "), STAMPED.replace(b",", b" \t ")],
        "parquet": parquets(),
        "arrow": arrows(),
        "json": [JSON, *(pack(JSON) for pack in packed)],
        "packed": [pack(CSV) for pack in (bz2.compress, lzma.compress, zipped)],
    }
    found = {
        name: Reader(good=good, read=read_ratings, refuses_by=(InputError,))
        for name, good in tables.items()
    }
    return found | {
        "queries": Reader(
            good=[CSV, JSON, *tables["colons"], *tables["parquet"], *tables["arrow"]],
            read=read_pairs,
            refuses_by=(InputError,),
        ),
        "times": Reader(good=timed(), read=read_times, refuses_by=(InputError,)),
        "items": Reader(good=described(), read=read_items, refuses_by=(InputError,)),
        "titles": Reader(
            good=[TITLES, TITLES.replace(b",", b"|"), zipped(TITLES), *books()],
            read=lambda path: read_titles(path, warn=lambda _: None),
            refuses_by=(InputError,),
        ),
        "truth": Reader(
            good=[
                b"4\n3.5\n1e0\n",
                *(gzipped(b"4\n3.5\n1e0\n"), b"id;stars\n1;2\n2;5\n3;1\n", CSV, *parquets()),
            ],
            read=read_true,
            refuses_by=(InputError,),
        ),
        "arrays": Reader(good=[arrays()], read=read_arrays, refuses_by=(DamagedFileError,)),
        "model": Reader(good=[arrays()], read=load_model, refuses_by=()),
        "cache": Reader(good=[b""], read=read_with_cache, refuses_by=()),
        "storage url": Reader(
            good=[
                b"sqlite:///runs/study.db",
                b"postgresql+psycopg://me:secret@host:5432/db?sslmode=require",
                b"mysql://me@[::1]/db",
            ],
            read=lambda path: parse_storage_url(path.read_bytes().decode(errors="surrogateescape")),
            refuses_by=(InputError,),
        ),
        "sqlite": Reader(good=[database()], read=read_database, refuses_by=database_errors()),
    }


def files(good: list[bytes]) -> "SearchStrategy[bytes]":
    """Good files with up to six changes each, and some that are random."""
    from hypothesis import strategies as st

    place = st.integers(0, 1 << 20)
    change = st.one_of(
        st.tuples(st.just("cut"), place, place),
        st.tuples(st.just("end"), place, place),
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("double"), place, place),
        st.tuples(st.just("write over"), place, st.sampled_from(PIECES) | st.binary(max_size=8)),
        st.tuples(st.just("insert"), place, st.sampled_from(PIECES) | st.binary(max_size=8)),
    )
    changed = st.builds(_changed, st.sampled_from(good), st.lists(change, min_size=1, max_size=6))
    pieces = st.lists(st.sampled_from(PIECES) | st.sampled_from(good), max_size=6).map(b"".join)
    return st.one_of(changed, changed, changed, st.binary(max_size=200), pieces)


def attempt(reader: Reader, path: Path, content: bytes) -> bool:
    """Whether the reader took the file; its own errors are no failures.

    Raises:
        Exception: the reader raised something that it does not declare, or no one line.
    """
    path.write_bytes(content)
    try:
        reader.read(path)
    except reader.refuses_by as error:
        from storage.errors import InputError

        if isinstance(error, InputError) and len(str(error)) > len(str(path)) + 800:
            raise AssertionError(f"too long a line: {error}") from error
        return False
    return True


def gzipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


def zstandard(content: bytes) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue().to_pybytes())


def zipped(content: bytes) -> bytes:
    import io
    import zipfile

    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("ratings.csv"), content)
    return sink.getvalue()


def arrows() -> list[bytes]:
    """Tables of numbers and of texts, plain and compressed."""
    import pyarrow as pa

    found = []
    for kind, compression in ((int, None), (str, "zstd")):
        ids = [kind(n % 7) for n in range(40)]
        table = pa.table({"user": ids, "item": ids[::-1], "rating": [n / 2 for n in range(40)]})
        sink, options = pa.BufferOutputStream(), pa.ipc.IpcWriteOptions(compression=compression)
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=25)
        found.append(bytes(sink.getvalue().to_pybytes()))
    return found


def books() -> list[bytes]:
    """Titles as JSON lines, Arrow and Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"title": ["One", None, "Three"], "book_id": ["a", "b", "c"]})
    plain, columnar = pa.BufferOutputStream(), pa.BufferOutputStream()
    with pa.ipc.new_file(plain, table.schema) as writer:
        writer.write_table(table)
    parquet.write_table(table, columnar)
    rows = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    return [rows.encode(), *(bytes(sink.getvalue().to_pybytes()) for sink in (plain, columnar))]


def parquets() -> list[bytes]:
    """Tables of numbers and of texts, plain and compressed."""
    import pyarrow as pa
    from pyarrow import parquet

    found = []
    for kind, compression in ((int, "none"), (str, "snappy"), (str, "zstd")):
        ids = [kind(n % 7) for n in range(40)]
        table = pa.table({"user": ids, "item": ids[::-1], "rating": [n / 2 for n in range(40)]})
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink, compression=compression, row_group_size=25)
        found.append(bytes(sink.getvalue().to_pybytes()))
    return found


def timed() -> list[bytes]:
    """Ratings with times in several spellings."""
    days = b"\n1,10,5,2020-01-31\n1,30,3.5,2020-02-01\n2,10,4,\n"
    clocks = b"\n1,10,5,2020-01-31 13:45:00.5\n1,30,3.5,2020-02-01T00:00:00+02:00\n2,10,4,NaT\n"
    header = b"user,item,rating,time"
    numbers = header + b"\n" + STAMPED
    return [numbers, numbers.replace(b"978", b"978000"), header + days, header + clocks]


def read_times(path: Path) -> object:
    """Reads a column of times that is told, so that whatever is wrong with it is refused."""
    from storage.tables import read_ratings

    return read_ratings(path, ("user", "item", "rating", "time"))


def read_true(path: Path) -> object:
    """Reads the true ratings of three pairs, which `CSV` has."""
    import numpy as np

    from storage.truths import read_truth

    items = np.array(["a", "b, c", "é"], dtype=np.dtypes.StringDType())
    return read_truth(path, np.array([1, 2, 3]), items)


def described() -> list[bytes]:
    """Tables of items: texts, and Parquet with lists and dates."""
    from datetime import date

    import pyarrow as pa
    from pyarrow import parquet

    table = {
        "item": list(range(10)),
        "year": [1990 + n % 3 for n in range(10)],
        "genres": [["War", "Drama"][: n % 3] for n in range(10)],
        "made": [date(1990 + n, 1, 1) for n in range(10)],
    }
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(table), sink)
    rows = "".join(
        f'{n}|Film {n} (19{n}9)|{["Drama,War", "War"][n % 2]}|["a", "b"]|0{n + 1}-Jan-1990\n'
        for n in range(9)
    )
    lists = rows.replace("|", "\t").replace(",", "|").encode()
    return [
        rows.encode(),
        b"item\ttitle\tgenres\ttags\tmade\n" + lists,
        sink.getvalue().to_pybytes(),
    ]


def read_items(path: Path) -> object:
    """Reads a table of items, to the last column."""
    from storage.descriptions import read_descriptions

    known = frozenset(map(str, range(10)))
    return read_descriptions(path, role="item", id_name="item", known_ids=known, name=str(path))


def arrays() -> bytes:
    """A file of arrays."""
    import numpy as np

    from storage.files import write_arrays

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays"
        ids = np.array([1, 2**40, -3])
        write_arrays(path, {"ids": ids, "factors": np.arange(6.0).reshape(3, 2)}, {"rank": 2})
        return path.read_bytes()


def read_with_cache(path: Path) -> None:
    """Puts the content in the place of a cached table, which must be noticed.

    Raises:
        AssertionError: another table came of it.
    """
    from storage.cache import read_cached

    folder, source = path.parent / "cache", path.parent / "source"
    source.write_bytes(CSV)
    digest = read_cached(source, folder).digest
    (kept,) = folder.iterdir()
    good, broken = kept.read_bytes(), path.read_bytes()
    middle = len(broken) * 7919 % len(good)
    kept.write_bytes(good[:middle] + broken + good[middle + len(broken) :])
    if read_cached(source, folder).digest != digest:
        raise AssertionError("another table")


def database() -> bytes:
    """A database that holds a study of one trial."""
    import optuna

    from storage.database import open_storage, parse_storage_url

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        with closed_afterwards():
            storage = open_storage(parse_storage_url(f"sqlite:///{path}"))
            study = optuna.create_study(storage=storage, study_name="one")
            study.tell(study.ask(), 1.0)
            storage.remove_session()
        return path.read_bytes()


def read_database(path: Path) -> None:
    """What a command reads of a database before it begins."""
    import optuna

    from storage.database import check_database, open_storage, parse_storage_url

    for journal in path.parent.glob(f"{path.name}-*"):
        journal.unlink()
    url = parse_storage_url(f"sqlite:///{path}")
    with closed_afterwards():
        check_database(url, must_exist=True)
        storage = open_storage(url)
        for name in optuna.get_all_study_names(storage):
            optuna.load_study(study_name=name, storage=storage).get_trials()


@contextmanager
def closed_afterwards() -> Iterator[None]:
    """Closes the databases that are connected to inside."""
    from sqlalchemy import Connection, Engine, event

    engines = set()

    def note(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", note)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", note)
        for engine in engines:
            engine.dispose()


def database_errors() -> tuple[type[Exception], ...]:
    """What the commands turn into one line when a database fails."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from storage.errors import InputError

    return InputError, StorageInternalError, SQLAlchemyError


def run_child(name: str, examples: int, folder: Path) -> None:
    """Reads so many files and prints what came of it, as JSON."""
    import traceback

    from hypothesis import HealthCheck, Phase, given, seed, settings

    reader = readers()[name]
    taken, slowest = [0, 0], 0.0
    failures: list[str] = []
    path = folder / "file"

    @seed(0)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(files(reader.good))
    def fuzz(content: bytes) -> None:
        nonlocal slowest
        began = time.perf_counter()
        signal.alarm(SECONDS)
        try:
            taken[attempt(reader, path, content)] += 1
        except Exception:
            kept = folder / f"{name.replace(' ', '-')}-{len(failures)}"
            kept.write_bytes(content)
            last = traceback.format_exc().strip().splitlines()[-4:]
            failures.append("\n".join(line[:200] for line in [f"{kept}:", *last]))
        signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - began)

    signal.signal(signal.SIGALRM, _too_slow)
    for content in reader.good:
        attempt(reader, path, content)  # which loads what it needs
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    fuzz()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = {"refused": taken[0], "accepted": taken[1], "slowest": slowest, "failures": failures}
    print(json.dumps(row | {"peak": peak * (1 if sys.platform == "darwin" else 1024)}))


def table(names: list[str], examples: int, folder: Path) -> Iterator[str]:
    """Lines of Markdown; failures below their reader."""
    yield "| reader | files | refused | accepted | longest, s | peak, MB | failures |"
    yield "|---|---|---|---|---|---|---|"
    for name in names:
        command = [sys.executable, "-m", "benchmarks.fuzz", "--child", name]
        command += ["--examples", str(examples), "--keep", str(folder)]
        # Arrow's own allocator reserves a gigabyte at once, of which it uses next to nothing.
        environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONPATH": str(ROOT)}
        limit = 60 + examples * SECONDS / 20
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            yield f"| {name} | hung on {folder / 'file'} | | | | | 1 |"
            continue
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            yield f"| {name} | died on {folder / 'file'}: {done.returncode} {last} | | | | | 1 |"
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        n_files = row["refused"] + row["accepted"] + len(row["failures"])
        yield (
            f"| {name} | {n_files:,} | {row['refused']:,} | {row['accepted']:,} | "
            f"{row['slowest']:.2f} | {row['peak'] / 1e6:,.0f} | {len(row['failures'])} |"
        )
        yield from row["failures"]


def main() -> None:
    """Prints the table; exits with 1 if there was a failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--only", nargs="+", metavar="READER")
    parser.add_argument("--keep", type=Path, help="where files that failed are kept")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options.child, options.examples, options.keep)
        return
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for line in table(options.only or list(NAMES), options.examples, folder):
        failed |= not line.startswith("|") or line.endswith("| 1 |")
        print(line, flush=True)
    sys.exit(failed)


NAMES = (
    *("mat_comp", "csv", "tsv", "colons", "blanks", "parquet", "arrow", "json", "packed"),
    *("queries", "times", "items", "titles", "truth", "arrays", "model", "cache"),
    *("storage url", "sqlite"),
)


def _changed(content: bytes, changes: list[tuple[str, int, int | bytes]]) -> bytes:
    """The content after every change, of which places count from the start, round and round."""
    for kind, at, what in changes:
        place = at % (len(content) + 1)
        if isinstance(what, bytes):
            rest = place + (len(what) if kind == "write over" else 0)
            content = content[:place] + what + content[rest:]
            continue
        stop = place + what % 64
        match kind:
            case "cut":
                content = content[:place] + content[stop:]
            case "end":
                content = content[:place]
            case "double":
                content = content[:stop] + content[place:]
            case "flip" if place < len(content):
                byte = bytes([content[place] ^ 1 << what])
                content = content[:place] + byte + content[place + 1 :]
    return content


def _too_slow(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TooSlowError(f"longer than {SECONDS} s")


if __name__ == "__main__":
    main()
