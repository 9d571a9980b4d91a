"""Sends the results of this instance: failures at once, successes after a short wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .._circuits.batch_builder import BatchBuilder
from .._circuits.shard import Shard
from .._runtime.connection import Asker, ConnectionStatus, RetryBackoff
from .._runtime.instance import Instance
from .._runtime.waiting import within
from ..backends.base import Batch
from ..exceptions import BackendError

MAX_RUNS_PER_BATCH = 250
"""The maximum number of runs in a batch. The leader evaluates a batch without interruption."""

GATHERING = 0.1
"""Seconds that successes wait for further results."""

NOTE_INTERVAL = 1.0
"""Seconds between two reports about a grant of this instance."""

LEADERS_TURN = 0.25
"""The maximum seconds for which restoring lost states is left to the leader, which may know all."""

WORDS_PER_BATCH = 200
WORDS_APART = 0.05
"""Seconds between two batches with lost states: the reports of one instance are enough."""

LOOK_INTERVAL = 5.0
"""Seconds between two checks for unannounced work."""

SHORTEST_INTERVAL = 0.005
BURST = 20
"""The number of urgent writes without a pause. Further ones are spaced, so that an upstream with
occasional failures under load costs Redis at most two hundred writes a second."""


class Reporter:
    """The loop that empties the outbox into the stream of results.

    Args:
        instance: This instance.
        shard: The shard whose results it sends. Nothing is sent before its clock is known.
        connection: Receives the results of requests.
    """

    def __init__(self, instance: Instance, shard: Shard, connection: ConnectionStatus) -> None:
        self._instance = instance
        self._backend = shard.backend
        self._outbox = shard.outbox
        self._in_flight = shard.outbox.in_flight
        self._table = shard.table
        self._clock = shard.clock
        self._connection = connection
        self._retries = RetryBackoff(instance)
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._hurried = asyncio.Event()
        self._sent = asyncio.Event()
        self._lost: dict[str, tuple[int, int]] = {}
        self._has_lost = asyncio.Event()
        self._words: list[str] = []
        self._credit = float(BURST)
        self._sent_at = shard.clock.monotonic()

    def wake(self, urgent: bool) -> None:
        """Wake the loop, because there is something to send."""
        self._something.set()
        if urgent:
            self._urgent.set()

    def report_lost(self, lost: Iterable[str]) -> None:
        """Report the states of circuits that the store has lost to the leader."""
        self._lost = {name: self._table.known(name).order for name in lost}
        self._has_lost.set()

    async def send_lost(self) -> None:
        """Report lost states, unless another instance restores them, forever."""
        while True:
            await self._has_lost.wait()
            self._has_lost.clear()
            # At random, so that not all instances send the same.
            await asyncio.sleep(LEADERS_TURN * self._instance.host.chance())
            while self._lost:
                self._words += self._still_lost()
                if self._words:
                    self.wake(urgent=True)
                    await asyncio.sleep(WORDS_APART)

    def _still_lost(self) -> list[str]:
        """Return the next few circuits that no instance has restored yet."""
        names: list[str] = []
        while self._lost and len(names) < WORDS_PER_BATCH:
            name = next(iter(self._lost))
            if self._table.known(name).order == self._lost.pop(name):
                names.append(name)
        return names

    async def run(self) -> None:
        """Send results, forever."""
        await self._clock.known.wait()
        while True:
            await self._gather()
            await self._space()
            await self._send()

    async def empty(self) -> None:
        """Send all pending results without a pause, and wait for the end."""
        while True:
            self._outbox.handover.drain()
            if self._outbox.builder is None and not self._outbox.waiting:
                return
            self._hurried.set()
            self.wake(urgent=True)
            self._sent.clear()
            await self._sent.wait()

    async def flush(self) -> None:
        """Send pending results once. Results of a failed write count as dropped.

        Raises:
            BackendError: The store did not accept the write.
        """
        if not self._clock.known.is_set():
            return
        self._outbox.handover.drain()
        try:
            while self._outbox.builder is not None or self._outbox.waiting:
                await self._send_next()
        finally:
            if self._outbox.builder is not None:
                self._in_flight.give_up()
                self._outbox.builder = None

    async def _gather(self) -> None:
        interval = NOTE_INTERVAL if self._table.holds_grants else LOOK_INTERVAL
        # Only successes wait for others: a failure may be the one that opens the circuit.
        if await within(self._something, interval):
            await within(self._urgent, GATHERING)
        self._outbox.handover.drain()
        # A holder reports even without results: one that is silent loses its grant.
        for circuit in self._table.trials():
            self._outbox.waiting[circuit.name] = circuit

    async def _space(self) -> None:
        # A token bucket: single failures are sent at once, those of a loaded upstream are spaced.
        now = self._clock.monotonic()
        self._credit = min(BURST, self._credit + (now - self._sent_at) / SHORTEST_INTERVAL)
        self._sent_at = now
        if self._credit < 1:
            await asyncio.sleep(SHORTEST_INTERVAL)
        self._credit -= 1

    async def _send(self) -> None:
        """Send one batch, for as long as it takes. Later results wait."""
        sent = not (self._outbox.waiting or self._words or self._outbox.builder is not None)
        while not sent:
            try:
                await self._send_next()
            except BackendError as error:
                self._connection.failed(Asker.REPORTER)
                await self._pause(self._retries.failed(error))
            else:
                self._connection.answered(Asker.REPORTER)
                self._retries.over()
                sent = True
            finally:
                self._in_flight.report_losses()

    async def _pause(self, seconds: float) -> None:
        self._hurried.clear()
        await within(self._hurried, seconds)

    async def _send_next(self) -> None:
        builder = self._outbox.builder
        if builder is None:
            builder = self._outbox.builder = self._begin_batch()
        asked = self._clock.monotonic()
        # The store may have the first copy, whose reply was lost; so notes in it are that old.
        builder.sent_at = min(builder.sent_at, asked)
        reports = builder.reports(asked, self._table)
        batch = Batch(self._instance.id, builder.number, self._clock.now(), reports)
        self._clock.sync(await self._backend.append(batch), asked)
        self._instance.statistics.batches += 1
        self._in_flight.sent()
        builder.stored()
        if self._outbox.builder is builder:  # no later run has begun in another loop
            self._outbox.builder = None
        self._sent.set()

    def _begin_batch(self) -> BatchBuilder:
        # Before the circuits are taken: results that come from now on wake the loop again.
        self._something.clear()
        self._urgent.clear()
        builder = BatchBuilder(self._outbox.next_number(), self._instance.statistics)
        waiting = self._outbox.waiting
        room = MAX_RUNS_PER_BATCH
        while waiting and room > 0:
            circuit = waiting.pop(next(iter(waiting)))
            room -= max(1, builder.add(circuit, self._clock.monotonic()))
        if waiting:
            self.wake(urgent=True)
        builder.words, self._words = self._words, []
        self._in_flight.add(builder.number, builder.results)
        return builder
