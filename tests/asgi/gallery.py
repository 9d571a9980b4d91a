"""Apps of Starlette, FastAPI and bare ASGI, and requests for each of their parts.

Everything here is public behaviour of the frameworks; `test_transparency` runs it with and without
the middleware.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Header, Query
from fastapi import HTTPException as FastAPIHTTPException
from fastapi import Response as FastAPIResponse
from fastapi.responses import StreamingResponse as FastAPIStreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser, requires
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.asgi.messages import Script

HERE = Path(__file__).parent
notes: list[str] = []
"""What apps did besides answering; each run begins with none."""

streaming: list[str] = []
"""The endless streams that have begun and not ended."""


class OwnError(Exception):
    """One that the apps have a handler for."""


async def own_error_handler(request: Request, error: Exception) -> Response:
    return JSONResponse({"own": str(error)}, 418)


async def server_error_handler(request: Request, error: Exception) -> Response:
    return PlainTextResponse("own 500 page", 500)


# Starlette


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


def threaded(request: Request) -> Response:
    return PlainTextResponse("from a thread")


async def inspected(request: Request) -> Response:
    """All that a request knows of itself."""
    own = {"app", "router", "endpoint", "route", "starlette.exception_handlers", "headers"}
    return JSONResponse(
        {
            "url": str(request.url),
            "base": str(request.base_url),
            "path_params": request.path_params,
            "query": list(request.query_params.multi_items()),
            "headers": request.headers.items(),
            "cookies": request.cookies,
            "state": request.state.greeting,
            "client": request.client,
            "scope": sorted(
                key for key in request.scope if key not in own and "zenvark" not in key
            ),
            "link": str(request.url_for("inspected", word="x")),
        }
    )


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type=request.headers.get("content-type"))


async def counted(request: Request) -> Response:
    parts = [len(part) async for part in request.stream()]
    return JSONResponse(parts)


async def unread(request: Request) -> Response:
    return Response(status_code=202)


async def chunks() -> AsyncIterator[bytes]:
    for number in range(4):
        yield b"part %d " % number


async def streamed(request: Request) -> Response:
    return StreamingResponse(chunks(), headers={"x-own": "1"})


def sync_chunks() -> Iterator[str]:
    yield from ("one ", "two ", "three")


async def streamed_by_thread(request: Request) -> Response:
    return StreamingResponse(sync_chunks())


async def broken_chunks() -> AsyncIterator[bytes]:
    yield b"first"
    raise ValueError("half way")


async def streamed_and_broken(request: Request) -> Response:
    return StreamingResponse(broken_chunks())


async def endless_chunks() -> AsyncIterator[bytes]:
    streaming.append("endless")
    try:
        while True:
            yield b"tick"
            await anyio.sleep(0.001)
    finally:
        notes.append("stream ended")
        streaming.remove("endless")


async def endless(request: Request) -> Response:
    return StreamingResponse(endless_chunks(), media_type="text/event-stream")


async def with_background(request: Request) -> Response:
    tasks = StarletteBackgroundTasks()
    tasks.add_task(notes.append, "first")
    tasks.add_task(run_in_threadpool, notes.append, "second")
    return PlainTextResponse("accepted", 202, background=tasks)


def fail() -> None:
    raise ValueError("in the background")


async def with_broken_background(request: Request) -> Response:
    return PlainTextResponse("accepted", 202, background=BackgroundTask(fail))


async def http_exception(request: Request) -> Response:
    status = request.path_params["status"]
    raise HTTPException(status, "so it is", headers={"x-why": "asked for"})


async def own_error(request: Request) -> Response:
    raise OwnError("handled")


async def unhandled(request: Request) -> Response:
    raise ValueError("not handled")


async def grouped(request: Request) -> Response:
    raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])


async def cookies(request: Request) -> Response:
    response = PlainTextResponse("cookies")
    response.set_cookie("a", "1", httponly=True)
    response.set_cookie("b", "2", path="/x")
    response.set_cookie("c", max_age=0)
    return response


async def file(request: Request) -> Response:
    return FileResponse(HERE / "__init__.py", stat_result=None, filename="empty.txt")


async def redirect(request: Request) -> Response:
    return RedirectResponse("/plain", 303)


async def waits_for_disconnect(request: Request) -> Response:
    while not await request.is_disconnected():
        await anyio.sleep(0.001)
    notes.append("client left")
    return PlainTextResponse("for nobody")


async def upload_is_cut_off(request: Request) -> Response:
    try:
        await request.body()
    except ClientDisconnect:
        notes.append("cut off")
    return Response(status_code=204)


class Endpoint(HTTPEndpoint):
    """A class as an endpoint."""

    async def get(self, request: Request) -> Response:
        return HTMLResponse("<p>get</p>")

    async def delete(self, request: Request) -> Response:
        return Response(status_code=204)


async def websocket_echo(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=None, headers=[(b"x-own", b"1")])
    try:
        while True:
            await websocket.send_text((await websocket.receive_text()).upper())
    except WebSocketDisconnect as left:
        notes.append(f"left with {left.code}")


async def websocket_closes(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"bye": True})
    await websocket.close(3000, "done")


async def websocket_refuses(websocket: WebSocket) -> None:
    await websocket.close(1008)


async def websocket_denies(websocket: WebSocket) -> None:
    await websocket.send_denial_response(JSONResponse({"why": "no"}, 401))


async def websocket_raises(websocket: WebSocket) -> None:
    raise ValueError("before it was accepted")


async def websocket_raises_late(websocket: WebSocket) -> None:
    await websocket.accept()
    raise ValueError("in the middle")


async def websocket_policy(websocket: WebSocket) -> None:
    raise WebSocketException(1008, "policy")


class Room(WebSocketEndpoint):
    """A class as a websocket endpoint."""

    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(f"room: {data}")

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        notes.append(f"room left with {close_code}")


STARLETTE_ROUTES = [
    Route("/plain", plain),
    Route("/threaded", threaded),
    Route("/inspected/{word}", inspected, name="inspected"),
    Route("/echo", echo, methods=["POST", "PUT"]),
    Route("/counted", counted, methods=["POST"]),
    Route("/unread", unread, methods=["POST"]),
    Route("/streamed", streamed),
    Route("/streamed-by-thread", streamed_by_thread),
    Route("/streamed-and-broken", streamed_and_broken),
    Route("/endless", endless),
    Route("/background", with_background),
    Route("/broken-background", with_broken_background),
    Route("/status/{status:int}", http_exception),
    Route("/own-error", own_error),
    Route("/unhandled", unhandled),
    Route("/grouped", grouped),
    Route("/cookies", cookies),
    Route("/file", file),
    Route("/redirect", redirect),
    Route("/slash/", plain),
    Route("/waits", waits_for_disconnect),
    Route("/cut-off", upload_is_cut_off, methods=["POST"]),
    Route("/endpoint", Endpoint),
    Mount("/static", StaticFiles(directory=HERE)),
    Mount("/mounted", routes=[Route("/plain", plain), Route("/inspected/{word}", inspected)]),
    Mount("/app", Starlette(routes=[Route("/plain", plain), Route("/unhandled", unhandled)])),
    Host("api.example.org", Router([Route("/plain", threaded)])),
    WebSocketRoute("/ws/echo", websocket_echo),
    WebSocketRoute("/ws/closes", websocket_closes),
    WebSocketRoute("/ws/refuses", websocket_refuses),
    WebSocketRoute("/ws/denies", websocket_denies),
    WebSocketRoute("/ws/raises", websocket_raises),
    WebSocketRoute("/ws/raises-late", websocket_raises_late),
    WebSocketRoute("/ws/policy", websocket_policy),
    WebSocketRoute("/ws/room", Room),
]


def starlette(**settings: Any) -> Starlette:
    return Starlette(
        routes=STARLETTE_ROUTES, exception_handlers={OwnError: own_error_handler}, **settings
    )


class Token(AuthenticationBackend):
    """Who says who they are is believed."""

    async def authenticate(self, conn: Any) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return (AuthCredentials(["known"]), SimpleUser(name)) if name else None


async def dispatch(request: Request, call_next: Callable[..., Any]) -> Response:
    response: Response = await call_next(request)
    response.headers["x-dispatched"] = "1"
    return response


@requires("known")
async def members_only(request: Request) -> Response:
    return PlainTextResponse(request.user.display_name)


def layered() -> Starlette:
    """With every middleware that needs nothing more to be installed."""
    app = starlette(
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=["testserver", "*.example.org"]),
            Middleware(CORSMiddleware, allow_origins=["https://example.org"]),
            Middleware(GZipMiddleware, minimum_size=10),
            Middleware(BaseHTTPMiddleware, dispatch=dispatch),
            Middleware(AuthenticationMiddleware, backend=Token()),
        ]
    )
    app.add_route("/members", members_only)
    return app


def own_500_page() -> Starlette:
    app = starlette()
    app.add_exception_handler(Exception, server_error_handler)
    app.add_exception_handler(404, own_error_handler)
    return app


# FastAPI


class Item(BaseModel):
    """What is sold."""

    name: str
    price: float
    secret: str = "hidden"


class PublicItem(BaseModel):
    """What may be seen of it."""

    name: str


async def resource() -> AsyncIterator[str]:
    notes.append("opened")
    try:
        yield "resource"
    except OwnError:
        notes.append("it saw the error")
        raise
    finally:
        notes.append("closed")


def sync_resource() -> Iterator[str]:
    yield "sync resource"
    notes.append("sync closed")


@asynccontextmanager
async def no_lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
    yield {"from": "lifespan"}


def fastapi() -> FastAPI:
    app = FastAPI(lifespan=no_lifespan)
    app.add_exception_handler(OwnError, own_error_handler)
    app.include_router(_items())
    app.include_router(_resources())
    app.include_router(_odd_routes())
    sub = FastAPI()
    sub.get("/hello")(lambda: "sub")
    app.mount("/sub", sub)
    return app


def _items() -> APIRouter:
    app = APIRouter()

    @app.get("/items/{number}")
    async def read_item(
        number: int,
        limit: Annotated[int, Query(le=10)] = 5,
        x_own: Annotated[str | None, Header()] = None,
    ) -> dict[str, Any]:
        return {"number": number, "limit": limit, "own": x_own}

    @app.post("/items", response_model=PublicItem, status_code=201)
    async def create_item(item: Item, response: FastAPIResponse) -> Item:
        response.headers["x-made"] = item.name
        response.set_cookie("made", item.name)
        return item

    @app.put("/raw")
    def raw(text: Annotated[str, Body(embed=True)]) -> str:
        return text

    return app


def _resources() -> APIRouter:
    app = APIRouter()

    @app.get("/resource")
    async def use_resource(
        a: Annotated[str, Depends(resource)], b: Annotated[str, Depends(sync_resource)]
    ) -> list[str]:
        return [a, b]

    @app.get("/resource-and-error")
    async def use_and_fail(a: Annotated[str, Depends(resource)]) -> None:
        raise OwnError(a)

    @app.get("/resource-and-stream")
    async def use_and_stream(a: Annotated[str, Depends(resource)]) -> Any:
        return FastAPIStreamingResponse(chunks())

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(notes.append, "done later")
        return "accepted"

    return app


def _odd_routes() -> APIRouter:
    app = APIRouter()
    router = APIRouter(prefix="/routed", tags=["routed"])

    @app.get("/teapot")
    async def teapot() -> None:
        raise FastAPIHTTPException(418, {"short": "and stout"}, headers={"x-tea": "1"})

    @app.get("/unhandled")
    async def unhandled() -> None:
        raise ValueError("not handled")

    @app.get("/bad-model", response_model=PublicItem)
    async def bad_model() -> Any:
        return {"nothing": "fits"}

    @router.get("/{word}")
    async def routed(word: str, request: Request) -> dict[str, Any]:
        return {
            "word": word,
            "path": request.url.path,
            "url": str(request.url_for("routed", word="x")),
        }

    @app.websocket("/ws/{room}")
    async def room(websocket: WebSocket, room: int, a: Annotated[str, Depends(resource)]) -> None:
        await websocket.accept()
        await websocket.send_json({"room": room, "with": a})
        await websocket.close()

    app.include_router(router)
    return app


# Bare ASGI


async def bare_hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("bare")(scope, receive, send)


async def bare_silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Says nothing."""


async def bare_half(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def bare_twice(scope: Scope, receive: Receive, send: Send) -> None:
    for _ in range(2):
        await bare_hello(scope, receive, send)


async def bare_extras(scope: Scope, receive: Receive, send: Send) -> None:
    """All kinds of messages, also some that do not exist yet."""
    for message in (
        {"type": "http.response.debug", "info": {"template": "x"}},
        {"type": "http.response.early_hint", "links": [b"</a>"]},
        {"type": "http.response.push", "path": "/a", "headers": []},
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.body", "body": b"x", "more_body": True},
        {"type": "http.response.something.new"},
        {"type": "http.response.body", "body": b"y"},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False},
    ):
        await send(message)


async def bare_pathsend(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": "/etc/hostname"})


async def bare_reads_on(scope: Scope, receive: Receive, send: Send) -> None:
    """Goes on receiving after it has answered."""
    await bare_hello(scope, receive, send)
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


async def bare_changes_scope(scope: Scope, receive: Receive, send: Send) -> None:
    scope["path"] = "/changed"
    scope.pop("state", None)
    await bare_hello(scope, receive, send)


GET_PATHS = [
    *("/plain", "/threaded", "/inspected/w%C3%B6rd", "/streamed", "/streamed-by-thread"),
    *("/streamed-and-broken", "/background", "/broken-background", "/own-error", "/unhandled"),
    *("/grouped", "/cookies", "/file", "/redirect", "/slash", "/slash/", "/endpoint", "/nothing"),
    *("/echo", "/static/__init__.py", "/static/nothing", "/mounted/plain", "/mounted/inspected/x"),
    *("/app/plain", "/app/unhandled", "/app", "/members", "//plain", "/", ""),
    *(f"/status/{status}" for status in (204, 304, 400, 404, 429, 500, 503)),
]
BODIES: list[list[bytes | str]] = [[], [b""], [b"one"], [b"one", b"two", b""], [b"x" * 70_000] * 3]
DENIAL = ["websocket.http.response"]

FOR_STARLETTE = [
    *(Script(method, path) for path in GET_PATHS for method in ("GET", "HEAD")),
    Script("GET", "/inspected/x", query="a=1&a=2", headers=[("cookie", "k=v"), ("x-own", "1")]),
    Script("GET", "/inspected/x", root_path="/v1"),
    Script("GET", "/mounted/inspected/x", root_path="/v1"),
    Script("GET", "/plain", headers=[("accept-encoding", "gzip"), ("x-user", "ada")]),
    Script("GET", "/streamed", headers=[("accept-encoding", "gzip")]),
    Script("GET", "/members", headers=[("x-user", "ada")]),
    Script("GET", "/file", headers=[("range", "bytes=0-2")]),
    Script("GET", "/file", extensions=["http.response.pathsend"]),
    Script("GET", "/file", headers=[("if-none-match", "x")]),
    Script("GET", "/plain", headers=[("host", "api.example.org")]),
    Script("GET", "/plain", headers=[("origin", "https://example.org")]),
    Script(
        "OPTIONS", "/plain",
        headers=[("origin", "https://example.org"), ("access-control-request-method", "GET")],
    ),
    *(Script(method, "/endpoint") for method in ("DELETE", "POST", "QUERY")),
    *(
        Script(method, path, body=body, headers=[("content-type", "text/x-own")])
        for method, path in (
            ("POST", "/echo"), ("PUT", "/echo"), ("POST", "/counted"), ("POST", "/unread"),
            ("POST", "/plain"), ("POST", "/nothing"),
        )
        for body in BODIES
    ),
    *(
        Script("WEBSOCKET", f"/ws/{name}", body=["a", "b"], leaves_after=leaves, extensions=able)
        for name, leaves in (
            ("echo", 3), ("closes", None), ("refuses", None), ("denies", None), ("raises", None),
            ("raises-late", None), ("policy", None), ("room", 3), ("nothing", None),
        )
        for able in ((), DENIAL)
    ),
]  # fmt: skip

FOR_THOSE_WHO_LEAVE = [
    Script("GET", "/waits", leaves_after=0),
    Script("GET", "/endless", leaves_after=3),
    Script("GET", "/endless", leaves_after=3, tells_by_raising=True),
    Script("POST", "/cut-off", body=[b"a", b"b"], leaves_after=0),
    Script("WEBSOCKET", "/ws/echo", leaves_after=1),
]

JSON = [("content-type", "application/json")]
FOR_FASTAPI = [
    *(
        Script("GET", path, query=query)
        for path, query in (
            ("/items/5", ""), ("/items/5", "limit=7"), ("/items/5", "limit=11"), ("/items/x", ""),
            ("/resource", ""), ("/resource-and-error", ""), ("/resource-and-stream", ""),
            ("/background", ""), ("/teapot", ""), ("/unhandled", ""), ("/bad-model", ""),
            ("/routed/word", ""), ("/sub/hello", ""), ("/sub/docs", ""), ("/sub/nothing", ""),
            ("/docs", ""), ("/redoc", ""), ("/openapi.json", ""), ("/nothing", ""), ("/items", ""),
        )
    ),
    Script("GET", "/items/5", headers=[("x-own", "mine")]),
    Script("HEAD", "/items/5"),
    Script("GET", "/routed/word", root_path="/v1"),
    Script("GET", "/sub/openapi.json", root_path="/v1"),
    *(
        Script("POST", "/items", body=body, headers=JSON)
        for body in (
            [b'{"name": "tea", "price": 3}'], [b'{"name": "tea", ', b'"price": 3}'],
            [b'{"name": "tea"}'], [b"{broken"], [],
        )
    ),
    Script("PUT", "/raw", body=[b'{"text": "x"}'], headers=JSON),
    Script("WEBSOCKET", "/ws/7"),
    Script("WEBSOCKET", "/ws/seven"),
    Script("WEBSOCKET", "/ws/seven", extensions=DENIAL),
]  # fmt: skip

FOR_BARE = [
    Script(),
    Script("HEAD"),
    Script("POST", body=[b"a", b"b"]),
    Script("POST", root_path="/v1", path="/x"),
]

GALLERY: dict[str, tuple[Callable[[], ASGIApp], list[Script]]] = {
    "starlette": (starlette, FOR_STARLETTE),
    "starlette, layered": (layered, FOR_STARLETTE),
    "starlette, own pages for errors": (own_500_page, FOR_STARLETTE),
    "fastapi": (fastapi, FOR_FASTAPI),
    **{
        app.__name__.replace("_", " "): (lambda app=app: app, FOR_BARE)  # type: ignore[misc]
        for app in (
            bare_hello, bare_silent, bare_half, bare_twice, bare_extras, bare_pathsend,
            bare_reads_on, bare_changes_scope,
        )
    },
}  # fmt: skip
