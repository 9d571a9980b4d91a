"""Sends what happened on this instance: failures at once, successes alone within a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._core.states import Report, Run, TrialNote
from ..backends.base import Backend, Batch
from ..exceptions import BackendError, ResultsLostError
from ..statistics import Statistics
from .clock import SharedClock
from .local import LocalCircuit
from .outage import Outage
from .outbox import Outbox, PendingRun
from .surface import Surface
from .table import Table

MAX_AGE = 10.0
"""Seconds after which a result no longer counts."""

MAX_RUNS_PER_BATCH = 1_000

GATHERING = 0.1
"""Seconds that successes wait for company."""

NOTE_INTERVAL = 1.0
"""Seconds between two words about a grant that this instance holds."""

SHORTEST_INTERVAL = 0.005
BURST = 20
"""So many urgent writes may follow each other at once; then they are spaced, so that an upstream
that fails now and then under load costs Redis no more than two hundred writes a second."""


LOSSES_INTERVAL = 10.0
"""Lost results are told at most once in so many seconds; the counters know each."""


class Draft:
    """What goes into one batch. Kept until it is written, so that it can be sent again.

    Args:
        number: The batch's number.
        statistics: Counts what becomes too old.
    """

    def __init__(self, number: int, statistics: Statistics) -> None:
        self.number = number
        self._statistics = statistics
        self._parts: list[tuple[LocalCircuit, list[PendingRun], int, TrialNote | None]] = []

    def add(self, circuit: LocalCircuit, now: float) -> int:
        """Take what a circuit has to say; tells how many runs that are."""
        runs = circuit.take()
        # The note must fit the runs, also when they are sent again later.
        self._parts.append((circuit, runs, circuit.take_blocked(), circuit.note(now)))
        return len(runs)

    @property
    def results(self) -> int:
        """How many results are in it."""
        return sum(run.count for _, runs, *_ in self._parts for run in runs)

    def reports(self, now: float) -> tuple[Report, ...]:
        """The reports as they are at the monotonic second `now`; what is too old is left out."""
        return tuple(self._report(*part, now) for part in self._parts)

    def _report(
        self,
        circuit: LocalCircuit,
        runs: list[PendingRun],
        blocked: int,
        note: TrialNote | None,
        now: float,
    ) -> Report:
        for run in [run for run in runs if now - run.ended > MAX_AGE]:
            runs.remove(run)
            self._statistics.expired += run.count
        return Report(
            circuit=circuit.name,
            generation=circuit.admission.generation,
            runs=tuple(
                Run(run.generation, run.failed, run.slow, run.count, now - run.ended, run.label)
                for run in runs
            ),
            blocked=blocked,
            trial=note,
        )


class Reporter:
    """The loop that empties the outbox into the stream of results.

    Args:
        instance: This instance's id.
        backend: Where to.
        outbox: Where from.
        table: Knows the circuits on which this instance holds a grant.
        clock: The shared clock; nothing is sent before it is known.
        surface: Where errors go.
        statistics: Counts batches and losses.
        chance: Makes random numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        instance: str,
        backend: Backend,
        outbox: Outbox,
        table: Table,
        clock: SharedClock,
        surface: Surface,
        statistics: Statistics,
        chance: Callable[[], float],
    ) -> None:
        self._instance = instance
        self._backend = backend
        self._outbox = outbox
        self._table = table
        self._clock = clock
        self._surface = surface
        self._statistics = statistics
        self._outage = Outage(surface, chance)
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._draft: Draft | None = None
        self._credit = float(BURST)
        self._sent_at = clock.monotonic()
        self._losses_told = (statistics.dropped, statistics.expired)
        self._losses_told_at = float("-inf")

    def wake(self, urgent: bool) -> None:
        """There is something to send."""
        self._something.set()
        if urgent:
            self._urgent.set()

    async def run(self) -> None:
        """Send as things come, for ever."""
        await self._clock.known.wait()
        while True:
            await self._gather()
            await self._space()
            await self._send()

    async def flush(self) -> None:
        """Send what waits, once. What is on its way when that fails counts as dropped.

        Raises:
            BackendError: The store did not take it.
        """
        if not self._clock.known.is_set():
            return
        try:
            while self._draft is not None or self._outbox.waiting:
                await self._send_next()
        finally:
            if self._draft is not None:
                self._statistics.dropped += self._draft.results
                self._draft = None

    async def _gather(self) -> None:
        if await _within(self._something, NOTE_INTERVAL):
            await _within(self._urgent, GATHERING)
        for circuit in self._table.trials():
            self._outbox.waiting[circuit.name] = circuit

    async def _space(self) -> None:
        now = self._clock.monotonic()
        self._credit = min(BURST, self._credit + (now - self._sent_at) / SHORTEST_INTERVAL)
        self._sent_at = now
        if self._credit < 1:
            await asyncio.sleep(SHORTEST_INTERVAL)
        self._credit -= 1

    async def _send(self) -> None:
        """Send one batch, however long it takes. What comes meanwhile waits its turn."""
        sent = not self._outbox.waiting and self._draft is None
        while not sent:
            try:
                await self._send_next()
            except BackendError as error:
                await asyncio.sleep(self._outage.failed(error))
            else:
                self._outage.over()
                sent = True
            finally:
                self._tell_losses()

    async def _send_next(self) -> None:
        if self._draft is None:
            self._draft = self._make_draft()
        asked = self._clock.monotonic()
        batch = Batch(
            self._instance, self._draft.number, self._clock.now(), self._draft.reports(asked)
        )
        self._clock.sync(await self._backend.append(batch), asked)
        self._statistics.batches += 1
        self._draft = None

    def _make_draft(self) -> Draft:
        self._something.clear()
        self._urgent.clear()
        draft = Draft(self._outbox.next_number(), self._statistics)
        waiting = self._outbox.waiting
        room = MAX_RUNS_PER_BATCH
        while waiting and room > 0:
            circuit = waiting.pop(next(iter(waiting)))
            room -= max(1, draft.add(circuit, self._clock.monotonic()))
        if waiting:
            self.wake(urgent=True)
        return draft

    def _tell_losses(self) -> None:
        counted = (self._statistics.dropped, self._statistics.expired)
        now = self._clock.monotonic()
        if counted == self._losses_told or now - self._losses_told_at < LOSSES_INTERVAL:
            return
        dropped, expired = (new - old for new, old in zip(counted, self._losses_told, strict=True))
        self._losses_told, self._losses_told_at = counted, now
        self._surface.error(ResultsLostError(dropped, expired))


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but not for ever; tells whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
