"""The one shared clock, as an instance knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class SharedClock:
    """The store's time, carried on between its answers by this host's monotonic clock.

    Only durations are taken from the host, so its wall clock may say what it likes.

    Args:
        monotonic: The host's monotonic seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.known = asyncio.Event()
        self._offset = 0.0

    def open(self) -> None:
        """Get ready for use in the running loop."""
        self.known = asyncio.Event()

    def sync(self, now: float, asked: float) -> None:
        """Take on what the store said.

        Args:
            now: The store's time.
            asked: The monotonic second at which it was asked.
        """
        self._offset = now - (asked + self.monotonic()) / 2
        self.known.set()

    def now(self) -> float:
        """The shared clock's seconds."""
        return self.monotonic() + self._offset

    def frozen(self) -> Callable[[], float]:
        """This clock as it is set now: it goes on, but follows no later jump of the store's."""
        monotonic, offset = self.monotonic, self._offset
        return lambda: monotonic() + offset
