"""Calls `on_published` on the leader: once for each transition of the fleet.

The store records the entry of the stream of states up to which the callback has been called. The
leader calls it with the transitions after that entry, one by one, and records each call that has
ended; the next leader reads on from there. A leader that dies in a call leaves no record of it, so
the next one repeats it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from .._circuits.shard import Shard
from .._core.order import START, Lease, Position
from .._core.states import State, Transition
from .._runtime.connection import RetryBackoff
from .._runtime.instance import Instance
from ..backends.base import Forgotten, Snapshot, StateEntry, StateItem
from ..events import PublishedChange
from ..exceptions import BackendError, FencedError

READ_AT_ONCE = 100

OLDEST = 86_400.0
"""Seconds after which a transition is no news any more. Leaders without the callback leave theirs
to the next one that has it."""


class Publications:
    """The transitions of the fleet that `on_published` has not been called with.

    Args:
        instance: Runs the callback.
        shard: The shard that it leads.
        lease: The leader's lease.
    """

    def __init__(self, instance: Instance, shard: Shard, lease: Lease) -> None:
        self._notifier = instance.notifier
        self._most = instance.max_breakers
        self._backend = shard.backend
        self._clock = shard.clock
        self._table = shard.table
        self._lease = lease
        self._retries = RetryBackoff(instance)
        self._something = asyncio.Event()
        self._begun = False
        self._notified = START
        self._recorded = START
        self._generations: dict[str, int] = {}

    def begin(self, snapshot: Snapshot) -> None:
        """Continue where the last leader has ended. Without a record, or if the store has lost what
        it refers to, begin at the end of the stream."""
        notified = snapshot.notified
        lost = notified is None or notified > snapshot.position
        self._notified = snapshot.position if lost else notified or START
        self._begun = True
        self.wake()

    def wake(self) -> None:
        """Look for transitions: some were published."""
        self._something.set()

    def check(self, snapshot: Snapshot) -> None:
        """Read the stream from its start if it has begun anew, below the known positions."""
        if snapshot.position < self._notified:
            self._notified = START
        self.wake()

    def rewritten(self, transition: Transition) -> None:
        """Record that a transition which the store has lost is written again. If another leader
        wrote it first, it is no news."""
        if transition.epoch != self._lease.epoch:
            self._remember(transition)

    async def run(self) -> None:
        """Call the callback with each transition, forever."""
        while True:
            await self._something.wait()
            self._something.clear()
            if self._begun:
                await self._catch_up()

    async def _catch_up(self) -> None:
        while entries := await self._record(READ_AT_ONCE):
            for entry in entries:
                await self._notify(entry)

    async def _notify(self, entry: StateEntry) -> None:
        change = self._change(entry.position, entry.item)
        if change is not None:
            await self._notifier.published(change)
        self._notified = entry.position
        if change is not None:
            await self._record(0)

    async def _record(self, most: int) -> Sequence[StateEntry]:
        """Record the calls that have ended; return the entries to go on with."""
        while True:
            notified = self._notified
            try:
                entries = await self._backend.unnotified(self._lease, notified, most)
            except FencedError:
                await asyncio.get_running_loop().create_future()  # until cancelled
            except BackendError as error:
                await asyncio.sleep(self._retries.failed(error))
            except asyncio.CancelledError:  # it stops, and the next leader would repeat the call
                await self._record_at_last()
                raise
            else:
                self._retries.over()
                self._recorded = notified
                return entries

    async def _record_at_last(self) -> None:
        if self._notified != self._recorded:
            with suppress(BackendError, FencedError):
                await self._backend.unnotified(self._lease, self._notified, 0)

    def _change(self, position: Position, item: StateItem) -> PublishedChange | None:
        if isinstance(item, Forgotten):
            self._generations.pop(item.circuit, None)
        if not isinstance(item, Transition) or self._clock.now() - item.at > OLDEST:
            return None
        if item.generation <= self._generations.get(item.circuit, -1):
            return None
        self._remember(item)
        known = item.after(self._table.known(item.circuit))
        return PublishedChange(
            name=item.circuit,
            previous=item.previous,
            state=known.state,
            generation=item.generation,
            reason=item.reason,
            position=str(position),
            at=item.at,
            retry_at=known.retry_at if known.state is State.OPEN else None,
            leader=item.leader,
        )

    def _remember(self, transition: Transition) -> None:
        """Remember a circuit's newest transition, so that none is reported again that is read again
        or written again. (The transitions of circuits in use are the newest ones.)"""
        self._generations.pop(transition.circuit, None)
        self._generations[transition.circuit] = transition.generation
        if len(self._generations) > self._most:
            del self._generations[next(iter(self._generations))]
