"""For httpx: a transport that asks a breaker before each request, and a health check.

There is a module with the same names for each client library, so that types and errors
are those of the library in use. What they do is written once, for both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict

from . import exceptions
from ._core.states import Outcome, State
from ._http.answer import Answer
from ._http.classify import DEFAULT, HttpClassifier
from ._http.fallbacks import FixedResponse, OtherUpstream
from ._http.health_check import UrlHealthCheck
from ._http.last_good import LastGoodResponse
from ._http.library import Library, missing
from ._http.problem import BreakerStatus
from ._http.routes import header_name, host_name
from ._http.settings import RouteSettings
from ._http.stream import AsyncBody, SyncBody
from ._http.transport import GuardedTransport
from ._http.upload import AsyncUpload, SyncUpload
from .coordinator import Coordinator

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


Classify: TypeAlias = Callable[[httpx.Request, httpx.Response | Exception], Outcome]
Content: TypeAlias = httpx.Response | Answer | bytes | str | dict[str, Any] | list[Any] | None
Make: TypeAlias = Callable[[httpx.Request, CircuitOpenError], Content | Awaitable[Content]]
Fallback: TypeAlias = Make | OtherUpstream
WhenOpen: TypeAlias = Literal["respond", "raise"]


class CircuitRoute(RouteSettings):
    """A circuit's name, with settings for its requests that go before the transport's.

    Where a mapping or a function names a circuit, and in `extensions={"breaker": ...}`.

    Args:
        name: The circuit.
        classify: Tells the outcome of an exchange. None: the transport's.
        fallback: Makes the answer while the circuit is open. None: the transport's.
        when_open: `"respond"` or `"raise"`. None: the transport's.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    def __init__(
        self,
        name: str,
        *,
        classify: Classify | None = None,
        fallback: Fallback | None = None,
        when_open: WhenOpen | None = None,
    ) -> None:
        super().__init__(name, classify, fallback, when_open)


class RequestSettings(TypedDict, total=False):
    """What one request may say in `extensions={"breaker": ...}`; each goes before the
    transport's and the route's.

    Attributes:
        name: The circuit. None or False: not protected. Left out: as mapped.
        classify: Tells the outcome.
        fallback: Makes the answer while the circuit is open. None: none does.
        when_open: What the caller gets if no fallback answers.
    """

    name: str | Literal[False] | None
    classify: Classify
    fallback: Fallback | Mapping[str, Fallback] | None
    when_open: WhenOpen


Circuits: TypeAlias = (
    Mapping[str, str]
    | Mapping[str, str | CircuitRoute]
    | Callable[[httpx.Request], str | CircuitRoute | None]
)


def by_host(request: httpx.Request) -> str | None:
    """A request's circuit: its host, with the port when that is not the scheme's default."""
    return host_name(request.url)


def by_header(header: str) -> Callable[[httpx.Request], str | None]:
    """For many tenants behind one host: `circuits=by_header("X-Tenant")`.

    A request's circuit is its host and the value of the header, such as
    `api.example.com#acme`; without the header it is its host.
    """
    return lambda request: header_name(request.url, request.headers.get(header))


def default_classify(request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
    """What an exchange says about its upstream: `HttpClassifier()`.

    A failure: transport errors and timeouts, a body that breaks, and the statuses 408, 429, and
    from 500 on all but 501 and 505. Ignored: errors of the caller's making, a limit of this
    process such as `PoolTimeout`, and what a breaker further in answered. The other 4xx tell that
    the upstream answers, and not how well it is (`Outcome.ANSWERED`). Anything else is a success.
    """
    return DEFAULT(request, ended)


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    pass


class _SyncBody(SyncBody, httpx.SyncByteStream):
    pass


class _AsyncUpload(AsyncUpload, httpx.AsyncByteStream):
    pass


class _SyncUpload(SyncUpload, httpx.SyncByteStream):
    pass


class BreakerTransport(
    GuardedTransport[httpx.Request, httpx.Response],
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

    Args:
        coordinator: Shares the circuits.
        transport: Sends the requests. Default: `httpx.AsyncHTTPTransport()` or
            `httpx.HTTPTransport()`, made when it is first needed.
        circuits: A request's circuit: a mapping from URL patterns (hosts with `*`, optionally
            with scheme, port and the beginning of a path) to names, or a function that may
            return None: not protected. In place of a name, a `CircuitRoute` has settings of
            its own. One request: `extensions={"breaker": name or None or RequestSettings(...)}`.
        classify: Tells the outcome of an exchange.
        fallback: Makes the answer while the circuit is open, sync or async: a response, or bytes,
            text or JSON; None if it has none. What it raises, the caller gets. A mapping gives
            fallbacks by circuit name, with `*` and `?`.
        when_open: If no fallback answers: `"respond"` with 503 and a problem document, or
            `"raise"` `CircuitOpenError`.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    _library = Library(
        httpx,
        async_body=_AsyncBody,
        sync_body=_SyncBody,
        async_upload=_AsyncUpload,
        sync_upload=_SyncUpload,
        open_error=CircuitOpenError,
    )

    def __init__(
        self,
        coordinator: Coordinator,
        transport: httpx.AsyncBaseTransport | httpx.BaseTransport | None = None,
        *,
        circuits: Circuits = by_host,
        classify: Classify = default_classify,
        fallback: Fallback | Mapping[str, Fallback] | None = None,
        when_open: WhenOpen = "respond",
    ) -> None:
        super().__init__(
            coordinator,
            transport,
            circuits=circuits,
            classify=DEFAULT if classify is default_classify else classify,
            fallback=fallback,
            when_open=when_open,
        )


class HttpHealthCheck(UrlHealthCheck):
    """A health check that asks a URL.

    Args:
        url: Where to ask. `{name}` in it stands for the circuit's name (a host and perhaps a
            port, with the default mapping), so that one check serves many circuits.
        expect: The statuses that mean well.
        timeout: Seconds for the whole exchange; the connection may take half of them.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    _module: ClassVar[Any] = httpx
