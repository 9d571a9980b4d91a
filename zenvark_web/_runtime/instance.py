"""The value that describes this instance, shared by its circuits and its loops."""

from __future__ import annotations

from dataclasses import dataclass

from .._core.policy import PolicyBook
from ..statistics import Statistics
from .host import Host
from .notifier import Notifier


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One coordinator under one name. A run with a new name creates a new value.

    Args:
        host: The machine on which it runs.
        policies: The policies of circuits.
        notifier: Reports errors and events.
        statistics: The counters.
        lease_ttl: The length of a lease in seconds.
        max_breakers: The maximum number of circuits.
        shards: The number of shards.
        common_cause: The share of circuits that trip together above which a leader opens no further
            ones.
        id: The name in the fleet; empty until it is assigned.
    """

    host: Host
    policies: PolicyBook
    notifier: Notifier
    statistics: Statistics
    lease_ttl: float = 2.0
    max_breakers: int = 10_000
    shards: int = 1
    common_cause: float | None = None
    id: str = ""
