"""Asks holders of grants for what they do not use: many in one go, of each circuit only once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice

from .._core.order import Lease
from .._core.states import Transition
from ..backends.base import Backend
from ..exceptions import BackendError, FencedError
from .publisher import LARGEST_BATCH


class Recalls:
    """The questions that wait, and the loop that asks them.

    Args:
        backend: Where they are asked.
        lease: The leader's lease.
    """

    def __init__(self, backend: Backend, lease: Lease) -> None:
        self._backend = backend
        self._lease = lease
        self._waiting: dict[str, Transition] = {}  # in the order of circuits' first questions
        self._something = asyncio.Event()

    def put(self, transition: Transition) -> None:
        """Have the holder of a transition's grant asked, rather than that of an older one."""
        self._waiting[transition.circuit] = transition
        self._something.set()

    async def run(self) -> None:
        """Ask as questions come, for ever. One that is lost is asked again by its circuit, if it
        still matters then."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                names = list(islice(self._waiting, LARGEST_BATCH))
                batch = [self._waiting.pop(name) for name in names]
                with suppress(BackendError, FencedError):
                    await self._backend.recall(self._lease, *batch)
