"""Who this instance is: the one value that its circuits and its loops share."""

from __future__ import annotations

from dataclasses import dataclass

from .._core.policy import PolicyBook
from ..statistics import Statistics
from .host import Host
from .notifier import Notifier


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One coordinator under one name. A run that takes a new name makes a new value.

    Args:
        host: The machine that it runs on.
        policies: The policies of circuits.
        notifier: Reports errors and events.
        statistics: Counts what happens.
        lease_ttl: The seconds that a lease lasts.
        max_breakers: How many circuits to keep.
        shards: The number of shards that the circuits are spread over.
        id: Its name in the fleet; empty until it takes one.
    """

    host: Host
    policies: PolicyBook
    notifier: Notifier
    statistics: Statistics
    lease_ttl: float = 2.0
    max_breakers: int = 10_000
    shards: int = 1
    id: str = ""
