"""Publishes a leader's transitions: many at once, circuits in use first.

With one round trip for each transition, a storm of openings would take that many round trips, and
made-up names would delay the decisions of all other circuits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from .._core.order import Lease
from .._core.states import State, Transition
from .._runtime.connection import RetryBackoff
from .._runtime.instance import Instance
from ..backends.base import Backend, Presence
from ..exceptions import BackendError, FencedError

# One script writes them all, and Redis serves nobody else in the meantime.
LARGEST_BATCH = 250

LATER = 50
"""The number of places in a full batch for transitions of lower priority, so that none waits
forever."""


class PublicationQueue:
    """The pending transitions, in order for each circuit. A batch contains at most one for each
    circuit, so that it can be repeated whatever happened to it."""

    def __init__(self) -> None:
        self._first: dict[str, deque[tuple[int, Transition]]] = {}
        self._later: dict[str, deque[tuple[int, Transition]]] = {}
        self._taken: dict[str, tuple[int, Transition]] = {}
        self._waiting = 0
        self._mark = 0
        self._before_mark = 0
        self._none_before = asyncio.Event()

    def __len__(self) -> int:
        return self._waiting

    def put(self, transition: Transition) -> None:
        """Add a transition to the queue."""
        name = transition.circuit
        if name in self._first:
            waiting = self._first[name]
        elif _is_of_use(transition):
            waiting = self._first[name] = self._later.pop(name, deque())
        else:
            waiting = self._later.setdefault(name, deque())
        waiting.append((self._mark, transition))
        self._waiting += 1

    def newest(self, circuit: str) -> Transition | None:
        """Return a circuit's newest pending transition, if there is one."""
        waiting = self._first.get(circuit) or self._later.get(circuit)
        newest = waiting[-1] if waiting else self._taken.get(circuit)
        return None if newest is None else newest[1]

    def batch(self, most: int) -> Sequence[Transition]:
        """Return the next batch: the same as before, or its beginning, until it is `done`."""
        if not self._taken:
            self._take(self._first, most - min(LATER, len(self._later), most // 2))
            self._take(self._later, most - len(self._taken))
            self._take(self._first, most - len(self._taken))
        return [transition for _, transition in islice(self._taken.values(), most)]

    def _take(self, line: dict[str, deque[tuple[int, Transition]]], most: int) -> None:
        for name in list(islice(line, most)):
            waiting = line.pop(name)
            if name in self._taken:  # its next one waits for the batch after this
                line[name] = waiting
                continue
            self._taken[name] = waiting.popleft()
            if waiting:
                line[name] = waiting

    def done(self, batch: Sequence[Transition]) -> None:
        """Remove transitions that are in the store, or were overtaken there."""
        for transition in batch:
            mark, _ = self._taken.pop(transition.circuit)
            self._waiting -= 1
            self._before_mark -= mark < self._mark
        if not self._before_mark:
            self._none_before.set()

    async def passed(self) -> None:
        """Wait until all currently pending transitions are done. Only one caller may wait at a
        time."""
        self._mark += 1
        self._before_mark = self._waiting
        if self._before_mark:
            self._none_before.clear()
            await self._none_before.wait()


class Office(Protocol):
    """The holder of a leader's lease."""

    def fenced(self) -> None:
        """Called when the store reports that the lease is over."""
        ...

    def overtaken(self) -> None:
        """Called when the store has a newer transition than this leader."""
        ...

    def present(self, instances: Sequence[Presence]) -> None:
        """Called with the registered instances."""
        ...


class Publisher:
    """The loop that publishes transitions.

    Args:
        instance: Counts published transitions, and reports errors.
        backend: The store.
        lease: The leader's lease.
        office: Notified when the lease is over, or the store has newer transitions.
        published: Called after each write.
    """

    def __init__(
        self,
        instance: Instance,
        backend: Backend,
        lease: Lease,
        office: Office,
        published: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._lease = lease
        self._notifier = instance.notifier
        self._statistics = instance.statistics
        self._retries = RetryBackoff(instance)
        self._office = office
        self._published = published
        self._queue = PublicationQueue()
        self._something = asyncio.Event()
        self._most = LARGEST_BATCH

    def publish(self, transition: Transition) -> None:
        """Publish a transition as soon as possible."""
        self._queue.put(transition)
        self._something.set()

    def newest(self, circuit: str) -> Transition | None:
        """Return the newest unpublished transition of a circuit."""
        return self._queue.newest(circuit)

    async def caught_up(self) -> None:
        """Wait until all previous decisions are in the store."""
        await self._queue.passed()

    async def run(self) -> None:
        """Publish pending transitions, forever."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._queue:
                await self._publish_next()

    async def _publish_next(self) -> None:
        batch = self._queue.batch(self._most)
        try:
            in_force = await self._backend.publish(self._lease, *batch)
        except FencedError as error:
            self._notifier.report_error(error)
            self._office.fenced()
            await asyncio.get_running_loop().create_future()  # until cancelled
        except BackendError as error:
            self._most = max(1, len(batch) // 2)  # on a slow line, few may get through in time
            await asyncio.sleep(self._retries.failed(error))
        else:
            self._most = min(LARGEST_BATCH, 2 * self._most)
            self._retries.over()
            self._statistics.transitions += len(batch)
            self._queue.done(batch)
            self._published()
            if not in_force:
                self._office.overtaken()


def _is_of_use(transition: Transition) -> bool:
    """Return whether a transition has priority: several instances call its circuit, or the circuit
    was known before and its admission changes. (An open circuit with a longer wait does not change
    its admission, and made-up names are not known before.)"""
    if len(transition.reason.instances) > 1:
        return True
    waits_on = transition.previous is State.OPEN and transition.state is State.OPEN
    return transition.generation > 1 and not waits_on
