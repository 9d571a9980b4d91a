"""Results that wait to be sent, bounded in number."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..statistics import Statistics

if TYPE_CHECKING:
    from .local import LocalCircuit

RUN_SPAN = 1.0
"""Seconds that a run may span, so that its age is true for all of its calls."""

MAX_RUNS = 10_000


class PendingRun:
    """Results in a row that ended alike and have not been sent."""

    __slots__ = ("count", "ended", "failed", "generation", "label", "slow", "until")

    def __init__(self, generation: int, failed: bool, slow: bool, label: str, ended: float) -> None:
        self.generation = generation
        self.failed = failed
        self.slow = slow
        self.label = label
        self.count = 1
        self.ended = ended
        self.until = ended + RUN_SPAN


class Watcher(Protocol):
    """Who sees that calls under way become overdue."""

    def watch(self, circuit: LocalCircuit) -> None:
        """Look at a circuit before a call that has just begun can be overdue."""
        ...

    def forget(self) -> None:
        """Look at no circuit any more, until asked again."""
        ...


class Outbox:
    """The results of all circuits that wait to be sent, bounded in number and age.

    Args:
        statistics: Counts what was lost.
        limit: The most runs to keep.

    Attributes:
        thread: The reporter's thread, or None while there is no reporter.
        watcher: Looks after calls under way, or None likewise.
    """

    def __init__(self, statistics: Statistics, limit: int = MAX_RUNS) -> None:
        self.statistics = statistics
        self.limit = limit
        self.runs: int = 0
        self.waiting: dict[str, LocalCircuit] = {}
        self.thread: int | None = None
        self._number = 0
        self._post: Callable[..., object] = _nobody
        self._wake: Callable[[bool], None] = _nobody
        self.watcher: Watcher | None = None

    def open(self, wake: Callable[[bool], None], watcher: Watcher) -> None:
        """Accept results from now on, for a reporter in the running loop.

        Args:
            wake: Called with whether it is urgent when there is something to send.
            watcher: Looks after calls under way.
        """
        self._post = asyncio.get_running_loop().call_soon_threadsafe
        self.thread = threading.get_ident()
        self._wake = wake
        self.watcher = watcher

    def close(self) -> None:
        """Accept nothing any more and forget what waits; it counts as dropped."""
        self.thread = None
        self._post = self._wake = _nobody
        if self.watcher is not None:
            self.watcher.forget()
            self.watcher = None
        for circuit in self.waiting.values():
            circuit.forget()
        self.waiting.clear()
        self.runs = 0

    def here(self, function: Callable[..., None], *arguments: object) -> None:
        """Run something in the reporter's thread: now, or soon if this is another one. Not at
        all if no reporter is there."""
        if self.thread == threading.get_ident():
            function(*arguments)
        else:
            try:
                self._post(function, *arguments)
            except RuntimeError:  # the reporter's loop was closed
                self.close()

    def lost(self, results: int) -> None:
        """Count results for which there is no room."""
        self.statistics.recorded += results
        self.statistics.dropped += results

    def next_number(self) -> int:
        """A number for a batch, never given before (nor in an earlier run)."""
        self._number += 1
        return self._number

    def add(self, circuit: LocalCircuit, urgent: bool) -> None:
        """Put a circuit in the line of those with something to say."""
        self.waiting[circuit.name] = circuit
        self._wake(urgent)

    def watch(self, circuit: LocalCircuit) -> None:
        """Have a circuit looked at before a call that is under way becomes overdue."""
        if self.watcher is not None:
            self.watcher.watch(circuit)


def _nobody(*_: object) -> None:
    """There is no reporter to wake."""
