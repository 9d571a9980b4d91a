"""What an HTTP exchange says about its upstream.

Errors are told apart by the names of their classes, which httpx and httpx2 share, so that this
module needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

from .._core.states import Outcome
from ..exceptions import ClassifierError

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED  # a faster look-up

FAILURE_STATUSES = frozenset({429, 500, 502, 503, 504})

ErrorKind: TypeAlias = type[Exception] | str

FAILURE_ERRORS: tuple[ErrorKind, ...] = ("TransportError", OSError)

IGNORED_ERRORS: tuple[ErrorKind, ...] = (
    "CircuitOpenError",
    "LocalProtocolError",
    "PoolTimeout",
    "UnsupportedProtocol",
)
"""Transport errors that are the caller's own doing, or a limit of this process."""


class HasStatus(Protocol):
    """What classifying needs of a response."""

    @property
    def status_code(self) -> int:
        """The status."""
        ...


@dataclass(frozen=True, kw_only=True)
class HttpClassifier:
    """Tells the outcome of an HTTP exchange, by statuses and by kinds of errors.

        BreakerTransport(coordinator, classify=HttpClassifier(ignored_statuses={404, 429}))

    A status in neither list is a success. An error counts as the nearest of its base classes
    that stands in a list: `ConnectError` in `ignored_errors` goes before `TransportError` in
    `failure_errors`. An error without any is ignored: it is not the upstream's. A status or class
    in both lists is ignored.

    Args:
        failure_statuses: Default: 429, 500, 502, 503 and 504. Ranges will do:
            `range(500, 600)`.
        ignored_statuses: Those that say nothing of the upstream. Default: none.
        failure_errors: Classes, or their names, which serve httpx and httpx2 alike. Default:
            `"TransportError"` (timeouts too) and `OSError`.
        ignored_errors: Default: `"CircuitOpenError"`, `"LocalProtocolError"`, `"PoolTimeout"`
            and `"UnsupportedProtocol"`: the caller's own doing, or a limit of this process.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    failure_statuses: Collection[int] = FAILURE_STATUSES
    ignored_statuses: Collection[int] = frozenset()
    failure_errors: Collection[ErrorKind] = FAILURE_ERRORS
    ignored_errors: Collection[ErrorKind] = IGNORED_ERRORS

    def __post_init__(self) -> None:
        for what in ("failure_statuses", "ignored_statuses"):
            object.__setattr__(self, what, _statuses(what, getattr(self, what)))
        for what in ("failure_errors", "ignored_errors"):
            object.__setattr__(self, what, _kinds(what, getattr(self, what)))

    def __call__(self, request: object, ended: HasStatus | Exception) -> Outcome:
        """The outcome of an exchange that ended in a response or an exception."""
        if isinstance(ended, Exception):
            return self._outcome_of_error(ended)
        if ended.status_code in self.ignored_statuses:
            return IGNORED
        return FAILURE if ended.status_code in self.failure_statuses else SUCCESS

    def _outcome_of_error(self, error: Exception) -> Outcome:
        for cls in type(error).__mro__:
            if cls in self.ignored_errors or cls.__name__ in self.ignored_errors:
                return IGNORED
            if cls in self.failure_errors or cls.__name__ in self.failure_errors:
                return FAILURE
        return IGNORED


Judge: TypeAlias = Callable[[Any, Any], Outcome]
"""Tells the outcome of a request by its response or exception, and never raises."""


def judge(classify: Callable[[Any, Any], Outcome], surface: Callable[[Exception], None]) -> Judge:
    """A classifier whose mistakes cost nobody anything."""
    if type(classify) is HttpClassifier:  # ours makes none
        return classify
    return _CarefulJudge(classify, surface)


class _CarefulJudge:
    """A classifier of the user's whose mistakes cost nobody anything: the default decides then.

    Args:
        classify: The classifier.
        surface: Where its errors go.
    """

    __slots__ = ("_classify", "_surface")

    def __init__(
        self, classify: Callable[[Any, Any], Outcome], surface: Callable[[Exception], None]
    ) -> None:
        self._classify = classify
        self._surface = surface

    def __call__(self, request: object, ended: HasStatus | Exception) -> Outcome:
        """The outcome."""
        try:
            outcome = self._classify(request, ended)
            if outcome.__class__ is Outcome:
                return outcome
            raise TypeError(f"classify must return an Outcome, not {outcome!r}")
        except Exception as cause:
            name = getattr(self._classify, "__qualname__", type(self._classify).__qualname__)
            what = f"classify failed ({name}), the default decides"
            self._surface(ClassifierError.because(cause, what, source=name))
            return DEFAULT(request, ended)


def label(ended: HasStatus | Exception) -> str:
    """What a failure is called when a trip is explained."""
    return type(ended).__name__ if isinstance(ended, Exception) else f"HTTP {ended.status_code}"


def _statuses(what: str, statuses: object) -> frozenset[int]:
    found: set[int] = set()
    for status in _items(what, statuses, "statuses such as {429, 503} or range(500, 600)"):
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"{what} must hold whole numbers, not {status!r}")
        if not 100 <= status <= 599:
            raise ValueError(f"{what} must hold statuses from 100 to 599, not {status!r}")
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
