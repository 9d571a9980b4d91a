"""Which circuits a judge keeps count of: bounded, by how much would be lost and by use.

Anyone who makes a process call new names fills the places there are. So a circuit that has failures
counted and is heard of again goes after those that were heard of once, however many these are; and
one whose state the store keeps can be made again from there. Each choice takes the same short time
however many circuits there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Set
from enum import IntEnum
from typing import TypeAlias

from .._core.circuit import Circuit
from .._core.states import Report, State

SHARED_ADVANTAGE = 60.0
"""Seconds for which one that several instances call goes after one that a single one calls."""

LEAST_REMEMBERED = 1_000


Memory: TypeAlias = tuple[str, bool]
"""The instance that was last heard of it, and whether there were several."""


class Rank(IntEnum):
    """How much would be lost with a circuit."""

    LIGHT = 0
    """Nothing, or what was heard once."""
    STORED = 1
    """It is not closed: what matters stands in the store."""
    COUNTING = 2
    """It counts failures, and was heard of again."""
    SHARED = 3
    """So do several instances."""


class Place:
    """What is known of a circuit that is kept.

    Args:
        circuit: The circuit.
        before: Its place before it had to go, if it is remembered.

    Attributes:
        rank: How much would be lost with it.
        has_worked: Whether a call of it has ever succeeded here.
        checks_hang: Whether its last health check failed and took long.
        wanted_at: When it was last told that calls were not let through.
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
        """Whether it is no name that somebody has made up."""
        return self.has_worked or self._shared

    def note_report(self, instance: str, report: Report) -> None:
        """An instance has something to say of it."""
        self._note_sender(instance)
        if report.blocked:
            self.wanted_at = self.circuit.heard_at
        if not self.has_worked:
            self.has_worked = any(not run.failed for run in report.runs)

    def _note_sender(self, instance: str) -> None:
        self._reports += 1
        self._shared = self._shared or self._instance not in {"", instance}
        self._instance = instance

    def restore(self, instances: Iterable[str]) -> None:
        """Another judge has counted failures of these instances, and kept them."""
        for instance in instances:
            self._note_sender(instance)
            self._reports += 1

    @property
    def memory(self) -> Memory:
        """What to remember of it when it has to go."""
        return self._instance, self._shared

    def weigh(self) -> Rank:
        """Its rank as it is now."""
        circuit = self.circuit
        if circuit.latest.state is not State.CLOSED:
            return Rank.STORED
        if self._reports < 2 or not circuit.has_failures:
            return Rank.LIGHT
        return Rank.SHARED if self._shared else Rank.COUNTING


class Places:
    """The circuits that are kept, by name.

    Args:
        most: How many.
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
        """Those that are kept."""
        return self._places.keys()

    def place(self, name: str) -> Place | None:
        """A circuit's place, if it has one."""
        return self._places.get(name)

    def get(self, name: str) -> Circuit | None:
        """A circuit, if it is kept."""
        place = self._places.get(name)
        return None if place is None else place.circuit

    def make_room(self) -> str | None:
        """Let the circuit go with which least is lost, if all places are taken; tells which."""
        if len(self._places) < self._most:
            return None
        name = self._least()
        place = self._places[name]
        if place.rank is not Rank.STORED and place.circuit.has_failures:
            self._remember(name, place)
        self.pop(name)
        return name

    def put(self, name: str, circuit: Circuit) -> Place:
        """Give a circuit a place, that of its predecessor if it had one."""
        place = self._places.get(name)
        if place is not None:
            place.circuit = circuit
        else:
            place = self._places[name] = Place(circuit, self._remembered.pop(name, None))
        self.use(name, place)
        return place

    def use(self, name: str, place: Place) -> None:
        """A circuit was used, and may be worth more or less now."""
        rank = place.weigh()
        if rank is not place.rank:
            self._lines[place.rank].pop(name, None)
            place.rank = rank
        line = self._lines[rank]
        line[name] = None
        line.move_to_end(name)

    def reported(self, name: str, instance: str, report: Report) -> None:
        """An instance has reported on a circuit."""
        place = self._places.get(name)
        if place is not None:
            place.note_report(instance, report)
            self.use(name, place)

    def pop(self, name: str) -> None:
        """Keep a circuit no longer."""
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
