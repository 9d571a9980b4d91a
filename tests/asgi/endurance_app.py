"""The app of `tests.endurance`: something of everything, and how large the process is."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    ProtectedRoute,
)

PATIENT = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))
OPEN = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(3600))

coordinator = Coordinator(
    os.environ["ENDURANCE_REDIS"],
    namespace="endurance",
    policy=PATIENT,
    policies={"down": OPEN, "payments": OPEN},
)


async def plain(request: Request) -> Response:
    return PlainTextResponse("hello")


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(5):
        yield b"x" * 100
        await asyncio.sleep(0)


async def stream(request: Request) -> Response:
    return StreamingResponse(chunks())


async def ticks() -> AsyncIterator[bytes]:
    while True:
        yield b"tick"
        await asyncio.sleep(0.001)


async def endless(request: Request) -> Response:
    return StreamingResponse(ticks())


async def upload(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def fails(request: Request) -> Response:
    return PlainTextResponse("no", 500)


async def later() -> None:
    await asyncio.sleep(0)


async def background(request: Request) -> Response:
    return PlainTextResponse("soon", 202, background=BackgroundTask(later))


async def runs_into(request: Request) -> Response:
    coordinator.breaker("payments").acquire()
    return PlainTextResponse("paid")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


async def prepare(request: Request) -> Response:
    for name in ("down", "payments"):
        if coordinator.breaker(name).state != "open":
            coordinator.breaker(name).acquire().record(Outcome.FAILURE)
    return JSONResponse(coordinator.breaker("down").state == coordinator.breaker("payments").state)


def resident() -> int:
    """The bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def size(request: Request) -> Response:
    gc.collect()
    breakers = coordinator.breakers
    counts = {name: sum(breaker.successes.counts) for name, breaker in breakers.items()}
    return JSONResponse(
        {
            "bytes": resident(),
            "objects": len(gc.get_objects()),
            "tasks": len(asyncio.all_tasks()),
            "successes": counts,
            "failures": sum(breakers["fails"].failures.counts) if "fails" in breakers else 0,
        }
    )


ROUTES = {
    "/": "rest",
    "/size": None,
    "/prepare": None,
    "/stream": "stream",
    "/fails": "fails",
    "/down": "down",
    "/needs": ProtectedRoute(circuit="needs", needs=["payments"]),
}

app = Starlette(
    routes=[
        Route("/plain", plain),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/upload", upload, methods=["POST"]),
        Route("/fails", fails),
        Route("/background", background),
        Route("/down", plain),
        Route("/needs", plain),
        Route("/runs-into", runs_into),
        Route("/prepare", prepare),
        Route("/size", size),
        WebSocketRoute("/echo", echo),
    ]
)
app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes=ROUTES)
