"""The one shared clock, as an instance knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

AHEAD = 1.0
"""Seconds by which a time stamp is ahead of the shared clock only if that was set back. An instance
may misjudge it by half of a slow answer's way."""


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


class Stamps:
    """The time stamps of a stream, and whether they can be relied on.

    They never fall, so they stand still when the store's clock was set back, until that has made up
    for it. If the store has lost its newest entries as well, they go on below what was read.

    Args:
        clock: The shared clock.
    """

    def __init__(self, clock: SharedClock) -> None:
        self._clock = clock
        self._newest = float("-inf")

    def take(self, at: float) -> tuple[float, bool]:
        """Take the next entry's.

        Returns:
            A time that never falls, and whether it stands still.
        """
        self._newest = max(self._newest, at)
        return self._newest, self._newest > self._clock.now() + AHEAD
