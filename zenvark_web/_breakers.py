"""The breakers of an instance: bounded in number and in the rate of new ones.

One lock protects everything, because calls come from any thread. The lock is reentrant: the garbage
collector may run user code that requests a breaker at any point.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

from ._runtime.host import Host
from .breaker import Breaker

# A request waits for the search. Where all breakers are in use, none can be evicted, and a longer
# search would find that out no better.
EVICTION_TRIES = 100

LEAST_BURST = 1_000
"""The minimum number of new names at once; the limit is the number of kept breakers."""

NEW_PER_SECOND = 100.0
"""The number of new names in each further second."""

REMEMBERED_PER_KEPT = 4
"""The number of remembered evicted names for each kept breaker; they do not count as new when they
return."""


class Registry:
    """Breakers by name, in order of use.

    Args:
        most: The maximum number of breakers.
        host: The monotonic clock.
    """

    def __init__(self, most: int, host: Host) -> None:
        self._most = most
        self._monotonic = host.monotonic
        self._lock: AbstractContextManager[bool] = threading.RLock()
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._burst = float(max(LEAST_BURST, most))
        self._credit = self._burst
        self._counted_at = host.monotonic()

    def __len__(self) -> int:
        return len(self._breakers)

    def get(self, name: str) -> Breaker | None:
        """Return a circuit's breaker, if it is kept, and make it the most recently used one."""
        with self._lock:
            breaker = self._breakers.get(name)
            if breaker is not None:
                self._breakers.move_to_end(name)
            return breaker

    def keep(
        self, name: str, make: Callable[[], Breaker], can_be_evicted: Callable[[Breaker], bool]
    ) -> Breaker:
        """Return the breaker of a circuit, and create it if necessary. If all places are taken by
        breakers in use, the breaker works but is not kept.

        Args:
            name: The circuit.
            make: Creates a breaker.
            can_be_evicted: Returns whether a breaker may be evicted.
        """
        with self._lock:
            breaker = self.get(name)
            if breaker is None:
                breaker = make()
                if len(self._breakers) < self._most or self._evict(can_be_evicted):
                    self._breakers[name] = breaker
                    self._gone.pop(name, None)
            return breaker

    def snapshot(self) -> Mapping[str, Breaker]:
        """Return the kept breakers, the most recently used one last."""
        with self._lock:
            return MappingProxyType(dict(self._breakers))

    def affords(self, name: str) -> bool:
        """Return whether the limit permits one more new name. A name that was evicted recently is
        not new."""
        with self._lock:
            if name in self._gone:
                return True
            # A token bucket: a start with all known names is no flood.
            now = self._monotonic()
            self._credit += (now - self._counted_at) * NEW_PER_SECOND
            self._credit = min(self._credit, self._burst)
            self._counted_at = now
            if self._credit < 1:
                return False
            self._credit -= 1
            return True

    @property
    def at_rest(self) -> bool:
        """Return whether the full number of new names at once is permitted again."""
        return self._credit >= self._burst - 1

    def begin_anew(self) -> None:
        """Continue in a forked process, in which no other thread uses the registry."""
        self._lock = threading.RLock()

    def _evict(self, can_be_evicted: Callable[[Breaker], bool]) -> bool:
        """Evict the least recently used breaker that is not in use."""
        for _ in range(min(EVICTION_TRIES, len(self._breakers))):
            name, breaker = self._breakers.popitem(last=False)
            if can_be_evicted(breaker):
                self._remember(name)
                return True
            self._breakers[name] = breaker  # at the end, so that the next search begins elsewhere
        return False

    def _remember(self, name: str) -> None:
        self._gone[name] = None
        if len(self._gone) > self._most * REMEMBERED_PER_KEPT:
            self._gone.popitem(last=False)
