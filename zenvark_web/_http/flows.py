"""One flow of requests: what a client sends for one call of its `send`.

Redirects, the steps of an authentication, a token that has to be fetched first: a client sends
several requests for one that it was asked for. A half-open circuit that lets one of them through
lets the others through as well: without them the caller's call could not end well.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from threading import Lock
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from .._core.states import State
from ..breaker import Breaker, Permit
from .library import Library


class Flows:
    """The flows of which a request was served on trial, as long as their first request lives.

    Args:
        library: The client library.
    """

    __slots__ = ("_clients", "_lock", "_on_trial", "_some")

    def __init__(self, library: Library) -> None:
        self._clients = library.clients
        self._on_trial: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()
        self._some = False
        self._lock = Lock()  # clients may run in several threads

    def permit(self, breaker: Breaker, request: Any) -> Permit:
        """Leave to send a request.

        Raises:
            CircuitOpenError: The circuit does not let it pass.
        """
        if self._some and breaker.state is State.HALF_OPEN and self._goes_on(breaker, request):
            return breaker.further()
        return breaker.acquire()

    def served(self, breaker: Breaker, request: Any) -> None:
        """A request has been answered that had a trial permit; another may belong to it."""
        root = self._root(request)
        with self._lock:
            self._on_trial.setdefault(root, {})[breaker.name] = breaker.generation
            self._some = True

    def _goes_on(self, breaker: Breaker, request: Any) -> bool:
        root = self._root(request)
        with self._lock:
            generation = self._on_trial.get(root, {}).get(breaker.name)
            self._some = len(self._on_trial) > 0
        return generation == breaker.generation

    def _root(self, request: Any) -> Any:
        """The request that the client was asked to send, of which this one may be a step: the
        argument of the innermost `Client.send` that is under way here. A client tells its transport
        nothing of it, so it is looked up where it stands; in a half-open circuit only."""
        for frame in _stack():
            if frame.f_code.co_name == "send":
                told = frame.f_locals
                if isinstance(told.get("self"), self._clients) and "request" in told:
                    return told["request"]
        return request


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
