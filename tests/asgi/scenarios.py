"""All that can happen to one call of a protected route, and what it says of the route."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from tests.asgi.messages import Script
from zenvark_web import CircuitOpenError, Outcome

Act: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """One of them.

    Args:
        name: What happens.
        app: What the app does.
        outcome: What that says of the route.
        script: What the client does.
        raises: What the app raises to the server.
        on_trial: What it says as a trial call, if that is another thing: then a good start is
            enough, and its body may last.
    """

    name: str
    app: ASGIApp
    outcome: Outcome
    script: Script = field(default_factory=Script)
    raises: type[Exception] | None = None
    on_trial: Outcome | None = None

    def __str__(self) -> str:
        return self.name


def start(status: int = 200, kind: str = "http", headers: Any = ()) -> Message:
    return {"type": f"{_prefix(kind)}.start", "status": status, "headers": list(headers)}


def body(text: bytes = b"x", more: bool = False, kind: str = "http") -> Message:
    return {"type": f"{_prefix(kind)}.body", "body": text, "more_body": more}


def _prefix(kind: str) -> str:
    return "http.response" if kind == "http" else f"{kind}.http.response"


def says(*messages: Message) -> Act:
    """An app that says just this."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def raises(error: BaseException, *messages: Message) -> Act:
    """An app that raises, after it has said this."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await says(*messages)(scope, receive, send)
        raise error

    return app


def answers(make: Callable[[Request], Awaitable[Response]]) -> Act:
    """An app with one endpoint."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await make(Request(scope, receive))
        await response(scope, receive, send)

    return app


def streams(error: Exception | None = None) -> Act:
    """An app whose stream breaks, or never ends."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        if error:
            raise error
        while True:
            yield b"more"
            await anyio.sleep(0.001)

    async def make(_: Request) -> Response:
        return StreamingResponse(chunks())

    return answers(make)


async def read(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def accepted_and_broken(scope: Scope, receive: Receive, send: Send) -> None:
    await WebSocket(scope, receive, send).accept()
    raise ValueError("in the middle")


async def chatty(scope: Scope, receive: Receive, send: Send) -> None:
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def waits_for_the_client(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    while not (await receive())["type"].endswith("disconnect"):
        pass


async def answers_who_has_left(scope: Scope, receive: Receive, send: Send) -> None:
    await waits_for_the_client(scope, receive, send)
    await PlainTextResponse("too late", 500)(scope, receive, send)


async def background_fails() -> None:
    raise ValueError("in the background")


async def accepted_work(_: Request) -> Response:
    return PlainTextResponse("soon", 202, background=BackgroundTask(background_fails))


EVENTS = [(b"Content-Type", b"text/event-stream; charset=utf-8")]
WEBSOCKET = Script(method="WEBSOCKET", extensions=["websocket.http.response"])
OK, BAD, NEITHER = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED
ANSWERED = Outcome.ANSWERED
COUNTS = {OK: (1, 0), BAD: (0, 1), ANSWERED: (0, 0), NEITHER: (0, 0)}
"""What a closed circuit counts: successes and failures."""

SCENARIOS = [
    Scenario("answered with 200", says(start(), body()), OK),
    *(
        Scenario(f"answered with {status}", says(start(status), body()), OK)
        for status in (204, 303, 304, 307)
    ),
    *(
        Scenario(f"answered with {status}", says(start(status), body()), ANSWERED)
        for status in (400, 401, 422, 429, 499, 501, 505)
    ),
    *(  # as a router does that knows no such path, or method
        Scenario(f"answered with {status}", says(start(status), body()), NEITHER)
        for status in (404, 405)
    ),
    *(
        Scenario(f"answered with {status}", says(start(status), body()), BAD)
        for status in (500, 502, 503, 504, 507, 520, 599, 700)
    ),
    Scenario("HEAD", says(start(), body(b"")), OK, Script(method="HEAD")),
    Scenario("body in parts", says(start(), body(more=True), body()), OK),
    Scenario("body message without more_body", says(start(), {"type": "http.response.body"}), OK),
    Scenario("file sent by the server", says(start(), {"type": "http.response.pathsend"}), OK),
    Scenario("zero copy", says(start(), {"type": "http.response.zerocopysend", "file": 7}), OK),
    Scenario("trailers", says(start(), body(), {"type": "http.response.trailers"}), OK),
    Scenario("hints first", says({"type": "http.response.early_hint"}, start(), body()), OK),
    Scenario("upload read", answers(read), OK, Script("POST", body=[b"a", b"b"])),
    Scenario("exception", raises(ValueError("x")), BAD, raises=ValueError),
    Scenario(
        "exception after the start", raises(ValueError("x"), start()), BAD, raises=ValueError,
        on_trial=OK,
    ),
    Scenario("stream breaks", streams(ValueError("x")), BAD, raises=ValueError, on_trial=OK),
    Scenario(
        "exception of what 404 is made of", raises(HTTPException(404)), BAD, raises=HTTPException
    ),
    Scenario("no answer", says(), BAD),
    Scenario("answer left half done", says(start(), body(more=True)), BAD, on_trial=OK),
    Scenario(
        "exception after the answer", raises(ValueError("x"), start(), body()), OK,
        raises=ValueError,
    ),
    Scenario("background task fails", answers(accepted_work), OK, raises=ValueError),
    Scenario(
        "5xx, then an exception", raises(ValueError("x"), start(500)), BAD, raises=ValueError
    ),
    Scenario("rejected by another circuit", raises(CircuitOpenError("payments", 1)), NEITHER),
    Scenario(
        "rejected by another circuit after the start",
        raises(CircuitOpenError("payments", 1), start()), NEITHER, raises=CircuitOpenError,
        on_trial=OK,
    ),
    Scenario(
        "client leaves before the answer", waits_for_the_client, NEITHER, Script(leaves_after=0)
    ),
    Scenario(
        "client leaves, 500 for nobody", answers_who_has_left, NEITHER, Script(leaves_after=0)
    ),
    Scenario(
        "client leaves during a stream", streams(), NEITHER, Script(leaves_after=3), on_trial=OK
    ),
    Scenario(
        "client leaves during a stream, told by an error",
        streams(), NEITHER, Script(leaves_after=3, tells_by_raising=True), raises=Exception,
        on_trial=OK,
    ),
    Scenario(
        "client leaves during an upload",
        answers(read), NEITHER, Script("POST", body=[b"a", b"b"], leaves_after=0),
        raises=Exception,
    ),
    Scenario(
        "client leaves an event stream",
        says(start(headers=EVENTS), body(more=True)), OK, Script(leaves_after=2),
    ),
    Scenario("event stream breaks", raises(ValueError("x"), start(headers=EVENTS)), OK,
             raises=ValueError),
    Scenario("event stream with 500", says(start(500, headers=EVENTS)), BAD),
    Scenario("websocket", chatty, OK, Script("WEBSOCKET", body="ab", leaves_after=3)),
    Scenario("websocket, broken later on", accepted_and_broken, OK, WEBSOCKET, raises=ValueError),
    Scenario("websocket refused", says({"type": "websocket.close", "code": 1008}), ANSWERED,
             WEBSOCKET),
    *(
        Scenario(f"websocket closed with {code}", says({"type": "websocket.close", "code": code}),
                 BAD, WEBSOCKET)
        for code in (1011, 4500)  # what frameworks say when the handler broke
    ),
    Scenario(
        "websocket closed after it was accepted",
        says({"type": "websocket.accept"}, {"type": "websocket.close", "code": 1011}), OK,
        WEBSOCKET,
    ),
    Scenario(
        "websocket refused with 403",
        says(start(403, "websocket"), body(kind="websocket")), ANSWERED, WEBSOCKET,
    ),
    Scenario("websocket refused with 500", says(start(500, "websocket")), BAD, WEBSOCKET),
    Scenario("websocket: exception", raises(ValueError("x")), BAD, WEBSOCKET, raises=ValueError),
    Scenario("websocket: no answer", says(), BAD, WEBSOCKET),
    Scenario("websocket: rejected by another circuit", raises(CircuitOpenError("payments", 1)),
             NEITHER, WEBSOCKET),
    Scenario(
        "websocket: client leaves before the answer",
        waits_for_the_client, NEITHER, Script("WEBSOCKET", leaves_after=0),
    ),
]  # fmt: skip
