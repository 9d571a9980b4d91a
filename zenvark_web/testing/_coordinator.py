"""A coordinator whose host and stores are given to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._circuits.shard import Shard
from .._runtime.host import Host
from ..backends.base import Backend
from ..coordinator import Coordinator


class UpstreamError(Exception):
    """The simulated upstream failed."""


class SimulatedCoordinator(Coordinator):
    """A coordinator on a host and stores of the simulation's.

    Args:
        host: The host.
        backends: The ways to the stores, one for each shard.
        settings: As `Coordinator` has them.
    """

    def __init__(self, host: Host, backends: Sequence[Backend], **settings: Any) -> None:
        self._host = host
        self._given = backends
        super().__init__(None, shards=len(backends), **settings)

    def _backends(self, redis: object, namespace: str, shards: int) -> Sequence[Backend]:
        return self._given

    @property
    def shards(self) -> Sequence[Shard]:
        """What it knows, by shard."""
        return self._state.shards

    def leads(self, shard: int) -> bool:
        """Whether it believes that it leads a shard."""
        return self._session is not None and self._session.leads(shard)
