"""Who needs a coordinator to run: the last one to leave has it stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TypeAlias

Place: TypeAlias = "asyncio.AbstractEventLoop | None"
"""The event loop of asyncio's that a user runs in; None in synchronous code, and under trio."""


class Users:
    """Blocks (`with`, `async with`), each counted, and whoever has called `start()`: once, however
    often, until `stop()`. Users whose event loop was closed are none any more."""

    def __init__(self) -> None:
        self._blocks: Counter[Place] = Counter()
        self._starting: dict[object, Place] = {}
        self._started: list[Place] = []

    def enter(self, place: Place) -> None:
        """A block is entered."""
        self._blocks[place] += 1

    def leave(self, place: Place) -> None:
        """A block is left. (In a forked process, it may be one that was entered before.)"""
        if self._blocks[place]:
            self._blocks[place] -= 1

    def begin(self, place: Place) -> object:
        """`start()` has been called; tells a token for this call."""
        token = object()
        self._starting[token] = place
        return token

    def began(self, token: object) -> None:
        """That call has come to its end; `stop()` may have been called meanwhile."""
        if token in self._starting:
            self._started = [self._starting.pop(token)]

    def give_up(self, token: object) -> None:
        """That call has failed, or was cancelled."""
        self._starting.pop(token, None)

    def stop(self) -> None:
        """`stop()` has been called. Where nobody has called `start()`, it means everybody."""
        if not self._starting and not self._started:
            self._blocks.clear()
        self._starting.clear()
        self._started.clear()

    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._places())

    def any_in(self, place: Place) -> bool:
        """Whether there are any in a place."""
        return place in self._places()

    def _places(self) -> set[Place]:
        blocks = (place for place, count in self._blocks.items() if count)
        places = {*blocks, *self._starting.values(), *self._started}
        return {place for place in places if place is None or not place.is_closed()}


def place_here() -> Place:
    """Where this is called."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
