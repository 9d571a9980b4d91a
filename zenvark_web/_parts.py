"""What a coordinator has whether it runs or not: its breakers, and all that is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TypeAlias

from ._coordination.host import Host
from ._coordination.local import LocalCircuit
from ._coordination.log import Log
from ._coordination.shard import Shard, shard_of
from ._coordination.surface import Surface
from ._core._checks import check_name
from ._core.policy import PolicyBook
from ._core.states import Role
from ._version import version
from .backends import Backend
from .backends.base import Presence
from .breaker import Breaker
from .events import StateChange
from .statistics import Statistics

EVICTION_TRIES = 100

Answer: TypeAlias = Awaitable[object] | object


class Parts:
    """What outlives a run."""

    def __init__(
        self,
        *,
        host: Host,
        namespace: str,
        backends: Sequence[Backend],
        policies: PolicyBook,
        lease_ttl: float,
        max_breakers: int,
        on_error: Callable[[Exception], Answer] | None,
        on_state_change: Callable[[StateChange], Answer] | None,
        on_role_change: Callable[[Role], Answer] | None,
    ) -> None:
        self.host = host
        fingerprint = f"{policies.fingerprint}/{len(backends)}"
        self.presence = Presence(host.unique_id(), version(), fingerprint)
        self.policies = policies
        self.lease_ttl = lease_ttl
        self.max_breakers = max_breakers
        self._make_surface = partial(
            Surface,
            log=Log(namespace, lambda: self.presence.instance),
            monotonic=host.monotonic,
            on_error=on_error,
            on_state_change=on_state_change,
            on_role_change=on_role_change,
        )
        self.statistics = Statistics()
        self.surface = self._make_surface(self.statistics)
        self.shards = self._make_shards(backends)
        self.breakers: OrderedDict[str, Breaker] = OrderedDict()
        self._making = Lock()

    def begin_anew(self) -> object:
        """Take a name of its own in a forked process, and have nothing to do with what is under
        way in the one it comes from; what is known stays known.

        Returns:
            What belongs to the other process.
        """
        inherited = self.shards
        self.presence = replace(self.presence, instance=self.host.unique_id())
        self.statistics = Statistics()
        self.surface = self._make_surface(self.statistics)
        self.shards = self._make_shards([shard.backend for shard in inherited])
        for shard, before in zip(self.shards, inherited, strict=True):
            shard.table.take_over(before.table)
        self._making = Lock()
        return inherited

    def breaker(self, name: str) -> Breaker:
        """The breaker of a circuit, made on first use, from any thread."""
        breaker = self.breakers.get(name)
        if breaker is None:
            with self._making:  # calls may come from any thread
                return self.breakers.get(name) or self._make_breaker(name)
        try:
            self.breakers.move_to_end(name)
        except KeyError:  # another thread has just evicted it
            return breaker
        return breaker

    def watched(self) -> Iterable[str]:
        """Circuits to check when they are quiet, though nobody has called them yet."""
        names = dict.fromkeys((*self.breakers, *self.policies.exact))
        return [name for name in names if self.policies[name].idle_interval is not None]

    def _make_breaker(self, name: str) -> Breaker:
        check_name("a circuit's name", name)
        breaker = Breaker(self._local(name))
        if len(self.breakers) < self.max_breakers or self._evict():
            self.breakers[name] = breaker
        return breaker  # with all places taken by open circuits, it works but is not kept

    def _make_shards(self, backends: Sequence[Backend]) -> Sequence[Shard]:
        return [
            Shard(self, backend, number, len(backends)) for number, backend in enumerate(backends)
        ]

    def _local(self, name: str) -> LocalCircuit:
        return self.shards[shard_of(name, len(self.shards))].table.local(name)

    def _evict(self) -> bool:
        """Let go of the breaker not used for longest, but of none that is needed."""
        for _ in range(min(EVICTION_TRIES, len(self.breakers))):
            name = next(iter(self.breakers))
            if self._local(name).quiet:
                del self.breakers[name]
                return True
            self.breakers.move_to_end(name)
        return False
