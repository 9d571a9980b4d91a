"""Runs work in the loop's thread: a bounded queue of functions.

Work of another thread is appended to the queue, and one wake-up runs the whole queue. Work of the
loop's thread runs at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .._runtime.host import Host
from .runs import RunBudget

MAX_INCOMING = 100_000
"""The maximum number of queued results of other threads, while the loop's thread is busy."""

COLLECTING = 0.02
"""Seconds that successes of other threads wait in the queue for further results."""


class Owner(Protocol):
    """The object that receives the work."""

    def closed(self) -> None:
        """The loop has ended or is about to end. Nothing more is run."""
        ...


class Handover:
    """The queue from any thread to the loop's thread.

    Args:
        host: Creates the context variables of work in the loop's thread.
        budget: Counts the results that exceeded the queue.

    Attributes:
        thread: The loop's thread, or None while no loop runs.
        run: Identifies the loop's current run, or None while no loop runs.
    """

    def __init__(self, host: Host, budget: RunBudget) -> None:
        self._context = host.context
        self._budget = budget
        self.thread: int | None = None
        self.run: object = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner: Owner | None = None
        self._incoming: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._called = False  # the loop's thread has been asked to take in what is in line,
        self._called_now = False  # and not to let it wait
        self._turned_away = 0
        # The collector may settle a lost permit inside it.
        self._lock = threading.RLock()

    def open(self, owner: Owner, run: object) -> None:
        """Run work in the running loop from now on.

        Args:
            owner: Notified when the loop ends.
            run: Identifies this run uniquely.
        """
        self._loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self._owner = owner
        self.run = run
        self.drain()  # a call may have ended in another thread just as the last run did

    def close(self) -> None:
        """Stop running work."""
        with self._lock:  # any thread may be the first to see that the loop was closed
            owner, self._owner = self._owner, None
            self.thread = self._loop = self.run = None
            if owner is not None:
                owner.closed()

    @property
    def served(self) -> bool:
        """Whether a loop runs the work."""
        loop = self._loop
        if loop is None or not loop.is_closed():
            return loop is not None
        self.close()
        return False

    def here(self, function: Callable[..., None], *arguments: object) -> None:
        """Run a function in the loop's thread: at once in that thread, soon from another one, and
        not at all if no loop runs. The order of one thread's functions is kept."""
        loop = self._loop
        if loop is None:
            return
        if self.thread == threading.get_ident() and not loop.is_closed():
            function(*arguments)
        else:
            self._put(True, function, arguments)

    def hand_over(self, urgent: bool, function: Callable[..., None], *arguments: object) -> bool:
        """Run a function in the loop's thread, like `here`, unless the queue is full.

        Args:
            urgent: Whether it should run soon; otherwise it may wait for company.
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
        """Count a result of another thread that found the queue full."""
        with self._lock:
            self._turned_away += 1

    def drain(self) -> None:
        """Run the queue. Must be called in the loop's thread."""
        # First the flags, then the line: what is appended from now on calls again.
        self._called = self._called_now = False
        if self._turned_away:
            with self._lock:
                lost, self._turned_away = self._turned_away, 0
            self._budget.lost(lost)
        incoming = self._incoming
        for _ in range(len(incoming)):
            function, arguments = incoming.popleft()
            function(*arguments)

    def _put(
        self, urgent: bool, function: Callable[..., None], arguments: tuple[object, ...]
    ) -> None:
        self._incoming.append((function, arguments))
        if self.served and not self._called_now and (urgent or not self._called):
            self._call(urgent)

    def _call(self, now: bool) -> None:
        """Wake the loop's thread, now or in a while. If a wake-up is lost with its thread, the
        reporter drains the queue at its next look."""
        self._called = True
        if now:
            self._called_now = True
        loop = self._loop
        try:
            if loop is not None:
                do = self._drain_here if now else self._call_later
                loop.call_soon_threadsafe(do, context=self._context())
        except RuntimeError:  # the loop was closed
            self.close()

    def _call_later(self) -> None:
        asyncio.get_running_loop().call_later(COLLECTING, self._drain_here, context=self._context())

    def _drain_here(self) -> None:
        if self.thread == threading.get_ident():  # the loop may have moved to another one
            self.drain()


class Nowhere(Handover):
    """Discards the results of circuits that are not protected."""

    def here(self, function: Callable[..., None], *arguments: object) -> None:
        pass

    def hand_over(self, urgent: bool, function: Callable[..., None], *arguments: object) -> bool:
        return True
