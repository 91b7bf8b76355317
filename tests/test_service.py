"""The service: what it answers is the model's, what is wrong is one line, and it goes on."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():  # of a fork of httpx that it prefers
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

from study import serve_model
from study.events import Event, Said
from study.held import Model
from study.service import app as apps
from study.service import schemas
from study.service.app import app_of
from study.service.source import Source
from tests.held_models import held_model

RATED = {"100": 5, "105": 1, "110": 4.0}
CHECKED = "all => all.map(one => one.value)"  # of inputs
PATHS = ("/predict", "/recommend", "/similar", "/newcomer")

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def model() -> Model:
    return held_model()


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save(tmp_path_factory.mktemp("saved") / "a.model")


@pytest.fixture(scope="module")
def client(saved: Path) -> Iterator[TestClient]:
    """What asks the app, which may not raise anything at all."""
    source = Source(saved, lambda _: None)
    json_ = {"content-type": "application/json"}
    with TestClient(app_of(source, n_threads=2), headers=json_) as client:  # type: ignore[arg-type]
        yield client


def answer(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def refusal(response: httpx.Response) -> str:
    """The one line of an answer that is none."""
    assert 400 <= response.status_code < 500, response.text
    told = response.json()
    assert list(told) == ["error"]
    assert told["error"]
    assert told["error"].isprintable()
    assert "Traceback" not in told["error"]
    assert len(told["error"]) <= apps.LONGEST_ERROR + 1
    return str(told["error"])


def test_pairs_are_predicted_as_by_the_model(client: TestClient, model: Model) -> None:
    pairs = [[" u3 ", 101], ["u4", "102"], ["nobody", 103], ["u5", 9]]
    told = answer(client.post("/predict", json={"pairs": pairs, "intervals": True}))["predictions"]
    frame = {"user": [str(u).strip() for u, _ in pairs], "item": [str(i) for _, i in pairs]}
    expected = model.predict(frame, intervals=True)
    assert [[one["user"], one["item"]] for one in told] == pairs  # as they were given
    for name in ("prediction", "std", "lower", "upper"):
        assert [one[name] for one in told] == pytest.approx(list(expected[name]), abs=1e-6)
    whole = answer(client.post("/predict", json={"pairs": [*pairs, ["nobody", pairs[0][1]]]}))
    plain = whole["predictions"][: len(pairs)]
    assert whole["unknown"] == 3  # nobody twice, and item 9
    assert set(plain[0]) == {"user", "item", "prediction"}


def test_a_user_gets_the_models_list_by_either_method(client: TestClient, model: Model) -> None:
    asked = {"user": "u3", "top": 4, "without": [101], "among": [101, 102, 103, 104], "rated": True}
    posted = answer(client.post("/recommend", json=asked))
    got = client.get(
        "/recommend?user=u3&top=4&without=101&rated=true&among=101&among=102&among=103&among=104"
    )
    assert answer(got) == posted
    found = model.recommend("u3", items=4, without=[101], among=[101, 102, 103, 104], rated=True)
    assert [one["item"] for one in posted["items"]] == found.item_ids.tolist()
    among = ["Night 4 (1964)", 101, " night 2 (1962)", "Night"]
    named = answer(client.post("/recommend", json={**asked, "among": among}))
    assert {one["item"] for one in named["items"]} == {102, 104}
    assert (posted["unknown"], named["unknown"]) == (0, 1)
    assert [one["lower"] for one in posted["items"]] == pytest.approx(list(found.lower), abs=1e-6)
    assert posted["items"][0]["title"] == found.titles[0]
    assert posted["rated"] == found.n_rated


def test_a_newcomer_gets_a_list_with_reasons(client: TestClient, model: Model) -> None:
    asked = {"ratings": {**RATED, "x": 3}, "about": {"age": 31}, "top": 3, "why": True}
    told = answer(client.post("/newcomer", json=asked))
    person = model.newcomer({**RATED, "x": 3}, about={"age": "31"})
    found = person.recommend(items=3)
    assert [one["item"] for one in told["items"]] == found.item_ids.tolist()
    predicted = [one["prediction"] for one in told["items"]]
    assert predicted == pytest.approx(list(found.predictions), abs=1e-6)
    assert (told["rated"], told["unknown"]) == (3, 1)
    first, why = told["items"][0], told["items"][0]["why"]
    expected = person.explain(first["item"])
    assert [one["item"] for one in why] == expected.item_ids.tolist()
    assert [one["by"] for one in why] == pytest.approx(list(expected.influences), abs=1e-6)
    assert {str(one["item"]): one["rating"] for one in why} == RATED
    (age,) = (one for one in expected.descriptions if one.side == "user")
    assert first["about"] == [
        {"column": "age", "value": "31", "by": pytest.approx(age.effect, abs=1e-6)}
    ]
    alone = answer(client.post("/newcomer", json={**asked, "ratings": {}}))["items"][0]
    assert (alone["why"], [one["column"] for one in alone["about"]]) == ([], ["age"])
    titled = {"Night 0 (1960)": 5, "Night 5 (1965)": 1, "Night 10 (1970)": 4}
    same = answer(client.post("/newcomer", json={**asked, "ratings": titled, "why": False}))
    assert [one["prediction"] for one in same["items"]] == predicted
    other = answer(client.post("/newcomer", json={"ratings": {"100": 1, "105": 5}, "top": 3}))
    assert other["items"] != told["items"]
    assert "why" not in other["items"][0]
    assert answer(client.post("/newcomer", json={"why": True}))["rated"] == 0


def test_reasons_of_a_known_user_are_those_of_explain(client: TestClient, model: Model) -> None:
    told = answer(client.get("/recommend?user=u3&top=2&why=1"))["items"]
    for one in told:
        expected = model.explain("u3", one["item"])
        whys = [why["by"] for why in one["why"]]
        assert whys == pytest.approx(list(expected.influences[: schemas.MOST_REASONS]), abs=1e-6)


@pytest.mark.parametrize("item", ["104", "Night 4 (1964)", " night 4 (1964) "])
def test_similar_items_are_the_models(client: TestClient, model: Model, item: str) -> None:
    told = answer(client.get("/similar", params={"item": item, "top": 3}))
    found = model.similar(104, items=3)
    assert (told["item"], told["title"]) == (104, "Night 4 (1964)")
    assert [one["item"] for one in told["items"]] == found.item_ids.tolist()
    assert answer(client.post("/similar", json={"item": 104, "top": 3})) == told


def test_items_are_found_by_words(client: TestClient, model: Model) -> None:
    def found(words: str, top: int = 10) -> list[Any]:
        return list(answer(client.get("/items", params={"search": words, "top": top}))["items"])

    assert [one["item"] for one in found("AMELIE")] == [103]
    assert {one["item"] for one in found("197 night")} == set(range(110, 120))
    most = found("", top=5)
    counts = sorted(model.known.item_counts.tolist(), reverse=True)
    assert [one["ratings"] for one in most] == counts[:5]
    assert found("no such") == []


def test_ids_are_searched_where_there_are_no_titles(tmp_path: Path) -> None:
    source = Source(held_model(titled=False).save(tmp_path / "a.model"), lambda _: None)
    with TestClient(app_of(source, n_threads=1)) as client:  # type: ignore[arg-type]
        told = answer(client.get("/items?search=13"))["items"]
        assert {one["item"] for one in told} == {113, *range(130, 140)} & {o["item"] for o in told}
        assert len(told) == 10
        assert "title" not in told[0]
        assert answer(client.get("/model"))["titles"] is False


def test_the_card_tells_of_the_model(client: TestClient) -> None:
    told = answer(client.get("/model"))
    assert (told["users"], told["items"], told["ratings"]) == (60, 40, 1200)
    assert told["scale"] == {"lowest": 1.0, "highest": 5.0, "step": 1.0}
    assert told["card"]["held_out"]["rmse"][0] == 0.6
    assert answer(client.get("/health")) == {"status": "ok", "loaded": told["loaded"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "line"),
    [
        ("/predict", {"pairs": [["u1", 1.5]]}, 422, "pairs.0.1: expected an id, a number or a te"),
        ("/predict", {"pairs": [["u1", True]]}, 422, "pairs.0.1: expected an id"),
        ("/predict", {"pairs": [["u1", 1 << 70]]}, 422, "pairs.0.1: expected an id"),
        ("/similar", {"item": "a\x1b[2J\u2028b"}, 404, "item 'a\ufffd[2J b': not among the"),
        ("/similar", {"item": "x" * 400}, 404, "item 'xxx"),
        ("/predict", {"pairs": []}, 422, "pairs: expected 1 or more, got 0"),
        (
            "/predict",
            {"pairs": [["u1", 1]] * 10_001},
            422,
            "pairs: expected at most 10,000, got 10",
        ),
        ("/predict", {"pairs": [["u1", "\ud800"]]}, 422, "pairs.0.1: expected an id"),
        ("/predict", {"pair": []}, 422, "pairs: expected, and not there"),
        ("/predict", {"pairs": [["u1", 1]], "file": "/etc/passwd"}, 422, "file: no such field"),
        ("/predict", {"pairs": [["u1"]]}, 422, "pairs.0.1: expected, and not there"),
        ("/predict", {"pairs": [["u1", 1, 2]]}, 422, "pairs.0: expected at most 2, got 3"),
        ("/predict", {"pairs": [3]}, 422, "pairs.0: expected a list of user and item, got 3"),
        ("/predict", {"pairs": {}}, 422, "pairs: expected a list"),
        ("/predict", [], 422, "body: expected an object"),
        ("/recommend", {"user": "u1", "top": "many"}, 422, "top: expected a whole number, got 'm"),
        ("/recommend", {"user": "u1", "why": "?"}, 422, "why: expected true or false, got '?'"),
        ("/recommend", {"user": "u999"}, 404, "user 'u999': not among the 60 users"),
        ("/recommend", {"user": "u1", "top": 1001}, 422, "top: expected at most 1,000, got 1001"),
        ("/recommend", {"user": "u1", "among": [7]}, 422, "the ratings: no item is left to list"),
        (
            "/recommend",
            {"user": "u1", "without": [1] * 10_001},
            422,
            "without: expected at most 10",
        ),
        ("/similar", {"item": "Nigt 4"}, 404, "item 'Nigt 4': not among the 40 items"),
        ("/newcomer", {"ratings": {"100": 9}}, 422, "item 100: expected a rating from 1 to 5"),
        ("/newcomer", {"ratings": {"100": "x"}}, 422, "ratings.100: expected a number, got 'x'"),
        ("/newcomer", {"ratings": {"100": "5"}}, 422, "ratings.100: expected a number, got '5'"),
        ("/newcomer", {"ratings": {"100": True}}, 422, "ratings.100: expected a number, got True"),
        ("/newcomer", {"about": {"age": True}}, 422, "about.age: expected a number, or a text of"),
        ("/newcomer", {"ratings": {str(n): 1 for n in range(1001)}}, 422, "ratings: expected at m"),
        ("/newcomer", {"about": {"height": 3}}, 422, "about: expected columns of the users' table"),
        ("/newcomer", {"about": {"age": [3]}}, 422, "about.age: expected a number, or a text"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    client: TestClient, path: str, body: Any, status: int, line: str
) -> None:
    response = client.post(path, content=json.dumps(body))
    said = refusal(response)
    assert response.status_code == status
    assert said.startswith(line)
    assert "/a/folder" not in said


def test_other_requests_are_refused_too(client: TestClient) -> None:
    assert client.get("/nothing").status_code == 404
    refusal(client.get("/nothing"))
    assert client.put("/predict").headers["allow"] == "POST"
    assert refusal(client.post("/predict", content=b"[")) == "expected JSON: Expecting value"
    refusal(client.post("/predict", content=b"[" * 100_000))
    refusal(client.post("/predict", content=b'{"pairs": [["u1", ' + b"9" * 5000 + b"]]}"))
    form = client.post("/predict", content=b"{}", headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert refusal(form) == "expected content-type application/json, got text/plain"
    refusal(client.get("/page.js/../../app.py"))
    refusal(client.get("/%2e%2e/app.py"))


@pytest.mark.parametrize("told", [True, False])
def test_a_body_has_an_end(client: TestClient, told: bool) -> None:
    block = b" " * (apps.BODY_BYTES // 4)
    content: Any = block * 5 if told else iter([block] * 5)
    response = client.post("/predict", content=content)
    assert response.status_code == 413
    assert refusal(response) == "expected a body of at most 1,048,576 bytes, got more"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_body_that_does_not_come_is_not_waited_for(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "BODY_SECONDS", 0.01)
    app, sent = app_of(Source(saved, lambda _: None), n_threads=1), []

    async def never() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408


def test_who_comes_when_too_many_wait_is_told_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "MOST_WAITING", 0)
    response = client.get("/items")
    assert (response.status_code, response.json()["error"][:5]) == (503, "busy:")


def test_a_fault_of_ours_is_told_without_its_words(saved: Path) -> None:
    source = Source(saved, lambda _: None)
    app = app_of(source, n_threads=1)
    with TestClient(app, raise_server_exceptions=False) as client:  # type: ignore[arg-type]
        source.now.search = lambda _: 1 / 0  # type: ignore[assignment,method-assign]
        response = client.get("/items")
    assert response.status_code == 500
    assert response.json() == {"error": "a fault of the service, which its log tells"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["u1", "u2", 101, "101", 5, 1, "\ud800", "", "user", 1 << 70, -1e308]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "pairs",
        "intervals",
        "user",
        "item",
        "top",
        "among",
        "without",
        "rated",
        "why",
        "ratings",
        "about",
        "search",
        "x",
    ]
)
BODIES = (
    st.dictionaries(NAMES, VALUES, max_size=4).map(lambda one: json.dumps(one).encode())
    | VALUES.map(lambda one: json.dumps(one).encode())
    | st.binary(max_size=60)
)


def fuzz(client: TestClient, n: int) -> list[int]:
    """The statuses of n requests that are mostly wrong; each that is not 200 is one line."""
    statuses = []

    @settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(path=st.sampled_from([*PATHS, "/items"]), body=BODIES, as_query=st.booleans())
    def asked(path: str, body: bytes, as_query: bool) -> None:
        if as_query or path == "/items":
            response = client.get(path, params={"user": body[:40], "item": body, "top": "3"})
        else:
            response = client.post(path, content=body)
        statuses.append(response.status_code)
        if response.status_code != 200:
            refusal(response)

    asked()
    return statuses


def test_malformed_requests_are_refused_in_one_line(client: TestClient) -> None:
    statuses = fuzz(client, 200)
    assert len(statuses) >= 200
    assert statuses.count(200) < len(statuses) / 5


@pytest.mark.slow
def test_a_thousand_malformed_requests_leave_nothing_behind(client: TestClient) -> None:
    fuzz(client, 300)
    before = psutil.Process().memory_info().rss
    assert len(fuzz(client, 1000)) >= 1000
    assert psutil.Process().memory_info().rss - before < 20 << 20


def test_a_new_file_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    said: list[str] = []

    def hear(event: Event) -> None:
        assert isinstance(event, Said)
        said.append(event.text)

    path = held_model().save(tmp_path / "a.model")
    source = Source(path, hear)
    first = source.now
    source.look()
    assert source.now is first
    held_model(seed=1).save(path)
    source.look()
    assert source.now.model.card["data"] == "drawn ratings, seed 1"
    assert first.model.card["data"] == "drawn ratings, seed 0"  # who has begun goes on with it
    second = source.now
    (tmp_path / "b.model").write_bytes(path.read_bytes()[:-100])
    os.replace(tmp_path / "b.model", path)
    source.look()
    source.look()
    assert source.now is second
    path.unlink()
    source.look()
    assert source.now is second
    assert said[0] == f"Model: {path}, taken up, drawn ratings, seed 1"
    assert len(said) == 2
    assert said[1].startswith(f"{path}: expected a saved model")
    assert said[1].endswith("; the model from before goes on")


def test_forty_threads_get_the_same_answers(
    model: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    """And standard output stays what it was."""
    pairs = {"user": ["u1", "u2", "u3"], "item": [101, 102, 103]}

    def ask(n: int) -> list[Any]:
        kinds = [
            lambda: model.predict(pairs, intervals=True),
            lambda: model.predict(pairs, exact=True),
            lambda: model.recommend("u4").columns(),
            lambda: model.similar(104).columns(),
            lambda: model.newcomer({100: 5, 101: 1}).recommend(items=5).columns(),
        ]
        kind = kinds[n % len(kinds)]()
        return [np.asarray(column).tolist() for column in kind.values()]

    before, alone = sys.stdout, [ask(n) for n in range(5)]
    start = threading.Barrier(40)

    def together(n: int) -> list[Any]:
        start.wait()
        return ask(n)

    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(together, range(40)))
    assert answers == alone * 8
    assert sys.stdout is before
    print("still here")
    assert capfd.readouterr().out == "still here\n"


def test_the_page_and_its_reference_load_nothing_from_elsewhere(client: TestClient) -> None:
    total = 0
    for path, kind in {"/": "html", "/page.css": "css", "/page.js": "javascript"}.items():
        response = client.get(path)
        assert kind in response.headers["content-type"]
        assert (
            "default-src 'none'; script-src 'self'" in response.headers["content-security-policy"]
        )
        assert not re.search(r"(?<!xmlns=\")https?://(?!www\.w3\.org/2000/svg)", response.text)
        total += len(response.content)
    assert total < 30_000
    docs, told = client.get("/docs").text, answer(client.get("/openapi.json"))
    for path in told["paths"]:
        assert f" {path}</code>" in docs
    assert "items[].why[].by" in docs
    assert (
        "access-control-allow-origin" not in client.get("/health", headers={"origin": "a"}).headers
    )


def test_every_answer_is_as_openapi_says(client: TestClient) -> None:
    asked = {
        schemas.Predictions: client.post(
            "/predict", json={"pairs": [["u1", 1]], "intervals": True}
        ),
        schemas.Recommendations: client.post("/newcomer", json={"ratings": RATED, "why": True}),
        schemas.SimilarItems: client.get("/similar?item=101"),
        schemas.Items: client.get("/items"),
        schemas.Card: client.get("/model"),
        schemas.Health: client.get("/health"),
    }
    for kind, response in asked.items():
        told = answer(response)
        assert kind.model_validate(told).model_dump(exclude_unset=True) == told  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1, 2, 5], (1.0, 5.0, 1.0)),
        ([0.5, 1, 4.5, 5], (0.5, 5.0, 0.5)),
        ([-9.87, 0.1234, 9.5], (-9.87, 9.5, None)),
        ([3, 3], (3.0, 3.0, 1.0)),
    ],
)
def test_a_scale_has_steps_or_not(values: list[float], scale: tuple[float | None, ...]) -> None:
    from study.service.answers import _scale

    assert tuple(_scale(np.array(values)).values()) == scale


def test_bad_input_of_the_command(
    outcome_of: Callable[..., tuple[int, str, str]], tmp_path: Path, saved: Path
) -> None:
    code, out, err = outcome_of(serve_model.main, "--model", tmp_path / "a.model")
    assert (code, out) == (2, "")
    assert err == f"study.serve_model: {tmp_path}/a.model: no such file\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = outcome_of(serve_model.main, "--model", saved, "--port", port)
    assert (code, out) == (2, "")
    assert err.startswith(f"study.serve_model: 127.0.0.1, port {port}: cannot be listened on (")


def test_what_is_to_be_installed_is_told() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from study.serve_model import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--model", "x"],
        cwd=Path(serve_model.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    told = "needs the Python package uvicorn: pip install 'rating-study[serve]'"
    assert done.stderr == f"study.serve_model: {told}\n"


class Served:
    """A service in processes of its own."""

    def __init__(self, model: Path, *options: str) -> None:
        command = [sys.executable, "-m", "study.serve_model", "--model", str(model), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(serve_model.__file__).parent.parent)},
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        found = re.search(r"Serving: (http://127\.0\.0\.1:\d+)/", self.process.stdout.readline())
        assert found
        self.url = found[1]

    def end(self) -> str:
        """Asks it to end: what it has said since."""
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return rest


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_is_swapped_without_dropping_a_request(tmp_path: Path, workers: int) -> None:
    path = held_model().save(tmp_path / "a.model")
    served = Served(path, "--workers", str(workers))
    before: set[str] = set()
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=served.url, timeout=30) as client:
            while not stop.is_set():
                posted = client.post("/newcomer", json={"ratings": RATED})
                statuses.extend([posted.status_code, client.get("/recommend?user=u1").status_code])

    def loaded() -> set[str]:
        with httpx.Client(base_url=served.url, timeout=30) as client:
            return {client.get("/health").json()["loaded"] for _ in range(3)}

    wait_for(lambda: before.update(loaded()) or len(before) == workers)
    askers = [threading.Thread(target=ask) for _ in range(4)]
    for one in askers:
        one.start()
    time.sleep(1)
    held_model(seed=1).save(path)
    after: set[str] = set()

    def all_new() -> bool:
        after.update(loaded() - before)
        return len(after) == workers

    wait_for(all_new)
    time.sleep(1)
    stop.set()
    for one in askers:
        one.join()
    assert set(statuses) == {200}
    assert len(statuses) > 20
    said = served.end()
    assert said.count("taken up, drawn ratings, seed 1\n") == workers
    assert "Traceback" not in said


def wait_for(done: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["night 12", "night 25"])  # what is rated is found then, or not
def test_an_answer_that_comes_late_leaves_what_is_being_rated(
    browser: Any, saved: Path, words: str
) -> None:
    served = Served(saved)
    page = browser.new_page()
    page.goto(served.url)
    page.fill("#words", "night 1")
    page.wait_for_function("() => document.getElementById('found').textContent.includes('night 1')")
    late: list[Any] = []

    def hold_back(route: Any) -> None:
        late.append(route)

    page.route("**/items?*", hold_back)
    with page.expect_request("**/items?*"):
        page.fill("#words", words)
    item = page.get_attribute("#results li:nth-child(2) [data-item]", "data-item")
    page.focus(f"#results [data-item='{item}'] input")
    page.keyboard.press("Space")
    while not late:
        page.wait_for_timeout(10)
    late.pop().continue_()
    page.wait_for_function(
        "words => document.getElementById('found').textContent.includes(words)", arg=words
    )
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    rated = page.eval_on_selector_all("#results input:checked, #mine input:checked", CHECKED)
    assert rated == ["4", "4"]
    shown = page.eval_on_selector_all("#results [data-item]", "all => all.map(n => n.dataset.item)")
    assert item in shown
    assert len(shown) == len(set(shown))
    assert served.end() == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "scheme"), [(320, "dark"), (390, "light"), (390, "dark"), (1280, "light")]
)
def test_five_films_are_rated_and_the_list_changes(
    browser: Any, saved: Path, width: int, scheme: str
) -> None:
    served = Served(saved)
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.url)
    page.wait_for_selector("#items > li")
    before = page.locator("#items > li .value").all_inner_texts()
    assert page.inner_text("#list-heading") == "Predicted for anybody"
    for number, stars in enumerate((5, 1, 4, 2, 5)):  # by the keyboard alone
        page.focus("#words")
        page.keyboard.press("Control+a")
        page.keyboard.type(f"night {number * 2 + 10}")
        page.wait_for_selector(f"#results li:first-child [data-item='{number * 2 + 110}']")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        for _ in range(stars - 1):
            page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "n => document.querySelectorAll('#mine > li').length === n", arg=number + 1
        )
    page.wait_for_function("() => document.getElementById('told').textContent.startsWith('By 5')")
    after = page.locator("#items > li .value").all_inner_texts()
    assert after != before
    assert page.inner_text("#list-heading") == "Predicted for you"
    assert "Because of Night" in page.inner_text("#items > li:first-child .why")
    about = page.get_attribute("#items > li:first-child .interval", "aria-label")
    assert re.fullmatch(r"Predicted [\d.]+; nine ratings of ten lie from [\d.]+ to [\d.]+", about)
    checked = page.eval_on_selector_all("#mine input:checked", CHECKED)
    assert checked == ["5", "2", "4", "1", "5"]
    page.focus("#items > li:nth-child(2) summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#items > li:nth-child(2) .inner li")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.reload()
    page.wait_for_function("() => document.getElementById('told').textContent.startsWith('By 5')")
    page.click("#mine > li:first-child button")
    page.wait_for_function("() => document.getElementById('told').textContent.startsWith('By 4')")
    assert said == []
    assert all(one.startswith(served.url) for one in asked)
    context.close()
    assert served.end() == ""
