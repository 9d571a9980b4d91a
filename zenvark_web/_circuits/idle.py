"""Warns, once, that calls are made though their coordinator does not run: nothing protects them."""

from __future__ import annotations

import threading

from .._runtime.host import Host
from .._runtime.notifier import Notifier

LATE = 5.0
"""Seconds after a stop in good order in which results may still come: a program that ends."""

LOST_RESULTS, OPEN_PASSES = "lost results", "open passes"


class IdleWarnings:
    """The warnings of a coordinator that does not run.

    There are two, each logged once until the coordinator runs again, not once for each circuit:
    that results are lost, and that open circuits let calls pass. Their remedies differ.

    Args:
        notifier: Logs the warnings.
        host: Has the monotonic seconds.
    """

    def __init__(self, notifier: Notifier, host: Host) -> None:
        self._notifier = notifier
        self._monotonic = host.monotonic
        self._lock = threading.Lock()
        self._logged = set[str]()
        self._has_run = False
        self._quiet_until = float("-inf")

    def started(self) -> None:
        """The coordinator runs."""
        self._logged.clear()
        self._has_run = True
        self._quiet_until = float("-inf")

    def stopped(self) -> None:
        """The coordinator was stopped."""
        self._quiet_until = self._monotonic() + LATE

    def lost_result(self, circuit: str) -> None:
        """A call has ended, and its result goes nowhere."""
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
        """A call passes an open circuit, since nobody finds out whether its upstream is well."""
        if OPEN_PASSES not in self._logged and self._first(OPEN_PASSES):
            self._notifier.not_running(circuit)

    def _first(self, what: str) -> bool:
        with self._lock:  # of many threads, one logs
            first = what not in self._logged
            self._logged.add(what)
        return first
