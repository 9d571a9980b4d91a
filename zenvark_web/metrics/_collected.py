"""The numbers of one process at the time of a scrape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import add, sub
from threading import Lock
from typing import TypeAlias
from weakref import WeakKeyDictionary

from ..coordinator import Coordinator
from ._families import Families, Family, Labels, Numbers
from ._reading import (
    Count,
    counts,
    counts_of_breaker,
    counts_of_circuits,
    kept_breakers,
    levels,
)
from ._slots import OTHER_CIRCUITS, SeriesSlots

Shown: TypeAlias = Mapping[Family, Mapping[Labels, Numbers]]


class Collected:
    """Collects the series of one process.

    Circuits without a slot share a series, which must not decrease when one of them is evicted: it
    accumulates the new counts of each.

    Args:
        families: The metrics.
        most: The number of circuits with series of their own.
    """

    def __init__(self, families: Families, most: int) -> None:
        self._families = families
        self._slots = SeriesSlots(most, lasting=False)
        self._counted: WeakKeyDictionary[object, dict[tuple[Family, Labels], Numbers]]
        # By source: a breaker that is evicted and made again counts from zero.
        self._counted = WeakKeyDictionary()
        self._others: dict[Family, dict[Labels, Numbers]] = {}
        self._lock = Lock()  # scrapes may come in several threads

    def begin_anew(self) -> None:
        """Replace the lock in a forked process, where another thread may have held it."""
        self._lock = Lock()

    def collect(self, coordinators: Iterable[Coordinator]) -> Shown:
        """All series of these coordinators."""
        members = tuple(coordinators)
        series: dict[Family, dict[Labels, Numbers]] = {each: {} for each in self._families.all}
        with self._lock:
            kept = [(member, kept_breakers(member)) for member in members]
            of_circuits = [
                count for member in members for count in counts_of_circuits(member, self._families)
            ]
            # First, so that new circuits get the slots of those that are gone.
            self._slots.keep_only(
                [(member.namespace, each.name) for member, breakers in kept for each in breakers]
                + [(labels[0], labels[1]) for _, _, labels, _ in of_circuits]
            )
            for member, breakers in kept:
                for breaker in breakers:
                    self._take(series, counts_of_breaker(member.namespace, breaker, self._families))
            self._take(series, of_circuits)
            self._show_others(series, {member.namespace for member in members})
            for family, labels, numbers, *_ in levels(members, self._slots):
                series[family][labels] = numbers
        # Of all circuits together: these need no slots.
        for member in members:
            for _, family, labels, numbers in counts(member):
                _add(series[family], labels, numbers)
        return series

    def _take(self, series: dict[Family, dict[Labels, Numbers]], counted: Iterable[Count]) -> None:
        for count in counted:
            _, family, labels, numbers = count
            if self._slots.has((labels[0], labels[1])):
                _add(series[family], labels, numbers)
            else:
                self._take_other(count)

    def _take_other(self, count: Count) -> None:
        source, family, labels, numbers = count
        counted = self._counted.setdefault(source, {})
        before = counted.get((family, labels))
        if numbers != before:
            counted[family, labels] = numbers
            more = tuple(map(sub, numbers, before)) if before else numbers
            shared = (labels[0], OTHER_CIRCUITS, *labels[2:])
            _add(self._others.setdefault(family, {}), shared, more)

    def _show_others(
        self, series: dict[Family, dict[Labels, Numbers]], namespaces: set[str]
    ) -> None:
        for family, others in self._others.items():
            for labels, numbers in others.items():
                if labels[0] in namespaces:
                    _add(series[family], labels, numbers)


def _add(series: dict[Labels, Numbers], labels: Labels, numbers: Numbers) -> None:
    before = series.get(labels)
    series[labels] = tuple(map(add, before, numbers)) if before else numbers
