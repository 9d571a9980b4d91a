"""Protected routes behind a real uvicorn, with real clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from tests.asgi.serving import served
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.circuits import counts, opened
from zenvark_web import BreakerMiddleware, Coordinator, ProtectedRoute

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def protected(endpoint: Endpoint, coordinator: Coordinator) -> ASGIApp:
    app = Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
    return app


async def test_stream_counts_when_it_has_ended(patient: Coordinator) -> None:
    go = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await go.wait()
        yield b"second"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    breaker = patient.breaker("own")
    async with (
        served(protected(endpoint, patient)) as client,
        client.stream("GET", "/") as response,
    ):
        received = response.aiter_raw()
        assert await anext(received) == b"first"
        assert counts(breaker) == (0, 0)
        go.set()
        assert [part async for part in received] == [b"second"]
        assert counts(breaker) == (1, 0)


async def test_stream_that_breaks_is_a_failure(patient: Coordinator) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        raise ValueError("half way")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    async with served(protected(endpoint, patient)) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
    assert counts(patient.breaker("own")) == (0, 1)


async def test_client_that_leaves_a_stream_does_not_count(patient: Coordinator) -> None:
    ended = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick"
                await asyncio.sleep(0.005)
        finally:
            ended.set()

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    async with served(protected(endpoint, patient)) as client:
        async with client.stream("GET", "/") as response:
            assert await anext(response.aiter_raw())
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    assert counts(patient.breaker("own")) == (0, 0)


async def test_client_that_leaves_a_handler_does_not_count(patient: Coordinator) -> None:
    asked, heard = asyncio.Event(), asyncio.Event()

    async def endpoint(request: Request) -> Response:
        asked.set()
        await eventually(request.is_disconnected, within=PATIENCE)
        heard.set()
        return Response(status_code=500)

    async with served(protected(endpoint, patient)) as client:
        request = asyncio.create_task(client.get("/"))
        await asked.wait()
        request.cancel()
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
    assert counts(patient.breaker("own")) == (0, 0)


async def test_background_task_neither_delays_nor_counts(patient: Coordinator) -> None:
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        raise ValueError("in the background")

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("accepted", 202, background=BackgroundTask(work))

    async with served(protected(endpoint, patient)) as client:
        assert (await client.get("/")).status_code == 202
        assert counts(patient.breaker("own")) == (1, 0)
        go.set()
    assert counts(patient.breaker("own")) == (1, 0)


async def test_upload_streams_through(patient: Coordinator) -> None:
    arrived = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        size = 0
        async for part in request.stream():
            size += len(part)
            arrived.set()
        return PlainTextResponse(str(size))

    async def source() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await arrived.wait()
        for _ in range(50):
            yield b"x" * 100_000

    async with served(protected(endpoint, patient)) as client:
        assert (await client.post("/", content=source())).text == "5001000"
    assert counts(patient.breaker("own")) == (1, 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_open_route_is_answered_at_once(brisk: Coordinator, method: str) -> None:
    async def endpoint(request: Request) -> Response:
        pytest.fail("it was called")

    await opened(brisk.breaker("own"))
    async with served(protected(endpoint, brisk)) as client:
        for _ in range(3):  # what is wrong with the first would show in the second
            content = b"x" * 1_000_000 if method == "POST" else None
            response = await client.request(method, "/", content=content)
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert bool(response.content) is (method != "HEAD")


async def test_upload_to_an_open_route_is_not_asked_for(brisk: Coordinator) -> None:
    """A client that waits for `100 Continue` sends nothing."""
    await opened(brisk.breaker("own"))

    async def endpoint(request: Request) -> Response:
        pytest.fail("it was called")

    async with served(protected(endpoint, brisk)) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        writer.close()
        await writer.wait_closed()


class TestWebsockets:
    def app(self, coordinator: Coordinator) -> ASGIApp:
        async def echo(websocket: WebSocket) -> None:
            await websocket.accept()
            async for text in websocket.iter_text():
                await websocket.send_text(text.upper())

        app = Starlette(routes=[WebSocketRoute("/", echo)])
        app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
        return app

    async def test_call_ends_with_the_handshake(self, patient: Coordinator) -> None:
        async with (
            served(self.app(patient), ws="wsproto") as client,
            connect(_address(client), proxy=None) as websocket,
        ):
            await websocket.send("a")
            assert await websocket.recv() == "A"
            assert counts(patient.breaker("own")) == (1, 0)
        assert counts(patient.breaker("own")) == (1, 0)

    async def test_open_route_refuses_it_with_the_document(self, brisk: Coordinator) -> None:
        await opened(brisk.breaker("own"))
        async with served(self.app(brisk), ws="wsproto") as client:
            with pytest.raises(websockets.InvalidStatus) as caught:
                await connect(_address(client), proxy=None)
        response = caught.value.response
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert int(response.headers["retry-after"]) >= 1
        assert b"route-unavailable" in response.body


def _address(client: httpx.AsyncClient) -> str:
    return str(client.base_url).replace("http://", "ws://")


async def test_route_by_what_it_needs(brisk: Coordinator) -> None:
    app = Starlette(routes=[Route("/", PlainTextResponse("hello"))])
    app.add_route("/healthz", PlainTextResponse("well"))
    routes = {"/": ProtectedRoute(needs=["payments"]), "/healthz": None}
    app.add_middleware(BreakerMiddleware, coordinator=brisk, routes=routes)
    async with served(app) as client:
        assert (await client.get("/")).text == "hello"
        await opened(brisk.breaker("payments"))
        assert (await client.get("/")).status_code == 503
        assert (await client.get("/healthz")).text == "well"
