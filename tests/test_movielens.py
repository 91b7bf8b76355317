"""Public data sets by name, from a server in this process: downloaded once, checked, kept."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from storage import movielens
from storage.errors import InputError
from storage.sources import Sources
from study.inputs import load_data

RATINGS = "".join(f"{u}\t{i}\t{(u * i) % 5 + 1}\t88125094{u}\n" for u in range(9) for i in range(5))


GENRES = ["0|1|0", "0|0|1", "0|1|1", "1|0|0", "0|0|1", "0|1|0"]  # the first three
ITEMS = "".join(
    f"{i}|Café {i} (199{i})|0{i + 1}-Jan-199{i}||http://x/{i}|{flags}{'|0' * 16}\n"
    for i, flags in enumerate(GENRES)
)
USERS = "".join(
    f"{u}|{20 + u % 3}|{'MF'[u % 2]}|{['writer', 'none'][u % 2]}|0{u}\n" for u in range(9)
)


def zipped(member: str, content: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("ml-100k/README", "Terms\n")
        archive.writestr("ml-100k/u.item", ITEMS.encode("latin-1"))
        archive.writestr("ml-100k/u.user", USERS)
        archive.writestr(member, content)
    return target.getvalue()


class Server(ThreadingHTTPServer):
    """Serves files from memory, and counts what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of one small `ml-100k`, which is where it is looked for, and an empty cache."""
    with Server() as server:
        content = zipped("ml-100k/u.data", RATINGS)
        server.files["/ml-100k.zip"] = content
        checksum = hashlib.md5(content).hexdigest()
        monkeypatch.setattr(movielens, "HOME", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setitem(movielens.NAMES, "ml-100k", (checksum, "ml-100k/u.data"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "home" / project)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.chdir(tmp_path)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_it_is_downloaded_once_and_its_licence_told(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    data = load_data(
        Path("ml-100k"), runs=tmp_path / "runs", on_event=lambda event: said.append(event.text)
    )
    assert (data.table.n_ratings, len(data.users), len(data.items)) == (45, 9, 6)
    assert data.source == "ml-100k"
    assert len(said) == 1
    assert "/ml-100k.zip" in said[0]
    assert "not to be passed on" in said[0]
    again = load_data(
        Path("ml-100k"), runs=tmp_path / "other", on_event=lambda event: said.append(event.text)
    )
    assert again.table.digest == data.table.digest
    assert data.file is not None
    assert load_data(data.sources, runs=tmp_path / "runs").table.digest == data.table.digest
    assert load_data(data.file, runs=tmp_path / "runs").table.digest != data.table.digest
    assert (server.asked, len(said)) == (["/ml-100k.zip"], 1)


def test_its_tables_and_times_come_along(server: Server, tmp_path: Path) -> None:
    data = load_data(Path("ml-100k"), runs=tmp_path / "runs")
    assert data.described().splitlines()[2:] == [
        "Times: 1997-12-04 to 1997-12-04",
        "Items: u.item, 6 rows: release_date date, genres "
        "several (19); title for lists; video_release_date (empty), imdb_url (ids) not used; "
        "1 without ratings",
        "Users: u.user, 9 rows: age number, gender "
        "categories (2), occupation categories (2); zip_code (ids) not used",
    ]
    assert data.titles()["5"] == "Café 5 (1995)"
    assert data.items.values.tolist() == [0, 1, 2, 3, 4, 5]


def test_files_of_movielens_are_known_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text(RATINGS)
    (tmp_path / "movies.dat").write_text(
        "".join(f"{i}::Film {i} (199{i})::{'Drama|War' if i % 2 else 'War'}\n" for i in range(5))
    )
    (tmp_path / "users.dat").write_text(
        "".join(f"{u}::{'MF'[u % 2]}::{25 + u % 3}::{u % 4}::0{u}\n" for u in range(9))
    )
    sources = Sources(
        data=tmp_path / "u.data", items=tmp_path / "movies.dat", users=tmp_path / "users.dat"
    )
    data = load_data(sources, runs=tmp_path / "runs")
    assert [one.name for one in data.ratings.item_descriptions] == ["genres", "year of title"]
    assert [one.name for one in data.ratings.user_descriptions] == ["gender", "age", "occupation"]
    table = data.user_side.table
    assert table is not None
    assert "occupation categories (4)" in table.described


def test_a_file_that_was_changed_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["/ml-100k.zip"] = zipped("ml-100k/u.data", RATINGS.replace("1\n", "2\n"))
    with pytest.raises(InputError, match=r"ml-100k: cannot be downloaded from .*(hash|MD5)"):
        movielens.fetch("ml-100k", say=lambda line: None)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_a_server_that_has_no_such_file(server: Server) -> None:
    server.files.clear()
    with pytest.raises(InputError, match=r"404.*unpack it elsewhere and give data=ml-100k/u"):
        movielens.fetch("ml-100k", say=lambda line: None)


def test_a_server_that_cannot_be_reached(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="cannot be downloaded") as error:
        movielens.fetch("ml-100k", say=lambda line: None)
    assert str(error.value).isprintable()


def test_a_file_of_that_name_wins(server: Server, tmp_path: Path) -> None:
    Path("ml-100k").write_text("user,item,rating\na,b,1\na,c,2\n")
    assert load_data(Path("ml-100k"), runs=tmp_path / "runs").table.n_ratings == 2
    assert server.asked == []


def test_a_folder_of_that_name_is_looked_into(server: Server, tmp_path: Path) -> None:
    Path("ml-100k").mkdir()
    with pytest.raises(InputError, match="ml-100k: expected a file, or a folder"):
        load_data(Path("ml-100k"), runs=tmp_path / "runs")
    Path("ml-100k/u.data").write_text(RATINGS)
    with pytest.raises(InputError, match=r"got a directory; did you mean ml-100k/u.data\?"):
        load_data(Path("ml-100k"), runs=tmp_path / "runs")
    assert server.asked == []


def test_a_name_that_is_nearly_right(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ml-32: no such file; did you mean ml-32m\?"):
        load_data(Path("ml-32"), runs=tmp_path)


def test_every_checksum_is_one() -> None:
    for checksum, member in movielens.NAMES.values():
        assert len(checksum) == 32
        assert int(checksum, 16)
        assert "/" in member
