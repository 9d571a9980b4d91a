"""Recalls unused permits from holders of grants: many at once, and each circuit only once."""

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
    """The pending recalls, and the loop that sends them.

    Args:
        backend: The store.
        lease: The leader's lease.
    """

    def __init__(self, backend: Backend, lease: Lease) -> None:
        self._backend = backend
        self._lease = lease
        self._waiting: dict[str, Transition] = {}  # in the order of circuits' first questions
        self._something = asyncio.Event()

    def put(self, transition: Transition) -> None:
        """Add the recall of a transition's grant, in place of an older one."""
        self._waiting[transition.circuit] = transition
        self._something.set()

    async def run(self) -> None:
        """Send pending recalls, forever. The circuit repeats a lost recall, if it still matters."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                names = list(islice(self._waiting, LARGEST_BATCH))
                batch = [self._waiting.pop(name) for name in names]
                with suppress(BackendError, FencedError):
                    await self._backend.recall(self._lease, *batch)
