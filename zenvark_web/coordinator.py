"""The coordinator: one per process and namespace. It makes breakers and shares their opinion."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ._coordination.host import Host
from ._coordination.local import LocalCircuit
from ._coordination.session import Session
from ._coordination.shard import Shard, shard_of
from ._coordination.surface import Surface
from ._core._checks import check_name, check_number, check_whole
from ._core.policy import BreakerPolicy, PolicyBook
from ._core.states import Role
from ._version import version
from .backends import Backend, MemoryBackend, RedisBackend
from .backends.base import Presence
from .breaker import Breaker
from .events import StateChange
from .statistics import Statistics

if TYPE_CHECKING:
    import redis.asyncio

START_PATIENCE = 1.0
METRICS_INTERVAL = 1.0
MAX_SHARDS = 256
EVICTION_TRIES = 100

Store: TypeAlias = "str | redis.asyncio.Redis | redis.asyncio.RedisCluster | Backend | None"
Answer: TypeAlias = Awaitable[object] | object


class MetricsRecorder(Protocol):
    """Something that shows a coordinator's numbers. It reads them when it is asked for them:
    `Coordinator.statistics`, `breakers`, `role` and `connected`."""

    def attach(self, coordinator: Coordinator) -> None:
        """Show this coordinator, which has just been started."""
        ...

    def update(self, coordinator: Coordinator) -> None:
        """It is running. Told about once a second in its event loop, for what has to be written
        down because nobody will ask this process."""
        ...

    def detach(self, coordinator: Coordinator) -> None:
        """Stop showing it; it has been stopped."""
        ...


class Coordinator:
    """Shares circuits with the other instances of a namespace.

        coordinator = Coordinator("redis://localhost:6379", namespace="shop")
        async with coordinator:
            await coordinator.breaker("payments").execute(pay, order)

    It can be made and imported anywhere, without a loop or a Redis. Until it is started, and
    after it is stopped, breakers pass calls by the last known state and record nothing.

    Args:
        redis: A URL; a `redis.asyncio` client or cluster client (yours: it is never closed); a
            `Backend`; or None for one process on its own.
        namespace: The fleet that shares circuits.
        policy: For every circuit without a policy of its own.
        policies: By circuit name; `*` and `?` stand for anything, the most specific fits.
        lease_ttl: Seconds after which a leader that has vanished is replaced, at least 0.2.
        max_breakers: How many breakers to keep. The least recently used one goes first, but
            never one that is open.
        shards: Spreads the circuits, by their names, over so many leaders, streams and Redis
            Cluster slots, for fleets that outgrow one. Each takes two connections per process.
            The same in all processes of a namespace; changing it starts all circuits anew.
        metrics: Shows the numbers, such as `PrometheusMetrics()`.
        on_error: Told each error of the background. It is logged and counted in any case.
        on_state_change: Told each change of a circuit's state, as it takes effect here.
        on_role_change: Told when this instance leads or no longer does.

    Callbacks may be sync or async. They run one after another, away from calls.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    _host = Host()  # the simulation's coordinators have one of their own

    def __init__(
        self,
        redis: str | redis.asyncio.Redis | redis.asyncio.RedisCluster | Backend | None = None,
        *,
        namespace: str = "default",
        policy: BreakerPolicy = BreakerPolicy(),
        policies: Mapping[str, BreakerPolicy] | None = None,
        lease_ttl: float = 2.0,
        max_breakers: int = 10_000,
        shards: int = 1,
        metrics: MetricsRecorder | None = None,
        on_error: Callable[[Exception], Answer] | None = None,
        on_state_change: Callable[[StateChange], Answer] | None = None,
        on_role_change: Callable[[Role], Answer] | None = None,
    ) -> None:
        check_name("namespace", namespace)
        check_number("lease_ttl", lease_ttl, least=0.2, most=3600, unit="seconds")
        check_whole("max_breakers", max_breakers)
        check_whole("shards", shards, most=MAX_SHARDS)
        for what, callback in (
            ("on_error", on_error),
            ("on_state_change", on_state_change),
            ("on_role_change", on_role_change),
        ):
            _check_callable(what, callback)
        self._parts = _Parts(
            host=self._host,
            backends=self._backends(redis, namespace, shards),
            policies=PolicyBook(policy, policies or {}),
            lease_ttl=lease_ttl,
            max_breakers=max_breakers,
            on_error=on_error,
            on_state_change=on_state_change,
            on_role_change=on_role_change,
        )
        self._namespace = namespace
        self._metrics = metrics
        self._session: Session | None = None

    def __repr__(self) -> str:
        state = "started" if self._running() else "stopped"
        return (
            f"<Coordinator {self._namespace!r} {state} {self.role} instance={self.instance_id} "
            f"breakers={len(self.breakers)} {self._parts.shards[0].backend!r}>"
        )

    @property
    def namespace(self) -> str:
        """The fleet that shares circuits."""
        return self._namespace

    @property
    def instance_id(self) -> str:
        """This instance's name in the fleet. A process that was forked after the coordinator was
        made gets one of its own when it starts it."""
        return self._parts.presence.instance

    @property
    def role(self) -> Role:
        """Whether this instance leads its namespace."""
        session = self._running()
        return session.role if session else Role.FOLLOWER

    @property
    def running(self) -> bool:
        """Whether it has been started, and not been stopped since."""
        return self._running() is not None

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked."""
        session = self._running()
        return session is not None and session.connected

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """The breakers this instance keeps, by name."""
        return MappingProxyType(self._parts.breakers)

    @property
    def statistics(self) -> Statistics:
        """What this instance has counted."""
        return self._parts.statistics

    def breaker(self, name: str) -> Breaker:
        """The breaker of a circuit, made on first use.

        Raises:
            TypeError, ValueError: The name is empty, too long or not printable.
        """
        return self._parts.breaker(name)

    def surface(self, error: Exception) -> None:
        """Treat an error as one of the background: `on_error`, the log, a counter. For what is
        built upon a coordinator."""
        self._parts.surface.error(error)

    async def start(self) -> None:
        """Join the fleet. Returns with its state loaded, or after about a second without.

        Redis may be down: that surfaces, and the instance joins in when it can. Starting a
        started coordinator does nothing.

        Raises:
            RuntimeError: It is running in another event loop.
        """
        session = self._running_here()
        while session is not None and session.stopping:
            await self.stop()
            session = self._running_here()
        if session is None:
            self._parts.identify()
            if self._metrics is not None:
                self._metrics.attach(self)
            others = [] if self._metrics is None else [self._update_metrics]
            session = self._session = Session(self._parts, self._parts.shards, others)
        await session.ready(START_PATIENCE)

    async def stop(self) -> None:
        """Leave the fleet: send what is left, give the lease back, end every task.

        Takes a few seconds at most, also with Redis down. Stopping a stopped coordinator does
        nothing.

        Raises:
            RuntimeError: It is running in another event loop.
        """
        session = self._running_here()
        if session is None:
            return
        await session.stop()
        if self._session is session:
            self._session = None
            if self._metrics is not None:
                self._metrics.detach(self)

    async def __aenter__(self) -> Coordinator:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _backends(self, redis: Store, namespace: str, shards: int) -> Sequence[Backend]:
        if isinstance(redis, Backend):
            if shards > 1:
                raise ValueError("shards need a Redis URL or client, one Backend is one shard")
            return [redis]
        if redis is None:
            return [MemoryBackend() for _ in range(shards)]
        if shards == 1:
            return [RedisBackend(redis, namespace)]
        return [RedisBackend(redis, f"{namespace}/{number}") for number in range(shards)]

    def _running(self) -> Session | None:
        """The current session, unless its loop was closed under it."""
        session = self._session  # changes nothing: metrics ask from other threads too
        return None if session is None or session.loop.is_closed() else session

    def _running_here(self) -> Session | None:
        session = self._running()
        if session is not None and session.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"{self!r} is running in another event loop")
        return session

    async def _update_metrics(self) -> None:
        while self._metrics is not None:
            await asyncio.sleep(METRICS_INTERVAL)
            self._metrics.update(self)


class _Parts:
    """What outlives a run: the breakers and all that is known."""

    def __init__(
        self,
        *,
        host: Host,
        backends: Sequence[Backend],
        policies: PolicyBook,
        lease_ttl: float,
        max_breakers: int,
        on_error: Callable[[Exception], Answer] | None,
        on_state_change: Callable[[StateChange], Answer] | None,
        on_role_change: Callable[[Role], Answer] | None,
    ) -> None:
        self._pid = os.getpid()
        self.host = host
        fingerprint = f"{policies.fingerprint}/{len(backends)}"
        self.presence = Presence(host.unique_id(), version(), fingerprint)
        self.policies = policies
        self.lease_ttl = lease_ttl
        self.max_breakers = max_breakers
        self.statistics = Statistics()
        self.surface = Surface(
            self.statistics,
            host.monotonic,
            on_error=on_error,
            on_state_change=on_state_change,
            on_role_change=on_role_change,
        )
        self.shards = [
            Shard(self, backend, number, len(backends)) for number, backend in enumerate(backends)
        ]
        self.breakers: OrderedDict[str, Breaker] = OrderedDict()
        self._making = Lock()

    def identify(self) -> None:
        """Take a name of its own in a process that was forked from the one it was made in."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self.presence = replace(self.presence, instance=self.host.unique_id())
            for shard in self.shards:
                shard.table.rename(self.presence.instance)

    def breaker(self, name: str) -> Breaker:
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
        names = dict.fromkeys((*self.breakers, *self.policies.exact))
        return [name for name in names if self.policies[name].idle_interval is not None]

    def _make_breaker(self, name: str) -> Breaker:
        check_name("a circuit's name", name)
        breaker = Breaker(self._local(name))
        if len(self.breakers) < self.max_breakers or self._evict():
            self.breakers[name] = breaker
        return breaker  # with all places taken by open circuits, it works but is not kept

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


def _check_callable(what: str, callback: object) -> None:
    if callback is not None and not callable(callback):
        raise TypeError(f"{what} must be callable, not {callback!r}")
