"""The breakers that an instance keeps: bounded in number, and in how fast new ones come.

All of it is under one lock, for calls come from any thread. The lock may be taken twice by one
thread: the garbage collector may run a user's code, which asks for a breaker, in the midst of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

from ._runtime.host import Host
from .breaker import Breaker

EVICTION_TRIES = 100

LEAST_BURST = 1_000
"""As many new names may come at once as are kept, and at least this many."""

NEW_PER_SECOND = 100.0
"""So many more may come in each further second."""

REMEMBERED_PER_KEPT = 4
"""Of the names that were let go of, so many are still no new ones when they come back."""


class Registry:
    """Breakers by name, in order of use.

    Args:
        most: How many to keep.
        host: Has the monotonic seconds.
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
        """The breaker of a circuit, if it is kept. It is the one used last from now on."""
        with self._lock:
            breaker = self._breakers.get(name)
            if breaker is not None:
                self._breakers.move_to_end(name)
            return breaker

    def keep(
        self, name: str, make: Callable[[], Breaker], can_be_evicted: Callable[[Breaker], bool]
    ) -> Breaker:
        """The breaker of a circuit, made if there is none. With all places taken by breakers that
        are needed, it works but is not kept.

        Args:
            name: The circuit.
            make: Makes a breaker.
            can_be_evicted: Tells whether one may be let go of.
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
        """The breakers that are kept now, the one used last at the end."""
        with self._lock:
            return MappingProxyType(dict(self._breakers))

    def affords(self, name: str) -> bool:
        """Whether one more new name may come. One that was here lately is no new one."""
        with self._lock:
            if name in self._gone:
                return True
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
        """Whether as many new names may come at once as ever."""
        return self._credit >= self._burst - 1

    def begin_anew(self) -> None:
        """Go on in a forked process, in which nobody can be at it any more."""
        self._lock = threading.RLock()

    def _evict(self, can_be_evicted: Callable[[Breaker], bool]) -> bool:
        """Let go of the breaker not used for longest, but of none that is needed."""
        for _ in range(min(EVICTION_TRIES, len(self._breakers))):
            name, breaker = self._breakers.popitem(last=False)
            if can_be_evicted(breaker):
                self._remember(name)
                return True
            self._breakers[name] = breaker
        return False

    def _remember(self, name: str) -> None:
        self._gone[name] = None
        if len(self._gone) > self._most * REMEMBERED_PER_KEPT:
            self._gone.popitem(last=False)
