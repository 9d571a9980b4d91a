"""The text that `zenvark_web.httpx` and `zenvark_web.httpx2` share: generic over the request, the
response and the open error of the client library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeGuard, TypeVar

from .._core._checks import check_name
from .._core.states import Outcome
from .answer import Answer, Payload
from .chain import Chain
from .classify import DEFAULT
from .fallbacks import Fallback, Fallbacks, OtherUpstream
from .judge_chunk import JudgeChunk, check_judge_chunk
from .protocols import HasStatus, RequestLike, ResponseLike
from .scoped import Scoped
from .settings import WhenOpen, check_classify, check_when_open

RequestT = TypeVar("RequestT", bound=RequestLike)
ResponseT = TypeVar("ResponseT", bound=ResponseLike)
ErrorT = TypeVar("ErrorT", bound=Exception)

ClassifyExchange: TypeAlias = Callable[[RequestT, ResponseT | Exception], Outcome]
FallbackResult: TypeAlias = ResponseT | Answer | Payload | None
FallbackFunction: TypeAlias = Callable[
    [RequestT, ErrorT], FallbackResult[ResponseT] | Awaitable[FallbackResult[ResponseT]]
]
AnyFallback: TypeAlias = (
    FallbackFunction[RequestT, ErrorT, ResponseT] | OtherUpstream | Chain | Fallback
)


# Compared by identity, since it is a weak key of resolved settings.
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CircuitRoute(Generic[RequestT, ResponseT, ErrorT]):
    """A circuit's name, with settings that override the transport's.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    name: str
    """The circuit."""
    _: KW_ONLY
    classify: ClassifyExchange[RequestT, ResponseT] | None = None
    """Returns the outcome of an exchange. None: the transport's."""
    fallback: AnyFallback[RequestT, ErrorT, ResponseT] | None = None
    """Makes the response while the circuit is open. None: the transport's."""
    when_open: WhenOpen | None = None
    """`"respond"` or `"raise"`. None: the transport's."""
    judge_chunk: JudgeChunk | None = None
    """Returns the outcome that a `data:` line of an event stream means. None: the transport's."""

    def __post_init__(self) -> None:
        check_name("a route's name", self.name)
        if self.classify is not None:
            check_classify(self.classify)
        if self.when_open is not None:
            check_when_open(self.when_open)
        if self.judge_chunk is not None:
            check_judge_chunk(self.judge_chunk)
        Fallbacks(self.fallback)


AnyRoute: TypeAlias = CircuitRoute[Any, Any, Any]


def is_route(target: object) -> TypeGuard[AnyRoute]:
    """Whether the target of a mapping is a route of either client library."""
    return isinstance(target, CircuitRoute)


Circuits: TypeAlias = (
    Mapping[str, str]
    | Mapping[str, str | CircuitRoute[RequestT, ResponseT, ErrorT] | Scoped]
    | Callable[[RequestT], str | CircuitRoute[RequestT, ResponseT, ErrorT] | Scoped | None]
)


class RequestSettings(TypedDict, Generic[RequestT, ResponseT, ErrorT], total=False):
    """Settings of one request that override those of the route and of the transport."""

    name: str | Literal[False] | None
    """The circuit. None or False: not protected. Default: that of `circuits`."""
    classify: ClassifyExchange[RequestT, ResponseT]
    """Returns the outcome."""
    fallback: (
        AnyFallback[RequestT, ErrorT, ResponseT]
        | Mapping[str, AnyFallback[RequestT, ErrorT, ResponseT]]
        | None
    )
    """Makes the response while the circuit is open. None: no fallback."""
    when_open: WhenOpen
    """What the caller receives without a response by a fallback."""
    judge_chunk: JudgeChunk | None
    """Returns the outcome that a `data:` line of an event stream means. None: not judged."""


def default_classify(request: object, ended: HasStatus | Exception) -> Outcome:
    """The outcome of an exchange by the default rules, those of `HttpClassifier()`.

    Failures are transport errors, timeouts, bodies that break, and the statuses 408, 429 and all
    from 500 except 501 and 505. Errors of the caller, limits of this process such as `PoolTimeout`,
    and responses of an inner breaker are ignored. The other 4xx prove that the upstream is
    reachable, not that it is healthy (`Outcome.ANSWERED`). Any other response is a success.
    """
    return DEFAULT(request, ended)
