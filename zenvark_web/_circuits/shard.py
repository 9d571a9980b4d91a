"""An instance's part in one shard: what it knows of the circuits there, and what waits to be sent.

Circuits are spread over the shards of a namespace by their names. Each shard has keys, a lease
and a leader of its own, and nothing in common with the others.
"""

from __future__ import annotations

from zlib import crc32

from .._runtime.clock import SharedClock
from .._runtime.instance import Instance
from ..backends.base import Backend
from .idle import IdleWarnings
from .outbox import Outbox
from .table import Table


class Shard:
    """What outlives a run. The loops of a run are in `ShardRunner`.

    Args:
        instance: The instance.
        backend: The shard's store.
        idle: Warns of calls while no run is under way.
        number: The shard's number, from zero.
    """

    def __init__(
        self, instance: Instance, backend: Backend, idle: IdleWarnings, number: int
    ) -> None:
        self._number = number
        self._of = instance.shards
        self.backend = backend
        self.clock = SharedClock(instance.host)
        self.outbox = Outbox(instance, idle)
        self.table = Table(instance, self.outbox, self.clock)

    def holds(self, circuit: str) -> bool:
        """Whether a circuit belongs here."""
        return shard_of(circuit, self._of) == self._number


def shard_of(circuit: str, shards: int) -> int:
    """The number of the shard that a circuit belongs to; the same in every process."""
    return crc32(circuit.encode()) % shards
