"""An instance's part in one shard: what it knows of the circuits there, and what waits to be sent.

Circuits are spread over the shards of a namespace by their names. Each shard has keys, a lease
and a leader of its own, and nothing in common with the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from zlib import crc32

from .._circuits.absence import Absence
from .._circuits.outbox import Outbox
from .._circuits.table import Table
from .._core.policy import PolicyBook
from .._runtime.clock import SharedClock
from .._runtime.host import Host
from .._runtime.notifier import Surface
from ..backends.base import Backend, Presence
from ..statistics import Statistics
from .ledger import Ledger


class Member(Protocol):
    """What all shards have in common: the instance itself."""

    host: Host
    presence: Presence
    policies: PolicyBook
    surface: Surface
    statistics: Statistics
    absence: Absence
    lease_ttl: float
    max_breakers: int

    def watched(self) -> Iterable[str]:
        """Circuits to check when they are quiet, though nobody has called them yet."""
        ...


class Shard:
    """What outlives a run. The loops of a run are in `Membership`.

    Args:
        member: The instance.
        backend: The shard's store.
        number: The shard's number, from zero.
        of: How many there are.
    """

    def __init__(self, member: Member, backend: Backend, number: int, of: int) -> None:
        self._number = number
        self._of = of
        monotonic = member.host.monotonic
        self.backend = backend
        self.clock = SharedClock(monotonic)
        self.outbox = Outbox(member.statistics, absence=member.absence, context=member.host.context)
        self.ledger = Ledger(member.statistics, member.surface, monotonic)
        self.table = Table(
            policies=member.policies,
            outbox=self.outbox,
            clock=self.clock,
            surface=member.surface,
        )

    def holds(self, circuit: str) -> bool:
        """Whether a circuit belongs here."""
        return shard_of(circuit, self._of) == self._number


def shard_of(circuit: str, shards: int) -> int:
    """The number of the shard that a circuit belongs to; the same in every process."""
    return crc32(circuit.encode()) % shards
