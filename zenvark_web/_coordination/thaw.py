"""Sees that the process, or the whole machine, has stood still, and is running again.

Functions as a service are frozen between calls, and laptops sleep. Whatever was known then is old,
and all that waited for an answer has run out of time at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .._runtime.host import Host

LOOK_INTERVAL = 0.5
"""Seconds between two looks at the clocks."""

STOOD_STILL = 2.0
"""Seconds by which a look comes late, or the day's clock is ahead, only after that."""


class Thaw:
    """The loop that looks.

    Args:
        host: Has the clocks. Where it is the machine that stands still, the monotonic one does as
            well, and the day's goes on.
        thawed: Does what is to be done, and ends by itself.
    """

    def __init__(self, host: Host, thawed: Callable[[], Awaitable[object]]) -> None:
        self._monotonic = host.monotonic
        self._wall = host.wall
        self._thawed = thawed

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            began, day = self._monotonic(), self._wall()
            await asyncio.sleep(LOOK_INTERVAL)
            slept, passed = self._monotonic() - began, self._wall() - day
            if max(slept, passed) > LOOK_INTERVAL + STOOD_STILL:
                await self._thawed()
