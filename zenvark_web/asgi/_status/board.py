"""What viewers see: the newest record of each circuit, and the number of the change that made it.

A viewer names the last change that it has seen, and receives the newest records of all that has
changed since. There is no queue: to a slow viewer, several changes of a circuit are one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from anyio.lowlevel import checkpoint

from ..._core.overrides import OverrideRecord
from ..._core.states import Transition
from ..._operators import records
from ..._operators.overview import Overview, SeenCircuit
from ...backends.observers import Observers
from ...backends.views import Event, Since

MAX_EVENTS = 100
"""Events in the log of a viewer."""

MAX_GONE = 10_000
"""Removed circuits to remember. A viewer that has missed more starts from a snapshot."""

TIME_SLICE = 0.005
"""Seconds after which other work gets its turn."""

Shown = tuple[Transition | None, Since | None, OverrideRecord | None, Observers, float]


class Board:
    """The records of a fleet, numbered by change."""

    def __init__(self) -> None:
        self._name = uuid.uuid4().hex[:12]
        self._number = 0
        self._shown: dict[str, Shown] = {}
        self._circuits: dict[str, tuple[int, bytes]] = {}
        self._gone: deque[tuple[int, str]] = deque(maxlen=MAX_GONE)
        self._fleet: Mapping[str, Any] = {}
        self._fleet_number = 0
        self._fleet_text = b"{}"
        self._events: deque[tuple[int, bytes]] = deque(maxlen=MAX_EVENTS)
        self._now = 0.0
        self._now_at = 0.0

    @property
    def number(self) -> int:
        """The number of the last change."""
        return self._number

    @property
    def mark(self) -> str:
        """The last change, as viewers name it."""
        return f"{self._name}.{self._number}"

    def number_of(self, mark: str) -> int | None:
        """Return the number of a change, or None if a viewer that names it needs a snapshot."""
        name, _, number = mark.partition(".")
        if name != self._name or not number.isdecimal() or len(number) > 15:
            return None
        last = int(number)
        forgotten = self._gone[0][0] if len(self._gone) == MAX_GONE else 0
        return last if forgotten <= last <= self._number else None

    async def update(self, overview: Overview, *, away: bool) -> None:
        """Show a fleet.

        Args:
            overview: The fleet.
            away: Whether the store does not answer, so that parts may be old.
        """
        there, changed = await self._changed(overview.unsorted, overview.now)
        # From here on in one step: viewers must not see a number before all of its changes.
        self._now, self._now_at = overview.now, time.monotonic()
        gone = self._shown.keys() - there
        fleet = {**records.of_fleet(overview), "away": away}
        del fleet["now"]  # it changes always
        if not (changed or gone or fleet != self._fleet):
            return
        self._number += 1
        for name, (shown, text) in changed.items():
            self._shown[name] = shown
            self._circuits[name] = self._number, text
        for name in gone:
            del self._shown[name], self._circuits[name]
            self._gone.append((self._number, name))
        if fleet != self._fleet:
            self._fleet, self._fleet_number = fleet, self._number
            self._fleet_text = _text(fleet)

    async def _changed(
        self, circuits: Iterable[SeenCircuit], now: float
    ) -> tuple[Set[str], Mapping[str, tuple[Shown, bytes]]]:
        """Encode the circuits that have changed, giving other work its turn; return the names of
        all, too."""
        there: set[str] = set()
        changed: dict[str, tuple[Shown, bytes]] = {}
        turn = time.monotonic()
        for circuit in circuits:
            if time.monotonic() - turn >= TIME_SLICE:
                await checkpoint()
                turn = time.monotonic()
            there.add(circuit.name)
            share = circuit.share(now)  # of a ramp: it changes without a transition
            shown = (
                circuit.transition,
                circuit.since,
                circuit.override,
                circuit.observers,
                share,
            )
            before = self._shown.get(circuit.name)
            if before is None or not _same(before, shown):
                changed[circuit.name] = shown, _text(records.of_seen_circuit(circuit, now))
        return there, changed

    def log(self, events: Iterable[Event]) -> None:
        """Add events."""
        for event in events:
            self._number += 1
            self._events.append((self._number, _text(records.of_event(event))))

    def snapshot(self) -> Iterator[bytes]:
        """Return all, in parts."""
        yield from self._between(-1)

    def since(self, number: int) -> Iterator[bytes]:
        """Return what has changed since a change, in parts; nothing if nothing has."""
        if number < self._number:
            yield from self._between(number)

    def _between(self, number: int) -> Iterator[bytes]:
        now = self._now + time.monotonic() - self._now_at
        yield f'{{"version":{records.VERSION},"now":{now:.3f}'.encode()
        if self._fleet_number > number:
            yield b',"fleet":' + self._fleet_text
        circuits = [text for at, text in self._circuits.values() if at > number]
        yield from _listed(b"circuits", circuits)
        gone = [] if number < 0 else [name for at, name in self._gone if at > number]
        names = [_text(name) for name in dict.fromkeys(gone) if name not in self._circuits]
        yield from _listed(b"gone", names)
        yield from _listed(b"events", [text for at, text in self._events if at > number])
        yield b"}"

    def status(self, overview: Overview) -> Iterator[bytes]:
        """Return the record of `status`, in parts."""
        now = self._now + time.monotonic() - self._now_at
        yield f'{{"version":{records.VERSION},"now":{now:.3f},'.encode()
        yield self._fleet_text[1:-1]
        names = [each.name for each in overview.circuits]
        texts = [self._circuits[name][1] for name in names if name in self._circuits]
        yield b',"circuits":[' + b",".join(texts) + b"]}"


def _listed(name: bytes, texts: list[bytes]) -> Iterator[bytes]:
    if texts:
        yield b',"' + name + b'":['
        yield b",".join(texts)
        yield b"]"


def _same(before: Shown, now: Shown) -> bool:
    """Whether a circuit is still the same. (Transitions are compared by identity: quickly.)"""
    return before[0] is now[0] and before[1:] == now[1:]


def _text(record: object) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()
