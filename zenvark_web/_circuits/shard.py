"""An instance's part in one shard: its knowledge of the circuits, and its pending results.

The circuits of a namespace are distributed over its shards by name. Each shard has its own keys,
lease and leader, and shares nothing with the others.
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
    """The part of a shard that outlives a run. `ShardRunner` contains the loops of a run.

    Args:
        instance: The instance.
        backend: The shard's store.
        idle: Warns about calls while no run is active.
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
        self.table = Table(instance, self.outbox, self.clock, number)

    def holds(self, circuit: str) -> bool:
        """Return whether a circuit belongs to this shard."""
        return shard_of(circuit, self._of) == self._number


def shard_of(circuit: str, shards: int) -> int:
    """Return the number of a circuit's shard, which is the same in every process."""
    return crc32(circuit.encode()) % shards
