"""The middleware: one object for the app, one `Exchange` for each request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from .._core._checks import check_call
from .._http.answer import Answer
from .._http.problem import CIRCUIT_OPEN, ROUTE_UNAVAILABLE, STATUS, ProblemType, problem
from .._rejections import Rejections, collecting, rejected
from ..asgi._call import RouteCall
from ..asgi._cors import is_preflight
from ..asgi._routes import ProtectedRoute, Protection, finder
from ..breaker import Permit
from ..coordinator import Coordinator
from ..exceptions import CircuitOpenError
from ._exchange import Exchange
from ._requests import ENVIRON, RequestInput, scope_of
from ._start import Start

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

COORDINATOR = "zenvark_web.coordinator"
"""The key of the coordinator in the environment of a request."""

AnswerFallback: TypeAlias = Callable[["WSGIEnvironment", CircuitOpenError], Answer | None]
RouteTable: TypeAlias = Mapping[str, Protection] | Callable[["WSGIEnvironment"], Protection]


class BreakerMiddleware:
    """Runs the coordinator with a WSGI app, and responds with 503 while circuits are open.

        app = BreakerMiddleware(app, coordinator)

    The coordinator starts in each process with the first request, in a thread of its own, unless it
    runs already, and stops with the process. An unhandled `CircuitOpenError`, in any form, becomes
    a 503 with a problem document (RFC 9457) and `Retry-After`, unless the response has started. The
    plain 500 that a framework makes from the error is replaced as well. Other exceptions propagate,
    and bodies are not buffered.

    With `routes`, the app itself is protected, as by `zenvark_web.BreakerMiddleware`.

    Args:
        app: The wrapped app.
        coordinator: Shares the circuits.
        fallback: Makes the response in place of the 503: a function of the environment and the
            `CircuitOpenError` that returns an `Answer`, or None for the 503.
        routes: Protection by path, as for the ASGI middleware, or a function of the environment
            that returns the protection. A `ProtectedRoute` here has no fallback of its own.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    def __init__(
        self,
        app: WSGIApplication,
        coordinator: Coordinator,
        fallback: AnswerFallback | None = None,
        routes: RouteTable | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app must be a WSGI app, not {app!r}")
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        if fallback is not None:
            check_call("fallback", fallback, "an environment and the CircuitOpenError", None, None)
        self._app = app
        self._coordinator = coordinator
        self._fallback = fallback
        self._route = _finder(routes, coordinator)
        self._start = Start(coordinator)
        self._handles = False  # whether the app has handled a rejection itself

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request."""
        if not self._start.done:
            self._start()
        environ[COORDINATOR] = self._coordinator
        scope = scope_of(environ)
        route = None if is_preflight(scope) else self._route(scope)
        try:
            permit = None if route is None else route.admit(self._coordinator)
        except CircuitOpenError as error:
            return self._reject(error, ROUTE_UNAVAILABLE, environ, start_response)
        with collecting() as met:
            call = self._call(route, permit, met, scope)
            if call is not None:
                environ["wsgi.input"] = RequestInput(environ["wsgi.input"], call)
            exchange = Exchange(start_response, met, call, guesses=not self._handles)
            begun = exchange(self._app, environ)
            self._handles = self._handles or met.handled
        if isinstance(begun, CircuitOpenError):
            return self._reject(begun, CIRCUIT_OPEN, environ, start_response)
        return begun

    def _call(
        self,
        route: ProtectedRoute | None,
        permit: Permit | None,
        met: Rejections,
        scope: dict[str, Any],
    ) -> RouteCall | None:
        """The call of a route that has a circuit of its own."""
        if route is None or permit is None:
            return None
        classify = partial(route.outcome, scope, report=self._coordinator.report_error)
        return RouteCall(permit, classify, met, uploading=True)

    def _reject(
        self,
        error: CircuitOpenError,
        kind: ProblemType,
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        # Counts in middleware further out.
        rejected(error.name, error.retry_after, forced=error.forced)
        made = None if self._fallback is None else self._fallback(environ, error)
        if made is None:
            fields, body = problem(error.retry_after, kind=kind, forced=error.forced)
            pairs = [(name.decode(), value.decode()) for name, value in fields]
            status = STATUS
        else:
            status, pairs, body = _parts(made)
        pairs.append(("content-length", str(len(body))))
        start_response(f"{status} {_phrase(status)}", pairs)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def _finder(
    routes: RouteTable | None, coordinator: Coordinator
) -> Callable[[dict[str, Any]], ProtectedRoute | None]:
    """A function that returns the protection of a scope."""
    if isinstance(routes, Mapping):
        table: dict[str, Protection] = {**routes}
        for pattern, protection in table.items():
            if isinstance(protection, ProtectedRoute) and protection.fallback is not None:
                raise ValueError(
                    f"routes[{pattern!r}] has a fallback, which makes responses of Starlette: "
                    "pass fallback to the middleware"
                )
        return finder(table, coordinator.report_error)
    if routes is None or isinstance(routes, type):
        return finder(routes, coordinator.report_error)
    check_call("routes", routes, "an environment", None)
    return finder(lambda scope: routes(scope[ENVIRON]), coordinator.report_error)


def _parts(made: object) -> tuple[int, list[tuple[str, str]], bytes]:
    """The status, headers and body of a fallback's answer."""
    if not isinstance(made, Answer) or not isinstance(made.content, bytes | str | dict | list):
        raise TypeError(f"the fallback must return an Answer or None, not {made!r}")
    pairs = [*(made.headers.items() if isinstance(made.headers, Mapping) else made.headers)]
    kind, body = _encoded(made.content)
    if kind and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("content-type", kind))
    return made.status, pairs, body


def _encoded(content: bytes | str | dict[str, Any] | list[Any]) -> tuple[str | None, bytes]:
    """The media type and the bytes of a body, as httpx makes them from the same content."""
    if isinstance(content, bytes):
        return None, content
    if isinstance(content, str):
        return "text/plain; charset=utf-8", content.encode()
    return "application/json", json.dumps(content, ensure_ascii=False).encode()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
