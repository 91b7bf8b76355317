"""The application: which address answers what, and what is refused.

All that takes time is done by a few threads, so that whoever has a short question does not wait
for the loop that takes requests; answers from the draws have threads of their own, for they take a
hundred times as long as others.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, TypeVar

import torch
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.kernels.threads import set_n_threads
from storage.errors import InputError, printable
from study.service import page, schemas
from study.service.answers import NotFoundError
from study.service.source import Source

LOOK_SECONDS = 1.0  # between looks at the file
BODY_BYTES = 1 << 20
BODY_SECONDS = 30.0  # in which a body has to be there
MOST_WAITING = 1_000  # questions, in each process
LONGEST_ERROR = 300  # characters
LONGEST_GIVEN = 40  # of a value that is told again

T = TypeVar("T")

ABOUT = """\
Predictions, lists and similar items by a saved model. Ids are numbers or texts as the ratings have
them. What cannot be answered gets a status of 400 or more and `{"error": "…"}`, one line."""


class BusyError(Exception):
    """Too many questions wait."""


class Threads:
    """A few threads that answer, and a queue before them that ends."""

    def __init__(self, n: int) -> None:
        """So many threads, each of which works alone."""
        self._pool = ThreadPoolExecutor(n, initializer=_alone)
        self._n_waiting = 0

    async def do(self, work: Callable[..., T], *arguments: object) -> T:
        """What the work gives.

        Raises:
            BusyError: too many wait already.
        """
        if self._n_waiting >= MOST_WAITING:
            raise BusyError
        self._n_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, partial(work, *arguments))
        finally:
            self._n_waiting -= 1

    def close(self) -> None:
        """Ends them when they are done."""
        self._pool.shutdown()


def _alone() -> None:
    """Lets the thread that begins share out nothing: others have the other cores."""
    set_n_threads(1)
    torch.set_num_threads(1)


def app_of(source: Source, *, n_threads: int) -> ASGIApp:
    """The application that answers from a source.

    Args:
        source: of the model.
        n_threads: how many answer at the same time: so many from the compact form, and so many
            from the draws.
    """
    quick, slow = Threads(n_threads), Threads(n_threads)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(_look_again(source))
        yield
        looking.cancel()
        for threads in (quick, slow):
            threads.close()

    app = FastAPI(
        title="rating-study",
        version="1",
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load theirs from elsewhere
        redoc_url=None,
        responses={
            status: {"model": schemas.Error, "description": about}
            for status, about in REFUSALS.items()
        },
    )
    for error, refuse in HANDLERS.items():
        app.add_exception_handler(error, refuse)

    async def answer(threads: Threads, work: Callable[..., Any], *asked: object) -> Response:
        return JSONResponse(await threads.do(work, *asked))

    @app.post("/predict", response_model=schemas.Predictions, summary="Predictions of pairs")
    async def predict(asked: schemas.Predict) -> Response:
        return await answer(quick, source.now.predict, asked)

    async def recommend(asked: schemas.Recommend) -> Response:
        return await answer(slow if asked.why else quick, source.now.recommend, asked)

    @app.get("/recommend", response_model=schemas.Recommendations, summary="A user's list")
    async def get_recommend(asked: Annotated[schemas.Recommend, Query()]) -> Response:
        return await recommend(asked)

    @app.post("/recommend", response_model=schemas.Recommendations, summary="A user's list")
    async def post_recommend(asked: schemas.Recommend) -> Response:
        return await recommend(asked)

    @app.get("/similar", response_model=schemas.SimilarItems, summary="Items like one")
    async def get_similar(asked: Annotated[schemas.Similar, Query()]) -> Response:
        return await answer(quick, source.now.similar, asked)

    @app.post("/similar", response_model=schemas.SimilarItems, summary="Items like one")
    async def post_similar(asked: schemas.Similar) -> Response:
        return await answer(quick, source.now.similar, asked)

    @app.post("/newcomer", response_model=schemas.Recommendations, summary="A list by few ratings")
    async def newcomer(asked: schemas.Newcomer) -> Response:
        return await answer(slow, source.now.newcomer, asked)

    @app.get("/items", response_model=schemas.Items, summary="Items by words of their titles")
    async def items(asked: Annotated[schemas.Search, Query()]) -> Response:
        return await answer(quick, source.now.search, asked)

    @app.get("/model", response_model=schemas.Card, summary="The model's card")
    async def card() -> Response:
        return JSONResponse(source.now.card)

    @app.get("/health", response_model=schemas.Health, summary="Whether it answers")
    async def health() -> Response:
        return JSONResponse({"status": "ok", "loaded": source.now.loaded})

    for path, file in page.files().items():
        app.add_api_route(path, page.giving(file), include_in_schema=False)
    app.add_api_route("/docs", page.giving(page.reference(app.openapi())), include_in_schema=False)
    return Guarded(app)


class Guarded:
    """An application that gets bodies whole, or not at all; adds headers to its answers."""

    def __init__(self, app: ASGIApp) -> None:
        """Around an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *page.HEADERS]
            await send(message)

        try:
            body = await asyncio.wait_for(_body(scope, receive), BODY_SECONDS)
        except _TooLargeError:
            what = f"expected a body of at most {BODY_BYTES:,} bytes, got more"
            await _refused(413, what)(scope, receive, guarded)
            return
        except TimeoutError:
            what = f"expected the whole body in {BODY_SECONDS:.0f} seconds"
            await _refused(408, what)(scope, receive, guarded)
            return
        if body is None:
            return
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def whole() -> Message:
            return next(given, None) or await receive()

        await self._app(scope, whole, guarded)


class _TooLargeError(Exception):
    """A body is larger than it may be."""


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The body of a request; None if whoever sent it has gone."""
    told = dict(scope["headers"]).get(b"content-length", b"0")
    if told.isdigit() and int(told[:20]) > BODY_BYTES:
        raise _TooLargeError
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES:
            raise _TooLargeError
    return bytes(body)


async def _look_again(source: Source) -> None:
    """Looks at the file again and again, in a thread of its own."""
    threads = Threads(1)
    try:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await threads.do(source.look)
    finally:
        threads.close()


def _refused(status: int, why: str) -> JSONResponse:
    """The answer to what cannot be answered: one line."""
    line = printable(" ".join(why.split()))
    line = line if len(line) <= LONGEST_ERROR else f"{line[:LONGEST_ERROR]}…"
    return JSONResponse({"error": line}, status_code=status)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    given = request.headers.get("content-type", "none")
    if request.method == "POST" and "json" not in given.lower():
        return _refused(415, f"expected content-type application/json, got {given}")
    if first["type"] == "json_invalid":
        return _refused(400, f"expected JSON: {first['ctx']['error']}")
    place = ".".join(str(part) for part in first["loc"][1:] if part != "[key]") or first["loc"][0]
    return _refused(422, f"{place}: {_wrong(first)}")


def _wrong(error: Mapping[str, Any]) -> str:
    """What pydantic found wrong, in the words of the rest."""
    if error["type"] == "value_error":  # ours
        return str(error["ctx"]["error"])
    told = WRONG.get(error["type"], "expected something else").format(**error.get("ctx", {}))
    given = error["input"]
    is_short = isinstance(given, bool | int | float | str) and len(str(given)) <= LONGEST_GIVEN
    return f"{told}, got {given!r}" if is_short and error["type"] in GIVEN else told


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = _refused(error.status_code, str(error.detail))
    refused.headers.update(error.headers or {})
    return refused


async def _input(_: Request, error: Exception) -> Response:
    return _refused(422, str(error))


async def _not_found(_: Request, error: Exception) -> Response:
    return _refused(404, str(error))


async def _busy(_: Request, error: Exception) -> Response:
    return _refused(503, f"busy: {MOST_WAITING:,} questions wait already")


async def _fault(_: Request, error: Exception) -> Response:
    return _refused(500, "a fault of the service, which its log tells")


GIVEN = {  # what is wrong with a value, by pydantic's name of it
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "list_type": "expected a list",
    "tuple_type": "expected a list of user and item",
    "dict_type": "expected an object",
    "model_attributes_type": "expected an object",
    "greater_than_equal": "expected {ge} or more",
    "less_than_equal": "expected at most {le:,}",
}
WRONG = GIVEN | {
    "missing": "expected, and not there",
    "extra_forbidden": "no such field",
    "too_short": "expected {min_length:,} or more, got {actual_length:,}",
    "too_long": "expected at most {max_length:,}, got {actual_length:,}",
    "string_too_long": "expected at most {max_length:,} characters",
}
HANDLERS: dict[type[Exception], Callable[[Request, Exception], Any]] = {
    RequestValidationError: _invalid,
    HTTPException: _http,
    InputError: _input,
    NotFoundError: _not_found,
    BusyError: _busy,
    Exception: _fault,
}
REFUSALS: dict[int | str, str] = {
    400: "no JSON",
    404: "no such user or item",
    413: "too large a body",
    415: "a body that is not called JSON",
    422: "not as described here",
    503: "busy",
}
