"""One of the apps: a Starlette app whose one route calls the upstream through a breaker."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Scope

from .._core.backoff import ExponentialBackoff
from .._core.overrides import Override
from .._core.policy import BreakerPolicy
from .._core.states import HealthCheckType
from ..asgi import BreakerMiddleware, StatusApp
from ..backends import Backend
from ..coordinator import Coordinator
from ..events import StateChange
from ..exceptions import CircuitOpenError
from ..httpx import BreakerTransport, HttpHealthCheck
from .journal import Journal
from .settings import CIRCUIT
from .upstream import ASKED

PAGE = "/circuits"
LONGEST_WAIT = 2.0
FORGIVE = 2.0
RAMP = (0.1, 0.25, 0.5)
RAMP_STEP = 1.0
FORCED_FOR = 3.0
BACKOFF = ExponentialBackoff(initial=0.5, multiplier=2, maximum=LONGEST_WAIT, jitter=0.1)
UPSTREAM_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """The settings of an app.

    Args:
        name: Its name.
        namespace: The fleet.
        upstream: The upstream's URL.
        trial: Whether the circuit recovers by trial calls.
        ramp: Whether it recovers through a ramp.
    """

    name: str
    namespace: str
    upstream: str
    trial: bool
    ramp: bool


class App:
    """An app with its coordinator.

    Args:
        settings: Its settings.
        store: The shared store: a Redis URL or a backend.
        transport: The transport to the upstream, if not over the network.
    """

    def __init__(
        self,
        settings: AppSettings,
        store: str | Backend,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name: str = settings.name
        self.journal: Journal = Journal(settings.name)
        check = self._health_check(settings.upstream, transport)
        self.coordinator: Coordinator = Coordinator(
            store,
            namespace=settings.namespace,
            policy=BreakerPolicy(
                health_check=None if settings.trial else self.journal.watching(check),
                backoff=BACKOFF,
                ramp=RAMP if settings.ramp else (),
                ramp_step=RAMP_STEP,
                forgive=FORGIVE,
            ),
            on_state_change=self._state_changed,
            on_role_change=self.journal.role_changed,
            on_error=self.journal.error,
        )
        self._breaker = self.coordinator.breaker(CIRCUIT)
        self._client = httpx.AsyncClient(
            base_url=settings.upstream,
            timeout=UPSTREAM_TIMEOUT,
            transport=BreakerTransport(
                self.coordinator, transport, circuits=lambda _: CIRCUIT, when_open="raise"
            ),
        )
        self.asgi: Starlette = Starlette(
            routes=[
                Route("/", self._answer),
                Route("/demo/status", self._status),
                Route("/demo/override", self._override, methods=["POST"]),
                Mount(PAGE, StatusApp(self.coordinator, authorize=_anybody, title="Demo")),
            ],
            middleware=[Middleware(BreakerMiddleware, coordinator=self.coordinator)],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """For an app that no server runs: its lifespan."""
        async with self.coordinator, self._client:
            yield

    def _state_changed(self, change: StateChange) -> None:
        self.journal.state_changed(self.coordinator, change)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None, None]:
        async with self._client:
            yield

    async def _answer(self, request: Request) -> Response:
        """Pass the upstream's response on. For an open circuit, the middleware responds."""
        headers = {ASKED: f"{self.name} {self._breaker.state} {time.monotonic()}"}
        try:
            response = await self._client.get("/", headers=headers)
        except CircuitOpenError:
            raise
        except httpx.TransportError as error:
            return Response(f"the upstream gave no answer: {error!r}\n", 502)
        return Response(response.content, 200 if response.is_success else 502)

    async def _override(self, request: Request) -> Response:
        """Hold the circuit open in all apps, as an operator does."""
        await self.coordinator.override(
            CIRCUIT,
            Override.FORCE_OPEN,
            reason="shown in the demo",
            actor="demo",
            expires_in=FORCED_FOR,
        )
        return JSONResponse(time.monotonic())

    async def _status(self, request: Request) -> Response:
        """Return the app's state, and the events after a given number."""
        return JSONResponse(
            {
                "instance": self.coordinator.instance_id,
                "connected": self.coordinator.connected,
                "role": self.coordinator.role,
                "state": self._breaker.state,
                "share": self._breaker.share,
                "generation": self._breaker.generation,
                "blocked": self._breaker.blocked,
                "events": [
                    asdict(event)
                    for event in self.journal.after(int(request.query_params.get("seen", 0)))
                ],
            }
        )

    def _health_check(
        self, upstream: str, transport: httpx.AsyncBaseTransport | None
    ) -> Callable[[HealthCheckType], Awaitable[object]]:
        if transport is None:
            return HttpHealthCheck(f"{upstream}/health")

        async def check(_: HealthCheckType) -> None:
            async with httpx.AsyncClient(transport=transport, base_url=upstream) as client:
                (await client.get("/health")).raise_for_status()

        return check


def _anybody(scope: Scope, right: str) -> str:
    """Whoever is on this machine may try what the page offers."""
    return "demo"
