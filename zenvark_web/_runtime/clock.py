"""The shared clock, as known to an instance."""

from __future__ import annotations

import asyncio

from .host import Host

AHEAD = 1.0
"""Seconds by which a time stamp is ahead of the shared clock only after that was set back. An
instance's error is half of a slow reply's round trip at most."""

LONGEST_LEAD = 1e9
"""The maximum seconds by which an earlier keeper's clock may be ahead."""


class SharedClock:
    """The store's time, extrapolated between replies with this host's monotonic clock.

    Only durations are taken from the host; its wall clock has no influence.

    Args:
        host: The monotonic clock.
    """

    def __init__(self, host: Host) -> None:
        self.monotonic = host.monotonic
        self.known = asyncio.Event()
        self._offset = 0.0

    def open(self) -> None:
        """Prepare for use in the running loop."""
        self.known = asyncio.Event()

    def sync(self, now: float, asked: float) -> None:
        """Adjust to the store's time.

        Args:
            now: The store's time.
            asked: The monotonic second of the request.
        """
        answered = self.monotonic()
        # What agrees with an answer stays: then the clock is as exact as the fastest of them, and
        # the times of two results do not change places because one answer was slow.
        if not now - answered <= self._offset <= now - asked:
            self._offset = now - (asked + answered) / 2
        self.known.set()

    def now(self) -> float:
        """Return the shared clock's seconds."""
        return self.monotonic() + self._offset

    @property
    def offset(self) -> float:
        """The seconds by which the shared clock is ahead of the host's monotonic clock."""
        return self._offset

    def frame(self) -> Frame:
        """Create a frame that starts at this clock's time, and follows no later jump of it."""
        return Frame(self)


class Frame:
    """A keeper's own clock for counting and waiting, which never jumps.

    The store's clock may be changed, or be another server's after a failover, and the time stamps
    of its streams may stand still or begin anew. Times of the store are converted into own seconds
    where they enter, and back where they leave, each with the current setting of the store's clock.
    Between the two there is only one kind of time.

    Args:
        clock: The shared clock.
    """

    def __init__(self, clock: SharedClock) -> None:
        self._clock = clock
        self._offset = clock.offset
        self._arrived = float("-inf")

    def now(self) -> float:
        """Return the current time in own seconds."""
        return self._clock.monotonic() + self._offset

    def begin_after(self, counted: float, stamp: float) -> None:
        """Continue windows of an earlier keeper: entries after its last one arrive after the newest
        second that it counted. (Its own seconds are ahead of the shared clock if the clock was set
        back; how much time has passed since then is known only from the time stamp.)

        Args:
            counted: The newest counted second, in the earlier keeper's own seconds.
            stamp: The time stamp of the last entry that it counted.
        """
        lead = counted - self.entering(min(stamp, self._clock.now()))
        if 0 < lead <= LONGEST_LEAD:
            self._offset += lead

    def arrived(self, stamp: float) -> tuple[float, bool]:
        """Return the arrival time of a stream entry. Entries must be passed in order.

        Args:
            stamp: The time stamp of the entry. Time stamps never decrease: if the store's clock was
                set back, they stand still until the clock has caught up. If the store has also lost
                its newest entries, they continue below entries that were already read.

        Returns:
            The time in own seconds, never decreasing and never ahead of now, and whether the time
            stamp determined it. If not, only the order of entries is known.
        """
        told = stamp <= self._clock.now() + AHEAD
        self._arrived = min(self.now(), max(self._arrived, stamp - self._ahead))
        return self._arrived, told

    def entering(self, shared: float) -> float:
        """Convert a time of the shared clock into own seconds."""
        return shared - self._ahead

    def leaving(self, own: float) -> float:
        """Convert own seconds into a time of the shared clock."""
        return own + self._ahead

    @property
    def _ahead(self) -> float:
        """Return the current difference between the shared clock and the own seconds."""
        return self._clock.offset - self._offset
