"""A transport for httpx2 that asks a breaker before each request, and a health check.

Each client library has a module with the same names, so that types and errors are those of the
library in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import exceptions
from ._core.states import State
from ._http import api
from ._http.answer import Answer
from ._http.api import default_classify
from ._http.call_failed import CallFailedError
from ._http.chain import Chain, Upstream
from ._http.circuit_names import by_header, by_host
from ._http.classify import HttpClassifier
from ._http.client import ClientAdapter, missing
from ._http.fallbacks import Fallback, FixedResponse, OtherUpstream
from ._http.health_check import UrlHealthCheck
from ._http.last_good import LastGoodResponse
from ._http.problem import BreakerStatus
from ._http.scoped import Scoped, key_name
from ._http.transport import GuardedTransport

try:
    import httpx2
except ModuleNotFoundError as _error:
    raise missing("httpx2", _error) from _error

__all__ = [
    "Answer",
    "BodySentError",
    "BreakerStatus",
    "BreakerTransport",
    "CallFailedError",
    "Chain",
    "CircuitOpenError",
    "CircuitRoute",
    "Fallback",
    "FixedResponse",
    "HttpClassifier",
    "HttpHealthCheck",
    "LastGoodResponse",
    "OtherUpstream",
    "RequestSettings",
    "Scoped",
    "Upstream",
    "by_header",
    "by_host",
    "default_classify",
    "key_name",
]


class CircuitOpenError(exceptions.CircuitOpenError, httpx2.TransportError):
    """The circuit is open, and the request was not sent.

    This package's `CircuitOpenError` and an `httpx2.TransportError`, but neither a `NetworkError`
    nor a timeout: retry rules select those, and a rejection must not be retried.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next attempt to recover, as far as it is known.
        state: The circuit's state when the request was rejected.
        forced: Whether an operator holds the circuit open.
    """

    _request = None  # the client sets `request`

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            retry_after: float,
            state: State = State.OPEN,
            forced: bool = False,
            /,
        ) -> None: ...

    @property
    def state(self) -> State:
        """The circuit's state when the request was rejected."""
        return self.args[2] if len(self.args) > 2 else State.OPEN


class BodySentError(exceptions.BodySentError, httpx2.TransportError):
    """A call failed after its request's body was sent, which cannot be sent to another upstream.

    Args:
        name: The circuit's name.
    """

    _request = None  # the client sets `request`


class CircuitRoute(api.CircuitRoute[httpx2.Request, httpx2.Response, CircuitOpenError]):
    """A circuit's name, with settings that override the transport's.

    For `circuits`, and for one request as `extensions={"breaker": CircuitRoute(...)}`.
    """


class RequestSettings(
    api.RequestSettings[httpx2.Request, httpx2.Response, CircuitOpenError], total=False
):
    """Settings of one request, as `extensions={"breaker": RequestSettings(...)}`.

    They override those of the route and of the transport.
    """


class BreakerTransport(
    GuardedTransport[
        httpx2.Request,
        httpx2.Response,
        CircuitOpenError,
        httpx2.AsyncBaseTransport | httpx2.BaseTransport,
    ],
    httpx2.AsyncBaseTransport,
    httpx2.BaseTransport,
):
    """Sends requests while their circuit is closed, and rejects them while it is open.

        client = httpx2.AsyncClient(transport=BreakerTransport(coordinator))
        client = httpx2.Client(transport=BreakerTransport(coordinator))

    Requests and responses pass unchanged, streams included. A call ends when its response body
    has been read, closed or has broken.

    A client with a `transport` ignores its own `verify`, `cert`, `http2`, `limits` and the proxies
    of the environment, and `proxy=` bypasses the transport: set all of these on the wrapped
    transport.
    """

    _client = ClientAdapter(httpx2, CircuitOpenError, BodySentError)


class HttpHealthCheck(UrlHealthCheck):
    """A health check that requests a URL."""

    _module = httpx2
