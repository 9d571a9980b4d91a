"""The backend protocol in the memory of one process.

`MemoryStore` does what a Redis server does with this package's scripts: each command is one step.
`MemoryBackend` wraps it in the protocol. It is the default without a Redis URL, and several
coordinators of one event loop that share it form a fleet. The simulation wraps the same store in a
network that fails. Entries pass through the same codec as with Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile

from .._core.order import START, Lease, Position
from .._core.overrides import KEPT_NUMBERS, MAX_OVERRIDES
from .._core.states import Role, Suspect, Transition
from ..exceptions import (
    FencedError,
    MalformedEntryError,
    OverrideConflictError,
    OverrideLimitError,
)
from . import _decoding, _encoding, _read
from .base import (
    Account,
    Batch,
    Checkpoint,
    Heartbeat,
    News,
    OverrideRecord,
    OverrideRequest,
    OverrideSnapshot,
    Presence,
    Probe,
    ResultEntry,
    Snapshot,
    StateEntry,
    StreamEntry,
)
from .observers import observers_of, read_observed
from .views import (
    MOST_NEWS,
    CircuitView,
    Recent,
    SeenInstance,
    Since,
    Survey,
    local_digests,
    openings,
    overrides_by_name,
    protections,
)

# A tenth of what Redis keeps: the memory is that of the program itself.
MAX_RESULTS = 10_000
MAX_STATES = 10_000
MAX_TEXTS = 20
MAX_AUDIT = 5_000

LIFTED_FOR = 3600.0
"""Seconds for which the record of a lifted override is kept."""


class MemoryStore:
    """The commands of a store, each executed in one step.

    Args:
        clock: The store's seconds.
        max_results: The most entries to keep in the stream of results.
        max_states: The most entries to keep in the stream of states.

    Attributes:
        epoch: The latest epoch.
        notified: The entry of the stream of states up to which leaders have called `on_published`.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        max_results: int,
        max_states: int,
    ) -> None:
        self._clock = clock
        self._term: _Term | None = None
        self.epoch: int = 0
        self._results = _Stream(clock, max_results)
        self._states = _Stream(clock, max_states)
        self._circuits: dict[str, str] = {}
        self._instances: dict[str, tuple[float, Presence]] = {}
        self._policies: dict[str, str] = {}
        self._checkpoint = START
        self._accounts: dict[str, Account] = {}
        self._snapshots: dict[str, str] = {}
        self._overrides: dict[str, OverrideRecord] = {}
        self._numbers: tuple[int, ...] = (0,)
        self._audit = _Stream(clock, MAX_AUDIT)
        self.notified: Position | None = None

    def __repr__(self) -> str:
        return f"<MemoryStore circuits={len(self._circuits)} instances={len(self._instances)}>"

    @property
    def newest(self) -> tuple[Position, Position]:
        """The ends of the streams of states and of results."""
        return self._states.last, self._results.last

    def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        now = self._clock()
        term = self._term
        if term is None or term.expires_at <= now:
            term = self._begin_term(me.instance, now + ttl, epoch_floor)
        elif term.lease.holder == me.instance:
            term = self._term = replace(term, expires_at=now + ttl)
        beat = Heartbeat(term.lease, term.expires_at - now)
        if brief:
            return beat
        self._instances[me.instance] = (now, me)
        account = self._accounts.get(me.instance)
        number = self._numbers[-1]
        news = News(now, self._states.last, len(self._circuits), account, number)
        return replace(beat, news=news)

    def _begin_term(self, instance: str, expires_at: float, epoch_floor: int) -> _Term:
        self.epoch = max(self.epoch, epoch_floor) + 1
        self._term = _Term(Lease(self.epoch, instance), expires_at)
        self._tell_leader(self.epoch, instance, str(len(self._circuits)))
        return self._term

    def _tell_leader(self, epoch: int, leader: str, circuits: str = "") -> None:
        fields = {"epoch": str(epoch), "leader": leader, "circuits": circuits}
        self._states.add({"v": _encoding.VERSION, **fields})
        if leader:
            self._audit.add({"v": _encoding.VERSION, **fields})

    def describe(self, texts: Mapping[str, str]) -> None:
        if len(self._policies.keys() | texts.keys()) > MAX_TEXTS:
            self._policies.clear()
        self._policies |= texts

    def resign(self, instance: str) -> None:
        self._instances.pop(instance, None)
        if self._term is not None and self._term.lease.holder == instance:
            self._term = None
            self._tell_leader(self.epoch, "")

    def load(self, *, leading: bool = False) -> Snapshot:
        transitions: list[Transition] = []
        malformed: list[MalformedEntryError] = []
        for stored in self._circuits.values():
            try:
                transitions.append(_decoding.decode_transition(stored))
            except MalformedEntryError as error:
                malformed.append(error)
        return Snapshot(
            self._clock(),
            tuple(transitions),
            self._states.last,
            self._results.last,
            self._load_checkpoint() if leading else Checkpoint(),
            tuple(malformed),
            overrides=OverrideSnapshot(self._numbers, tuple(self._overrides.values())),
            notified=self.notified if leading else None,
        )

    def _load_checkpoint(self) -> Checkpoint:
        snapshots = {
            name: _decoding.decode_snapshot(text) for name, text in self._snapshots.items()
        }
        return Checkpoint(self._checkpoint, dict(self._accounts), snapshots)

    def append(self, batch: Batch) -> float:
        now = self._clock()
        late = max(0, round((now - batch.sent) * 1000))
        self._results.add({**_encoding.encode_batch(batch), "late": str(late)})
        return now

    def publish(self, lease: Lease, *transitions: Transition) -> bool:
        self._check_lease(lease)
        in_force = [self._publish(transition) for transition in transitions]
        return all(in_force)

    def _publish(self, transition: Transition) -> bool:
        text = _encoding.encode_transition(transition)
        stored = self._circuits.get(transition.circuit)
        if (
            stored is not None
            and _decoding.decode_transition(stored).generation >= transition.generation
        ):
            return stored == text  # the same transition again: its first reply was lost
        self._circuits[transition.circuit] = text
        self._states.add({"transition": text})
        if transition.previous is not transition.state:
            self._audit.add({"transition": text})
        return True

    def unnotified(self, lease: Lease, notified: Position, most: int) -> Sequence[StateEntry]:
        self._check_lease(lease)
        self.notified = notified
        return [
            StateEntry(position, _decoding.readable(_decoding.decode_state_entry, fields))
            for position, fields in self._states.after(notified)[:most]
        ]

    def forget(self, lease: Lease, *transitions: Transition) -> bool:
        self._check_lease(lease)
        forgotten = [self._forget(transition) for transition in transitions]
        return all(forgotten)

    def recall(self, lease: Lease, *transitions: Transition) -> None:
        self._check_lease(lease)
        for transition in transitions:
            fields = {"recalled": transition.circuit, "generation": str(transition.generation)}
            self._states.add({"v": _encoding.VERSION, **fields})

    def _forget(self, transition: Transition) -> bool:
        stored = self._circuits.get(transition.circuit)
        if stored is None:
            return False
        if _decoding.decode_transition(stored).generation != transition.generation:
            return False
        del self._circuits[transition.circuit]
        fields = {"forgotten": transition.circuit, "generation": str(transition.generation)}
        self._states.add({"v": _encoding.VERSION, **fields})
        return True

    def override(self, request: OverrideRequest, above: int) -> OverrideRecord:
        now = self._clock()
        stored = self._overrides.get(request.circuit)
        current = stored if stored is not None and _in_force(stored, now) else None
        number = 0 if current is None else current.number
        if request.expect not in (None, number):
            raise OverrideConflictError(request.circuit, request.expect or 0, number)
        if stored is None and len(self._overrides) >= MAX_OVERRIDES:
            self._overrides = {
                name: each for name, each in self._overrides.items() if _in_force(each, now)
            }
            if request.mode is not None and len(self._overrides) >= MAX_OVERRIDES:
                raise OverrideLimitError.of(MAX_OVERRIDES)
        record = OverrideRecord(
            circuit=request.circuit,
            mode=request.mode,
            reason=request.reason,
            actor=request.actor,
            at=now,
            until=None if request.expires_in is None else now + request.expires_in,
            follows=self._numbers[-1],
            number=self._next_number(above),
        )
        told = self._overrides[record.circuit] = self._tell_override(record)
        return replace(told, replaced=current)

    def _next_number(self, above: int = 0) -> int:
        number = max(self._numbers[-1] + 1, above + 1, int(self._clock() * 1000))
        self._numbers = (*self._numbers, number)[-KEPT_NUMBERS:]
        return number

    def _tell_override(self, record: OverrideRecord) -> OverrideRecord:
        """Announce a record; return it as it is read."""
        text = _encoding.encode_override(record)
        self._states.add({"v": _encoding.VERSION, "override": text})
        self._audit.add({"v": _encoding.VERSION, "override": text})
        return _decoding.decode_override(text)

    def probe(self, probe: Probe) -> None:
        fields = {"probe": probe.circuit, "actor": probe.actor, "reason": probe.reason}
        self._states.add({"v": _encoding.VERSION, **fields})
        self._audit.add({"v": _encoding.VERSION, **fields})

    def restore_overrides(self, lost: OverrideSnapshot, restored: OverrideSnapshot) -> bool:
        if self._numbers != lost.numbers:
            return False
        self._numbers = restored.numbers
        self._overrides = {record.circuit: record for record in restored.records}
        self._states.add({"v": _encoding.VERSION, "overrides": str(restored.number)})
        return True

    def expire_overrides(self, lease: Lease, ended: Collection[OverrideRecord]) -> None:
        self._check_lease(lease)
        now = self._clock()
        for name, record in tuple(self._overrides.items()):
            if record.mode is None:
                if now - record.at > LIFTED_FOR:
                    del self._overrides[name]
            elif record.until is not None and (record.until <= now or record in ended):
                del self._overrides[name]
                follows, number = self._numbers[-1], self._next_number()
                expired = replace(record, mode=None, at=now, number=number, follows=follows)
                self._tell_override(expired)

    def note_suspects(self, lease: Lease, *suspects: Suspect) -> None:
        self._check_lease(lease)
        for suspect in suspects:
            self._audit.add({"v": _encoding.VERSION, **_encoding.encode_suspect(suspect)})

    def audit(self, after: Position, most: int) -> Sequence[StateEntry]:
        return [
            StateEntry(position, _decoding.readable(_decoding.decode_state_entry, fields))
            for position, fields in self._audit.after(after)[-most:]
        ]

    def checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        self._check_lease(lease)
        self._checkpoint = checkpoint.position
        self._accounts.update(checkpoint.accounts)
        for name, snapshot in checkpoint.snapshots.items():
            self._snapshots[name] = _encoding.encode_snapshot(snapshot)
        for name in checkpoint.without:
            self._snapshots.pop(name, None)

    def read(self, states: Position, results: Position | None) -> Sequence[StreamEntry]:
        """The entries after these positions, without waiting."""
        entries: list[StreamEntry] = []
        for position, fields in self._states.after(states):
            entries.append(
                StateEntry(position, _decoding.readable(_decoding.decode_state_entry, fields))
            )
        if results is not None:
            for position, fields in self._results.after(results):
                batch = _decoding.readable(_decoding.decode_batch, fields)
                entries.append(ResultEntry(position, position.seconds, batch))
        return entries

    def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        now = self._clock()
        self._results.trim(now - results_age)
        for name, (seen, _) in tuple(self._instances.items()):
            if now - seen >= instance_age:
                del self._instances[name]
                self._accounts.pop(name, None)  # nobody is left to read it
        return [presence for _, presence in self._instances.values()]

    @property
    def policies(self) -> Mapping[str, str]:
        """The texts of policies, by their digests."""
        return dict(self._policies)

    def survey(self, after: Position, *, names: bool) -> Survey:
        now = self._clock()
        lease = self._lease(now)
        news = self.read(after, None)[-MOST_NEWS:]
        return Survey(
            now=now,
            lease=lease,
            instances=tuple(sorted(self._present(now), key=lambda each: each.name)),
            newest=self._states.last,
            news=tuple(each for each in news if isinstance(each, StateEntry)),
            called=frozenset(self._snapshots) if names else None,
            suspects=_read.suspects(self._snapshots, now) if names else (),
        )

    def circuit(self, name: str, shard: int, history: int) -> CircuitView:
        now = self._clock()
        current = _read.transition(self._circuits.get(name))
        entries = self.last_entries(MAX_STATES)
        items = (entry.item for entry in entries)
        changes = (each for each in items if isinstance(each, Transition) and each.circuit == name)
        return CircuitView(
            shard=shard,
            now=now,
            lease=self._lease(now),
            current=current,
            since=openings({name: current} if current else {}, entries).get(name),
            snapshot=_read.snapshot(self._snapshots.get(name)),
            history=tuple(islice(changes, history)),
            recent=self._recent(name, now),
            override=overrides_by_name(self._overrides_in_force(now)).find(name),
            observers=observers_of(
                name, local_digests(self._present(now)), read_observed(self._policies)
            ),
            protections=protections(self._present(now), name),
        )

    def _present(self, now: float) -> Sequence[SeenInstance]:
        lease = self._lease(now)
        return [
            _read.seen_presence(me, seen, now, self._role(lease, me.instance))
            for seen, me in self._instances.values()
        ]

    def _overrides_in_force(self, now: float) -> Sequence[OverrideRecord]:
        found = [each for each in self._overrides.values() if _in_force(each, now)]
        return sorted(found, key=lambda each: -each.number)

    def last_entries(self, most: int) -> Sequence[StateEntry]:
        """The last entries of the stream of states, newest first."""
        return [
            StateEntry(position, _decoding.readable(_decoding.decode_state_entry, fields))
            for position, fields in self._states.last_ones(most)
        ]

    def _recent(self, circuit: str, now: float) -> Recent:
        counting = _read.Counting(circuit)
        for position, fields in self._results.last_ones(MAX_RESULTS):
            if position.seconds < now - _read.RECENT:
                break
            batch = _decoding.readable(_decoding.decode_batch, fields)
            counting.add(ResultEntry(position, position.seconds, batch))
        return counting.told()

    def _lease(self, now: float) -> Lease | None:
        term = self._term
        return None if term is None or term.expires_at <= now else term.lease

    def _role(self, lease: Lease | None, instance: str) -> Role:
        return Role.LEADER if lease and lease.holder == instance else Role.FOLLOWER

    def _check_lease(self, lease: Lease) -> None:
        term = self._term
        if term is None or term.expires_at <= self._clock() or term.lease != lease:
            raise FencedError.of(lease.epoch)


class MemoryView:
    """A view of a store in memory.

    Args:
        store: The store.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def server(self) -> str:
        return "the memory of one process"

    async def survey(self, after: Position, *, names: bool) -> Survey:
        return self._store.survey(after, names=names)

    async def openings(self, circuits: Mapping[str, Transition]) -> Mapping[str, Since]:
        return openings(circuits, self._store.last_entries(MAX_STATES))

    async def circuit(self, name: str, shard: int, history: int) -> CircuitView:
        return self._store.circuit(name, shard, history)

    async def policies(self) -> Mapping[str, str]:
        return self._store.policies

    async def entries(self, after: Position | None, most: int) -> Sequence[StateEntry]:
        if after is None:
            return self._store.last_entries(most)[::-1]
        entries = self._store.read(after, None)[:most]
        return [each for each in entries if isinstance(each, StateEntry)]


class MemoryBackend:
    """A store in the memory of one process.

    Args:
        clock: Seconds, never running backwards. Default: `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = MemoryStore(clock, max_results=MAX_RESULTS, max_states=MAX_STATES)
        self._arrivals: set[asyncio.Event] = set()
        self._announced = self._store.newest

    def __repr__(self) -> str:
        return repr(self._store).replace("Store", "Backend", 1)

    def open(self) -> None:
        """Do nothing: the store is always ready."""

    async def close(self) -> None:
        """Do nothing: other coordinators may still use the store."""

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        beat = self._store.heartbeat(me, ttl, epoch_floor, brief=brief)
        self._wake_reads()
        return beat

    async def describe(self, texts: Mapping[str, str]) -> None:
        self._store.describe(texts)

    async def resign(self, instance: str) -> None:
        self._store.resign(instance)
        self._wake_reads()

    async def load(self, *, leading: bool = False) -> Snapshot:
        return self._store.load(leading=leading)

    async def append(self, batch: Batch) -> float:
        now = self._store.append(batch)
        self._wake_reads()
        return now

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        in_force = self._store.publish(lease, *transitions)
        self._wake_reads()
        return in_force

    async def unnotified(self, lease: Lease, notified: Position, most: int) -> Sequence[StateEntry]:
        return self._store.unnotified(lease, notified, most)

    async def forget(self, lease: Lease, *transitions: Transition) -> bool:
        forgotten = self._store.forget(lease, *transitions)
        self._wake_reads()
        return forgotten

    async def recall(self, lease: Lease, *transitions: Transition) -> None:
        self._store.recall(lease, *transitions)
        self._wake_reads()

    async def override(self, request: OverrideRequest, above: int) -> OverrideRecord:
        record = self._store.override(request, above)
        self._wake_reads()
        return record

    async def probe(self, probe: Probe) -> None:
        self._store.probe(probe)
        self._wake_reads()

    async def restore_overrides(self, lost: OverrideSnapshot, restored: OverrideSnapshot) -> bool:
        written = self._store.restore_overrides(lost, restored)
        self._wake_reads()
        return written

    async def expire_overrides(self, lease: Lease, ended: Collection[OverrideRecord]) -> None:
        self._store.expire_overrides(lease, ended)
        self._wake_reads()

    async def note_suspects(self, lease: Lease, *suspects: Suspect) -> None:
        self._store.note_suspects(lease, *suspects)

    async def audit(self, after: Position, most: int) -> Sequence[StateEntry]:
        return self._store.audit(after, most)

    async def checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        self._store.checkpoint(lease, checkpoint)

    async def read(
        self, states: Position, results: Position | None, wait: float
    ) -> Sequence[StreamEntry]:
        entries = self._store.read(states, results)
        if not entries and wait > 0:
            await self._wait(wait)
            entries = self._store.read(states, results)
        return entries

    async def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        return self._store.tidy(results_age, instance_age)

    def view(self) -> MemoryView:
        """Return the view of the store for operators."""
        return MemoryView(self._store)

    def _wake_reads(self) -> None:
        """Wake waiting reads if there are new entries."""
        if self._store.newest != self._announced:
            self._announced = self._store.newest
            for arrival in self._arrivals:
                arrival.set()

    async def _wait(self, seconds: float) -> None:
        arrival = asyncio.Event()
        self._arrivals.add(arrival)
        try:
            async with asyncio.timeout(seconds):
                await arrival.wait()
        except TimeoutError:
            pass
        finally:
            self._arrivals.discard(arrival)


def _in_force(record: OverrideRecord, now: float) -> bool:
    return record.mode is not None and (record.until is None or record.until > now)


@dataclass(frozen=True, slots=True)
class _Term:
    """How long the current lease lasts."""

    lease: Lease
    expires_at: float


class _Stream:
    """Entries with growing positions, as Redis gives them."""

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        self._clock = clock
        self._entries: deque[tuple[Position, Mapping[str, str]]] = deque(maxlen=most)
        self.last = START

    def add(self, fields: Mapping[str, str]) -> None:
        ms = int(self._clock() * 1000)
        last = self.last
        self.last = Position(ms) if ms > last.ms else Position(last.ms, last.sequence + 1)
        self._entries.append((self.last, fields))

    def after(self, position: Position) -> Sequence[tuple[Position, Mapping[str, str]]]:
        if position >= self.last:  # usually: readers are up to date
            return []
        return list(takewhile(lambda entry: entry[0] > position, reversed(self._entries)))[::-1]

    def last_ones(self, most: int) -> Sequence[tuple[Position, Mapping[str, str]]]:
        return list(islice(reversed(self._entries), most))

    def trim(self, before: float) -> None:
        while self._entries and self._entries[0][0].seconds < before:
            self._entries.popleft()
