"""Whether this instance reaches the store, as the loops that ask it find out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum


class Asker(Enum):
    """A loop that asks the store."""

    CAMPAIGN = "campaign"
    READER = "reader"
    REPORTER = "reporter"


class Link:
    """What each loop's newest question to the store came to.

    Args:
        again: Called when all loops have an answer after one had none.

    One that has not been answered yet is no trouble: a start is no outage.
    """

    def __init__(self, again: Callable[[], None]) -> None:
        self._again = again
        self._answered = dict.fromkeys(Asker, False)
        self._failed = dict.fromkeys(Asker, False)
        self._changed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked for states and leadership."""
        return self._answered[Asker.CAMPAIGN] and self._answered[Asker.READER]

    @property
    def answers(self) -> bool:
        """Whether the store has answered someone and has not failed to answer anybody."""
        return any(self._answered.values()) and not self.cut_off

    @property
    def cut_off(self) -> bool:
        """Whether any loop's newest question failed: then nobody judges this instance's results,
        or it does not hear of it."""
        return any(self._failed.values())

    def answered(self, asker: Asker) -> None:
        """Take note of an answer."""
        self._note(asker, True)

    def failed(self, asker: Asker) -> None:
        """Take note that there was none."""
        self._note(asker, False)

    def _note(self, asker: Asker, answered: bool) -> None:
        before = self.cut_off
        self._answered[asker] = answered
        self._failed[asker] = not answered
        if self.cut_off is not before:
            self._changed.set()
            if before:
                self._again()

    async def changes(self) -> None:
        """Wait until `cut_off` changes."""
        self._changed.clear()
        await self._changed.wait()
