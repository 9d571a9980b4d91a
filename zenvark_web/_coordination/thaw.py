"""Detects that the process, or the whole machine, was frozen and runs again.

Serverless functions are frozen between calls, and laptops sleep. After that, all known states are
old, and all pending requests time out at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .._runtime.host import Host

LOOK_INTERVAL = 0.5
"""Seconds between two checks of the clocks."""

STOOD_STILL = 2.0
"""Seconds by which a check is late, or the wall clock is ahead, only after a freeze."""


class Thaw:
    """The loop that checks the clocks.

    Args:
        host: The clocks. If the machine is frozen, the monotonic clock stops too, and the wall
            clock continues.
        thawed: Called after a freeze; ends by itself.
    """

    def __init__(self, host: Host, thawed: Callable[[], Awaitable[object]]) -> None:
        self._monotonic = host.monotonic
        self._wall = host.wall
        self._thawed = thawed

    async def run(self) -> None:
        """Check the clocks, forever."""
        while True:
            began, day = self._monotonic(), self._wall()
            await asyncio.sleep(LOOK_INTERVAL)
            # A stopped process shows in the monotonic clock, a suspended machine in the wall clock.
            slept, passed = self._monotonic() - began, self._wall() - day
            if max(slept, passed) > LOOK_INTERVAL + STOOD_STILL:
                await self._thawed()
