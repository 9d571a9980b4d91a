"""Start of the coordinator with the first request of a process."""

from __future__ import annotations

import threading
import time

from .._runtime.forks import watch
from ..coordinator import Coordinator
from ..exceptions import ZenvarkError

NEXT_TRY = 2.0
"""Seconds from a failed start to the next."""


class Start:
    """Starts the coordinator once in each process: servers fork their workers, and WSGI has no
    event for the start of one. A coordinator that runs already is left alone.

    Args:
        coordinator: The coordinator.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._begin_anew()
        watch(self, Start._begin_anew)

    def _begin_anew(self) -> object:
        inherited = vars(self).copy()
        self._turn = threading.RLock()  # a signal handler may interrupt
        self._not_before = 0.0
        self.done = False
        return inherited

    def __call__(self) -> None:
        """Start the coordinator. Returns with the fleet's state loaded, or after about a second
        without; other requests wait meanwhile."""
        with self._turn:
            if self.done or time.monotonic() < self._not_before:
                return
            try:
                if not self._coordinator.running:
                    self._coordinator.start_sync()
                self.done = True
            except Exception as error:
                self._not_before = time.monotonic() + NEXT_TRY
                name = self._coordinator.namespace
                what = f"could not start the coordinator of namespace {name!r} with the first"
                what += " request; no calls are counted until it starts"
                self._coordinator.report_error(ZenvarkError.because(error, what))
