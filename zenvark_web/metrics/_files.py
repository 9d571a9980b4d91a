"""The numbers of a process in prometheus_client's value files, for other processes to read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

from prometheus_client import values

from ..breaker import Breaker
from ..coordinator import Coordinator
from ._families import CIRCUIT, Family, Labels, Numbers
from ._reading import Level, counts, kept_breakers, levels

MAX_CIRCUITS = 1_000
"""So many circuits of a process have series of their own: no entry of a value file can be removed,
though breakers come and go. What further ones count goes into one series for all of them."""

OTHER_CIRCUITS = "_other"

NEVER = 0.0
LONG_AGO = 1.0
"""Times for a state. Of what several processes say, the most recent is shown: nothing that was
said never, and what was said long ago only if there is nothing else."""

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
    """Whether prometheus_client was told to use value files."""
    return values.ValueClass is not values.MutexValue


class ValueFiles:
    """What one process has written.

    Counts are added to what the files hold: a process may go on with the file of one that has
    ended, and after a fork with an empty one.

    Args:
        prefix: What the metrics' names begin with.
        labels: The labels on each of them.
    """

    def __init__(self, prefix: str, labels: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._labels = tuple(labels)
        self._cases = tuple(labels.values())
        self._values: dict[Series, list[Value]] = {}
        self._circuits: set[Labels] = set()
        self._counted: WeakKeyDictionary[object, dict[Series, Numbers]] = WeakKeyDictionary()
        self._marks: WeakKeyDictionary[object, tuple[int, int, int]] = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[Coordinator, set[Breaker]] = WeakKeyDictionary()
        self._told: dict[Series, Level] = {}

    def write(self, coordinator: Coordinator, coordinators: Iterable[Coordinator]) -> None:
        """Add what a coordinator has counted since the last time, and tell what is so now.

        Args:
            coordinator: The coordinator.
            coordinators: All that run.
        """
        kept = set(kept_breakers(coordinator))
        before = self._kept.get(coordinator, set())  # an evicted one has a last word
        self._kept[coordinator] = kept
        for count in counts(coordinator, filter(self._is_news, kept | before)):
            self._add(*count)
        self._tell(levels(coordinators))

    def _is_news(self, breaker: Breaker) -> bool:
        """Whether it has counted something: of many breakers, few have since a second ago."""
        source = breaker.successes
        mark = (sum(source.counts), sum(breaker.failures.counts), breaker.blocked)
        if self._marks.get(source) == mark:
            return False
        self._marks[source] = mark
        return True

    def _add(self, source: object, family: Family, labels: Labels, numbers: Numbers) -> None:
        counted = self._counted.setdefault(source, {})
        before = counted.get((family, labels))
        if numbers == before:
            return
        counted[family, labels] = numbers
        if not self._has_place(family, labels):
            labels = (OTHER_CIRCUITS, *labels[1:])
        olds = before or [0.0] * len(numbers)
        for value, number, old in zip(self._at(family, labels), numbers, olds, strict=True):
            if number != old:
                value.inc(number - old)

    def _tell(self, levels: Iterable[Level]) -> None:
        before = self._told
        now = {
            (level.family, level.labels): level
            for level in levels
            if self._has_place(level.family, level.labels)
        }
        self._told = now
        for (family, labels), level in now.items():
            told = before.get((family, labels))
            if level != told:
                # A circuit of which nothing is known is taken for closed. Others may know better.
                guessed = told is None and level.generation == 0
                timestamp = LONG_AGO if guessed else time.time()
                for value, number in zip(self._at(family, labels), level.numbers, strict=True):
                    value.set(number, timestamp)
        for family, labels in before.keys() - now.keys():
            for value in self._at(family, labels):
                value.set(0.0, NEVER)

    def _has_place(self, family: Family, labels: Labels) -> bool:
        """Whether these labels may have a series of their own."""
        if CIRCUIT not in family.labels or labels[:1] in self._circuits:
            return True
        if len(self._circuits) >= MAX_CIRCUITS:
            return False
        self._circuits.add(labels[:1])
        return True

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
