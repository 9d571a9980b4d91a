"""The one shared clock, as an instance knows it."""

from __future__ import annotations

import asyncio

from .host import Host

AHEAD = 1.0
"""Seconds by which a time stamp is ahead of the shared clock only if that was set back. An instance
may misjudge it by half of a slow answer's way."""

LONGEST_LEAD = 1e9
"""Seconds by which an earlier keeper's may be ahead. Further ahead is nobody's clock."""


class SharedClock:
    """The store's time, carried on between its answers by this host's monotonic clock.

    Only durations are taken from the host, so its wall clock may say what it likes.

    Args:
        host: Has the monotonic seconds.
    """

    def __init__(self, host: Host) -> None:
        self.monotonic = host.monotonic
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
        answered = self.monotonic()
        # What agrees with an answer stays: then the clock is as exact as the fastest of them, and
        # the times of two results do not change places because one answer was slow.
        if not now - answered <= self._offset <= now - asked:
            self._offset = now - (asked + answered) / 2
        self.known.set()

    def now(self) -> float:
        """The shared clock's seconds."""
        return self.monotonic() + self._offset

    @property
    def offset(self) -> float:
        """The seconds by which the shared clock is ahead of the host's monotonic one."""
        return self._offset

    def frame(self) -> Frame:
        """Seconds that begin at this clock's, and follow no later jump of it."""
        return Frame(self)


class Frame:
    """One keeper's own seconds, in which it counts and waits: they never jump.

    The store's clock may be set, or be another's after a failover, and its stream's time stamps
    may stand still or begin anew. What comes from the store is translated into own seconds where
    it enters, what goes there where it leaves, each by the clock as it is set at that moment. In
    between there is one kind of time.

    Args:
        clock: The shared clock.
    """

    def __init__(self, clock: SharedClock) -> None:
        self._clock = clock
        self._offset = clock.offset
        self._arrived = float("-inf")

    def now(self) -> float:
        """The seconds now."""
        return self._clock.monotonic() + self._offset

    def begin_after(self, counted: float) -> None:
        """Begin after the newest own second of an earlier keeper, from whose windows this one is
        to count on. (It is ahead of the shared clock if that was set back.)"""
        lead = counted - self.now()
        if 0 < lead <= LONGEST_LEAD:
            self._offset += lead

    def arrived(self, stamp: float) -> tuple[float, bool]:
        """When an entry of a stream arrived. Entries are given in order.

        Args:
            stamp: Its time stamp. Stamps never fall, so they stand still when the store's clock
                was set back, until that has made up for it. If the store has lost its newest
                entries as well, they go on below what was read.

        Returns:
            Own seconds, never falling and never ahead of now, and whether the stamp told them. If
            not, only the order of entries tells what came first.
        """
        told = stamp <= self._clock.now() + AHEAD
        self._arrived = min(self.now(), max(self._arrived, stamp - self._ahead))
        return self._arrived, told

    def entering(self, shared: float) -> float:
        """The own seconds of a moment of the shared clock."""
        return shared - self._ahead

    def leaving(self, own: float) -> float:
        """The shared clock's seconds of an own moment."""
        return own + self._ahead

    @property
    def _ahead(self) -> float:
        """How far the shared clock is ahead of the own seconds, as it is set now."""
        return self._clock.offset - self._offset
