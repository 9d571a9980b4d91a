"""What is a rejection, in whatever form it arrives further out.

A call that an open circuit did not let through tells nothing of any other upstream. It reaches an
outer circuit, a middleware or a caller as itself, in the exception group of a task group, as the
cause of another error, or as the HTTP error that a client made of our own 503.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

from .exceptions import CircuitOpenError

EXTENSION = "breaker"
"""The key under which the extensions of a response tell that a breaker made it."""

LONGEST_CHAIN = 100
"""Causes that are looked at: a chain may have been made endless by hand."""

Known: TypeAlias = "dict[tuple[int, int], CircuitOpenError | None]"
"""The rejections that groups are, by identity and the number of causes to look at: one group may
be the cause of many errors, in many groups that are."""


def rejection_in(error: BaseException) -> CircuitOpenError | None:
    """The rejection that an error is: the error itself, the one that it was raised from, the one
    that an HTTP response in it tells of, or of a group of nothing but rejections that with the
    longest wait. None if there is anything else in it.

    Args:
        error: What arrived.
    """
    known: Known = {}
    if isinstance(error, BaseExceptionGroup):
        return _rejection_of_group(cast(Any, error), LONGEST_CHAIN, known)
    return _rejection_of(error, LONGEST_CHAIN, known)


def leaves_that_count(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, however deep, that are no rejections, each once; of what is no group,
    the error itself, unless it is one."""
    known: Known = {}
    return (leaf for leaf in _leaves(error) if _rejection_of(leaf, LONGEST_CHAIN, known) is None)


def stems_from(error: BaseException, others: Sequence[BaseException]) -> bool:
    """Whether an error is one of others, or was raised from one."""
    seen: BaseException | None = error
    for _ in range(LONGEST_CHAIN):
        if seen is None:
            return False
        if any(seen is other for other in others):
            return True
        seen = seen.__cause__
    return False


def told_by(response: object) -> CircuitOpenError | None:
    """The rejection of which a response tells that a breaker made, or a fallback in its place."""
    try:
        extensions: object = getattr(response, "extensions", None)
        known = isinstance(extensions, Mapping)
        status: Any = cast(Any, extensions).get(EXTENSION) if known else None
        return None if status is None else CircuitOpenError(status.name, float(status.retry_after))
    except Exception:  # somebody else's extension of that name, or a property that raises
        return None


class Rejections:
    """The rejections met in one request, wherever they were caught.

    Args:
        outer: Those of a request that this one is part of.

    Attributes:
        count: How many.
        longest: That of the circuit that stays open for longest, without its traceback.
        handled: Whether one was answered for by the app, with what is made for that.
    """

    __slots__ = ("__weakref__", "_outer", "count", "handled", "longest")

    def __init__(self, outer: Rejections | None = None) -> None:
        self._outer = outer
        self.count: int = 0
        self.longest: CircuitOpenError | None = None
        self.handled = False

    def add(self, name: str, retry_after: float) -> None:
        """Take note of one."""
        self.count += 1
        if self.longest is None or retry_after > self.longest.retry_after:
            self.longest = CircuitOpenError(name, retry_after)
        if self._outer is not None:
            self._outer.add(name, retry_after)

    def replaced(self) -> None:
        """One of them has come to nothing: something as good took the place of the call."""
        self.count -= 1
        if not self.count:
            self.longest = None
        if self._outer is not None:
            self._outer.replaced()

    def handling(self, name: str, retry_after: float) -> None:
        """Take note of one that the app answers for."""
        self.add(name, retry_after)
        self.handled = True
        if self._outer is not None:
            self._outer.handled = True

    def end(self) -> None:
        """Go without those further out from now on. A server may begin a connection's next request
        inside the last message of the one before: else each would keep all before it."""
        self._outer = None


_collecting: ContextVar[Rejections | None] = ContextVar("zenvark_web.rejections", default=None)


@contextmanager
def collecting() -> Generator[Rejections]:
    """Collect the rejections met from here on, in the tasks and threads, too, that are begun
    inside the block and take its context variables with them."""
    rejections = Rejections(_collecting.get())
    token = _collecting.set(rejections)
    try:
        yield rejections
    finally:
        _collecting.reset(token)
        rejections.end()


def rejected(name: str, retry_after: float) -> CircuitOpenError:
    """The error for a call that is not let through. Whoever collects them is told."""
    rejections = _collecting.get()
    if rejections is not None:
        rejections.add(name, retry_after)
    return CircuitOpenError(name, retry_after)


def replaced() -> None:
    """Whoever collects rejections is told that one has come to nothing: a fallback gave a response
    in the place of the call's, and no error."""
    rejections = _collecting.get()
    if rejections is not None and rejections.count:
        rejections.replaced()


def handling(error: CircuitOpenError) -> None:
    """Whoever collects rejections is told that the app answers for one."""
    rejections = _collecting.get()
    if rejections is not None:
        rejections.handling(error.name, error.retry_after)


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
