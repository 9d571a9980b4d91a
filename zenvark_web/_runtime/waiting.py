"""Waits that the loops share: for an event with a timeout, and for the next of many timers."""

from __future__ import annotations

import asyncio
import heapq

SPARE_TIMERS = 64
"""The maximum number of replaced timers in the heap before it is rebuilt."""


async def within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event with a timeout in seconds; return whether it was set."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class Timers:
    """One timer for each name, and a wait for the first due one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due_at: dict[str, float] = {}
        self._changed = asyncio.Event()

    def set(self, name: str, at: float) -> None:
        """Set the timer of a name, unless it has an earlier one."""
        if at >= self._due_at.get(name, float("inf")):
            return
        self._due_at[name] = at
        # The later entry of the name stays in the heap, and is skipped when it is due.
        heapq.heappush(self._heap, (at, name))
        if len(self._heap) > 2 * len(self._due_at) + SPARE_TIMERS:
            self._heap = [(at, name) for name, at in self._due_at.items()]
            heapq.heapify(self._heap)
        self._changed.set()

    def discard(self, name: str) -> None:
        """Remove the timer of a name, if it has one."""
        self._due_at.pop(name, None)

    def clear(self) -> None:
        """Remove all timers."""
        self._heap.clear()
        self._due_at.clear()

    def due(self, now: float) -> list[str]:
        """Remove and return the due names, the earliest first."""
        self._changed.clear()
        names: list[str] = []
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._due_at.get(name) == at:  # not overtaken by an earlier one
                del self._due_at[name]
                names.append(name)
        return names

    async def wait(self, now: float) -> None:
        """Wait until the next timer is due, or one was set since `due` was called."""
        await within(self._changed, self._heap[0][0] - now if self._heap else None)
