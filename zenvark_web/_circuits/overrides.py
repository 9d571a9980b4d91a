"""The overrides of one shard on this instance: when they end here, and who is told of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from .._core.order import FAR_AHEAD
from .._core.overrides import OverrideRecord, Overrides, OverrideSnapshot, seconds_left
from .._core.patterns import NamePatterns
from .._runtime.clock import SharedClock
from .._runtime.notifier import Notifier
from .._runtime.waiting import within
from ..events import OverrideChange

LOOK_INTERVAL = 1.0
"""Seconds between two comparisons of the ends with the shared clock, which may be changed."""

Watcher = Callable[[NamePatterns[bool]], None]
"""Receives the names and patterns of which the overrides in force have changed."""


class OverrideBook:
    """The known overrides of a shard. It outlives a coordinator's runs.

    Args:
        clock: The shared clock.
        notifier: Reports changes.
        tells_patterns: Whether to report changes of patterns, which are the same in every shard.
    """

    def __init__(self, clock: SharedClock, notifier: Notifier, *, tells_patterns: bool) -> None:
        self._clock = clock
        self._notifier = notifier
        self._tells_patterns = tells_patterns
        self._known = Overrides()
        self._watchers: list[Watcher] = []
        self._changed = asyncio.Event()

    def take_over(self, inherited: OverrideBook) -> None:
        """Continue with the known overrides in a forked process."""
        self._known = inherited._known

    def open(self) -> None:
        """Prepare for use in the running loop."""
        self._changed = asyncio.Event()

    def watch(self, watcher: Watcher) -> None:
        """Call a function after each change of the overrides in force, with the names that may have
        another override now."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop calling a function."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    @property
    def number(self) -> int:
        """The newest known number."""
        return self._known.number

    @property
    def in_force(self) -> Mapping[str, OverrideRecord]:
        """The overrides in force, by circuit or pattern."""
        return self._known.in_force

    @property
    def current(self) -> Mapping[str, OverrideRecord]:
        """Those in force at this moment. While the coordinator does not run, nothing ends them."""
        now = self._clock.monotonic()
        return {
            name: record for name, record in self.in_force.items() if now < self.ends_at(record)
        }

    @property
    def ended(self) -> list[OverrideRecord]:
        """The overrides that have ended here, and that the store still holds."""
        return list(self._known.ended)

    def find(self, circuit: str) -> OverrideRecord | None:
        """The override of a circuit, if there is one."""
        return self._known.find(circuit)

    def ends_at(self, record: OverrideRecord) -> float:
        """The monotonic second at which an override ends here."""
        return self._known.ends_at(record)

    def apply(self, record: OverrideRecord) -> bool:
        """Apply a record from the stream of states, if it is newer than all known ones; return
        False if the content of the store must be loaded instead."""
        before = self.in_force
        applied = self._known.apply(record, self._end_of(record))
        self._end_due()
        self._report(before, record)
        return applied

    def is_astray(self, record: OverrideRecord) -> bool:
        """Whether a record has a number that no fleet reaches: every later one would be lower."""
        return record.number > self._highest

    def load(self, snapshot: OverrideSnapshot) -> OverrideSnapshot | None:
        """Apply the content of the store; return what to give back, if the store has lost some."""
        before = self.in_force
        if self.number > self._highest:  # the clock was set back, and the store counts anew, too
            self._known.begin_anew()
        known = self.number
        records = tuple(each for each in snapshot.records if not self.is_astray(each))
        has_lost = self._known.load(replace(snapshot, records=records), self._end_of)
        self._end_due()
        self._report(before)
        return self._known.restored(snapshot, known) if has_lost else None

    async def reached(self, number: int) -> None:
        """Wait until a record of this number has been read."""
        while self.number < number:
            await self._changed.wait()

    async def run(self) -> None:
        """End overrides in time, forever."""
        while True:
            before = self.in_force
            self._end_due()
            if self.in_force is not before:
                self._report(before)
            await within(self._changed, self._wait())

    @property
    def _highest(self) -> float:
        """The highest number that a fleet reaches: the store counts up from milliseconds."""
        shared = self._clock.now() if self._clock.known.is_set() else float("inf")
        return 1000 * (shared + FAR_AHEAD)

    def _wait(self) -> float | None:
        """The seconds until an override may end, if any has an end."""
        next_end = self._known.next_end
        if next_end == float("inf"):
            return None
        return min(LOOK_INTERVAL, max(0.0, next_end - self._clock.monotonic()))

    def _end_of(self, record: OverrideRecord) -> float:
        """The monotonic second at which an override ends: never later than told."""
        shared = self._clock.now() if self._clock.known.is_set() else record.at
        return self._clock.monotonic() + seconds_left(record, shared)

    def _end_due(self) -> None:
        self._known.end_due(self._clock.monotonic())
        if self._clock.known.is_set():
            self._known.end_by_shared_clock(self._clock.now())

    def _report(
        self, before: Mapping[str, OverrideRecord], record: OverrideRecord | None = None
    ) -> None:
        """Report the differences, and wake everyone who waits for a number."""
        waited_for, self._changed = self._changed, asyncio.Event()
        waited_for.set()
        now = self.in_force
        changes = [
            OverrideChange(name, "set", override)
            for name, override in now.items()
            if name not in before or before[name].number != override.number
        ]
        changes += [
            self._ended_change(override, record)
            for name, override in before.items()
            if name not in now
        ]
        changed = NamePatterns("overrides", {change.circuit: True for change in changes})
        for watcher in tuple(self._watchers) if changes else ():
            watcher(changed)
        for change in changes:
            if self._tells_patterns or not change.override.is_pattern:
                self._notifier.override_changed(change)

    def _ended_change(
        self, override: OverrideRecord, record: OverrideRecord | None
    ) -> OverrideChange:
        lifted = record if record is not None and record.circuit == override.circuit else None
        if lifted is not None and not lifted.has_expired:
            return OverrideChange(override.circuit, "lifted", override, lifted)
        is_over = self.ends_at(override) > float("-inf") or lifted is not None
        return OverrideChange(override.circuit, "expired" if is_over else "lifted", override)
