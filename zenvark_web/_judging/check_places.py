"""The order of health checks, if more are due than may run at a time.

Checks of dead hosts hang. Circuits that are known to have worked do not wait for them: some slots
are reserved for such circuits, and checks that have hung before take at most half of the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import IntEnum

from .health import MAX_CHECKS

MAX_HANGING = MAX_CHECKS // 2
"""The maximum number of slots for checks of unknown circuits that have hung before."""

KEPT_FREE = 8
"""Reserved slots for circuits that have worked before; half of them while their checks hang."""


class Claim(IntEnum):
    """The priority of a circuit's check, best first."""

    TRUSTED = 0
    """The circuit has worked before, or several instances call it."""
    TRUSTED_HANGING = 1
    """As TRUSTED, but the last check hung."""
    WANTED = 2
    """There is demand for calls."""
    UNKNOWN = 3
    HANGING = 4
    """The last check hung."""


class CheckPlaces:
    """The slots for concurrent health checks."""

    def __init__(self) -> None:
        self._running: Counter[Claim] = Counter()
        self._waiting = {claim: OrderedDict[asyncio.Future[None], None]() for claim in Claim}

    @asynccontextmanager
    async def place(self, claim: Claim) -> AsyncGenerator[None]:
        """Acquire a slot as soon as one is free."""
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
