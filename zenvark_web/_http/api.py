"""The text that `zenvark_web.httpx` and `zenvark_web.httpx2` share: generic over the request, the
response and the open error of the client library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeGuard, TypeVar

from .._core._checks import check_name
from .._core.states import Outcome
from .answer import Answer, Body
from .circuit_names import header_name, host_name
from .classify import DEFAULT, HasStatus
from .fallbacks import Fallbacks, OtherUpstream
from .library import RequestLike, ResponseLike
from .settings import WhenOpen, check_classify, check_when_open

RequestT = TypeVar("RequestT", bound=RequestLike)
ResponseT = TypeVar("ResponseT", bound=ResponseLike)
ErrorT = TypeVar("ErrorT", bound=Exception)

Classify: TypeAlias = Callable[[RequestT, ResponseT | Exception], Outcome]
FallbackResult: TypeAlias = ResponseT | Answer | Body | None
FallbackFunction: TypeAlias = Callable[
    [RequestT, ErrorT], FallbackResult[ResponseT] | Awaitable[FallbackResult[ResponseT]]
]
Fallback: TypeAlias = FallbackFunction[RequestT, ErrorT, ResponseT] | OtherUpstream


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CircuitRoute(Generic[RequestT, ResponseT, ErrorT]):
    """A circuit's name, with settings for its requests that go before the transport's.

    Where a mapping or a function names a circuit, and in `extensions={"breaker": ...}`.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    name: str
    """The circuit."""
    _: KW_ONLY
    classify: Classify[RequestT, ResponseT] | None = None
    """Tells the outcome of an exchange. None: the transport's."""
    fallback: Fallback[RequestT, ErrorT, ResponseT] | None = None
    """Makes the answer while the circuit is open. None: the transport's."""
    when_open: WhenOpen | None = None
    """`"respond"` or `"raise"`. None: the transport's."""

    def __post_init__(self) -> None:
        check_name("a route's name", self.name)
        if self.classify is not None:
            check_classify(self.classify)
        if self.when_open is not None:
            check_when_open(self.when_open)
        Fallbacks(self.fallback)


AnyRoute: TypeAlias = CircuitRoute[Any, Any, Any]


def is_route(target: object) -> TypeGuard[AnyRoute]:
    """Whether a circuit is named with settings, for either client library."""
    return isinstance(target, CircuitRoute)


Circuits: TypeAlias = (
    Mapping[str, str]
    | Mapping[str, str | CircuitRoute[RequestT, ResponseT, ErrorT]]
    | Callable[[RequestT], str | CircuitRoute[RequestT, ResponseT, ErrorT] | None]
)


class RequestSettings(TypedDict, Generic[RequestT, ResponseT, ErrorT], total=False):
    """What one request may say in `extensions={"breaker": ...}`; each goes before the
    transport's and the route's."""

    name: str | Literal[False] | None
    """The circuit. None or False: not protected. Left out: as mapped."""
    classify: Classify[RequestT, ResponseT]
    """Tells the outcome."""
    fallback: (
        Fallback[RequestT, ErrorT, ResponseT]
        | Mapping[str, Fallback[RequestT, ErrorT, ResponseT]]
        | None
    )
    """Makes the answer while the circuit is open. None: none does."""
    when_open: WhenOpen
    """What the caller gets if no fallback answers."""


def by_host(request: RequestLike) -> str | None:
    """A request's circuit: its host, with the port when that is not the scheme's default."""
    return host_name(request.url)


def by_header(header: str) -> Callable[[RequestLike], str | None]:
    """For many tenants behind one host: `circuits=by_header("X-Tenant")`.

    A request's circuit is its host and the value of the header, such as
    `api.example.com#acme`; without the header it is its host.
    """
    return lambda request: header_name(request.url, request.headers.get(header))


def default_classify(request: object, ended: HasStatus | Exception) -> Outcome:
    """What an exchange says about its upstream: `HttpClassifier()`.

    A failure: transport errors and timeouts, a body that breaks, and the statuses 408, 429, and
    from 500 on all but 501 and 505. Ignored: errors of the caller's making, a limit of this
    process such as `PoolTimeout`, and what a breaker further in answered. The other 4xx tell that
    the upstream answers, and not how well it is (`Outcome.ANSWERED`). Anything else is a success.
    """
    return DEFAULT(request, ended)
