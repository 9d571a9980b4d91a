"""Stores the texts of an instance's policies, so that operators see in which settings instances
differ."""

from __future__ import annotations

import asyncio

from .._core.policy import digest_of
from .._runtime.connection import ConnectionStatus, RetryBackoff
from .._runtime.instance import Instance
from ..backends.base import Backend
from ..exceptions import BackendError

INTERVAL = 60.0
"""Seconds after which the texts are stored again: the store may have lost them."""

RETRY = 5.0
"""The same after a failed attempt."""

LONGEST_TEXT = 65_536
"""The maximum number of characters of a text; what is beyond is left out."""


class Description:
    """The loop that stores the texts.

    Args:
        instance: This instance.
        backend: The store.
        connection: Whether the store answers other requests. If not, the others report it.
    """

    def __init__(self, instance: Instance, backend: Backend, connection: ConnectionStatus) -> None:
        policies = (instance.policies.text, instance.policies.local_text)
        self._texts = {digest_of(text): text[:LONGEST_TEXT] for text in policies}
        self._backend = backend
        self._connection = connection
        self._retries = RetryBackoff(instance)

    async def run(self) -> None:
        """Store the texts from time to time, forever."""
        while True:
            try:
                await self._backend.describe(self._texts)
            except BackendError as error:
                if self._connection.connected:
                    self._retries.failed(error)
                await asyncio.sleep(RETRY)
            else:
                self._retries.over()
                await asyncio.sleep(INTERVAL)
