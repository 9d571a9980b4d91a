"""For httpx: a transport that asks a breaker before each request, and a health check.

There is a module with the same names for each client library, so that types and errors
are those of the library in use. What they do is written once, for both.
"""

from __future__ import annotations

from typing import Any

from . import exceptions
from ._core.states import State
from ._http import api
from ._http.answer import Answer
from ._http.api import by_header, by_host, default_classify
from ._http.classify import HttpClassifier
from ._http.fallbacks import FixedResponse, OtherUpstream
from ._http.health_check import UrlHealthCheck
from ._http.last_good import LastGoodResponse
from ._http.library import Library, missing
from ._http.problem import BreakerStatus
from ._http.stream import AsyncBody, SyncBody
from ._http.transport import GuardedTransport
from ._http.upload import AsyncUpload, SyncUpload

try:
    import httpx
except ModuleNotFoundError as _error:
    raise missing("httpx", _error) from _error

__all__ = [
    "Answer",
    "BreakerStatus",
    "BreakerTransport",
    "CircuitOpenError",
    "CircuitRoute",
    "FixedResponse",
    "HttpClassifier",
    "HttpHealthCheck",
    "LastGoodResponse",
    "OtherUpstream",
    "RequestSettings",
    "by_header",
    "by_host",
    "default_classify",
]


class CircuitOpenError(exceptions.CircuitOpenError, httpx.TransportError):
    """The circuit is open: the request was not sent.

    Both this package's `CircuitOpenError` and an `httpx.TransportError`, but neither a
    `NetworkError` nor a timeout: retry rules key on those, and a rejection is not to be retried.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next attempt to recover, as far as it is known.
        state: What the circuit let pass when the request was rejected.
    """

    def __init__(self, name: str, retry_after: float, state: State = State.OPEN) -> None:
        httpx.TransportError.__init__(self, "")
        exceptions.CircuitOpenError.__init__(self, name, retry_after)
        Exception.__init__(self, name, retry_after)
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.retry_after, self.state)


class CircuitRoute(api.CircuitRoute[httpx.Request, httpx.Response, CircuitOpenError]):
    """A circuit's name, with settings for its requests that go before the transport's.

    Where a mapping or a function names a circuit, and in `extensions={"breaker": ...}`.
    """


class RequestSettings(
    api.RequestSettings[httpx.Request, httpx.Response, CircuitOpenError], total=False
):
    """What one request may say in `extensions={"breaker": ...}`; each goes before the
    transport's and the route's.
    """


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    pass


class _SyncBody(SyncBody, httpx.SyncByteStream):
    pass


class _AsyncUpload(AsyncUpload, httpx.AsyncByteStream):
    pass


class _SyncUpload(SyncUpload, httpx.SyncByteStream):
    pass


class BreakerTransport(
    GuardedTransport[
        httpx.Request,
        httpx.Response,
        CircuitOpenError,
        httpx.AsyncBaseTransport | httpx.BaseTransport,
    ],
    httpx.AsyncBaseTransport,
    httpx.BaseTransport,
):
    """Lets requests pass while their circuit is closed, and answers at once while it is open.

        client = httpx.AsyncClient(transport=BreakerTransport(coordinator))
        client = httpx.Client(transport=BreakerTransport(coordinator))

    Requests and responses pass through as they are, streams included. A call ends when its body
    has been read, closed or has broken.

    Note that a client with a `transport` ignores its own `verify`, `cert`, `http2`, `limits` and
    the proxies of the environment, and that `proxy=` goes past the transport: set all of these
    on the wrapped transport.
    """

    _library = Library(
        httpx,
        async_body=_AsyncBody,
        sync_body=_SyncBody,
        async_upload=_AsyncUpload,
        sync_upload=_SyncUpload,
        open_error=CircuitOpenError,
    )


class HttpHealthCheck(UrlHealthCheck):
    """A health check that asks a URL."""

    _module = httpx
