"""Says, once, that calls are made though their coordinator does not run: nothing protects them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._runtime.notifier import Surface

LATE = 5.0
"""Seconds after a stop in good order in which results may still come: a program that ends."""

UNHEARD, UNWATCHED = "unheard", "unwatched"


class Absence:
    """Whether somebody has been told that a coordinator does not run in this process.

    Each of the two is told once until the coordinator runs again, not for each circuit: that
    results are lost, and that open circuits let calls pass. What helps is not the same.

    Args:
        surface: Where it is told.
        monotonic: This host's monotonic seconds.
    """

    def __init__(self, surface: Surface, monotonic: Callable[[], float]) -> None:
        self._surface = surface
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told = set[str]()
        self._has_run = False
        self._quiet_until = float("-inf")

    def over(self) -> None:
        """The coordinator runs."""
        self._told.clear()
        self._has_run = True
        self._quiet_until = float("-inf")

    def stopped(self) -> None:
        """It has been stopped."""
        self._quiet_until = self._monotonic() + LATE

    def unheard(self, circuit: str) -> None:
        """A call has ended, and nobody takes its result."""
        if (
            UNHEARD not in self._told
            and self._monotonic() >= self._quiet_until
            and self._first(UNHEARD)
        ):
            if self._has_run:
                self._surface.no_longer_running(circuit)
            else:
                self._surface.never_started(circuit)

    def unwatched(self, circuit: str) -> None:
        """A call passes an open circuit, for nobody will try whether its upstream is well."""
        if UNWATCHED not in self._told and self._first(UNWATCHED):
            self._surface.not_running(circuit)

    def _first(self, what: str) -> bool:
        with self._lock:  # of many threads, one tells
            first = what not in self._told
            self._told.add(what)
        return first
