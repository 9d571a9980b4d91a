"""Sends what happened on this instance: failures at once, successes alone within a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from .._circuits.local import LocalCircuit
from .._circuits.outbox import Outbox
from .._circuits.runs import MAX_AGE, PendingRun
from .._circuits.table import Table
from .._core.states import Report, Run, TrialNote
from .._runtime.clock import SharedClock
from .._runtime.link import Asker, Link
from .._runtime.notifier import Surface
from .._runtime.outage import Outage
from ..backends.base import Backend, Batch
from ..exceptions import BackendError
from ..statistics import Statistics
from .ledger import Ledger

MAX_RUNS_PER_BATCH = 250
"""The leader judges a batch in one go, and has time for nothing else meanwhile."""

GATHERING = 0.1
"""Seconds that successes wait for company."""

NOTE_INTERVAL = 1.0
"""Seconds between two words about a grant that this instance holds."""

LEADERS_TURN = 0.25
"""Seconds at most for which the store's losses are left to its leader, which may know all of it."""

WORDS_PER_BATCH = 200
WORDS_APART = 0.05
"""Seconds between two batches of what the store has lost: one instance's word is enough."""

LOOK_INTERVAL = 5.0
"""Seconds after which it looks whether there is something that nobody told it of."""

SHORTEST_INTERVAL = 0.005
BURST = 20
"""So many urgent writes may follow each other at once; then they are spaced, so that an upstream
that fails now and then under load costs Redis no more than two hundred writes a second."""


class Draft:
    """What goes into one batch. Kept until it is written, so that it can be sent again.

    Args:
        number: The batch's number.
        statistics: Counts what becomes too old.

    Attributes:
        words: The circuits of which to tell how they stand, and nothing else.
        sent_at: The monotonic second at which it was first sent.
    """

    def __init__(self, number: int, statistics: Statistics) -> None:
        self.number = number
        self.sent_at = float("inf")
        self._statistics = statistics
        self._parts: list[tuple[LocalCircuit, list[PendingRun], int, TrialNote | None]] = []
        self.words: Iterable[str] = ()

    def add(self, circuit: LocalCircuit, now: float) -> int:
        """Take what a circuit has to say, but for what is too old; tells how many runs that are."""
        runs: list[PendingRun] = []
        for run in circuit.take():
            if run.generation < 0:  # begun and judged while this instance was alone
                self._statistics.evaluated += run.count
            elif now - run.ended > MAX_AGE:
                self._statistics.expired += run.count
            else:
                runs.append(run)
        # The note must fit the runs, also when they are sent again later.
        note = circuit.note()
        if note is not None and note.generation < 0:
            note = None
        self._parts.append((circuit, runs, circuit.take_blocked(), note))
        return len(runs)

    def taken_in(self) -> None:
        """The store has it. Its first copy may have got in, though the reply was lost."""
        for circuit, _, _, note in self._parts:
            if note is not None:
                circuit.admission.told(note.generation, self.sent_at)

    @property
    def runs(self) -> Iterable[tuple[LocalCircuit, Sequence[PendingRun]]]:
        """The results in it."""
        return [(circuit, runs) for circuit, runs, *_ in self._parts]

    @property
    def results(self) -> int:
        """How many results are in it. Their number does not change: the store may have taken a
        batch in whose reply was lost."""
        return sum(run.count for _, runs, *_ in self._parts for run in runs)

    def reports(self, now: float, table: Table) -> tuple[Report, ...]:
        """The reports as they are at the monotonic second `now`.

        Args:
            now: The second.
            table: Knows how the circuits stand.
        """
        reports = [_with_word(self._report(*part, now), table) for part in self._parts]
        told = {report.circuit for report in reports}
        for name in self.words:
            if name not in told:
                report = Report(name, generation=table.known(name).generation)
                reports.append(_with_word(report, table))
        return tuple(reports)

    def _report(
        self,
        circuit: LocalCircuit,
        runs: list[PendingRun],
        blocked: int,
        note: TrialNote | None,
        now: float,
    ) -> Report:
        alone = circuit.admission.generation < 0
        return Report(
            circuit=circuit.name,
            generation=0 if alone else circuit.admission.generation,
            runs=tuple(
                Run(run.generation, run.failed, run.slow, run.count, now - run.ended, run.label)
                for run in runs
            ),
            blocked=blocked,
            trial=note,
            hold=circuit.held(now),
            overdue=0 if alone else circuit.look(now)[0],
        )


class Reporter:
    """The loop that empties the outbox into the stream of results.

    Args:
        instance: This instance's id.
        backend: Where to.
        outbox: Where from.
        ledger: Told of each batch.
        table: Knows the circuits on which this instance holds a grant.
        clock: The shared clock; nothing is sent before it is known.
        surface: Where errors go.
        link: Told how sending goes.
        statistics: Counts batches and losses.
        chance: Makes random numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        instance: str,
        backend: Backend,
        outbox: Outbox,
        ledger: Ledger,
        table: Table,
        clock: SharedClock,
        surface: Surface,
        link: Link,
        statistics: Statistics,
        chance: Callable[[], float],
    ) -> None:
        self._link = link
        self._instance = instance
        self._backend = backend
        self._outbox = outbox
        self._ledger = ledger
        self._table = table
        self._clock = clock
        self._surface = surface
        self._statistics = statistics
        self._outage = Outage(surface, chance)
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._hurried = asyncio.Event()
        self._sent = asyncio.Event()
        self._draft: Draft | None = None
        self._lost: dict[str, tuple[int, int]] = {}
        self._lost_some = asyncio.Event()
        self._words: list[str] = []
        self._chance = chance
        self._credit = float(BURST)
        self._sent_at = clock.monotonic()

    def wake(self, urgent: bool) -> None:
        """There is something to send."""
        self._something.set()
        if urgent:
            self._urgent.set()

    def unsent(self) -> Iterable[tuple[LocalCircuit, Sequence[PendingRun]]]:
        """The results that wait or are under way."""
        if self._draft is not None:
            yield from self._draft.runs
        for circuit in self._outbox.waiting.values():
            yield circuit, circuit.waiting

    def give_back(self, lost: Iterable[str]) -> None:
        """Tell the leader how these circuits stand, which the store has lost."""
        self._lost = {name: self._table.known(name).order for name in lost}
        self._lost_some.set()

    async def remind(self) -> None:
        """Tell what the store has lost, unless somebody else does, for ever."""
        while True:
            await self._lost_some.wait()
            self._lost_some.clear()
            await asyncio.sleep(LEADERS_TURN * self._chance())
            while self._lost:
                self._words += self._still_lost()
                if self._words:
                    self.wake(urgent=True)
                    await asyncio.sleep(WORDS_APART)

    def _still_lost(self) -> list[str]:
        """The next few of the circuits that nobody has written again so far."""
        names: list[str] = []
        while self._lost and len(names) < WORDS_PER_BATCH:
            name = next(iter(self._lost))
            if self._table.known(name).order == self._lost.pop(name):
                names.append(name)
        return names

    async def run(self) -> None:
        """Send as things come, for ever."""
        await self._clock.known.wait()
        while True:
            await self._gather()
            await self._space()
            await self._send()

    async def empty(self) -> None:
        """Have all sent that waits, without a pause, and wait for that."""
        while True:
            self._outbox.take_in()
            if self._draft is None and not self._outbox.waiting:
                return
            self._hurried.set()
            self.wake(urgent=True)
            self._sent.clear()
            await self._sent.wait()

    async def flush(self) -> None:
        """Send what waits, once. What is on its way when that fails counts as dropped.

        Raises:
            BackendError: The store did not take it.
        """
        if not self._clock.known.is_set():
            return
        self._outbox.take_in()
        try:
            while self._draft is not None or self._outbox.waiting:
                await self._send_next()
        finally:
            if self._draft is not None:
                self._ledger.give_up()
                self._draft = None

    async def _gather(self) -> None:
        interval = NOTE_INTERVAL if self._table.tries else LOOK_INTERVAL
        if await _within(self._something, interval):
            await _within(self._urgent, GATHERING)
        self._outbox.take_in()
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
        sent = not (self._outbox.waiting or self._words or self._draft is not None)
        while not sent:
            try:
                await self._send_next()
            except BackendError as error:
                self._link.failed(Asker.REPORTER)
                await self._pause(self._outage.failed(error))
            else:
                self._link.answered(Asker.REPORTER)
                self._outage.over()
                sent = True
            finally:
                self._ledger.tell_losses()

    async def _pause(self, seconds: float) -> None:
        self._hurried.clear()
        await _within(self._hurried, seconds)

    async def _send_next(self) -> None:
        if self._draft is None:
            self._draft = self._make_draft()
        asked = self._clock.monotonic()
        self._draft.sent_at = min(self._draft.sent_at, asked)
        reports = self._draft.reports(asked, self._table)
        batch = Batch(self._instance, self._draft.number, self._clock.now(), reports)
        self._clock.sync(await self._backend.append(batch), asked)
        self._statistics.batches += 1
        self._ledger.sent()
        self._draft.taken_in()
        self._draft = None
        self._sent.set()

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
        draft.words, self._words = self._words, []
        self._ledger.enter(draft.number, draft.results)
        return draft


def _with_word(report: Report, table: Table) -> Report:
    """A report that also tells how its circuit stands, unless that is as it began."""
    return replace(report, word=table.word(report.circuit)) if report.generation else report


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but not for ever; tells whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
