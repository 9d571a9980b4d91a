"""The numbers of a process in the value files of prometheus_client, for other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

from prometheus_client import values

from ..breaker import Breaker
from ..coordinator import Coordinator
from ._dead import forget_dead_processes
from ._families import CIRCUIT, Families, Family, Labels, Numbers
from ._reading import (
    Count,
    Level,
    counts,
    counts_of_breaker,
    counts_of_circuits,
    kept_breakers,
    levels,
)
from ._slots import OTHER_CIRCUITS, SeriesSlots

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

BUDGET = 0.01
"""Seconds of the event loop for the breakers of one update. The others follow in the next."""

DEAD_PROCESS_INTERVAL = 5.0
"""Seconds between two searches for dead processes."""

NEVER = 0.0
LONG_AGO = 1.0
"""Timestamps of a state. prometheus_client exports the most recent of several processes: never one
of NEVER, and one of LONG_AGO only if there is no other."""

Series: TypeAlias = tuple[Family, Labels]


class Value(Protocol):
    """One number in a value file."""

    def inc(self, amount: float) -> None:
        """Add to it."""
        ...

    def set(self, value: float, timestamp: float) -> None:
        """Replace it."""
        ...


def wanted() -> bool:
    """Whether prometheus_client is configured for value files."""
    return values.ValueClass is not values.MutexValue


class ValueFiles:
    """The value files of one process.

    Counts are added to the values in the files: a process may continue the file of one that has
    ended, or begin an empty one after a fork. Entries cannot be removed, so slots are never freed.

    Args:
        families: The metrics.
        prefix: The prefix of the metrics' names.
        labels: Labels of all series.
        most: The number of circuits with series of their own.
    """

    def __init__(
        self, families: Families, prefix: str, labels: Mapping[str, str], most: int
    ) -> None:
        self._families = families
        self._prefix = prefix
        self._labels = tuple(labels)
        self._cases = tuple(labels.values())
        self._slots = SeriesSlots(most, lasting=True)
        self._values: dict[Series, list[Value]] = {}
        self._counted: WeakKeyDictionary[object, dict[Series, Numbers]] = WeakKeyDictionary()
        self._marks: WeakKeyDictionary[object, Numbers] = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[Coordinator, set[Breaker]] = WeakKeyDictionary()
        self._pending: WeakKeyDictionary[Coordinator, dict[Breaker, None]] = WeakKeyDictionary()
        self._written: dict[Series, Level] = {}
        self._search_at = 0.0

    def write(
        self, coordinator: Coordinator, coordinators: Iterable[Coordinator], *, whole: bool = False
    ) -> None:
        """Add the new counts of a coordinator, and set the gauges.

        Args:
            coordinator: The coordinator.
            coordinators: All running coordinators.
            whole: Whether to write all breakers, however long that takes.
        """
        until = float("inf") if whole else time.perf_counter() + BUDGET
        self._write_breakers(coordinator, until, whole=whole)
        for count in counts_of_circuits(coordinator, self._families, self._is_news):
            self._add(count)
        for count in counts(coordinator):
            self._add(count)
        self._set(levels(coordinators, self._slots), until)
        if time.monotonic() >= self._search_at:
            self._search_at = time.monotonic() + DEAD_PROCESS_INTERVAL
            # Where prometheus_client looks for it as well.
            if directory := os.environ.get(DIRECTORY):
                forget_dead_processes(Path(directory))

    def _write_breakers(self, coordinator: Coordinator, until: float, *, whole: bool) -> None:
        kept = kept_breakers(coordinator)
        gone = self._kept.get(coordinator, set()).difference(kept)
        self._kept[coordinator] = set(kept)
        for breaker in gone:  # the last counts of evicted ones
            self._write_breaker(coordinator.namespace, breaker)
        pending = self._pending.get(coordinator)
        # All again only after all have had their turn: else the last would starve.
        if not pending or whole:
            pending = self._pending[coordinator] = dict.fromkeys(kept)
        while pending:
            self._write_breaker(coordinator.namespace, pending.popitem()[0])
            if time.perf_counter() > until:
                break

    def _write_breaker(self, namespace: str, breaker: Breaker) -> None:
        ended = (sum(breaker.successes.counts), sum(breaker.failures.counts))
        calls = (*ended, breaker.blocked, breaker.would_block)
        if self._is_news(breaker.successes, calls):
            for count in counts_of_breaker(namespace, breaker, self._families):
                self._add(count)

    def _is_news(self, source: object, numbers: Numbers) -> bool:
        """Whether a source has new counts. Within a second, few of many sources have."""
        if self._marks.get(source) == numbers:
            return False
        self._marks[source] = numbers
        return True

    def _add(self, count: Count) -> None:
        source, family, labels, numbers = count
        counted = self._counted.setdefault(source, {})
        before = counted.get((family, labels))
        if numbers == before:
            return
        counted[family, labels] = numbers
        if CIRCUIT in family.labels and not self._slots.has((labels[0], labels[1])):
            labels = (labels[0], OTHER_CIRCUITS, *labels[2:])
        olds = before or [0.0] * len(numbers)
        for value, number, old in zip(self._at(family, labels), numbers, olds, strict=True):
            if number != old:
                value.inc(number - old)

    def _set(self, levels: Iterable[Level], until: float) -> None:
        before, now = self._written, dict[Series, Level]()
        for level in levels:
            series = level.family, level.labels
            written = before.get(series)
            # A circuit without a transition is assumed to be closed. Other processes may know more.
            guessed = written is None and level.generation == 0
            if guessed and series not in self._values and time.perf_counter() > until:
                continue
            now[series] = level
            if level != written or level.insists:
                # Any real statement about the circuit, also an older one, overrides a guess.
                timestamp = LONG_AGO if guessed else time.time()
                for value, number in zip(self._at(*series), level.numbers, strict=True):
                    value.set(number, timestamp)
        self._written = now
        for series in before.keys() - now.keys():
            for value in self._at(*series):
                value.set(0.0, NEVER)

    def _at(self, family: Family, labels: Labels) -> list[Value]:
        found = self._values.get((family, labels))
        if found is None:
            found = self._values[family, labels] = self._make(family, labels)
        return found

    def _make(self, family: Family, labels: Labels) -> list[Value]:
        make = cast(Any, values).ValueClass
        name = f"{self._prefix}_{family.name}"
        return [
            make(
                family.kind,
                name,
                name + cell.suffix,
                (*self._labels, *family.labels, *cell.label),
                (*self._cases, *labels, *cell.case),
                family.text,
                multiprocess_mode=family.mode,
            )
            for cell in family.cells
        ]
