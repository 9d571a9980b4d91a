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
"""Where a scope tells the coordinator, for those further in.

It is written into the very scope: a copy would hide what routers write into it (the matched route)
from the middleware further out.
"""


class BreakerMiddleware:
    """Runs the coordinator with the app, and answers for circuits that are open.

        app.add_middleware(BreakerMiddleware, coordinator=coordinator)

    The coordinator starts and stops with the app's lifespan, unless it is running already; where
    no lifespan comes, it starts with the first request. A `CircuitOpenError` that no handler
    caught, in whatever form it arrives, becomes a 503 with a problem document (RFC 9457) and
    `Retry-After`, as long as no response has been started; a websocket is refused, as long as it
    has not been accepted. So does the plain 500 that a framework has made of it. Any other
    exception passes through, and bodies are never held back.

    With `routes` it protects the app itself: requests are answered, before the handler runs and
    without reading their body, while the circuit of their route is open, or one that it needs.
    Responses of the 5xx class and exceptions are failures of the route. A client that leaves, a
    cancellation and what came of a rejection by a circuit further in do not count, nor do requests
    that reach no handler: those for paths without a route, and preflights of browsers, which pass
    while a circuit is open as well.

    Args:
        app: The app it is put around.
        coordinator: Shares the circuits.
        fallback: Makes the response to an HTTP request instead, sync or async. An `HTTPException`
            that it raises becomes the response that the app makes of it.
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
        fallback: ResponseFallback | None = None,
        routes: RouteTable | None = None,
    ) -> None:
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        check_fallback(fallback)
        self._app = app
        self._coordinator = coordinator
        self._fallback = fallback
        self._route = finder(routes, coordinator.surface)
        self._cors = cors_within(app)
        self._awakening = Awakening(coordinator)
        self._handles = False  # whether the app has been seen to answer for rejections itself

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
        fallback = (route and route.fallback) or self._fallback
        fallbacks_receive = receive
        try:
            permit = None if route is None else route.admit(self._coordinator)
        except CircuitOpenError as error:
            answer = RejectionResponse(error, ROUTE_UNAVAILABLE, fallback)
        else:
            if fallback is not None:
                body = RequestBody(receive)
                receive, fallbacks_receive = body.to_app, body.to_fallback
            rejection = await self._rejection(route, permit, scope, receive, send)
            if rejection is None:
                return
            answer = RejectionResponse(rejection, CIRCUIT_OPEN, fallback)
        await readable(answer, self._cors)(scope, fallbacks_receive, send)

    async def _rejection(
        self,
        route: ProtectedRoute | None,
        permit: Permit | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> CircuitOpenError | None:
        """Let the app answer, and tell of the rejection that there is to answer for instead."""
        if permit is None and isinstance(scope.get("app"), Starlette):
            # Where exceptions come through, nobody asks for rejections that were caught.
            return await self._passed(None, Rejections(), scope, receive, send)
        with collecting() as met:
            call = self._call(route, permit, met, scope)
            return await self._passed(call, met, scope, receive, send)

    async def _passed(
        self, call: RouteCall | None, met: Rejections, scope: Scope, receive: Receive, send: Send
    ) -> CircuitOpenError | None:
        exchange = Exchange(self._app, met, guesses=not self._handles)
        await exchange(call, scope, receive, send)
        self._handles = self._handles or met.handled
        return exchange.rejection

    def _call(
        self, route: ProtectedRoute | None, permit: Permit | None, met: Rejections, scope: Scope
    ) -> RouteCall | None:
        """What counts as a call of the route, if it has a circuit of its own."""
        if route is None or permit is None:
            return None
        judge = partial(route.outcome, scope, surface=self._coordinator.surface)
        return RouteCall(permit, judge, met, uploading=scope["type"] == "http")
