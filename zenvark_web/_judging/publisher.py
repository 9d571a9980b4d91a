"""Takes a leader's transitions to the store: many in one go, those of circuits in use first.

A round trip for each would make a storm of openings last as many round trips, and let whoever makes
names up keep everybody's verdicts waiting behind their own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from .._core.order import Lease
from .._core.states import State, Transition
from .._runtime.connection import RetryBackoff
from .._runtime.instance import Instance
from ..backends.base import Backend, Presence
from ..exceptions import BackendError, FencedError

LARGEST_BATCH = 250

LATER = 50
"""So many places of a full batch are for those whose turn is later, so that none waits for ever."""


class PublicationQueue:
    """Transitions that wait, in order for each circuit; a batch holds one of each at most, so that
    it can be written again whatever became of it."""

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
        """Let a transition wait for its turn."""
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
        """What will be a circuit's newest transition, if one waits."""
        waiting = self._first.get(circuit) or self._later.get(circuit)
        newest = waiting[-1] if waiting else self._taken.get(circuit)
        return None if newest is None else newest[1]

    def batch(self, most: int) -> Sequence[Transition]:
        """What goes next: the same as before, or the beginning of it, until that is `done`."""
        if not self._taken:
            self._take(self._first, most - min(LATER, len(self._later), most // 2))
            self._take(self._later, most - len(self._taken))
            self._take(self._first, most - len(self._taken))
        return [transition for _, transition in islice(self._taken.values(), most)]

    def _take(self, line: dict[str, deque[tuple[int, Transition]]], most: int) -> None:
        for name in list(islice(line, most)):
            waiting = line.pop(name)
            if name in self._taken:
                line[name] = waiting
                continue
            self._taken[name] = waiting.popleft()
            if waiting:
                line[name] = waiting

    def done(self, batch: Sequence[Transition]) -> None:
        """These stand in the store, or have been overtaken there."""
        for transition in batch:
            mark, _ = self._taken.pop(transition.circuit)
            self._waiting -= 1
            self._before_mark -= mark < self._mark
        if not self._before_mark:
            self._none_before.set()

    async def passed(self) -> None:
        """Wait until all that waits now is done, whatever comes meanwhile. One waits at a time."""
        self._mark += 1
        self._before_mark = self._waiting
        if self._before_mark:
            self._none_before.clear()
            await self._none_before.wait()


class Office(Protocol):
    """Whoever holds the lease that a leader leads by."""

    def fenced(self) -> None:
        """The store says that the lease is over."""
        ...

    def overtaken(self) -> None:
        """The store knows a newer transition than this leader."""
        ...

    def present(self, instances: Sequence[Presence]) -> None:
        """These instances are there."""
        ...


class Publisher:
    """The loop that publishes.

    Args:
        instance: Counts what is published, and reports errors.
        backend: Where to.
        lease: The leader's lease.
        office: Told when the lease turns out to be over, or the store to know more.
    """

    def __init__(self, instance: Instance, backend: Backend, lease: Lease, office: Office) -> None:
        self._backend = backend
        self._lease = lease
        self._notifier = instance.notifier
        self._statistics = instance.statistics
        self._retries = RetryBackoff(instance)
        self._office = office
        self._queue = PublicationQueue()
        self._something = asyncio.Event()
        self._most = LARGEST_BATCH

    def publish(self, transition: Transition) -> None:
        """Have a transition written as soon as possible."""
        self._queue.put(transition)
        self._something.set()

    def newest(self, circuit: str) -> Transition | None:
        """The newest transition of a circuit among those that are not published yet."""
        return self._queue.newest(circuit)

    async def caught_up(self) -> None:
        """Wait until all that was decided so far stands in the store."""
        await self._queue.passed()

    async def run(self) -> None:
        """Publish as things come, for ever."""
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
            if not in_force:
                self._office.overtaken()


def _is_of_use(transition: Transition) -> bool:
    """Whether a transition goes before others: several instances call its circuit, or it was known
    before and lets calls pass from now on, or no longer. (An open one that waits for longer changes
    nothing for now, and names that somebody makes up are not known before.)"""
    if len(transition.reason.instances) > 1:
        return True
    waits_on = transition.previous is State.OPEN and transition.state is State.OPEN
    return transition.generation > 1 and not waits_on
