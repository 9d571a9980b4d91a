"""What a coordinator has whether it runs or not: its breakers, and all that is known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TypeAlias

from ._circuits.absence import Absence
from ._circuits.local import LocalCircuit
from ._circuits.outbox import Nowhere
from ._circuits.table import Table
from ._coordination.shard import Shard, shard_of
from ._core._checks import check_name
from ._core.admission import Admission
from ._core.policy import BreakerPolicy, PolicyBook
from ._core.states import Role
from ._registry import Registry
from ._runtime.host import Host
from ._runtime.log import Log
from ._runtime.notifier import Surface
from ._version import __version__
from .backends import Backend
from .backends.base import Presence
from .breaker import Breaker, UnprotectedBreaker
from .events import StateChange
from .statistics import Statistics

STOOD_STILL = 1.0
"""Seconds by which the clocks of a machine differ only if it stood still, or its clock was set."""

_WITHOUT = BreakerPolicy()

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
        self.presence = Presence("", __version__, fingerprint)
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
        self._naming = Lock()
        self._told = False
        self._named_at = self._drift()
        self._registry = Registry(max_breakers, host.monotonic)
        self._shards_begin(backends)

    def _shards_begin(self, backends: Sequence[Backend]) -> None:
        self.statistics = Statistics()
        self.surface = self._make_surface(self.statistics)
        self.absence = Absence(self.surface, self.host.monotonic)
        self.shards: Sequence[Shard] = [
            Shard(self, backend, number, len(backends)) for number, backend in enumerate(backends)
        ]
        self._nowhere = Nowhere(self.statistics)
        self._flooded = False

    @property
    def name(self) -> str:
        """This instance's name, as it is told to users, who may have put it down somewhere."""
        with self._naming:
            if not self.presence.instance:
                self._take_name()
            self._told = True
        return self.presence.instance

    def begin_run(self) -> None:
        """Take a name for the run that begins. Not sooner: copies of a machine's image, or of a
        process', would share it, and each take itself for the leader.

        A name that was told stays, and one under which results are still accounted for, unless the
        machine has stood still in between, as it does when its image is taken.
        """
        with self._naming:
            bound = self._told or any(len(shard.ledger) for shard in self.shards)
            still = abs(self._drift() - self._named_at) > STOOD_STILL
            if not (self.presence.instance and bound) or still:
                self._take_name()
        for shard in self.shards:
            shard.table.join(self.presence.instance)
        self.absence.over()

    def _take_name(self) -> None:
        self.presence = replace(self.presence, instance=self.host.unique_id())
        self._told = False
        self._named_at = self._drift()

    def _drift(self) -> float:
        """The seconds by which the day's clock is ahead of the one that stands still with the
        machine."""
        return self.host.wall() - self.host.monotonic()

    def begin_anew(self) -> object:
        """Take no part any more in a forked process, and have nothing to do with what is under
        way in the one it comes from; what is known stays known.

        Returns:
            What belongs to the other process.
        """
        inherited = self.shards
        self.presence, self._told = replace(self.presence, instance=""), False
        self._naming = Lock()
        self._shards_begin([shard.backend for shard in inherited])
        for shard, before in zip(self.shards, inherited, strict=True):
            shard.table.take_over(before.table)
        self._registry.begin_anew()
        return inherited

    def breaker(self, name: str) -> Breaker:
        """The breaker of a circuit, made on first use, from any thread."""
        breaker = self._registry.get(name)
        if breaker is not None:
            return breaker
        check_name("a circuit's name", name)
        return self._protected(name) or self._unprotected(name)

    def _protected(self, name: str) -> Breaker | None:
        """The breaker of a circuit, unless it is one new circuit too many. Those that have
        settings of their own are as many as somebody has written down, and never too many."""
        table = self._table(name)
        if not (name in self.policies.exact or table.knows(name) or self._affords(name)):
            return None
        return self._registry.keep(name, lambda: Breaker(table.local(name)), quiet=self._quiet)

    def _protected_circuit(self, name: str) -> LocalCircuit | None:
        kept = self._registry.get(name) or self._protected(name)
        return None if kept is None else self._table(name).local(name)

    def _table(self, name: str) -> Table:
        return self.shards[shard_of(name, len(self.shards))].table

    def _quiet(self, breaker: Breaker) -> bool:
        return self._table(breaker.name).local(breaker.name).quiet

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """The breakers that are kept now."""
        return self._registry.snapshot()

    @property
    def kept(self) -> int:
        """How many breakers are kept."""
        return len(self._registry)

    def watched(self) -> Iterable[str]:
        """Circuits to check when they are quiet, though nobody has called them yet."""
        names = dict.fromkeys((*self.breakers, *self.policies.exact))
        return [name for name in names if self.policies[name].idle_interval is not None]

    def _affords(self, name: str) -> bool:
        """Whether one more new circuit may come. Before the start it costs the fleet nothing."""
        if not self.shards[0].outbox.served:
            return True
        affords = self._registry.affords(name)
        if affords and self._flooded and self._registry.at_rest:
            self._flooded = False
        return affords

    def _unprotected(self, name: str) -> Breaker:
        self.statistics.unprotected += 1
        if not self._flooded:
            self._flooded = True
            self.surface.too_many_new(name)
        local = LocalCircuit(
            name=name,
            policy=_WITHOUT,
            admission=Admission(""),
            outbox=self._nowhere,
            monotonic=self.host.monotonic,
            surface=self.surface,
        )
        return UnprotectedBreaker(local, self._protected_circuit)
