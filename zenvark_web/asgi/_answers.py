"""Responses of open circuits: to HTTP requests, and to handshakes of websockets."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._core._checks import check_call
from .._http.answer import Answer
from .._http.problem import CIRCUIT_OPEN, STATUS, ProblemType, content_length, problem
from .._rejections import handling, rejected, rejection_in
from ..exceptions import CircuitOpenError
from ._messages import described

ResponseFallback: TypeAlias = Callable[[Request, CircuitOpenError], Response | Awaitable[Response]]

TRY_AGAIN_LATER = 1013
"""The close code for "try again later" (IANA's registry of WebSocket close codes)."""

WITHOUT_BODY = frozenset({204, 304})


def check_fallback(fallback: object) -> None:
    """Refuse an object that cannot make responses.

    Raises:
        TypeError: The message says what to pass.
    """
    if isinstance(fallback, Response | type):  # callable, but with other arguments
        raise TypeError(f"fallback must be a function that returns a response, not {fallback!r}")
    if fallback is not None and not callable(fallback):
        raise TypeError(f"fallback must be callable, not {fallback!r}")
    if fallback is not None:
        check_call("fallback", fallback, "a Request and the CircuitOpenError", None, None)


def problem_response(
    scope: Scope, error: CircuitOpenError, kind: ProblemType = CIRCUIT_OPEN
) -> Response:
    """The problem document; for HEAD its headers alone.

    It does not name the circuit, which may be the name of an internal host.
    """
    fields, body = _problem(scope, error, kind)
    response = Response(body, STATUS)
    response.raw_headers = fields
    return response


async def send_problem(
    scope: Scope, send: Send, error: CircuitOpenError, kind: ProblemType = CIRCUIT_OPEN
) -> None:
    """Send what `problem_response` sends, without making a response of it first."""
    fields, body = _problem(scope, error, kind)
    prefix = "websocket." if scope["type"] == "websocket" else ""
    await send({"type": f"{prefix}http.response.start", "status": STATUS, "headers": fields})
    await send({"type": f"{prefix}http.response.body", "body": body})


def _problem(
    scope: Scope, error: CircuitOpenError, kind: ProblemType
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    fields, body = problem(error.retry_after, kind=kind, forced=error.forced)
    fields.append(content_length(body))
    return fields, b"" if scope.get("method") == "HEAD" else body


def rejection_answer(error: BaseException) -> Answer | None:
    """The 503 for a rejection, for exception handlers of any framework.

    A rejection may be the error itself, all errors of a group, the cause of another error, or an
    error made from the transport's own 503. The `BreakerMiddleware` around the app then counts no
    failure of the route.

    Args:
        error: The unhandled error.

    Returns:
        Status, headers and body, or None if the error is not a rejection.
    """
    rejection = rejection_in(error)
    if rejection is None:
        return None
    handling(rejection)
    fields, body = problem(rejection.retry_after, forced=rejection.forced)
    headers = {name.decode(): value.decode() for name, value in fields}
    return Answer(body, STATUS, headers)


class RequestBody:
    """The body of a request, which either the app or the fallback may read.

    Args:
        scope: The request's.
        receive: The server's.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._complete = False
        self._size = 0

    async def to_app(self) -> Message:
        """The next message, for the app."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        return message

    async def to_fallback(self) -> Message:
        """The next message, for the fallback. It cannot wait for parts that the app has read:
        they never come again.

        Raises:
            RuntimeError: The app has read the body, or a part of it.
        """
        if self._size:
            raise RuntimeError(
                f"the fallback cannot read the body of {described(self._scope)}: the app has "
                "read it already"
            )
        if self._complete:  # it was empty
            self._complete = False
            return {"type": "http.request", "body": b"", "more_body": False}
        return await self._receive()


class RejectionResponse:
    """An ASGI app that responds to a rejection in place of the app.

    A websocket is refused with the same problem document if the server can send one (extension
    "websocket.http.response"), else closed before it is accepted.

    Args:
        error: The rejection.
        kind: The kind of problem.
        fallback: Makes the response to an HTTP request instead.
    """

    def __init__(
        self, error: CircuitOpenError, kind: ProblemType, fallback: ResponseFallback | None
    ) -> None:
        self._error = error
        self._kind = kind
        self._fallback = fallback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error
        # Counts in middleware further out.
        rejected(error.name, error.retry_after, forced=error.forced)
        http = scope["type"] == "http"
        if http and self._fallback is not None:
            response = await self._response(self._fallback, scope, receive)
            await response(scope, receive, send)
        elif http or "websocket.http.response" in (scope.get("extensions") or {}):
            await send_problem(scope, send, self._error, self._kind)
        else:
            title = self._kind.title
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": title})

    async def _response(
        self, fallback: ResponseFallback, scope: Scope, receive: Receive
    ) -> ASGIApp:
        request = Request(scope, receive)
        try:
            response: object = fallback(request, self._error)
            if inspect.isawaitable(response):
                response = await response
        except HTTPException as error:
            return await _response_to(request, error)
        except Exception as error:
            # The fallback needs another circuit, which is open as well.
            rejection = rejection_in(error)
            if rejection is None:
                raise
            longest = max(rejection, self._error, key=lambda error: error.retry_after)
            return problem_response(scope, longest, self._kind)
        if not callable(response):  # a response is an app that answers with it
            raise TypeError(
                f"the fallback for {described(scope)} must return a starlette Response, "
                f"not {response!r}"
            )
        return response


async def _response_to(request: Request, error: HTTPException) -> Response:
    """The response of the app to an `HTTPException`: that of its handler, if it has one."""
    app: object = request.scope.get("app")
    handler = _handler(app.exception_handlers, error) if isinstance(app, Starlette) else None
    if handler is not None:
        run = handler if inspect.iscoroutinefunction(handler) else _threaded(handler)
        response: object = await run(request, error)
        if isinstance(response, Response):
            return response
    if error.status_code in WITHOUT_BODY:
        return Response(status_code=error.status_code, headers=error.headers)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


def _handler(handlers: Mapping[Any, Any], error: HTTPException) -> Callable[..., Any] | None:
    classes = (cls for cls in type(error).__mro__ if issubclass(cls, HTTPException))
    found = (key for key in (error.status_code, *classes) if key in handlers)
    return next((handlers[key] for key in found), None)


def _threaded(handler: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def run(request: Request, error: HTTPException) -> Any:
        return await run_in_threadpool(handler, request, error)

    return run
