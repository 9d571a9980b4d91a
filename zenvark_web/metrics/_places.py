"""Which circuits have series of their own, so that a scrape is bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from .._core.states import State

OTHER_CIRCUITS = "_other"
"""What circuits without series of their own are shown as, all together."""

Circuit: TypeAlias = tuple[str, str]
"""A circuit's namespace and name."""


class Places:
    """Gives places to circuits, first come, first served.

    Who has a place keeps it; who came too late never gets one, while it stays: what it has counted
    is in the sum of all that have none, and no counter may go back.

    That a circuit is not closed must be seen nevertheless: as many more have a state of their own
    while they are not.

    Args:
        most: How many circuits have a place.
        lasting: Whether a place is never free again, since what was written stays.
    """

    def __init__(self, most: int, *, lasting: bool) -> None:
        self._most = most
        self._lasting = lasting
        self._placed: set[Circuit] = set()
        self._late: set[Circuit] = set()
        self._states: set[Circuit] = set()

    def keep_only(self, present: Iterable[Circuit]) -> None:
        """Give the places of circuits that are gone to others."""
        if not self._lasting:
            here = set(present)
            self._placed &= here
            self._late &= here
            self._states &= here

    def has(self, circuit: Circuit) -> bool:
        """Whether a circuit has series of its own."""
        if circuit in self._placed:
            return True
        if len(self._placed) >= self._most or circuit in self._late:
            if not self._lasting:
                self._late.add(circuit)
            return False
        self._placed.add(circuit)
        return True

    def shows(self, circuit: Circuit, state: State) -> bool:
        """Whether a circuit's state has series of its own."""
        if self.has(circuit):
            return True
        if state is State.CLOSED:
            if not self._lasting:
                self._states.discard(circuit)
            return False
        if circuit not in self._states:
            if len(self._states) >= self._most:
                return False
            self._states.add(circuit)
        return True
