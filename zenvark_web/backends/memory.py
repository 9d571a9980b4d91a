"""The whole promise of a backend in one process, on a clock.

`MemoryStore` is what a Redis server with this package's scripts is: every command is one step.
`MemoryBackend` puts it behind the protocol: the embedded default, and what tests run a fleet on
(give the same one to several coordinators of one event loop). The simulation puts the same store
behind a network that fails. Entries go through the same codec as with Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from .._core.states import Tally, Transition
from ..exceptions import FencedError, MalformedEntryError
from . import _codec
from .base import (
    START,
    Account,
    Batch,
    Checkpoint,
    Entry,
    Heartbeat,
    News,
    Presence,
    ResultEntry,
    Snapshot,
    StateEntry,
    position_key,
)

MAX_RESULTS = 10_000
MAX_STATES = 10_000


class MemoryStore:
    """The commands of a store, each carried out in one step.

    Args:
        clock: The store's seconds.
        max_results: The most entries to keep in the stream of results.
        max_states: The most entries to keep in the stream of states.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        max_results: int,
        max_states: int,
    ) -> None:
        self._clock = clock
        self._lease: _Lease | None = None
        self._epoch = 0
        self._results = _Stream(clock, max_results)
        self._states = _Stream(clock, max_states)
        self._circuits: dict[str, str] = {}
        self._instances: dict[str, tuple[float, Presence]] = {}
        self._checkpoint = START
        self._accounts: dict[str, Account] = {}
        self._tallies: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore circuits={len(self._circuits)} instances={len(self._instances)}>"

    @property
    def newest(self) -> tuple[str, str]:
        """Where the streams of states and of results end."""
        return self._states.last_position, self._results.last_position

    def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        now = self._clock()
        lease = self._lease
        if lease is not None and lease.expires_at > now and lease.holder == me.instance:
            lease.expires_at = now + ttl
        elif lease is None or lease.expires_at <= now:
            lease = self._take_lease(me.instance, now + ttl, epoch_floor)
        beat = Heartbeat(lease.epoch, lease.holder, lease.expires_at - now)
        if brief:
            return beat
        self._instances[me.instance] = (now, me)
        account = self._accounts.get(me.instance)
        news = News(now, self._states.last_position, len(self._circuits), account)
        return replace(beat, news=news)

    def _take_lease(self, instance: str, expires_at: float, epoch_floor: int) -> _Lease:
        self._epoch = max(self._epoch, epoch_floor) + 1
        self._lease = _Lease(self._epoch, instance, expires_at)
        self._tell_leader(self._epoch, instance, str(len(self._circuits)))
        return self._lease

    def _tell_leader(self, epoch: int, leader: str, circuits: str = "") -> None:
        fields = {"epoch": str(epoch), "leader": leader, "circuits": circuits}
        self._states.add({"v": _codec.VERSION, **fields})

    def resign(self, instance: str) -> None:
        self._instances.pop(instance, None)
        if self._lease is not None and self._lease.holder == instance:
            self._lease = None
            self._tell_leader(self._epoch, "")

    def load(self, *, leading: bool = False) -> Snapshot:
        transitions: list[Transition] = []
        malformed: list[MalformedEntryError] = []
        for stored in self._circuits.values():
            try:
                transitions.append(_codec.decode_transition(stored))
            except MalformedEntryError as error:
                malformed.append(error)
        return Snapshot(
            self._clock(),
            tuple(transitions),
            self._states.last_position,
            self._results.last_position,
            self._load_checkpoint() if leading else Checkpoint(),
            tuple(malformed),
        )

    def _load_checkpoint(self) -> Checkpoint:
        tallies = {name: _codec.decode_tally(text) for name, text in self._tallies.items()}
        return Checkpoint(self._checkpoint, dict(self._accounts), tallies)

    def append(self, batch: Batch) -> float:
        now = self._clock()
        late = max(0, round((now - batch.sent) * 1000))
        self._results.add({**_codec.encode_batch(batch), "late": str(late)})
        return now

    def publish(self, *transitions: Transition) -> bool:
        self._check_lease(transitions[0].epoch, transitions[0].leader)
        in_force = [self._publish(transition) for transition in transitions]
        return all(in_force)

    def _publish(self, transition: Transition) -> bool:
        text = _codec.encode_transition(transition)
        stored = self._circuits.get(transition.circuit)
        if (
            stored is not None
            and _codec.decode_transition(stored).generation >= transition.generation
        ):
            return stored == text
        self._circuits[transition.circuit] = text
        self._states.add({"transition": text})
        return True

    def forget(self, *transitions: Transition) -> bool:
        self._check_lease(transitions[0].epoch, transitions[0].leader)
        forgotten = [self._forget(transition) for transition in transitions]
        return all(forgotten)

    def recall(self, *transitions: Transition) -> None:
        self._check_lease(transitions[0].epoch, transitions[0].leader)
        for transition in transitions:
            fields = {"recalled": transition.circuit, "generation": str(transition.generation)}
            self._states.add({"v": _codec.VERSION, **fields})

    def _forget(self, transition: Transition) -> bool:
        stored = self._circuits.get(transition.circuit)
        if stored is None:
            return False
        if _codec.decode_transition(stored).generation != transition.generation:
            return False
        del self._circuits[transition.circuit]
        fields = {"forgotten": transition.circuit, "generation": str(transition.generation)}
        self._states.add({"v": _codec.VERSION, **fields})
        return True

    def settle(
        self,
        epoch: int,
        leader: str,
        position: str,
        accounts: Mapping[str, Account],
        tallies: Mapping[str, Tally | None],
    ) -> None:
        self._check_lease(epoch, leader)
        self._checkpoint = position
        self._accounts.update(accounts)
        for name, tally in tallies.items():
            if tally is None:
                self._tallies.pop(name, None)
            else:
                self._tallies[name] = _codec.encode_tally(tally)

    def read(self, states: str, results: str | None) -> Sequence[Entry]:
        """What stands after these positions, without waiting."""
        entries: list[Entry] = []
        for position, fields in self._states.after(states):
            entries.append(StateEntry(position, _codec.readable(_codec.decode_state_entry, fields)))
        if results is not None:
            for position, fields in self._results.after(results):
                at = position_key(position)[0] / 1000
                entries.append(
                    ResultEntry(position, at, _codec.readable(_codec.decode_batch, fields))
                )
        return entries

    def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        now = self._clock()
        self._results.trim(now - results_age)
        for name, (seen, _) in tuple(self._instances.items()):
            if now - seen >= instance_age:
                del self._instances[name]
                self._accounts.pop(name, None)
        return [presence for _, presence in self._instances.values()]

    def _check_lease(self, epoch: int, leader: str) -> None:
        lease = self._lease
        if (
            lease is None
            or lease.expires_at <= self._clock()
            or (lease.epoch, lease.holder) != (epoch, leader)
        ):
            raise FencedError.of(epoch)


class MemoryBackend:
    """A store for one process.

    Args:
        clock: Seconds, never running backwards. Default: `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = MemoryStore(clock, max_results=MAX_RESULTS, max_states=MAX_STATES)
        self._arrivals: set[asyncio.Event] = set()
        self._told = self._store.newest

    def __repr__(self) -> str:
        return repr(self._store).replace("Store", "Backend", 1)

    def open(self) -> None:
        """Nothing to do: it is always ready."""

    async def close(self) -> None:
        """Nothing to do: what it holds stays for the others."""

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        beat = self._store.heartbeat(me, ttl, epoch_floor, brief=brief)
        self._tell()
        return beat

    async def resign(self, instance: str) -> None:
        self._store.resign(instance)
        self._tell()

    async def load(self, *, leading: bool = False) -> Snapshot:
        return self._store.load(leading=leading)

    async def append(self, batch: Batch) -> float:
        now = self._store.append(batch)
        self._tell()
        return now

    async def publish(self, *transitions: Transition) -> bool:
        in_force = self._store.publish(*transitions)
        self._tell()
        return in_force

    async def forget(self, *transitions: Transition) -> bool:
        forgotten = self._store.forget(*transitions)
        self._tell()
        return forgotten

    async def recall(self, *transitions: Transition) -> None:
        self._store.recall(*transitions)
        self._tell()

    async def settle(
        self,
        epoch: int,
        leader: str,
        position: str,
        accounts: Mapping[str, Account],
        tallies: Mapping[str, Tally | None],
    ) -> None:
        self._store.settle(epoch, leader, position, accounts, tallies)

    async def read(self, states: str, results: str | None, wait: float) -> Sequence[Entry]:
        entries = self._store.read(states, results)
        if not entries and wait > 0:
            await self._wait(wait)
            entries = self._store.read(states, results)
        return entries

    async def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        return self._store.tidy(results_age, instance_age)

    def _tell(self) -> None:
        """Wake those who wait for something to read, if there is something."""
        if self._store.newest != self._told:
            self._told = self._store.newest
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


class _Lease:
    __slots__ = ("epoch", "expires_at", "holder")

    def __init__(self, epoch: int, holder: str, expires_at: float) -> None:
        self.epoch = epoch
        self.holder = holder
        self.expires_at = expires_at


class _Stream:
    """Entries with growing positions, as Redis gives them: `<milliseconds>-<sequence>`."""

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        self._clock = clock
        self._entries: deque[tuple[tuple[int, int], Mapping[str, str]]] = deque(maxlen=most)
        self._last = position_key(START)

    @property
    def last_position(self) -> str:
        return _position(self._last)

    def add(self, fields: Mapping[str, str]) -> None:
        ms = int(self._clock() * 1000)
        last_ms, last_sequence = self._last
        self._last = (ms, 0) if ms > last_ms else (last_ms, last_sequence + 1)
        self._entries.append((self._last, fields))

    def after(self, position: str) -> list[tuple[str, Mapping[str, str]]]:
        key = position_key(position)
        if key >= self._last:
            return []
        newer = list(takewhile(lambda entry: entry[0] > key, reversed(self._entries)))
        return [(_position(at), fields) for at, fields in reversed(newer)]

    def trim(self, before: float) -> None:
        while self._entries and self._entries[0][0][0] < before * 1000:
            self._entries.popleft()


def _position(key: tuple[int, int]) -> str:
    return f"{key[0]}-{key[1]}"
