"""What a client gets while a circuit is open: over HTTP, and for a websocket's handshake."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .._http.problem import CIRCUIT_OPEN, STATUS, ProblemType, problem
from ..exceptions import CircuitOpenError
from ._call import rejected

Fallback: TypeAlias = Callable[[Request, CircuitOpenError], Response | Awaitable[Response]]

TRY_AGAIN_LATER = 1013
"""The close code for "try again later" (IANA's registry of WebSocket close codes)."""


def problem_response(
    scope: Scope, error: CircuitOpenError, kind: ProblemType = CIRCUIT_OPEN
) -> Response:
    """The problem document, without its text for HEAD.

    It names no circuit: that may be the name of an internal host.
    """
    headers, body = problem(error.retry_after, kind=kind)
    if scope.get("method") == "HEAD":
        headers["content-length"] = str(len(body))
        body = b""
    return Response(body, STATUS, headers)


class Answer:
    """Answers in the app's place.

    A websocket is refused with the same problem document where the server can send one (the
    extension "websocket.http.response"), else closed before it is accepted.

    Args:
        error: Why.
        kind: What kind of problem it is.
        fallback: Makes the response to an HTTP request instead.
    """

    def __init__(
        self, error: CircuitOpenError, kind: ProblemType, fallback: Fallback | None
    ) -> None:
        self._error = error
        self._kind = kind
        self._fallback = fallback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejected(scope)
        if scope["type"] == "http":
            response = await self._response(scope, receive)
            await response(scope, receive, send)
        elif "websocket.http.response" in (scope.get("extensions") or {}):
            await problem_response(scope, self._error, self._kind)(scope, receive, send)
        else:
            title = self._kind.title
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": title})

    async def _response(self, scope: Scope, receive: Receive) -> Response:
        if self._fallback is None:
            return problem_response(scope, self._error, self._kind)
        response = self._fallback(Request(scope, receive), self._error)
        return await response if inspect.isawaitable(response) else response
