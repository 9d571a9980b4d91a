"""Sees in time that calls under way have passed their circuit's limit.

One loop for all circuits, however many calls there are: a circuit is looked at when the oldest of
its calls could pass the limit, and again after that. While it has none, nobody looks.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from .._circuits.local import LocalCircuit

REMINDER = 1.0
"""Seconds between two words about calls that are overdue."""

LOOKS_APART = 0.05
"""Seconds at least between two looks at a circuit: calls that began together are told together."""


class Lookout:
    """The loop that looks.

    Args:
        monotonic: This host's monotonic seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._circuits: dict[str, LocalCircuit] = {}
        self._looks: list[tuple[float, str]] = []
        self._told: dict[str, tuple[int, float]] = {}
        self._more = asyncio.Event()

    def watch(self, circuit: LocalCircuit) -> None:
        """A call has begun on a circuit that had none worth a look."""
        if circuit.name not in self._circuits:
            self._circuits[circuit.name] = circuit
            self._look_again(circuit, self._monotonic())
            self._more.set()

    async def run(self) -> None:
        """Look when it is time, for ever."""
        try:
            while True:
                self._more.clear()
                self._look_at_all(self._monotonic())
                wait = self._looks[0][0] - self._monotonic() if self._looks else None
                try:
                    async with asyncio.timeout(wait):
                        await self._more.wait()
                except TimeoutError:
                    pass
        finally:
            self.forget()

    def forget(self) -> None:
        """Look at nothing any more. A call that begins asks again."""
        for circuit in self._circuits.values():
            circuit.flights.watcher = None
        self._circuits.clear()
        self._looks.clear()
        self._told.clear()

    def _look_at_all(self, now: float) -> None:
        while self._looks and self._looks[0][0] <= now:
            _, name = heapq.heappop(self._looks)
            self._look(self._circuits[name], now)

    def _look(self, circuit: LocalCircuit, now: float) -> None:
        # Before the look: a call that begins during it asks for another.
        circuit.flights.watcher = None
        overdue, next_at = circuit.look(now)
        self._tell(circuit, overdue, now)
        if overdue:
            reminder = now + REMINDER
            next_at = reminder if next_at is None else min(next_at, reminder)
        if next_at is None:
            del self._circuits[circuit.name]
        else:
            self._look_again(circuit, max(next_at, now + LOOKS_APART))

    def _look_again(self, circuit: LocalCircuit, at: float) -> None:
        circuit.flights.watcher = self
        heapq.heappush(self._looks, (at, circuit.name))

    def _tell(self, circuit: LocalCircuit, overdue: int, now: float) -> None:
        told, at = self._told.get(circuit.name, (0, 0.0))
        if overdue == told and (not overdue or now < at + REMINDER):
            return
        self._told[circuit.name] = overdue, now
        if not overdue:
            del self._told[circuit.name]
        circuit.tell_overdue(urgent=overdue > told)
