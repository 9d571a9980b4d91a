"""The circuits that an evaluator counts: bounded, and selected by value and use.

A process that calls new names can fill all places. Circuits with counted failures and repeated
reports are therefore kept longer than circuits with one report, whatever their number; and a
circuit whose state is in the store can be restored from there. The time of a selection does not
depend on the number of circuits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Set
from enum import IntEnum
from typing import TypeAlias

from .._core.circuit import Circuit
from .._core.states import Report, State

SHARED_ADVANTAGE = 60.0
"""Seconds by which a circuit that several instances call outlasts one with a single instance."""

LEAST_REMEMBERED = 1_000


Memory: TypeAlias = tuple[str, bool]
"""The last reporting instance, and whether there were several."""


class Rank(IntEnum):
    """The loss that removing a circuit would cause."""

    LIGHT = 0
    """No loss: the circuit has no counts, or a single report."""
    STORED = 1
    """The circuit is not closed: its state is in the store."""
    COUNTING = 2
    """The circuit counts failures, and was reported repeatedly."""
    SHARED = 3
    """As COUNTING, by several instances."""


class Place:
    """The bookkeeping of a counted circuit.

    Args:
        circuit: The circuit.
        before: Its bookkeeping before it was removed, if it is remembered.

    Attributes:
        rank: The loss that removing the circuit would cause.
        has_worked: Whether a call has ever succeeded here.
        checks_hang: Whether the last health check failed and took long.
        wanted_at: The time of the last report of rejected calls.
    """

    __slots__ = (
        "_instance",
        "_reports",
        "_shared",
        "checks_hang",
        "circuit",
        "has_worked",
        "rank",
        "wanted_at",
    )

    def __init__(self, circuit: Circuit, before: Memory | None = None) -> None:
        self.circuit = circuit
        self.rank = Rank.LIGHT
        self.has_worked = False
        self.checks_hang = False
        self.wanted_at = float("-inf")
        self._reports = int(before is not None)
        self._instance, self._shared = before or ("", False)

    @property
    def is_trusted(self) -> bool:
        """Whether the name is not made up."""
        return self.has_worked or self._shared

    def note_report(self, instance: str, report: Report) -> None:
        """Record a report of an instance."""
        self._note_sender(instance)
        if report.blocked:
            self.wanted_at = self.circuit.heard_at
        if not self.has_worked:
            self.has_worked = any(not run.failed for run in report.runs)

    def _note_sender(self, instance: str) -> None:
        self._reports += 1
        self._shared = self._shared or self._instance not in {"", instance}
        self._instance = instance

    def note_senders(self, instances: Iterable[str]) -> None:
        """Record the senders of several reports."""
        for instance in instances:
            self._note_sender(instance)

    def restore(self, instances: Iterable[str]) -> None:
        """Record the instances in a restored window snapshot."""
        for instance in instances:
            self._note_sender(instance)
            self._reports += 1

    @property
    def memory(self) -> Memory:
        """The part to remember when the circuit is removed."""
        return self._instance, self._shared

    def weigh(self) -> Rank:
        """Compute the current rank."""
        circuit = self.circuit
        if circuit.latest.state is not State.CLOSED:
            return Rank.STORED
        if self._reports < 2 or not circuit.has_failures:
            return Rank.LIGHT
        return Rank.SHARED if self._shared else Rank.COUNTING


class Places:
    """The counted circuits, by name.

    Args:
        most: The maximum number of circuits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: dict[str, Place] = {}
        self._lines = {rank: OrderedDict[str, None]() for rank in Rank}
        # Those that counted failures and had to go.
        self._remembered: OrderedDict[str, Memory] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def names(self) -> Set[str]:
        """The names of the counted circuits."""
        return self._places.keys()

    def place(self, name: str) -> Place | None:
        """Return a circuit's bookkeeping, if it is counted."""
        return self._places.get(name)

    def get(self, name: str) -> Circuit | None:
        """Return a circuit, if it is counted."""
        place = self._places.get(name)
        return None if place is None else place.circuit

    def make_room(self) -> str | None:
        """Remove the circuit with the least loss if all places are taken; return its name."""
        if len(self._places) < self._most:
            return None
        name = self._least()
        place = self._places[name]
        if place.rank is not Rank.STORED and place.circuit.has_failures:
            self._remember(name, place)
        self.pop(name)
        return name

    def put(self, name: str, circuit: Circuit) -> Place:
        """Add a circuit, with the bookkeeping of its predecessor if there was one."""
        place = self._places.get(name)
        if place is not None:
            place.circuit = circuit
        else:
            place = self._places[name] = Place(circuit, self._remembered.pop(name, None))
        self.use(name, place)
        return place

    def use(self, name: str, place: Place) -> None:
        """Record a use of a circuit, which may change its rank."""
        rank = place.weigh()
        if rank is not place.rank:
            self._lines[place.rank].pop(name, None)
            place.rank = rank
        line = self._lines[rank]
        line[name] = None
        line.move_to_end(name)

    def reported(self, name: str, instance: str, report: Report) -> None:
        """Record the report of an instance about a circuit."""
        place = self._places.get(name)
        if place is not None:
            place.note_report(instance, report)
            self.use(name, place)

    def pop(self, name: str) -> None:
        """Remove a circuit."""
        place = self._places.pop(name, None)
        if place is not None:
            del self._lines[place.rank][name]

    def _least(self) -> str:
        light, stored, counting, shared = (self._lines[rank] for rank in Rank)
        # Open circuits that nobody calls must not leave the others without room.
        first, second = (stored, light) if len(stored) > self._most // 2 else (light, stored)
        for line in (first, second):
            if line:
                return next(iter(line))
        if counting and shared:
            oldest, other = next(iter(counting)), next(iter(shared))
            lead = self._reported_at(oldest) - self._reported_at(other)
            return other if lead > SHARED_ADVANTAGE else oldest
        return next(iter(counting or shared))

    def _reported_at(self, name: str) -> float:
        return self._places[name].circuit.heard_at

    def _remember(self, name: str, place: Place) -> None:
        self._remembered[name] = place.memory
        if len(self._remembered) > max(self._most, LEAST_REMEMBERED):
            self._remembered.popitem(last=False)
