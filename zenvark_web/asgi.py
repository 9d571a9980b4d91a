"""For Starlette, FastAPI and any other ASGI app: a middleware."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._http.problem import STATUS, problem
from .coordinator import Coordinator
from .exceptions import CircuitOpenError

__all__ = ["BreakerMiddleware"]

Fallback: TypeAlias = Callable[[Request, CircuitOpenError], Response | Awaitable[Response]]


class BreakerMiddleware:
    """Runs the coordinator with the app, and answers for circuits that are open.

        app.add_middleware(BreakerMiddleware, coordinator=coordinator)

    The coordinator starts and stops with the app's lifespan. A `CircuitOpenError` that no
    handler caught becomes a 503 with a problem document (RFC 9457) and `Retry-After`, as long as
    no response has been started. Any other exception passes through, bodies are never held back,
    and websockets are left alone.

    Args:
        app: The app it is put around.
        coordinator: Shares the circuits.
        fallback: Makes the response instead, sync or async.

    Raises:
        TypeError: A setting is not usable.
    """

    def __init__(
        self, app: ASGIApp, coordinator: Coordinator, fallback: Fallback | None = None
    ) -> None:
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        if fallback is not None and not callable(fallback):
            raise TypeError(f"fallback must be callable, not {fallback!r}")
        self._app = app
        self._coordinator = coordinator
        self._fallback = fallback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Answer(self._app, self._fallback)(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _Lifespan(self._app, self._coordinator)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Answer:
    """One request: passes it on, and answers if its circuit turns out to be open."""

    def __init__(self, app: ASGIApp, fallback: Fallback | None) -> None:
        self._app = app
        self._fallback = fallback
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start":  # hints and such may come before
                self._started = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except CircuitOpenError as error:
            if self._started:
                raise
            response = await self._response(Request(scope, receive), error)
            await response(scope, receive, send)

    async def _response(self, request: Request, error: CircuitOpenError) -> Response:
        if self._fallback is None:
            headers, body = problem(error.retry_after)
            return Response(body, STATUS, headers)
        response = self._fallback(request, error)
        return await response if inspect.isawaitable(response) else response


class _Lifespan:
    """The app's lifespan: the coordinator starts before the app and stops after it."""

    def __init__(self, app: ASGIApp, coordinator: Coordinator) -> None:
        self._app = app
        self._coordinator = coordinator
        self._answered = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        startup = await receive()
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._coordinator)
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await self._run(scope, _preceded(startup, receive), send)
            if not self._answered:
                await self._stand_in(receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched_send(message: Message) -> None:
            self._answered = True
            if message["type"] != "lifespan.startup.complete":
                await self._coordinator.stop()
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:
            if self._answered:
                raise

    async def _stand_in(self, receive: Receive, send: Send) -> None:
        """Answer for an app that knows no lifespan, and said so by raising or leaving."""
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._coordinator.stop()
        await send({"type": "lifespan.shutdown.complete"})


def _preceded(first: Message, receive: Receive) -> Receive:
    messages = [first]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
