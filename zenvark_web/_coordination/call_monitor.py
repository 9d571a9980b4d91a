"""Detects calls in flight that have exceeded a limit of their circuit: slow calls, and streams
without a chunk.

One loop serves all circuits and calls: it checks a circuit when the first of its calls can exceed a
limit, and again after that. A circuit without calls is not checked.
"""

from __future__ import annotations

from .._circuits.local import LocalCircuit
from .._runtime.host import Host
from .._runtime.waiting import Timers

REMINDER = 1.0
"""Seconds between two reports of overdue calls."""

LOOKS_APART = 0.05
"""The minimum seconds between two checks of a circuit: calls that began together are reported
together."""


class CallMonitor:
    """The loop that checks circuits.

    Args:
        host: The monotonic clock.
    """

    def __init__(self, host: Host) -> None:
        self._monotonic = host.monotonic
        self._circuits: dict[str, LocalCircuit] = {}
        self._looks = Timers()
        self._reported: dict[str, tuple[int, float]] = {}

    def watch(self, circuit: LocalCircuit) -> None:
        """Watch a circuit on which a call has started, or a stream waits for its next chunk."""
        self._circuits[circuit.name] = circuit
        self._schedule_look(circuit, self._monotonic())

    async def run(self) -> None:
        """Check circuits when they are due, forever."""
        try:
            while True:
                now = self._monotonic()
                for name in self._looks.due(now):
                    self._look(self._circuits[name], now)
                await self._looks.wait(self._monotonic())
        finally:
            self.forget()

    def forget(self) -> None:
        """Stop watching all circuits. The next call of a circuit watches it again."""
        for circuit in self._circuits.values():
            circuit.in_flight.watched_in = None
        self._circuits.clear()
        self._looks.clear()
        self._reported.clear()

    def _look(self, circuit: LocalCircuit, now: float) -> None:
        # Before the look: a call that begins during it asks for another.
        circuit.in_flight.watched_in = None
        late_at = circuit.fail_late_streams(now)
        overdue, slow_at = circuit.slow_in_flight(now)
        self._report(circuit, overdue, now)
        reminder = now + REMINDER if overdue else None
        looks = [at for at in (late_at, slow_at, reminder) if at is not None]
        if looks:
            self._schedule_look(circuit, max(min(looks), now + LOOKS_APART))
        else:
            del self._circuits[circuit.name]

    def _schedule_look(self, circuit: LocalCircuit, at: float) -> None:
        circuit.in_flight.watched_in = self
        circuit.in_flight.look_at = at
        self._looks.set(circuit.name, at)

    def _report(self, circuit: LocalCircuit, overdue: int, now: float) -> None:
        reported, at = self._reported.get(circuit.name, (0, 0.0))
        if overdue == reported and (not overdue or now < at + REMINDER):
            return
        self._reported[circuit.name] = overdue, now
        if not overdue:
            del self._reported[circuit.name]
        circuit.report_slow(urgent=overdue > reported)
