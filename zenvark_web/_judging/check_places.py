"""Whose health check runs next, where more are due than may run at a time.

Checks of dead hosts hang. However many of them wait, a circuit that is known to have worked has a
place soon: some are kept for such circuits, and what has hung before takes no more than half of the
others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import IntEnum

from .health import MAX_CHECKS

MAX_HANGING = MAX_CHECKS // 2
"""Of the places, so many at most are for checks of unknown circuits that have hung before."""

KEPT_FREE = 8
"""Further places, for circuits that have worked before; half of them while their checks hang."""


class Claim(IntEnum):
    """What a circuit's check has for itself, best first."""

    TRUSTED = 0
    """Its circuit has worked before, or several instances call it."""
    TRUSTED_HANGING = 1
    """The same, but its last check hung."""
    WANTED = 2
    """There are calls to make."""
    UNKNOWN = 3
    HANGING = 4
    """Its last check hung."""


class CheckPlaces:
    """The places that health checks run in."""

    def __init__(self) -> None:
        self._running: Counter[Claim] = Counter()
        self._waiting = {claim: OrderedDict[asyncio.Future[None], None]() for claim in Claim}

    @asynccontextmanager
    async def place(self, claim: Claim) -> AsyncGenerator[None]:
        """Have a place as soon as there is one."""
        await self._enter(claim)
        try:
            yield
        finally:
            self._leave(claim)

    async def _enter(self, claim: Claim) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[claim]
        waiting[turn] = None
        self._admit()
        try:
            await turn
        except BaseException:
            if turn in waiting:
                del waiting[turn]
            else:  # it was given a place in the same moment
                self._leave(claim)
            raise

    def _leave(self, claim: Claim) -> None:
        self._running[claim] -= 1
        self._admit()

    def _admit(self) -> None:
        for claim, waiting in self._waiting.items():
            while waiting and self._has_room(claim):
                turn, _ = waiting.popitem(last=False)
                self._running[claim] += 1
                if not turn.done():
                    turn.set_result(None)

    def _has_room(self, claim: Claim) -> bool:
        running = self._running.total()
        if claim is Claim.TRUSTED:
            return running < MAX_CHECKS + KEPT_FREE
        if claim is Claim.TRUSTED_HANGING:
            return running < MAX_CHECKS + KEPT_FREE // 2
        if claim is Claim.HANGING and self._running[claim] >= MAX_HANGING:
            return False
        return running < MAX_CHECKS
