"""Recognises rejections in every form in which they reach an outer layer.

A call that an open circuit has rejected says nothing about any other upstream. The rejection
reaches an outer circuit, a middleware or a caller as itself, in the exception group of a task
group, as the cause of another error, or as the HTTP error that a client raised for our own 503.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

from .exceptions import CircuitOpenError

EXTENSION = "breaker"
"""The key in the extensions of a response that a breaker made."""

LONGEST_CHAIN = 100
"""The maximum number of causes to follow: a chain may be endless."""

Known: TypeAlias = "dict[tuple[int, int], CircuitOpenError | None]"
"""Known rejections in groups, by identity and remaining causes: one group may be the cause of many
errors in many groups."""


def rejection_in(error: BaseException) -> CircuitOpenError | None:
    """Return the rejection in an error: the error itself, its cause, the rejection of its HTTP
    response, or, in a group of only rejections, the one with the longest wait. None if the error
    contains anything else.

    Args:
        error: The error that arrived.
    """
    known: Known = {}
    if isinstance(error, BaseExceptionGroup):
        return _rejection_of_group(cast(Any, error), LONGEST_CHAIN, known)
    return _rejection_of(error, LONGEST_CHAIN, known)


def leaves_that_count(error: BaseException) -> Iterator[BaseException]:
    """Return the errors of a group at any depth that are not rejections, each once; for a single
    error, the error itself, unless it is a rejection."""
    known: Known = {}
    return (leaf for leaf in _leaves(error) if _rejection_of(leaf, LONGEST_CHAIN, known) is None)


def stems_from(error: BaseException, others: Sequence[BaseException]) -> bool:
    """Return whether an error is one of others, or was raised from one of them."""
    seen: BaseException | None = error
    for _ in range(LONGEST_CHAIN):
        if seen is None:
            return False
        if any(seen is other for other in others):
            return True
        seen = seen.__cause__
    return False


def made_by_breaker(response: object) -> bool:
    """Return whether a breaker made a response, or a fallback in its place."""
    try:
        extensions: object = getattr(response, "extensions", None)
        known = isinstance(extensions, Mapping)
        status: Any = cast(Any, extensions).get(EXTENSION) if known else None
        return isinstance(status.name, str) and hasattr(status, "retry_after")
    except Exception:  # somebody else's extension of that name, or a property that raises
        return False


def told_by(response: object) -> CircuitOpenError | None:
    """Return the rejection of a response that a breaker made, or a fallback in its place."""
    try:
        extensions: object = getattr(response, "extensions", None)
        known = isinstance(extensions, Mapping)
        status: Any = cast(Any, extensions).get(EXTENSION) if known else None
        if status is None or getattr(status, "status_code", None) or getattr(status, "error", None):
            return None  # a call that was made, and failed
        forced = getattr(status, "forced", False) is True
        return CircuitOpenError(status.name, float(status.retry_after), forced)
    except Exception:  # somebody else's extension of that name, or a property that raises
        return None


class Rejections:
    """The rejections in one request, including caught ones.

    Args:
        outer: The rejections of an outer request.

    Attributes:
        count: The number of rejections.
        longest: The rejection of the circuit with the longest wait, without its traceback.
        handled: Whether the app has responded to a rejection with the functions for this purpose.
    """

    __slots__ = ("__weakref__", "_outer", "count", "handled", "longest")

    def __init__(self, outer: Rejections | None = None) -> None:
        self._outer = outer
        self.count: int = 0
        self.longest: CircuitOpenError | None = None
        self.handled = False

    def add(self, name: str, retry_after: float, *, forced: bool = False) -> None:
        """Add a rejection."""
        self.count += 1
        if self.longest is None or retry_after > self.longest.retry_after:
            self.longest = CircuitOpenError(name, retry_after, forced)
        if self._outer is not None:
            self._outer.add(name, retry_after, forced=forced)

    def replaced(self) -> None:
        """Remove a rejection: a fallback replaced the call with a good response."""
        self.count -= 1
        if not self.count:
            self.longest = None
        if self._outer is not None:
            self._outer.replaced()

    def handling(self, name: str, retry_after: float, *, forced: bool = False) -> None:
        """Record that the app responds to a rejection."""
        self.add(name, retry_after, forced=forced)
        self.handled = True
        if self._outer is not None:
            self._outer.handled = True

    def end(self) -> None:
        """Detach from the outer request. A server may begin the next request of a connection inside
        the last message of the previous one: each would otherwise keep all previous ones."""
        self._outer = None


_collecting: ContextVar[Rejections | None] = ContextVar("zenvark_web.rejections", default=None)


class collecting:  # noqa: N801 - used as a function; not made of a generator, which takes longer
    """Collect the rejections from here on, including tasks and threads that are started inside the
    block with its context variables.

    Args:
        apart: Collect only what is added to the result by hand.
    """

    __slots__ = ("_apart", "_rejections", "_token")

    def __init__(self, *, apart: bool = False) -> None:
        self._apart = apart

    def __enter__(self) -> Rejections:
        if self._apart:
            return Rejections()
        self._rejections = Rejections(_collecting.get())
        self._token = _collecting.set(self._rejections)
        return self._rejections

    def __exit__(self, *_: object) -> None:
        if not self._apart:
            _collecting.reset(self._token)
            self._rejections.end()


def rejected(name: str, retry_after: float, *, forced: bool = False) -> CircuitOpenError:
    """Create the error of a rejected call, and add it to the collected rejections."""
    rejections = _collecting.get()
    if rejections is not None:
        rejections.add(name, retry_after, forced=forced)
    return CircuitOpenError(name, retry_after, forced)


def replaced() -> None:
    """Remove a rejection from the collected ones: a fallback returned a response without an error
    in place of the call's."""
    rejections = _collecting.get()
    if rejections is not None and rejections.count:
        rejections.replaced()


def handling(error: CircuitOpenError) -> None:
    """Record in the collected rejections that the app responds to one."""
    rejections = _collecting.get()
    if rejections is not None:
        rejections.handling(error.name, error.retry_after, forced=error.forced)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting, met = [error], set[int]()
    while waiting:
        error = waiting.pop()
        if id(error) in met:
            continue
        met.add(id(error))
        if isinstance(error, BaseExceptionGroup):
            held: tuple[BaseException, ...] = cast(Any, error).exceptions
            waiting += reversed(held)
        else:
            yield error


def _rejection_of_group(group: BaseException, depth: int, known: Known) -> CircuitOpenError | None:
    key = id(group), depth
    if key not in known:
        found: list[CircuitOpenError] = []
        for leaf in _leaves(group):
            rejection = _rejection_of(leaf, depth, known)
            if rejection is None:
                found.clear()
                break
            found.append(rejection)
        known[key] = max(found, key=_wait, default=None)
    return known[key]


def _rejection_of(leaf: BaseException, depth: int, known: Known) -> CircuitOpenError | None:
    seen: BaseException | None = leaf
    while isinstance(seen, Exception) and depth:
        if isinstance(seen, CircuitOpenError):
            return seen
        if isinstance(seen, ExceptionGroup):
            return _rejection_of_group(cast(Any, seen), depth - 1, known)
        told = told_by(_response_of(seen))
        if told is not None:
            return told
        seen, depth = seen.__cause__, depth - 1
    return None


def _response_of(error: BaseException) -> object:
    try:
        return getattr(error, "response", None)
    except Exception:  # a property that raises
        return None


def _wait(error: CircuitOpenError) -> float:
    return error.retry_after
