"""What the middleware adds to a request of an app that does nothing: protected routes, closed and
open, beside Starlette's own middleware."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from _measure import Loop, measure, show
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zenvark_web import BreakerPolicy, ConstantBackoff, Coordinator, Outcome, State
from zenvark_web.asgi import BreakerMiddleware, ProtectedRoute

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
BARE = "no middleware"
BESIDE = "ExceptionMiddleware of Starlette"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    pass


def delegating(app: ASGIApp) -> ASGIApp:
    """A middleware that watches what the app sends, and does nothing else."""

    async def delegate(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            await send(message)

        await app(scope, receive, watched)

    return delegate


def requesting(app: ASGIApp) -> Loop:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/shop/cart",
        "headers": [(b"host", b"example.com")],
    }

    async def loop(calls: int) -> None:
        for _ in range(calls):
            await app(dict(scope), receive, send)

    return loop


async def opened(coordinator: Coordinator, name: str) -> None:
    breaker = coordinator.breaker(name)
    while breaker.state is State.CLOSED:
        for _ in range(5):
            breaker.acquire().record(Outcome.FAILURE)
        await asyncio.sleep(0.05)


async def main() -> None:
    policy = BreakerPolicy(backoff=ConstantBackoff(600))  # longer than a run
    async with Coordinator(policy=policy) as coordinator:
        await opened(coordinator, "open")

        def protected(routes: Any) -> Loop:
            return requesting(BreakerMiddleware(app, coordinator, routes=routes))

        measured = await measure(
            {
                BARE: requesting(app),
                "a middleware that watches what is sent": requesting(delegating(app)),
                BESIDE: requesting(ExceptionMiddleware(app)),
                "BaseHTTPMiddleware of Starlette": requesting(
                    BaseHTTPMiddleware(app, lambda request, call: call(request))
                ),
                "BreakerMiddleware, no routes": protected(None),
                "BreakerMiddleware, no route fits": protected({"/other": "other"}),
                "BreakerMiddleware, needs two": protected(
                    {"/shop": ProtectedRoute(needs=["one", "two"])}
                ),
                "BreakerMiddleware, a circuit": protected({"/shop": "shop"}),
                "BreakerMiddleware, circuit open: 503": protected({"/shop": "open"}),
                "BreakerMiddleware, need open: 503": protected(
                    {"/shop": ProtectedRoute(needs=["open"])}
                ),
            },
            CALLS,
        )
    show("A request of an app that does nothing: added CPU time", measured, BESIDE, BARE)


asyncio.run(main())
