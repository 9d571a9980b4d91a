"""Flows of trial requests. A flow is all that a client sends for one call of its `send`.

A client may send several requests for one call: redirects, the steps of an authentication, the
request for a token. A half-open circuit that lets one of them pass, in a trial or in a ramp, lets
the others pass as well, because the call cannot succeed without them.
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
from ..breaker import Breaker, Permit, admit, further
from ..exceptions import CircuitOpenError
from .client import ClientAdapter
from .scoped import ScopedBreaker

GENERATORS = (AsyncGeneratorType, GeneratorType)


class TrialFlows:
    """The flows with a request that was served on trial, as long as they last.

    Args:
        client: The client library.
    """

    __slots__ = ("__weakref__", "_clients", "_lock", "_on_trial", "_some")

    def __init__(self, client: ClientAdapter) -> None:
        self._clients = client.clients
        self._on_trial: WeakKeyDictionary[Any, dict[str, tuple[int, Hashable]]]
        self._lock: AbstractContextManager[bool]
        self._begin_anew()
        forks.watch(self, TrialFlows._begin_anew)

    def admit(self, breaker: Breaker, request: Any) -> Permit | CircuitOpenError:
        """The permit to send a request, or the error of its rejection."""
        # The cheap check first: there is a flow only while a circuit recovers.
        if not self._some:
            return admit(breaker)
        if isinstance(breaker, ScopedBreaker):
            return breaker.admit_each(lambda part: self.admit(part, request))
        if (
            breaker.verdict is State.HALF_OPEN
            and breaker.state is not State.OPEN  # no operator holds it open
            and self._goes_on(breaker, request)
        ):
            return further(breaker)
        return admit(breaker)

    def served(self, breaker: Breaker, request: Any) -> None:
        """Remember the flow of a request that was served on trial."""
        if isinstance(breaker, ScopedBreaker):
            for part in breaker.parts:
                self.served(part, request)
            return
        flow = self._flow(request)
        step = breaker.generation, _step(request)
        with self._lock:
            self._on_trial.setdefault(flow, {})[breaker.name] = step
            self._some = True

    def _goes_on(self, breaker: Breaker, request: Any) -> bool:
        flow = self._flow(request)
        with self._lock:
            step = self._on_trial.get(flow, {}).get(breaker.name)
            self._some = len(self._on_trial) > 0
        # A flow that began in an earlier generation belongs to a trial that is over.
        if step is None or step[0] != breaker.generation:
            return False
        return flow is not request or step[1] != _step(request)

    def _flow(self, request: Any) -> Any:
        """The identity of the flow of a request: the generator of the innermost `Client.send` on
        the stack, which creates one for each call and takes from it the requests to send. (The
        request that it was asked to send may be sent again.) A client does not pass it to its
        transport, so it is looked up on the stack, in a half-open circuit only.

        Without a client, the request identifies its flow, as long as it changes: a request with
        new credentials continues the flow, and the same request again is another call.
        """
        for frame in _stack():
            if frame.f_code.co_name == "_send_handling_auth":
                variables = frame.f_locals
                flow = variables.get("auth_flow")
                if isinstance(variables.get("self"), self._clients) and type(flow) in GENERATORS:
                    return flow
        return request

    def _begin_anew(self) -> None:
        """Also in a forked process, where another thread may have held the lock."""
        self._on_trial = WeakKeyDictionary()
        self._some = False
        self._lock = RLock()  # clients may run in several threads


def _step(request: Any) -> Hashable:
    """What distinguishes a step of a flow from the one before."""
    return request.method, str(request.url), tuple(request.headers.raw)


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
