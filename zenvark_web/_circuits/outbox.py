"""Results that wait to be sent, bounded in number.

They wait in the reporter's thread. What happens in another one is put in a line, which costs an
append, and one wake-up fetches whatever stands there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from ..statistics import Statistics
from .absence import Absence

if TYPE_CHECKING:
    from .local import LocalCircuit

MAX_RUNS = 10_000

MAX_INCOMING = 100_000
"""The most results of other threads to keep in line, while the reporter's thread has no time."""

COLLECTING = 0.02
"""Seconds that successes of other threads wait in line for company."""


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
        absence: Told of results that nobody will send.
        context: Makes the context variables of what runs in the reporter's thread.

    Attributes:
        thread: The reporter's thread, or None while there is no reporter.
        watcher: Looks after calls under way, or None likewise.
    """

    def __init__(
        self,
        statistics: Statistics,
        limit: int = MAX_RUNS,
        absence: Absence | None = None,
        context: Callable[[], Context] = Context,
    ) -> None:
        self.statistics = statistics
        self.absence = absence
        self._context = context
        self.limit = limit
        self.runs: int = 0
        self.waiting: dict[str, LocalCircuit] = {}
        self.thread: int | None = None
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: Callable[[bool], None] = _nobody
        self.watcher: Watcher | None = None
        self._incoming: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._called = False  # the reporter's thread has been asked to take in what is in line,
        self._called_now = False  # and not to let it wait
        self._turned_away = 0
        # The collector may settle a lost permit inside it.
        self._lock = threading.RLock()

    def open(self, wake: Callable[[bool], None], watcher: Watcher) -> None:
        """Accept results from now on, for a reporter in the running loop.

        Args:
            wake: Called with whether it is urgent when there is something to send.
            watcher: Looks after calls under way.
        """
        self._loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self._wake = wake
        self.watcher = watcher
        self.take_in()  # a call may have ended in another thread just as the last run did

    def close(self) -> None:
        """Accept nothing any more and forget what waits; it counts as dropped."""
        with self._lock:  # any thread may be the first to see that the loop was closed
            if self._loop is None:
                return
            self.thread = self._loop = None
            self._wake = _nobody
            if self.watcher is not None:
                self.watcher.forget()
                self.watcher = None
            self.take_in()
            waiting, self.waiting = self.waiting, {}
            for circuit in waiting.values():
                circuit.forget()
            self.runs = 0

    @property
    def served(self) -> bool:
        """Whether there is a reporter."""
        loop = self._loop
        if loop is None or not loop.is_closed():
            return loop is not None
        self.close()
        return False

    def here(self, function: Callable[..., None], *arguments: object) -> None:
        """Run something in the reporter's thread: now, or soon if this is another one. Not at
        all if no reporter is there. What one thread hands over stays in order."""
        loop = self._loop
        if loop is None:
            return
        if self.thread == threading.get_ident() and not loop.is_closed():
            function(*arguments)
        else:
            self._put(True, function, arguments)

    def hand_over(self, urgent: bool, function: Callable[..., None], *arguments: object) -> bool:
        """The same for what can be done without, and of which there may be too much.

        Args:
            urgent: Whether it should be soon; otherwise it may wait for company.
            function: What to run.
            arguments: What with.

        Returns:
            Whether there was room for it.
        """
        loop = self._loop
        if loop is None:
            return True
        if self.thread == threading.get_ident() and not loop.is_closed():
            function(*arguments)
        else:
            if len(self._incoming) >= MAX_INCOMING:
                return False
            self._put(urgent, function, arguments)
        return True

    def turn_away(self) -> None:
        """Count a result of another thread for which there was no room."""
        with self._lock:
            self._turned_away += 1

    def take_in(self) -> None:
        """Take in what stands in line; in the reporter's thread."""
        # First the flags, then the line: what is appended from now on calls again.
        self._called = self._called_now = False
        if self._turned_away:
            with self._lock:
                lost, self._turned_away = self._turned_away, 0
            self.lost(lost)
        incoming = self._incoming
        for _ in range(len(incoming)):
            function, arguments = incoming.popleft()
            function(*arguments)

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

    def _put(
        self, urgent: bool, function: Callable[..., None], arguments: tuple[object, ...]
    ) -> None:
        self._incoming.append((function, arguments))
        if self.served and not self._called_now and (urgent or not self._called):
            self._call(urgent)

    def _call(self, now: bool) -> None:
        """Have the line taken in: now, or in a while. (If this gets lost with a thread that is
        ended in the midst of it, the reporter still looks now and then.)"""
        self._called = True
        if now:
            self._called_now = True
        loop = self._loop
        try:
            if loop is not None:
                do = self._take_in_here if now else self._call_later
                loop.call_soon_threadsafe(do, context=self._context())
        except RuntimeError:  # the loop was closed
            self.close()

    def _call_later(self) -> None:
        asyncio.get_running_loop().call_later(
            COLLECTING, self._take_in_here, context=self._context()
        )

    def _take_in_here(self) -> None:
        if self.thread == threading.get_ident():  # the reporter may have moved to another one
            self.take_in()


class Nowhere(Outbox):
    """Where results of circuits go that are not protected: nothing is made of them."""

    def here(self, function: Callable[..., None], *arguments: object) -> None:
        pass

    def hand_over(self, urgent: bool, function: Callable[..., None], *arguments: object) -> bool:
        return True


def _nobody(*_: object) -> None:
    """There is no reporter to wake."""
