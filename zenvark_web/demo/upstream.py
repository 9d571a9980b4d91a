"""The service that all apps call. It breaks on request, and logs each call with its caller and
time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import asdict, dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ASKED = "x-demo-asked"
"""The header in which an app tells its name, its circuit's state, and when it asked its breaker."""

LEAST_DELAY, MOST_DELAY = 0.005, 0.02
KEPT = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One request that reached the upstream.

    Args:
        asked: When the app asked its breaker, by the app's clock; 0 for a health check.
        answered: When the upstream answered.
        ok: Whether it answered well.
        app: The app that called; empty for a health check.
        state: The state the app knew when it called.
    """

    asked: float
    answered: float
    ok: bool
    app: str
    state: str


class Upstream:
    """The service: `/` for calls, `/health` for health checks, `/demo/…` for the demo itself."""

    def __init__(self) -> None:
        self.broken: bool = False
        self._hits: deque[Hit] = deque(maxlen=KEPT)
        self.asgi: Starlette = Starlette(
            routes=[
                Route("/", self._answer),
                Route("/health", self._answer),
                Route("/demo/broken", self._switch, methods=["PUT", "DELETE"]),
                Route("/demo/log", self._log),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        await asyncio.sleep(random.uniform(LEAST_DELAY, MOST_DELAY))
        app, state, asked = request.headers.get(ASKED, "  0").split(" ")
        ok = not self.broken
        self._hits.append(
            Hit(asked=float(asked), answered=time.monotonic(), ok=ok, app=app, state=state)
        )
        return Response(b"paid\n" if ok else b"broken\n", 200 if ok else 500)

    async def _switch(self, request: Request) -> Response:
        """Break or mend it; answers when it did. An incident's log starts afresh."""
        self.broken = request.method == "PUT"
        if self.broken:
            self._hits.clear()
        return JSONResponse(time.monotonic())

    async def _log(self, request: Request) -> Response:
        return JSONResponse([asdict(hit) for hit in self._hits])
