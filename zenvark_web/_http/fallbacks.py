"""Responses in place of those of open circuits, and of failed calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias, cast

from .._core._checks import check_call
from .._core.patterns import NamePatterns
from ..exceptions import CallbackError, CircuitOpenError
from .answer import Answer, Payload
from .chain import Chain, checked_transport, checked_url, classifies, readdressed
from .last_good import LastGoodResponse
from .messages import described
from .misses import OPEN, Miss
from .recorder import BodyRecorder

FallbackFunction: TypeAlias = Callable[[Any, Any], Any]
"""A function of the request and the error, sync or async. It returns a response, or None for the
default."""

OF_ANY_CIRCUIT = frozenset({"when_open"})
"""Settings of a request, or of its route, that apply to another circuit as well."""


class FixedResponse:
    """A fallback that always returns the same response.

        BreakerTransport(coordinator, fallback=FixedResponse({"items": []}))

    Args:
        content: The body: bytes, a string as text, a dict or list as JSON.
        status: The status.
        headers: More headers.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(
        self, content: Payload = b"", *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        if not isinstance(content, bytes | str | dict | list):
            raise TypeError(f"content must be bytes, a string, a dict or a list, not {content!r}")
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"status must be a whole number, not {status!r}")
        if not 200 <= status <= 599:
            raise ValueError(f"status must be from 200 to 599, not {status!r}")
        self._answer = Answer(content, status, dict(headers or {}))

    def __repr__(self) -> str:
        return f"FixedResponse(status={self._answer.status})"

    def __call__(self, request: object, error: CircuitOpenError) -> Answer:
        """The response."""
        return self._answer


class OtherUpstream:
    """A fallback that sends the request to another upstream.

        BreakerTransport(coordinator, fallback=OtherUpstream("https://eu.api.example.com"))

    The request keeps its method, path, query, headers and body, and has the circuit of its new
    URL. If that is open too, `when_open` applies: of the request, of its route, or else of the new
    URL.

    The request keeps its credentials: name only an upstream that may receive them.

    Args:
        url: Scheme, host and port of the other upstream, optionally with a path, which is put
            before the request's own.
        transport: Sends the request, without a breaker unless it is a `BreakerTransport` itself.
            It is closed together with the transport that has this fallback. Default: that
            transport.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(self, url: str, transport: Any = None) -> None:
        self._url = checked_url(url)
        self.transport: Any = checked_transport(transport)

    def __repr__(self) -> str:
        return f"OtherUpstream({self._url!r})"

    def readdressed(self, request: Any, overrides: Mapping[str, Any]) -> Any:
        """The request to the other upstream.

        Args:
            request: The request to the first one.
            overrides: The settings of the request and of its route.
        """
        made = readdressed(request, self._url)
        kept = {name: value for name, value in overrides.items() if name in OF_ANY_CIRCUIT}
        own = request.extensions.get("breaker")
        if classifies(own):
            kept["classify"] = own["classify"]
        # Without a fallback: two upstreams could send a request to each other endlessly.
        made.extensions["breaker"] = {**kept, "fallback": None}
        return made


Make: TypeAlias = FallbackFunction | OtherUpstream | Chain
"""What makes a response."""

MISSES: frozenset[Miss] = frozenset({"open", "failed", "throttled"})


class Fallback:
    """A fallback, with the calls that it replaces.

        BreakerTransport(
            coordinator, fallback=Fallback(LastGoodResponse(), on=("open", "failed"))
        )

    A failed call counts for its circuit all the same. It is replaced as long as nothing of it has
    reached the caller: its response is closed, and `extensions["breaker"]` of the replacement has
    its `error` or `status_code`. A function receives a `CallFailedError` for it, and may return
    None to have the caller receive what the call has led to.

    Args:
        make: Makes the response: a function of the request and the error, `FixedResponse`,
            `LastGoodResponse`, `OtherUpstream` or `Chain`.
        on: The calls that it replaces: `"open"` for those that an open circuit rejects, `"failed"`
            for all that fail (a status or an error that `classify` calls a failure), `"throttled"`
            for those that fail with 429 or 529, or with 503 and a wait.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(self, make: Make, *, on: Collection[Miss] = OPEN) -> None:
        _check("make", make)
        if isinstance(on, str) or not isinstance(on, Collection):
            raise TypeError(f"on must be a collection such as ('open', 'failed'), not {on!r}")
        if not on or not MISSES.issuperset(on):
            raise ValueError(f"on must hold some of {', '.join(sorted(MISSES))}, not {on!r}")
        self.make = make
        self.on: frozenset[Miss] = frozenset(on)

    def __repr__(self) -> str:
        return f"Fallback({self.make!r}, on={tuple(sorted(self.on))})"

    @property
    def transports(self) -> list[Any]:
        """The transports of other upstreams."""
        upstreams: list[Any] = [self.make] if isinstance(self.make, OtherUpstream) else []
        if isinstance(self.make, Chain):
            upstreams += self.make.upstreams
        return [each.transport for each in upstreams if each.transport is not None]

    def covers(self, misses: frozenset[Miss]) -> bool:
        """Whether it replaces a call."""
        return not self.on.isdisjoint(misses)


AnyFallback: TypeAlias = Make | Fallback


class Fallbacks:
    """The fallbacks of a transport, by circuit.

    Args:
        fallback: One for all circuits, or by circuit name, as `NamePatterns` takes them.
        report: Receives errors of the user's functions that must not fail a call.

    Attributes:
        record: Whether any of them records responses.
        covers_failures: Whether any of them replaces failed calls.
        transports: Those of other upstreams.

    Raises:
        TypeError, ValueError: It is not usable.
    """

    __slots__ = ("_by_name", "_report", "covers_failures", "record", "transports")

    def __init__(self, fallback: Any, report: Callable[[Exception], None] = lambda _: None) -> None:
        self._report = report
        by_name: Mapping[str, AnyFallback] = {}
        if isinstance(fallback, Mapping):
            by_name = cast(Mapping[str, AnyFallback], fallback)
            for name, each in by_name.items():
                _check(f"fallback[{name!r}]", each)
        elif fallback is not None:
            _check("fallback", fallback)
            by_name = {"*": fallback}
        all_of = {name: _as_fallback(each) for name, each in by_name.items()}
        self._by_name = NamePatterns("fallback", all_of)
        self.record = any(isinstance(each.make, LastGoodResponse) for each in all_of.values())
        self.covers_failures = any(each.on - {"open"} for each in all_of.values())
        self.transports = [one for each in all_of.values() for one in each.transports]

    def of(self, circuit: str) -> Fallback | None:
        """The fallback of a circuit, or None."""
        return self._by_name.find(circuit)

    def recorder(self, circuit: str, request: Any, response: Any) -> BodyRecorder | None:
        """The recorder of the fallback of a circuit, if it has to record a response."""
        fallback = self.of(circuit)
        if fallback is None or not isinstance(fallback.make, LastGoodResponse):
            return None
        try:
            return fallback.make.recorder(circuit, request, response)
        except Exception as cause:
            what = f"key of LastGoodResponse failed for {described(request)}; nothing was stored"
            self._report(CallbackError.because(cause, what, circuit=circuit, source="key"))
            return None


def _as_fallback(fallback: AnyFallback) -> Fallback:
    return fallback if isinstance(fallback, Fallback) else Fallback(fallback)


def _check(what: str, fallback: object) -> None:
    ours = isinstance(fallback, OtherUpstream | Chain | Fallback)
    if isinstance(fallback, type) or not (ours or callable(fallback)):
        raise TypeError(
            f"{what} must be callable, such as FixedResponse({{}}) or a function of request and "
            f"error, not {fallback!r}"
        )
    if not ours:
        check_call(what, fallback, "a request and the CircuitOpenError", None, None)
