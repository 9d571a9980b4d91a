"""Reads the streams: states on every instance, and results on the leader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from .._circuits.shard import Shard
from .._circuits.table import Table
from .._core.order import FAR_AHEAD, START, Position
from .._core.states import State, Transition
from .._runtime.connection import Asker, ConnectionStatus, RetryBackoff
from .._runtime.instance import Instance
from ..backends._time_slices import TimeSlice
from ..backends.base import (
    Batch,
    Forgotten,
    LeaderChange,
    OverrideRecord,
    OverridesRestored,
    Probe,
    Recalled,
    Rest,
    ResultEntry,
    Snapshot,
    StateEntry,
    StateItem,
    StreamEntry,
    UnknownEntry,
)
from ..exceptions import BackendError, MalformedEntryError
from .election import Election
from .reporter import Reporter

WAIT = 2.0
WAIT_WITH_GRANTS = 0.5
"""Seconds to wait for new entries. An instance with a grant reads more often, because it may use
its permits only while it knows that no other instance has them."""

WAIT_TO_CONFIRM = 0.05
"""The same while a trial call waits for that read."""

# People ask far less often; whoever else writes to the stream must not fill the memory.
MOST_PROBES = 100

PROBE_PATIENCE = 10.0
"""Seconds for which an instance keeps a request of an operator that no leader may have received."""


class ResultReader(Protocol):
    """The interface of a leader for the reader."""

    async def begin(self, snapshot: Snapshot) -> Position:
        """Start from a snapshot of the states.

        Returns:
            The position after which to read results.
        """
        ...

    def rewrite_checkpoint(self, snapshot: Snapshot) -> None:
        """Rewrite the parts of the checkpoint that the store has lost."""
        ...

    def rewrite_states(self, lost: Sequence[str]) -> None:
        """Rewrite the states of circuits that the store has lost."""
        ...

    def evaluate(self, entry: ResultEntry) -> None:
        """Evaluate one entry of the stream of results."""
        ...

    def adopt(self, transition: Transition) -> None:
        """Adopt a transition that is now in force."""
        ...

    def forget(self, circuit: str) -> None:
        """Remove a circuit."""
        ...

    def probe(self, probe: Probe) -> None:
        """Attempt the recovery of a circuit now."""
        ...


class Reader:
    """The loop that reads the streams.

    Args:
        instance: This instance.
        shard: The shard whose streams it reads.
        connection: Receives the results of requests.
        election: Receives announcements of leaders from the stream of states.
        reporter: Receives the circuits that the store has lost, or has in an older state, if
            another instance leads; circuits that are not closed first.
    """

    def __init__(
        self,
        instance: Instance,
        shard: Shard,
        connection: ConnectionStatus,
        election: Election,
        reporter: Reporter,
    ) -> None:
        self._backend = shard.backend
        self._table = shard.table
        self._overrides = shard.table.overrides
        self._probes: deque[tuple[float, Probe]] = deque(maxlen=MOST_PROBES)
        self._clock = shard.clock
        self._notifier = instance.notifier
        self._connection = connection
        self._statistics = instance.statistics
        self._retries = RetryBackoff(instance)
        self._election = election
        self._reporter = reporter
        self._states = START
        self._results: Position | None = None
        self._leader: ResultReader | None = None
        self._leader_waits = False
        self._stale = True
        self._remainder: _Remainder | None = None
        self.loaded = asyncio.Event()

    def serve(self, leader: ResultReader | None) -> None:
        """Read results for a leader, or stop reading results."""
        self._leader = leader
        self._leader_waits = leader is not None
        self._results = None

    def check(self, last_state: Position, circuits: int, override: int) -> None:
        """Restart from a snapshot if the store has lost data.

        Args:
            last_state: The end of the stream of states. The stream has begun anew if this reader is
                ahead of it.
            circuits: The number of stored circuits. An instance that knows more circuits restores
                them.
            override: The newest number of overrides.
        """
        began_anew = last_state < self._states or override < self._overrides.number
        lost_some = self._remainder is None and circuits < len(self._table.latest)
        if began_anew or lost_some:
            self.refresh()

    def refresh(self) -> None:
        """Load the states from a snapshot before the next read."""
        self._stale = True

    async def catch_up(self) -> None:
        """Read the current states, in parallel to the blocking read.

        Raises:
            BackendError: The store does not answer.
        """
        asked = self._clock.monotonic()
        snapshot = await self._backend.load()
        self._clock.sync(snapshot.now, asked)
        await self._load_overrides(snapshot)
        found = list(snapshot.transitions)
        if snapshot.rest is not None:  # very many: what is not closed is in the first part
            latest = self._table.latest
            doubtful = [name for name in latest if latest[name].state is not State.CLOSED]
            found += [
                item
                for item in await snapshot.rest.of(dict.fromkeys(doubtful))
                if isinstance(item, Transition)
            ]
        for transition in found:
            self._apply(transition, fresh=False)

    async def run(self) -> None:
        """Read new entries, forever."""
        while True:
            try:
                await self._step()
            except BackendError as error:
                self._connection.failed(Asker.READER)
                # What was missed meanwhile may have been trimmed: only a snapshot is complete.
                self._stale = True
                await asyncio.sleep(self._retries.failed(error))
            else:
                self._connection.answered(Asker.READER)
                self._retries.over()

    async def _step(self) -> None:
        while self._stale or self._leader_waits:  # it may become the leader while it loads
            await self._load()
        if self._remainder is not None:
            await self._load_more(self._remainder)
        asked = self._clock.monotonic()
        entries = await self._backend.read(self._states, self._results, self._wait)
        if self._remainder is not None and self._leader is not None:
            await self._look_up(self._remainder, _reported(entries))
        await self._apply_entries(entries)
        if self._remainder is None and not self._stale:  # all is known that the store knew then
            self._table.confirm_grants(asked)
        if entries:
            await asyncio.sleep(0)  # what was decided is sent before the next read

    async def _apply_entries(self, entries: Sequence[StreamEntry]) -> None:
        old = _overtaken(entries) if self._table.is_cut_off else ()
        astray = self._clock.now() + FAR_AHEAD
        time_slice = TimeSlice()
        for entry in entries:
            await time_slice.yield_if_over()
            if entry.position.ms > 1000 * astray:  # somebody else's, and none to go on from
                self.refresh()  # which has its stream begin anew, if the clock is right
                break
            if isinstance(entry, StateEntry):
                self._states = entry.position
                if entry.position not in old:
                    self._apply_item(entry.item)
            elif self._leader is not None and self._results is not None:
                self._results = entry.position
                self._leader.evaluate(entry)

    @property
    def _wait(self) -> float:
        if self._remainder is not None:
            return 0.0
        if not self._table.holds_grants:
            return WAIT
        return WAIT_TO_CONFIRM if self._table.has_unconfirmed_grants else WAIT_WITH_GRANTS

    async def _load(self) -> None:
        self._stale = False
        asked = self._clock.monotonic()
        self._remainder = None
        leader = self._leader
        snapshot = await self._backend.load(leading=leader is not None)
        self._connection.answered(Asker.READER)  # after the first read it would be late by its wait
        self._clock.sync(snapshot.now, asked)
        await self._load_overrides(snapshot)
        remainder = _Remainder(self._table.latest, snapshot.rest)
        await self._apply_all(remainder, (*snapshot.malformed, *snapshot.transitions))
        self._states = snapshot.position
        self.loaded.set()
        self._remainder = remainder
        if leader is not None and leader is self._leader:
            await self._look_up(remainder, snapshot.checkpoint.snapshots)
            await self._start_leader(leader, snapshot)
        if remainder.rest is None:
            await self._end_load(remainder)

    async def _load_overrides(self, snapshot: Snapshot) -> None:
        """Load the overrides, and give back those that the store has lost."""
        restored = self._overrides.load(snapshot.overrides)
        if restored is None:
            return
        if not await self._backend.restore_overrides(snapshot.overrides, restored):
            self.refresh()  # somebody was faster

    def _probe(self, probe: Probe) -> None:
        """Pass a request on to the leader; a follower keeps it, in case it is the next one."""
        if self._leader is not None and not self._leader_waits:
            self._leader.probe(probe)
        else:
            self._probes.append((self._clock.monotonic(), probe))

    async def _load_more(self, remainder: _Remainder) -> None:
        """Load a further part of a large store, circuits with calls first."""
        await self._look_up(remainder, self._table.new_circuits())
        found = await remainder.rest.next() if remainder.rest is not None else None
        if found is None:
            await self._end_load(remainder)
        else:
            await self._apply_all(remainder, found)

    async def _look_up(self, remainder: _Remainder, names: Iterable[str]) -> None:
        """Load the circuits that a leader is about to evaluate before all others."""
        if remainder.rest is not None:
            unknown = [name for name in names if name not in self._table.latest]
            await self._apply_all(remainder, await remainder.rest.of(dict.fromkeys(unknown)))

    async def _apply_all(
        self, remainder: _Remainder, found: Iterable[Transition | MalformedEntryError]
    ) -> None:
        time_slice = TimeSlice()
        for item in found:
            await time_slice.yield_if_over()
            if isinstance(item, MalformedEntryError):
                self._notifier.report_error(item)
            else:
                remainder.found(item)
                self._apply(item, fresh=False)

    async def _end_load(self, remainder: _Remainder) -> None:
        """Finish the load, and report what the store has lost."""
        self._remainder = None
        lost = await remainder.lost(self._table)
        if lost and self._leader is not None:
            self._leader.rewrite_states(lost)
        elif lost:
            self._reporter.report_lost(lost)

    async def _start_leader(self, leader: ResultReader, snapshot: Snapshot) -> None:
        if self._leader_waits:
            position = await leader.begin(snapshot)
            if leader is self._leader:
                self._leader_waits = False
                self._results = position
                self._make_up_for_probes(leader)
            return
        # A lease may outlive a restart of the store with an older copy of its data.
        leader.rewrite_checkpoint(snapshot)
        if self._results and snapshot.results < self._results:
            self._results = START

    def _make_up_for_probes(self, leader: ResultReader) -> None:
        """Pass on what operators asked for while nobody led."""
        while self._probes:
            at, probe = self._probes.popleft()
            if self._clock.monotonic() - at < PROBE_PATIENCE:
                leader.probe(probe)

    def _apply_item(self, item: StateItem) -> None:
        if isinstance(item, Transition):
            self._apply(item, fresh=True)
        elif isinstance(item, Forgotten):
            self._table.forget(item.circuit, item.generation)
            if self._leader is not None:
                self._leader.forget(item.circuit)
        elif isinstance(item, Recalled):
            self._table.recall(item.circuit, item.generation)
        elif isinstance(item, OverrideRecord | OverridesRestored | Probe):
            self._apply_operators(item)
        elif isinstance(item, LeaderChange):
            if item.circuits is not None and item.circuits < len(self._table.latest):
                self.refresh()  # the new leader may know less than this instance
            self._election.leader_changed(item)
        elif isinstance(item, UnknownEntry):
            self._notifier.unknown_entry(item.kind)
        elif isinstance(item, MalformedEntryError):
            self._notifier.report_error(item)

    def _apply_operators(self, item: OverrideRecord | OverridesRestored | Probe) -> None:
        if isinstance(item, Probe):
            self._probe(item)
        elif (
            isinstance(item, OverridesRestored)
            or self._overrides.is_astray(item)
            or not self._overrides.apply(item)
        ):
            self.refresh()

    def _apply(self, transition: Transition, *, fresh: bool) -> None:
        if transition.unknown_state:
            self._notifier.unknown_entry(f"the state {transition.unknown_state}")
            transition = transition.after(self._table.known(transition.circuit))
        if not self._table.apply(transition):
            return
        if fresh:
            self._statistics.effect.observe(max(0.0, self._clock.now() - transition.since))
        if self._leader is not None:
            self._leader.adopt(transition)


class _Remainder:
    """The parts of a large store that are not loaded yet, and known circuits that it may have lost.

    Args:
        known: The newest known transitions at the time of the request.
        rest: Loads the remaining parts.
    """

    def __init__(self, known: Mapping[str, Transition], rest: Rest | None) -> None:
        self.rest = rest
        self._known = dict(known)

    def found(self, transition: Transition) -> None:
        """Record that the store has this transition."""
        known = self._known.get(transition.circuit)
        if (
            known is not None
            and transition.generation >= known.generation
            and not transition.leaps(known)
        ):
            del self._known[transition.circuit]

    async def lost(self, table: Table) -> Sequence[str]:
        """Return the circuits that the store lacks, or has in an older state, without newer
        transitions since; circuits that are not closed first."""
        lost: list[Transition] = []
        time_slice = TimeSlice()
        for name, transition in self._known.items():
            await time_slice.yield_if_over()
            if table.known(name).order == transition.order:
                lost.append(transition)
        lost.sort(key=lambda transition: transition.state is State.CLOSED)
        return [transition.circuit for transition in lost]


def _reported(entries: Iterable[StreamEntry]) -> Iterable[str]:
    """Return the circuits in results."""
    for entry in entries:
        if isinstance(entry, ResultEntry) and isinstance(entry.item, Batch):
            for report in entry.item.reports:
                yield report.circuit


def _overtaken(entries: Iterable[StreamEntry]) -> Collection[Position]:
    """Return the positions of transitions that newer ones of the same circuits follow: an instance
    that returns from local decisions must not apply them on the way."""
    newest: dict[str, Position] = {}
    old: set[Position] = set()
    for entry in entries:
        if isinstance(entry, StateEntry) and isinstance(entry.item, Transition):
            circuit = entry.item.circuit
            if circuit in newest:
                old.add(newest[circuit])
            newest[circuit] = entry.position
    return old
