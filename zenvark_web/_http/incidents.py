"""Events of a transport that end several calls at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import RLock
from weakref import ref

from .._runtime import forks
from .errors import end_of_connection

CAUSES = 64
"""How many errors are remembered, so that a connection that breaks counts once."""


class Incidents:
    """Events of a transport that end several calls at once.

    Attributes:
        closings: How often closing the transport has begun or ended.
    """

    __slots__ = ("__weakref__", "_causes", "_lock", "closings")

    def __init__(self) -> None:
        self.closings: int = 0
        self._causes: deque[Callable[[], object]] = deque(maxlen=CAUSES)
        self._begin_anew()
        forks.watch(self, Incidents._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = RLock()  # after a fork as well, when another thread may have held it

    @contextmanager
    def closing(self) -> Generator[None]:
        """Close the transport. Calls that began before the end of this block are broken by it; a
        later call uses the transport anew."""
        # Counted at both ends, so that a call notices a closing that began or ended meanwhile.
        self.closings += 1
        try:
            yield
        finally:
            self.closings += 1

    def is_news(self, error: BaseException) -> bool:
        """Whether an error is the first from its cause. All streams of an HTTP/2 connection end
        by one event or error."""
        cause = end_of_connection(error)
        if cause is None:
            return True
        with self._lock:
            if any(cause is known() for known in self._causes):
                return False
            self._causes.append(_remembered(cause))
            return True


def _remembered(cause: object) -> Callable[[], object]:
    """A reference to a cause, weak for an error, which holds frames alive."""
    try:
        return ref(cause) if isinstance(cause, BaseException) else lambda: cause
    except TypeError:  # Python's own errors take no weak reference
        return lambda: cause
