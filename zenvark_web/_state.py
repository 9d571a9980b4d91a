"""The state of a coordinator that outlives a run: its instance, its shards, its breakers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ._breakers import Registry
from ._circuits.handover import Nowhere
from ._circuits.idle import IdleWarnings
from ._circuits.local import LocalCircuit
from ._circuits.outbox import Outbox
from ._circuits.shard import Shard, shard_of
from ._circuits.table import Table
from ._core._checks import check_name
from ._core.admission import Admission
from ._core.overrides import OverrideRecord, merged_by_name
from ._core.policy import BreakerPolicy, PolicyBook
from ._runtime.host import Host
from ._runtime.identity import Identity
from ._runtime.instance import Instance
from .backends import Backend
from .breaker import Breaker, UnprotectedBreaker, connect
from .statistics import Statistics

_WITHOUT = BreakerPolicy()


def _same(breaker: Breaker) -> Breaker:
    return breaker


class CoordinatorState:
    """The state that outlives a run.

    Args:
        instance: The instance, which has no name yet.
        backends: The store of each shard.
    """

    def __init__(self, instance: Instance, backends: Sequence[Backend]) -> None:
        self.identity: Identity = Identity(instance.host)
        self._registry = Registry(instance.max_breakers, instance.host)
        self._begin_shards(instance, backends)

    def _begin_shards(self, instance: Instance, backends: Sequence[Backend]) -> None:
        self.instance: Instance = instance
        self.idle: IdleWarnings = IdleWarnings(instance.notifier, instance.host)
        self.shards: Sequence[Shard] = [
            Shard(instance, backend, self.idle, number) for number, backend in enumerate(backends)
        ]
        self._nowhere = Outbox(instance, handover=Nowhere)
        self._flooded = False

    @property
    def name(self) -> str:
        """This instance's name, for users."""
        name = self.identity.show()
        self.instance.notifier.name(name)
        return name

    def begin_run(self) -> Instance:
        """Assign a name for the run that begins."""
        # An account in the store belongs to the name under which the batches were sent.
        bound = any(len(shard.outbox.in_flight) for shard in self.shards)
        name = self.identity.for_a_run(bound=bound)
        self.instance = replace(self.instance, id=name)
        self.instance.notifier.name(name)
        for shard in self.shards:
            shard.table.join(name)
        self.idle.started()
        return self.instance

    def begin_anew(self) -> object:
        """Reset the state in a forked process: detach from the parent's run, and keep the known
        transitions.

        Returns:
            The objects of the parent process.
        """
        inherited = self.shards
        statistics = Statistics()
        notifier = self.instance.notifier.renewed(statistics)
        self.identity.begin_anew()
        self._begin_shards(
            replace(self.instance, id="", statistics=statistics, notifier=notifier),
            [shard.backend for shard in inherited],
        )
        # Users keep their breakers, so the local circuits behind them stay the same objects.
        for shard, before in zip(self.shards, inherited, strict=True):
            shard.table.take_over(before.table)
        self._registry.begin_anew()
        return inherited

    def renewed(
        self,
        *,
        host: Host | None = None,
        policies: PolicyBook | None = None,
        backends: Sequence[Backend] | None = None,
    ) -> CoordinatorState:
        """Create a state in which nothing has happened yet, for a test.

        Args:
            host: Replaces the machine.
            policies: Replaces the policies.
            backends: Replaces the stores, one for each shard.
        """
        backends = [shard.backend for shard in self.shards] if backends is None else backends
        before, statistics = self.instance, Statistics()
        host = before.host if host is None else host
        instance = replace(
            before,
            host=host,
            policies=before.policies if policies is None else policies,
            notifier=before.notifier.renewed(statistics, host),
            statistics=statistics,
            shards=len(backends),
            id="",
        )
        return CoordinatorState(instance, backends)

    def take_in(self, breakers: Mapping[str, Breaker]) -> None:
        """Connect breakers of another state, which users hold, to the circuits of this one."""
        for name, breaker in breakers.items():
            connect(breaker, self._table(name).local(name))
            self._registry.keep(name, partial(_same, breaker), self._can_be_evicted)

    def breaker(self, name: str) -> Breaker:
        """Return the breaker of a circuit, created on first use, from any thread."""
        breaker = self._registry.get(name)
        if breaker is not None:
            return breaker
        check_name("a circuit's name", name)
        return self._protected(name) or self._unprotected(name)

    def _protected(self, name: str) -> Breaker | None:
        """Return the protected breaker of a circuit, unless it exceeds the limit for new names.
        Circuits that `policies` names are bounded by the settings, and never exceed it."""
        table = self._table(name)
        if not (name in self.instance.policies.exact or table.knows(name) or self._affords(name)):
            return None
        return self._registry.keep(name, lambda: Breaker(table.local(name)), self._can_be_evicted)

    def _protected_circuit(self, name: str) -> LocalCircuit | None:
        kept = self._registry.get(name) or self._protected(name)
        return None if kept is None else self._table(name).local(name)

    def _table(self, name: str) -> Table:
        return self.shards[shard_of(name, len(self.shards))].table

    def _can_be_evicted(self, breaker: Breaker) -> bool:
        table = self._table(breaker.name)
        named = breaker.name in table.overrides.in_force
        return not named and table.local(breaker.name).can_be_evicted

    @property
    def overrides(self) -> Mapping[str, OverrideRecord]:
        """The overrides in force, by circuit or pattern."""
        return merged_by_name(shard.table.overrides.current for shard in self.shards)

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """The breakers that are kept now."""
        return self._registry.snapshot()

    @property
    def kept(self) -> int:
        """The number of kept breakers."""
        return len(self._registry)

    def watched(self) -> Iterable[str]:
        """Return the circuits with idle checks before their first call."""
        names = dict.fromkeys((*self.breakers, *self.instance.policies.exact))
        return [name for name in names if self.instance.policies[name].idle_interval is not None]

    def _affords(self, name: str) -> bool:
        """Return whether the limit permits one more new circuit. Before the start, a new circuit
        costs the fleet nothing."""
        if not self.shards[0].outbox.handover.served:
            return True
        affords = self._registry.affords(name)
        if affords and self._flooded and self._registry.at_rest:
            self._flooded = False
        return affords

    def _unprotected(self, name: str) -> Breaker:
        self.instance.statistics.unprotected += 1
        if not self._flooded:
            self._flooded = True
            self.instance.notifier.too_many_new(name)
        local = LocalCircuit(name, _WITHOUT, Admission(""), self._nowhere)
        self._table(name).put_under(local)
        return UnprotectedBreaker(local, self._protected_circuit)
