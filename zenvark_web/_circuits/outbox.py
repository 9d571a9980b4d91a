"""The circuits of a shard with something to report, until the reporter sends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .._runtime.instance import Instance
from .batch_builder import BatchBuilder
from .batches import InFlightBatches
from .handover import Handover
from .idle import IdleWarnings
from .local import LocalCircuit
from .runs import PendingRun, RunBudget


class Monitor(Protocol):
    """Detects calls in flight that exceed a limit."""

    def watch(self, circuit: LocalCircuit) -> None:
        """Look at a circuit now, and before its next call can exceed a limit."""
        ...

    def forget(self) -> None:
        """Watch no circuit until asked again."""
        ...


class Outbox:
    """Listens to the circuits of a shard, and wakes the reporter.

    Args:
        instance: The instance.
        idle: Warns about results that are not sent.
        handover: The queue to the reporter's thread.

    Attributes:
        waiting: The circuits with something to report, by name.
        builder: The current batch, if there is one.
        in_flight: The batches that no leader has acknowledged yet.
    """

    def __init__(
        self,
        instance: Instance,
        idle: IdleWarnings | None = None,
        handover: type[Handover] = Handover,
    ) -> None:
        self.instance = instance
        self.idle = idle
        self.budget = RunBudget(instance.statistics)
        self.handover = handover(instance.host, self.budget)
        self.in_flight = InFlightBatches(instance)
        self.waiting: dict[str, LocalCircuit] = {}
        self.builder: BatchBuilder | None = None
        self._number = 0
        self._wake: Callable[[bool], None] = _nobody
        self._monitor: Monitor | None = None

    def open(self, wake: Callable[[bool], None], monitor: Monitor) -> None:
        """Serve a reporter in the running loop from now on.

        Args:
            wake: Called, with whether it is urgent, when there is something to send.
            monitor: Watches calls in flight.
        """
        self._wake = wake
        self._monitor = monitor
        self.builder = None
        self.handover.open(self, run=monitor)

    def closed(self) -> None:
        """Drop what waits, and count it: no reporter runs any more."""
        self._wake = _nobody
        if self._monitor is not None:
            self._monitor.forget()
            self._monitor = None
        self.handover.drain()
        waiting, self.waiting = self.waiting, {}
        for circuit in waiting.values():
            circuit.forget()
        self.budget.used = 0

    def next_number(self) -> int:
        """The next number of a batch, unique across runs."""
        self._number += 1
        return self._number

    def unsent(self) -> Iterable[tuple[LocalCircuit, Sequence[PendingRun]]]:
        """The results that wait or are in flight."""
        if self.builder is not None:
            yield from self.builder.runs
        for circuit in self.waiting.values():
            yield circuit, circuit.waiting

    # What the circuits report

    def recorded(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Add a circuit with pending results."""
        self.waiting[circuit.name] = circuit
        self._wake(urgent)

    def leaving(self, circuit: LocalCircuit) -> None:
        """The reporter removes the results."""

    def blocked(self, circuit: LocalCircuit) -> None:
        """Add a circuit with rejected calls."""
        self.recorded(circuit, urgent=True)

    def trial_changed(self, circuit: LocalCircuit) -> None:
        """Add a circuit whose trial has changed."""
        self.recorded(circuit, urgent=circuit.admission.urgent)

    def slow(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Add a circuit whose number of slow calls in flight has changed."""
        self.recorded(circuit, urgent=urgent)

    def told_to_wait(self, circuit: LocalCircuit) -> None:
        """Add a circuit whose upstream has named a wait."""
        self.recorded(circuit, urgent=True)

    def began(self, circuit: LocalCircuit) -> None:
        """Have the monitor watch a circuit."""
        if self._monitor is not None:
            self._monitor.watch(circuit)


def _nobody(*_: object) -> None:
    """Wakes nothing while no reporter runs."""
