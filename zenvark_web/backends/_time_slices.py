"""Cooperative yields in long work, so that one task does not hold the event loop for long."""

from __future__ import annotations

import asyncio

# Calls run in the same loop: this is the longest delay that decoding adds to one of them.
LONGEST = 0.005


class TimeSlice:
    """A task's time on the event loop. It begins now and ends after `LONGEST` seconds."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + LONGEST

    async def yield_if_over(self) -> None:
        """Let other tasks run if this time slice is over, and begin another one."""
        if self._clock() >= self._until:
            await asyncio.sleep(0)
            self._until = self._clock() + LONGEST
