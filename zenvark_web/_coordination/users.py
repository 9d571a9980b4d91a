"""The users of a coordinator: the last one to leave stops it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TypeAlias

Place: TypeAlias = "asyncio.AbstractEventLoop | None"
"""The asyncio event loop of a user; None in synchronous code, and under trio."""


class Users:
    """The users: each block (`with`, `async with`), and one for all calls of `start()` until
    `stop()`. Users whose event loop was closed do not count."""

    def __init__(self) -> None:
        self._blocks: Counter[Place] = Counter()
        self._starting: dict[object, Place] = {}
        self._started: list[Place] = []

    def enter(self, place: Place) -> None:
        """Count an entered block."""
        self._blocks[place] += 1

    def leave(self, place: Place) -> None:
        """Count a left block. (In a forked process, the block may have been entered before the
        fork.)"""
        if self._blocks[place]:
            self._blocks[place] -= 1

    def begin(self, place: Place) -> object:
        """Begin a call of `start()`; return a token for this call."""
        token = object()
        self._starting[token] = place
        return token

    def began(self, token: object) -> None:
        """End that call successfully; `stop()` may have been called meanwhile."""
        if token in self._starting:
            self._started = [self._starting.pop(token)]

    def give_up(self, token: object) -> None:
        """End that call after a failure or a cancellation."""
        self._starting.pop(token, None)

    def stop(self) -> None:
        """Remove the user of `start()`. Without a previous `start()`, remove all users."""
        if not self._starting and not self._started:
            self._blocks.clear()
        self._starting.clear()
        self._started.clear()

    def any(self) -> bool:
        """Return whether there are users."""
        return bool(self._places())

    def any_in(self, place: Place) -> bool:
        """Return whether there are users in a place."""
        return place in self._places()

    def _places(self) -> set[Place]:
        blocks = (place for place, count in self._blocks.items() if count)
        places = {*blocks, *self._starting.values(), *self._started}
        return {place for place in places if place is None or not place.is_closed()}


def place_here() -> Place:
    """Return the place of the caller."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
