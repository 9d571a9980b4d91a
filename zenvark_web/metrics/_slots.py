"""The circuits with series of their own. Their number is bounded, and with it each scrape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from .._core.states import State

OTHER_CIRCUITS = "_other"
"""The label for the sum of all circuits without series of their own."""

Circuit: TypeAlias = tuple[str, str]
"""A circuit's namespace and name."""


class SeriesSlots:
    """Slots for circuits, first come, first served.

    A circuit keeps its slot. A circuit that came too late gets none as long as it exists: its
    counts are in the sum of the others, and a counter must never decrease.

    Circuits that are not closed must be visible nevertheless: as many more have a series for their
    state while they are not closed.

    Args:
        most: The number of slots.
        lasting: Whether a slot is never freed, because written values stay.
    """

    def __init__(self, most: int, *, lasting: bool) -> None:
        self._most = most
        self._lasting = lasting
        self._holders: set[Circuit] = set()
        self._late: set[Circuit] = set()
        self._states: set[Circuit] = set()

    def keep_only(self, present: Iterable[Circuit]) -> None:
        """Free the slots of all other circuits."""
        if not self._lasting:
            here = set(present)
            self._holders &= here
            self._late &= here
            self._states &= here

    def has(self, circuit: Circuit) -> bool:
        """Whether a circuit has a slot. It gets one if there is a free one."""
        if circuit in self._holders:
            return True
        if len(self._holders) >= self._most or circuit in self._late:
            if not self._lasting:
                self._late.add(circuit)
            return False
        self._holders.add(circuit)
        return True

    def shows(self, circuit: Circuit, state: State) -> bool:
        """Whether a circuit has a series for its state."""
        if self.has(circuit):
            return True
        if state is State.CLOSED:
            if not self._lasting:
                self._states.discard(circuit)
            return False
        # Bounded as well: in an outage all circuits may be open.
        if circuit not in self._states:
            if len(self._states) >= self._most:
                return False
            self._states.add(circuit)
        return True
