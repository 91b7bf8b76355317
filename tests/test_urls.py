"""No password, nor a part of one, is in what is printed of a database URL that cannot be used."""

import contextlib
import io
from collections.abc import Callable
from urllib.parse import quote

import pytest
import sqlalchemy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.database import check_database, parse_storage_url
from storage.errors import InputError
from storage.proxy import shown
from storage.urls import hidden, without_passwords, without_secrets
from study import best_predict, recommend, run, serve_database, tune
from study.cli import storage_word
from study.report import __main__ as report
from study.workers.job import Job

NEUTRAL = ("§", "§@§", "§/§@§", "§:§@§", "§?§@§", "?s=§@§")  # what messages say of any password
PASSWORDS = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=3, max_size=20)
PASSWORDS |= st.text("ab1 @/:?#%&=+[]{}'\"\\*", min_size=3, max_size=12)
PASSWORDS = PASSWORDS.filter(str.isprintable)
URLS = (
    "postgresql+psycopg://me:{}@127.0.0.1:1/db",
    "postgresql+psycopg://me:{}@127.0.0.1:port/db",
    "postgresql+psycopg://me:{}@127.0.0.1:1/db\n",
    "postgresql+psycopg://me/you:{}@127.0.0.1:1/db",
    "postgresql+psycopg://me@you:{}@127.0.0.1:1/db",
    "postgresql+psycopg://:{}@127.0.0.1:1/db",
    "postgresql+psycopg://127.0.0.1:1/db?password={}",
    "postgresql+psycopg://127.0.0.1:1/db?sslpassword={}&foo=1",
    "postgresql+psycopg://127.0.0.1:port/db?password={}",
    "mysql+pymysql://me:{}@127.0.0.1:1/db",
    "mysql+pymysql://me:{}@127.0.0.1:1/db?charset=nonsense",
    "mysql+pymysql://127.0.0.1:1/db?password={}",
    "mysql+mysqldb://me:{}@127.0.0.1:1/db",
    "nosql://me:{}@127.0.0.1:1/db",
    "nosql://me:{}@127.0.0.1:port/db",
    "postgres//me:{}@127.0.0.1:1/db",
    "postgresql:/me:{}@127.0.0.1:1/db",
    "me:{}@127.0.0.1",
    "grpc://me:{}@127.0.0.1:1",
    "sqlite:///db?password={}",
    "sqlite://me:{}@127.0.0.1/db",
    "sqlite://me/you:{}@127.0.0.1/db",
)


def leaked(password: str, said: str, known: str) -> list[str]:
    """The parts of a password that a message holds and would not hold for another password."""
    parts = {password[i : i + 3] for i in range(len(password) - 2)}
    return [part for part in parts if part in said and part not in known]


def complaint(url: str) -> str:
    """What is said of a URL that cannot be used."""
    with pytest.raises(InputError) as error:
        check_database(parse_storage_url(url))
    cause = error.value
    assert cause.__suppress_context__ or cause.__context__ is None
    assert str(cause).isprintable()
    return str(cause)


def known(url: str) -> str:
    """What messages about a URL hold whatever its password is."""
    return "\0".join([url, *(complaint(url.format(one)) for one in NEUTRAL)])


@pytest.mark.parametrize("encode", [str, lambda password: quote(password, safe="")])
@pytest.mark.parametrize("url", URLS)
def test_no_complaint_holds_a_part_of_the_password(url: str, encode: Callable[[str], str]) -> None:
    pytest.importorskip("grpc")
    pytest.importorskip("pymysql")
    pytest.importorskip("psycopg")
    always = known(url)

    @settings(max_examples=10, deadline=None)
    @given(PASSWORDS)
    @example("p@ss/w#rd")
    @example("secret")
    @example("one?two=thr@e")
    @example("{secret}")
    @example("€uro 'n' \\more")
    def check(password: str) -> None:
        said = complaint(url.format(encode(password)))
        assert not leaked(encode(password), said, always)
        assert not leaked(password, said, always)

    check()


def printed(command: Callable[[list[str]], None], *arguments: str) -> str:
    """What a command that cannot be run prints."""
    out = io.StringIO()
    to_out = contextlib.redirect_stdout(out), contextlib.redirect_stderr(out)
    with to_out[0], to_out[1], pytest.raises(SystemExit) as exit_:
        command(list(arguments))
    assert exit_.value.code == 2
    assert len(out.getvalue().splitlines()) == 1
    return out.getvalue()


@pytest.mark.parametrize("command", [run, best_predict, recommend, report, serve_database])
@pytest.mark.parametrize(
    "form", ["--storage={}", "--storge={}", "--storge {}", "{}", "--data={}", "--data {}"]
)
@pytest.mark.parametrize("url", ["postgresql+psycopg://me:{}@127.0.0.1:port/db", "me:{}@host:1/db"])
def test_no_command_prints_it_wherever_the_url_stands(
    command: object, form: str, url: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    main = command.main  # type: ignore[attr-defined]

    def said(password: str) -> str:
        arguments = [word.format(url.format(password)) for word in form.split()]
        if command is recommend:
            arguments += ["--user", "1"]
        return printed(main, *arguments)

    always = said("§") + said("§@§/§") + url
    for password in ("secret", "p@ss/w#rd", "two words", "it's\\", "a?b=c@def", "é\u00a0x\u200by"):
        assert not leaked(password, said(password), always)


@pytest.mark.parametrize("url", ["postgres//me:{}@host", "postgresql://me:{}@host:port/db"])
def test_no_exception_holds_it(url: str) -> None:
    with pytest.raises(InputError) as error:
        tune({"user": [1, 2], "item": [1, 2], "rating": [1, 2]}, storage=url.format("p@ss/w#rd"))
    assert "***" in str(error.value)
    assert not leaked("p@ss/w#rd", str(error.value), url)
    with pytest.raises(InputError, match="expected a file, got a URL") as error:
        tune(url.replace("//", "://", "://" not in url).format("p@ss/w#rd"))
    assert not leaked("p@ss/w#rd", str(error.value), url)


def test_a_storage_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="as a text, got a URL"):
        parse_storage_url(sqlalchemy.make_url("sqlite:///x.db"))  # type: ignore[arg-type]


def test_a_job_does_not_show_it() -> None:
    fields = dict.fromkeys(Job.__dataclass_fields__)
    assert "secret" not in repr(Job(**fields | {"storage": "x://me:secret@h"}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://me:p@ss/w#rd@host/db", "postgresql+psycopg://me:***@host/db"),
        ("postgresql://me:secret@[::1]:5432/db?x=1", "postgresql://me:***@[::1]:5432/db?***"),
        ("postgresql://host:5432/db?password=se@cret", "postgresql://host:***"),
        ("postgresql://me:secret", "postgresql://me:***"),
        ("postgres//me:secret@host", "postgres//me:***@host"),
        ("postgres:secret@host", "postgres:***@host"),
        ("me:secret@host", "me:***@host"),
        ("grpc://host:13000", "grpc://host:13000"),
        ("runs/study.db", "runs/study.db"),
        ("C:\\study.db", "C:\\study.db"),
    ],
)
def test_what_is_hidden_of_a_text(text: str, expected: str) -> None:
    assert hidden(text) == expected


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://me:p@ss@host/db", "grpc://me:p@ss@host", "nosql://a/b:p@h/db"]
)
def test_a_second_at_is_refused_before_a_name_server_is_asked_for_the_password(url: str) -> None:
    with pytest.raises(InputError, match=r"expected one @, before the host, got .* written %40"):
        parse_storage_url(url)


def test_a_password_that_is_percent_encoded_is_taken() -> None:
    url = parse_storage_url(
        "postgresql+psycopg://me:p%40ss%2Fw%23rd%7B%25@host/d%40b?options=a%40b"
    )
    assert (url.password, url.host, url.database) == ("p@ss/w#rd{%", "host", "d@b")
    assert shown(url) == "postgresql+psycopg://me:***@host/d%40b"
    assert parse_storage_url("sqlite:///me@home:1@x.db").database == "me@home:1@x.db"


def test_a_driver_that_quotes_it_is_not_quoted() -> None:
    url = sqlalchemy.make_url(
        "postgresql://me:it's%20%40@h/db?sslpassword=other&application_name=x"
    )
    said = without_secrets("got \"it's @\", it%27s%20%40 and\n 'it's\n @', 'other' of x", url)
    assert said == "got \"***\", *** and '***', '***' of x"


def test_a_message_is_left_as_it_is_where_there_is_no_password() -> None:
    for message in (
        "postgresql://me:***@host/db: cannot be used (no route to me@host)",
        "grpc://localhost:13000: no answer in 10 seconds",
        "a: b@c.csv: no such file",
    ):
        assert without_passwords(message) == message
    assert without_passwords("x:/me:se cr@t@h/db: gone") == "x:/me:***@h/db: gone"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("sqlite:///runs/a b.db", "'sqlite:///runs/a b.db'"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg://me@host/db"),
        ("postgresql+psycopg://me:secret@host/db", '"$STORAGE"'),
        ("mysql+pymysql://host/db?password=secret", '"$STORAGE"'),
    ],
)
def test_a_command_that_is_printed_can_be_run_and_holds_no_password(text: str, word: str) -> None:
    assert storage_word(parse_storage_url(text)) == word
