"""Long work in portions, so that one task does not hold the event loop for long."""

from __future__ import annotations

import asyncio

LONGEST = 0.005


class Turn:
    """A task's turn on the event loop, which begins now and ends after `LONGEST` seconds."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + LONGEST

    async def share(self) -> None:
        """Let others go first if this turn has lasted for long enough."""
        if self._clock() >= self._until:
            await asyncio.sleep(0)
            self._until = self._clock() + LONGEST
