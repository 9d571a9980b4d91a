"""Sees in time that calls under way have passed their circuit's limit.

One loop for all circuits, however many calls there are: a circuit is looked at when the oldest of
its calls could pass the limit, and again after that. While it has none, nobody looks.
"""

from __future__ import annotations

from .._circuits.local import LocalCircuit
from .._runtime.host import Host
from .._runtime.waiting import Timers

REMINDER = 1.0
"""Seconds between two words about calls that are overdue."""

LOOKS_APART = 0.05
"""Seconds at least between two looks at a circuit: calls that began together are told together."""


class SlowCallMonitor:
    """The loop that looks.

    Args:
        host: Has the monotonic seconds.
    """

    def __init__(self, host: Host) -> None:
        self._monotonic = host.monotonic
        self._circuits: dict[str, LocalCircuit] = {}
        self._looks = Timers()
        self._reported: dict[str, tuple[int, float]] = {}

    def watch(self, circuit: LocalCircuit) -> None:
        """A call has begun on a circuit that had none worth a look."""
        if circuit.name not in self._circuits:
            self._circuits[circuit.name] = circuit
            self._schedule_look(circuit, self._monotonic())

    async def run(self) -> None:
        """Look when it is time, for ever."""
        try:
            while True:
                now = self._monotonic()
                for name in self._looks.due(now):
                    self._look(self._circuits[name], now)
                await self._looks.wait(self._monotonic())
        finally:
            self.forget()

    def forget(self) -> None:
        """Look at nothing any more. A call that begins asks again."""
        for circuit in self._circuits.values():
            circuit.in_flight.watched_in = None
        self._circuits.clear()
        self._looks.clear()
        self._reported.clear()

    def _look(self, circuit: LocalCircuit, now: float) -> None:
        # Before the look: a call that begins during it asks for another.
        circuit.in_flight.watched_in = None
        overdue, next_at = circuit.slow_in_flight(now)
        self._report(circuit, overdue, now)
        if overdue:
            reminder = now + REMINDER
            next_at = reminder if next_at is None else min(next_at, reminder)
        if next_at is None:
            del self._circuits[circuit.name]
        else:
            self._schedule_look(circuit, max(next_at, now + LOOKS_APART))

    def _schedule_look(self, circuit: LocalCircuit, at: float) -> None:
        circuit.in_flight.watched_in = self
        self._looks.set(circuit.name, at)

    def _report(self, circuit: LocalCircuit, overdue: int, now: float) -> None:
        reported, at = self._reported.get(circuit.name, (0, 0.0))
        if overdue == reported and (not overdue or now < at + REMINDER):
            return
        self._reported[circuit.name] = overdue, now
        if not overdue:
            del self._reported[circuit.name]
        circuit.report_slow(urgent=overdue > reported)
