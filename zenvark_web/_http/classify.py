"""Classification of HTTP exchanges.

Errors are recognised by the names of their classes, which httpx and httpx2 share, so this module
imports neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, cast

from .._core.states import ANSWERED, FAILURE, IGNORED, SUCCESS, Outcome
from .._rejections import EXTENSION, leaves_that_count, made_by_breaker
from ..exceptions import ClassifierError
from .errors import goaway_in, is_graceful, is_local_limit, label_of
from .messages import described
from .protocols import HasStatus

LARGEST_STATUS = 999
"""Any three digits can be sent."""

FAILURE_STATUSES = frozenset({408, 429, *range(500, LARGEST_STATUS + 1)} - {501, 505})
ANSWERED_STATUSES = frozenset(range(400, 500))

INVALID_COUNTS_AS = 500
"""A status outside of 100 to 599 counts as this one (RFC 9110, section 15)."""

ErrorKind: TypeAlias = type[Exception] | str

TRANSPORT_ERROR = "TransportError"

FAILURE_ERRORS: tuple[ErrorKind, ...] = (TRANSPORT_ERROR, OSError)

FOREIGN_ERRORS = frozenset(
    {
        "BrokenResourceError",
        "ClientConnectionError",
        "ClientPayloadError",
        "EndOfStream",
        "H2Error",
        "IncompleteRead",
        "IncompleteReadError",
        "NetworkError",
        "ProtocolError",
        "ProxyError",
        "ProxyException",
        "TimeoutException",
        "TooSlowError",
    }
)
"""Transport errors by another name, which wrapped transports raise (httpcore, h11, h2,
python-socks, aiohttp, trio, anyio, asyncio's streams, http.client)."""

IGNORED_ERRORS: tuple[ErrorKind, ...] = (
    "CircuitOpenError",
    "LocalProtocolError",
    "NoAvailableStreamIDError",
    "PoolTimeout",
    "TooManyStreamsError",
    "UnsupportedProtocol",
)
"""Errors of the caller, or limits of this process."""


@dataclass(frozen=True, kw_only=True, repr=False)
class HttpClassifier:
    """Classifies HTTP exchanges by statuses and by classes of errors.

        BreakerTransport(coordinator, classify=HttpClassifier(ignored_statuses={404, 429}))

    A status in no list is a success. A status outside of 100 to 599 that is in no list counts as
    500 does (RFC 9110, section 15). An error counts as the nearest of its base classes that is in a
    list: `ConnectError` in `ignored_errors` takes precedence over `TransportError` in
    `failure_errors`. An error with no class in a list is ignored: it is not the upstream's. An
    exception group is a failure if it contains one. Of several lists with the same entry, the
    first applies: ignored, failure, answered.

    Always ignored are: a response or error made by a breaker further in, an HTTP/2 connection that
    a server closes in good order before it has processed anything (GOAWAY), and a call for which
    this process had no file descriptor or port left.

    Args:
        failure_statuses: Default: 408, 429, and all from 500 except 501 and 505. Accepts ranges:
            `range(500, 600)`.
        ignored_statuses: Statuses that do not count. Default: none.
        answered_statuses: Statuses by which the upstream proves reachable, not healthy: ignored
            while the circuit is closed; a trial call passes. Default: 400 to 499.
        failure_errors: Classes, or their names, which serve httpx and httpx2 alike. Default:
            `"TransportError"` (including timeouts) and `OSError`. Equivalents from the packages
            that transports are made of, such as `ProxyError` of python-socks, `TooSlowError` of
            trio or `ProtocolError` of h11 and h2, count as `"TransportError"`.
        ignored_errors: Default: `"CircuitOpenError"`, `"LocalProtocolError"`, `"PoolTimeout"`,
            `"UnsupportedProtocol"`, and equivalents of h2: errors of the caller, or limits of this
            process.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    failure_statuses: Collection[int] = FAILURE_STATUSES
    ignored_statuses: Collection[int] = frozenset()
    answered_statuses: Collection[int] = ANSWERED_STATUSES
    failure_errors: Collection[ErrorKind] = FAILURE_ERRORS
    ignored_errors: Collection[ErrorKind] = IGNORED_ERRORS

    def __post_init__(self) -> None:
        for what in ("failure_statuses", "ignored_statuses", "answered_statuses"):
            object.__setattr__(self, what, _statuses(what, getattr(self, what)))
        for what in ("failure_errors", "ignored_errors"):
            object.__setattr__(self, what, _kinds(what, getattr(self, what)))

    def __repr__(self) -> str:
        changed = [
            f"{each.name}={_readable(getattr(self, each.name))}"
            for each in fields(self)
            if getattr(self, each.name) != frozenset(cast(Collection[object], each.default))
        ]
        return f"HttpClassifier({', '.join(changed)})"

    def __call__(self, request: object, ended: HasStatus | Exception) -> Outcome:
        """The outcome of an exchange that ended in a response or an exception."""
        if isinstance(ended, Exception):
            return self._outcome_of_error(ended)
        if is_rejection(ended):
            return IGNORED
        status = ended.status_code
        outcome = self._listed(status)
        if outcome is None and not 100 <= status <= 599:
            # After the lists: they may contain the invalid status itself.
            outcome = self._listed(INVALID_COUNTS_AS)
        return outcome or SUCCESS

    def _listed(self, status: int) -> Outcome | None:
        if status in self.ignored_statuses:
            return IGNORED
        if status in self.failure_statuses:
            return FAILURE
        return ANSWERED if status in self.answered_statuses else None

    def _outcome_of_error(self, error: Exception) -> Outcome:
        failed = any(map(self._is_failure, leaves_that_count(error)))
        return FAILURE if failed else IGNORED

    def _is_failure(self, error: BaseException) -> bool:
        for kind in _kinds_of(error):
            if kind in self.ignored_errors:
                return False
            if kind in self.failure_errors:
                goaway = goaway_in(error)
                graceful = goaway is not None and is_graceful(goaway)
                return not graceful and not is_local_limit(error)
        return False


Classifier: TypeAlias = Callable[[Any, Any], Outcome]
"""Returns the outcome of a request by its response or exception, and never raises."""


def safe(
    classify: Callable[[Any, Any], Outcome], report: Callable[[Exception], None]
) -> Classifier:
    """A classifier that never raises. The default decides when the user's raises. The response of
    a breaker further in is ignored, whatever the user's would say.

    Args:
        classify: The user's classifier.
        report: Receives its errors.
    """
    if type(classify) is HttpClassifier:  # ours never raises
        return classify
    name = getattr(classify, "__qualname__", type(classify).__qualname__)

    def classify_safely(request: Any, ended: HasStatus | Exception) -> Outcome:
        if not isinstance(ended, Exception) and is_rejection(ended):
            return IGNORED
        try:
            outcome = classify(request, ended)
            if outcome.__class__ is Outcome:
                return outcome
            raise TypeError(f"classify must return an Outcome, not {outcome!r}")
        except Exception as cause:
            what = (
                f"classify {name!r} failed for {described(request)}; the default classifier decided"
            )
            report(ClassifierError.because(cause, what, source=name))
            return DEFAULT(request, ended)

    return classify_safely


def label(ended: HasStatus | Exception) -> str:
    """The name of a failure in the reason of a trip."""
    if not isinstance(ended, Exception):
        return f"HTTP {ended.status_code}"
    return label_of(next(leaves_that_count(ended), ended))


def _readable(items: Collection[object]) -> str:
    return "{" + ", ".join(sorted(str(getattr(item, "__name__", item)) for item in items)) + "}"


def is_rejection(response: object) -> bool:
    """Whether an inner breaker, or its fallback, made this response."""
    extensions: Any = getattr(response, "extensions", None)
    return bool(extensions) and EXTENSION in extensions and made_by_breaker(response)


def _kinds_of(error: BaseException) -> Iterator[ErrorKind]:
    """An error's classes and their names, nearest first."""
    foreign = False
    for cls in type(error).__mro__:
        yield cast(type[Exception], cls)
        yield cls.__name__
        foreign = foreign or cls.__name__ in FOREIGN_ERRORS
    if foreign:
        yield TRANSPORT_ERROR


def _statuses(what: str, statuses: object) -> frozenset[int]:
    found: set[int] = set()
    for status in _items(what, statuses, "statuses such as {429, 503} or range(500, 600)"):
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"{what} must hold whole numbers, not {status!r}")
        if not 100 <= status <= LARGEST_STATUS:
            raise ValueError(f"{what} must hold statuses from 100 to 999, not {status!r}")
        found.add(int(status))
    return frozenset(found)


def _kinds(what: str, kinds: object) -> frozenset[ErrorKind]:
    found: set[ErrorKind] = set()
    for kind in _items(what, kinds, "a collection of exception classes or their names"):
        named = isinstance(kind, str) and kind.isidentifier()
        if not named and not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"{what} must hold exception classes or their names, not {kind!r}")
        found.add(cast(ErrorKind, kind))
    return frozenset(found)


def _items(what: str, given: object, expected: str) -> Iterable[object]:
    if isinstance(given, str) or not isinstance(given, Collection):
        raise TypeError(f"{what} must be {expected}, not {given!r}")
    return cast(Collection[object], given)


DEFAULT = HttpClassifier()
