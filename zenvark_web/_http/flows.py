"""One flow of requests: what a client sends for one call of its `send`.

Redirects, the steps of an authentication, a token that has to be fetched first: a client sends
several requests for one that it was asked for. A half-open circuit that lets one of them through
lets the others through as well: without them the caller's call could not end well.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager
from threading import RLock
from types import AsyncGeneratorType, FrameType, GeneratorType
from typing import Any
from weakref import WeakKeyDictionary

from .._core.states import State
from .._runtime import forks
from ..breaker import Breaker, Permit, further
from .library import Library

GENERATORS = (AsyncGeneratorType, GeneratorType)


class Flows:
    """The flows of which a request was served on trial, as long as they last.

    Args:
        library: The client library.
    """

    __slots__ = ("__weakref__", "_clients", "_lock", "_on_trial", "_some")

    def __init__(self, library: Library) -> None:
        self._clients = library.clients
        self._on_trial: WeakKeyDictionary[Any, dict[str, tuple[int, Hashable]]]
        self._lock: AbstractContextManager[bool]
        self._begin_anew()
        forks.watch(self, Flows._begin_anew)

    def permit(self, breaker: Breaker, request: Any) -> Permit:
        """Leave to send a request.

        Raises:
            CircuitOpenError: The circuit does not let it pass.
        """
        if self._some and breaker.state is State.HALF_OPEN and self._goes_on(breaker, request):
            return further(breaker)
        return breaker.acquire()

    def served(self, breaker: Breaker, request: Any) -> None:
        """A request has been answered that had a trial permit; another may belong to it."""
        flow = self._flow(request)
        step = breaker.generation, _said(request)
        with self._lock:
            self._on_trial.setdefault(flow, {})[breaker.name] = step
            self._some = True

    def _goes_on(self, breaker: Breaker, request: Any) -> bool:
        flow = self._flow(request)
        with self._lock:
            step = self._on_trial.get(flow, {}).get(breaker.name)
            self._some = len(self._on_trial) > 0
        if step is None or step[0] != breaker.generation:
            return False
        return flow is not request or step[1] != _said(request)

    def _flow(self, request: Any) -> Any:
        """What stands for the flow that a request belongs to: the generator of the innermost
        `Client.send` that is under way here, which makes one for each call, and takes from it what
        to send. The request that it was asked to send may be sent again. A client tells its
        transport nothing of it, so it is looked up where it stands; in a half-open circuit only.

        Without a client, the request stands for its flow, as long as it says something else each
        time: a request with new credentials goes on, and the very same again is another call.
        """
        for frame in _stack():
            if frame.f_code.co_name == "_send_handling_auth":
                told = frame.f_locals
                flow = told.get("auth_flow")
                if isinstance(told.get("self"), self._clients) and type(flow) in GENERATORS:
                    return flow
        return request

    def _begin_anew(self) -> None:
        """Begin with no flow; after a fork as well, when another thread may have held the lock."""
        self._on_trial = WeakKeyDictionary()
        self._some = False
        self._lock = RLock()  # clients may run in several threads


def _said(request: Any) -> Hashable:
    """What tells a step of a flow from the one before."""
    return request.method, str(request.url), tuple(request.headers.raw)


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
