"""The middleware: one object for the app, one `_Exchange` for each request."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._http.problem import CIRCUIT_OPEN, ROUTE_UNAVAILABLE
from ..breaker import Permit
from ..coordinator import Coordinator
from ..exceptions import CircuitOpenError
from ._answers import Answer, Fallback
from ._call import KEY as CALL
from ._call import Call
from ._lifespan import Lifespan
from ._routes import Routes, finder

COORDINATOR = "zenvark_web.coordinator"
"""Where a scope tells the coordinator, for those further in.

It is written into the very scope: a copy would hide what routers write into it (the matched route)
from the middleware further out.
"""

ANSWERS = frozenset(
    {
        "http.response.start",  # hints and such may come before
        "websocket.accept",
        "websocket.close",
        "websocket.http.response.start",
    }
)


class BreakerMiddleware:
    """Runs the coordinator with the app, and answers for circuits that are open.

        app.add_middleware(BreakerMiddleware, coordinator=coordinator)

    The coordinator starts and stops with the app's lifespan, unless it is running already. A
    `CircuitOpenError` that no handler caught becomes a 503 with a problem document (RFC 9457) and
    `Retry-After`, as long as no response has been started; a websocket is refused, as long as it
    has not been accepted. Any other exception passes through, and bodies are never held back.

    With `routes` it protects the app itself: requests are answered, before the handler runs and
    without reading their body, while the circuit of their route is open, or one that it needs.
    Responses of the 5xx class and exceptions are failures of the route. A client that leaves, a
    cancellation and a rejection by a circuit further in do not count.

    Args:
        app: The app it is put around.
        coordinator: Shares the circuits.
        fallback: Makes the response to an HTTP request instead, sync or async.
        routes: Protections by path: the name of a circuit, a `ProtectedRoute`, or None: not
            protected. Keys are beginnings of paths in whole segments, in which `*` stands for
            anything within a segment; the longest that fits decides, literal ones first. Or a
            function that tells the protection of a scope.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    def __init__(
        self,
        app: ASGIApp,
        coordinator: Coordinator,
        fallback: Fallback | None = None,
        routes: Routes | None = None,
    ) -> None:
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        if fallback is not None and not callable(fallback):
            raise TypeError(f"fallback must be callable, not {fallback!r}")
        self._app = app
        self._coordinator = coordinator
        self._fallback = fallback
        self._route = finder(routes, coordinator.surface)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await Lifespan(self._app, self._coordinator)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[COORDINATOR] = self._coordinator
        route = self._route(scope)
        fallback = (route and route.fallback) or self._fallback
        try:
            permit = None if route is None else route.admit(self._coordinator)
        except CircuitOpenError as error:
            await Answer(error, ROUTE_UNAVAILABLE, fallback)(scope, receive, send)
            return
        exchange = _Exchange(self._app, permit)
        try:
            await exchange(scope, receive, send)
        except CircuitOpenError as error:
            if exchange.answered:
                raise
            await Answer(error, CIRCUIT_OPEN, fallback)(scope, receive, send)


class _Exchange:
    """One request, or one websocket, on its way through the app.

    Args:
        app: The app.
        permit: The leave to call it, if its route has a circuit.

    Attributes:
        answered: Whether the app has begun to answer.
    """

    def __init__(self, app: ASGIApp, permit: Permit | None) -> None:
        self._app = app
        self._permit = permit
        self.answered = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched_send(message: Message) -> None:
            if message["type"] in ANSWERS:
                self.answered = True
            await send(message)

        if self._permit is None:
            await self._app(scope, receive, watched_send)
        else:
            await self._counted(self._permit, scope, receive, watched_send)

    async def _counted(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        call = scope[CALL] = Call(permit, scope.get(CALL))
        try:
            await self._app(scope, call.listening(receive), call.speaking(send))
        except BaseException as error:
            call.raised(error)
            raise
        call.returned()
