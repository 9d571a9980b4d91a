"""The middleware: one object for the app, one `Exchange` for each request."""

from __future__ import annotations

from functools import partial

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from .._http.problem import CIRCUIT_OPEN, ROUTE_UNAVAILABLE
from .._rejections import Rejections, collecting
from ..breaker import Permit
from ..coordinator import Coordinator
from ..exceptions import CircuitOpenError
from ._answers import RejectionResponse, RequestBody, ResponseFallback, check_fallback
from ._awake import Awakening
from ._call import RouteCall
from ._cors import cors_within, is_preflight, readable
from ._exchange import Exchange
from ._lifespan import Lifespan
from ._routes import ProtectedRoute, RouteTable, finder

COORDINATOR = "zenvark_web.coordinator"
"""The key of the coordinator in a scope.

The scope itself is changed: a copy would hide the entries of routers (the matched route) from
middleware further out.
"""


class BreakerMiddleware:
    """Runs the coordinator with the app, and responds with 503 while circuits are open.

        app.add_middleware(BreakerMiddleware, coordinator=coordinator)

    The coordinator starts and stops with the app's lifespan, unless it is running already; without
    a lifespan, it starts with the first request. An unhandled `CircuitOpenError`, in any form,
    becomes a 503 with a problem document (RFC 9457) and `Retry-After`, unless the response has
    started; a websocket is refused, unless it has been accepted. The plain 500 that a framework
    makes from the error is replaced as well. Other exceptions propagate, and bodies are never
    buffered.

    With `routes`, the app itself is protected: while the circuit of a route is open, or one that
    it needs, requests are rejected before the handler runs and before their body is read.
    Responses of the 5xx class and exceptions are failures of the route. Clients that disconnect,
    cancellations and responses after a rejection by a circuit further in do not count. Neither do
    requests that reach no handler: those for paths without a route, and CORS preflights, which
    pass even while a circuit is open.

    Args:
        app: The wrapped app.
        coordinator: Shares the circuits.
        fallback: Makes the response to an HTTP request instead, sync or async. The app responds
            to an `HTTPException` that it raises.
        routes: Protection by path: the name of a circuit, a `ProtectedRoute`, or None for no
            protection. Keys are path prefixes of whole segments, in which `*` matches any
            characters within a segment; the longest match applies, literal segments first. Or a
            function that returns the protection of a scope.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    def __init__(
        self,
        app: ASGIApp,
        coordinator: Coordinator,
        fallback: ResponseFallback | None = None,
        routes: RouteTable | None = None,
    ) -> None:
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        check_fallback(fallback)
        self._app = app
        self._coordinator = coordinator
        self._fallback = fallback
        self._route = finder(routes, coordinator.report_error)
        self._cors = cors_within(app)
        self._awakening = Awakening(coordinator)
        self._handles = False  # whether the app has handled a rejection itself

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            if self._awakening.due:
                await self._awakening()
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            self._awakening.leave()
            await Lifespan(self._app, self._coordinator)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[COORDINATOR] = self._coordinator
        route = None if is_preflight(scope) else self._route(scope)
        fallback = self._fallback
        permit = None
        fallbacks_receive = receive
        try:
            if route is not None:
                fallback = route.fallback or fallback
                permit = route.admit(self._coordinator)
        except CircuitOpenError as error:
            answer = RejectionResponse(error, ROUTE_UNAVAILABLE, fallback)
        else:
            if fallback is not None:
                body = RequestBody(scope, receive)
                receive, fallbacks_receive = body.to_app, body.to_fallback
            # Starlette raises unhandled rejections, so caught ones need not be collected.
            apart = permit is None and isinstance(scope.get("app"), Starlette)
            with collecting(apart=apart) as met:
                call = self._call(route, permit, met, scope)
                exchange = Exchange(self._app, met, guesses=not self._handles)
                await exchange(call, scope, receive, send)
            if met.handled:
                self._handles = True
            if exchange.rejection is None:
                return
            answer = RejectionResponse(exchange.rejection, CIRCUIT_OPEN, fallback)
        await readable(answer, self._cors)(scope, fallbacks_receive, send)

    def _call(
        self, route: ProtectedRoute | None, permit: Permit | None, met: Rejections, scope: Scope
    ) -> RouteCall | None:
        """The call of a route that has a circuit of its own."""
        if route is None or permit is None:
            return None
        classify = partial(route.outcome, scope, report=self._coordinator.report_error)
        return RouteCall(permit, classify, met, uploading=scope["type"] == "http")
