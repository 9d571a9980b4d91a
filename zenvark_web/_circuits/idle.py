"""Warns once if calls are made while their coordinator does not run and nothing protects them."""

from __future__ import annotations

import threading

from .._runtime.activity import ACTIVITY
from .._runtime.host import Host
from .._runtime.notifier import Notifier

LATE = 5.0
"""Seconds after a proper stop in which results may still arrive, because a program ends."""

LOST_RESULTS, OPEN_PASSES = "lost results", "open passes"


class IdleWarnings:
    """The warnings of a coordinator that does not run.

    There are two, each logged once until the coordinator runs again, and not once for each circuit:
    results are lost, and open circuits permit calls. Their remedies differ.

    Args:
        notifier: Logs the warnings.
        host: The monotonic clock.
    """

    def __init__(self, notifier: Notifier, host: Host) -> None:
        self._notifier = notifier
        self._monotonic = host.monotonic
        self._lock = threading.Lock()
        self._logged = set[str]()
        self._has_run = False
        self._quiet_until = float("-inf")

    def started(self) -> None:
        """Record that the coordinator runs."""
        self._logged.clear()
        self._has_run = True
        self._quiet_until = float("-inf")

    def stopped(self) -> None:
        """Record that the coordinator was stopped."""
        self._quiet_until = self._monotonic() + LATE

    def lost_result(self, circuit: str) -> None:
        """Warn that the result of a call is lost."""
        if (
            LOST_RESULTS not in self._logged
            and self._monotonic() >= self._quiet_until
            and self._first(LOST_RESULTS)
        ):
            if self._has_run:
                self._notifier.no_longer_running(circuit)
            else:
                self._notifier.never_started(circuit)

    def open_passes(self, circuit: str) -> None:
        """Warn that an open circuit permits a call, because its recovery would not be noticed."""
        if OPEN_PASSES not in self._logged and self._first(OPEN_PASSES):
            self._notifier.not_running(circuit)

    def _first(self, what: str) -> bool:
        if not ACTIVITY.on:
            return False
        with self._lock:  # of many threads, one logs
            first = what not in self._logged
            self._logged.add(what)
        return first
