"""The coordinator: one per process and namespace. It makes breakers and shares their opinion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from . import _forks
from ._coordination.host import Host
from ._coordination.session import Session
from ._coordination.thread import OwnThread, aside, in_asyncio
from ._core._checks import check_call, check_name, check_number, check_whole
from ._core.policy import BreakerPolicy, PolicyBook
from ._core.states import Role
from ._parts import Parts
from .backends import Backend, MemoryBackend, RedisBackend
from .breaker import Breaker
from .events import StateChange
from .exceptions import MetricsError, StopError
from .statistics import Statistics

if TYPE_CHECKING:
    import redis.asyncio

START_PATIENCE = 1.0
METRICS_INTERVAL = 1.0
MAX_SHARDS = 256

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

    In synchronous code, its event loop runs in a thread of its own:

        with coordinator:
            coordinator.breaker("payments").execute_sync(pay, order)

    Under trio, `async with` does the same. Wherever the coordinator runs, its breakers work in
    any thread and any event loop.

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

    Callbacks may be sync or async. They run one after another, away from calls, in the event
    loop and the thread that the coordinator runs in, as health checks do.

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
            if callback is not None:
                check_call(what, callback, "one argument", None)
        _check_metrics(metrics)
        self._parts = Parts(
            host=self._host,
            namespace=namespace,
            backends=self._backends(redis, namespace, shards),
            policies=PolicyBook(policy, {} if policies is None else policies),
            lease_ttl=lease_ttl,
            max_breakers=max_breakers,
            on_error=on_error,
            on_state_change=on_state_change,
            on_role_change=on_role_change,
        )
        self._namespace = namespace
        self._metrics = metrics
        self._session: Session | None = None
        self._own_thread = OwnThread(
            self,
            start=self._start_here,
            stop=self._stop_here,
            running=lambda: self._running() is not None,
        )
        _forks.watch(self, Coordinator._begin_anew)

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
        made has one of its own."""
        return self._parts.presence.instance

    @property
    def role(self) -> Role:
        """Whether this instance leads its namespace."""
        session = self._running()
        return session.role if session else Role.FOLLOWER

    @property
    def shard_roles(self) -> Sequence[Role]:
        """What this instance does in each shard."""
        session, shards = self._running(), range(len(self._parts.shards))
        leads = [session is not None and session.leads(shard) for shard in shards]
        return [Role.LEADER if each else Role.FOLLOWER for each in leads]

    @property
    def shards_led(self) -> Sequence[bool]:
        """Of each shard, whether anybody leads it, as far as this instance has heard."""
        session, shards = self._running(), range(len(self._parts.shards))
        return [session is not None and session.led(shard) for shard in shards]

    @property
    def running(self) -> bool:
        """Whether it has been started, and not been stopped since."""
        session = self._running()
        return session is not None and not session.stopping

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
        started coordinator does nothing. Under trio, its event loop runs in a thread of its own,
        and cancellation waits for the start.

        Raises:
            RuntimeError: It is running in another event loop, or in a thread of its own.
        """
        if in_asyncio():
            await self._start_here()
        else:
            await aside(lambda: self._own_thread.enter(again=True))

    async def _start_here(self) -> None:
        session = self._running_here()
        while session is not None and session.stopping:
            await self._stop_here()
            session = self._running_here()
        if session is None:
            self._tell_metrics("attach")
            others = [] if self._metrics is None else [self._update_metrics]
            session = self._session = Session(self._parts, self._parts.shards, others)
        await session.ready(START_PATIENCE)

    async def stop(self) -> None:
        """Leave the fleet: send what is left, give the lease back, end every task.

        Takes a few seconds at most, also with Redis down. Stopping a stopped coordinator does
        nothing. Under trio, cancellation waits for the end.

        Raises:
            RuntimeError: It is running in another event loop, or in a thread of its own.
        """
        if in_asyncio():
            await self._stop_here()
        else:
            await aside(self._leave_thread)

    async def _stop_here(self) -> None:
        session = self._running_here()
        if session is None:
            return
        await session.stop()
        if self._session is session:
            self._session = None
            self._tell_metrics("detach")

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

    def __enter__(self) -> Coordinator:
        """Join the fleet from synchronous code, in a thread of its own. Waits as long as `start`
        does; where asyncio runs, use `async with`, which does not hold up the event loop.

        Raises:
            RuntimeError: It is running already.
        """
        self._own_thread.enter(again=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave_thread()

    def _leave_thread(self) -> None:
        if not self._own_thread.leave():
            self.surface(StopError(f"{self!r}: something blocks its thread, it did not end"))

    def _begin_anew(self) -> object:
        """In a child process after a fork: a coordinator that has not been started."""
        session, self._session = self._session, None
        return session, self._own_thread.abandon(), self._parts.begin_anew()

    def _backends(self, redis: Store, namespace: str, shards: int) -> Sequence[Backend]:
        if isinstance(redis, type):
            raise TypeError(f"redis must be an object, not a class: {redis!r}")
        if isinstance(redis, Backend):
            if shards > 1:
                raise ValueError("shards need a Redis URL or client, one Backend is one shard")
            return [redis]
        if redis is None:
            return [MemoryBackend() for _ in range(shards)]
        if shards == 1:
            return [RedisBackend(redis, namespace)]
        names = [f"{namespace}/{number}" for number in range(shards)]
        return [RedisBackend(redis, name, shards=shards) for name in names]

    def _running(self) -> Session | None:
        """The current session, unless its loop was closed under it."""
        session = self._session  # changes nothing: metrics ask from other threads too
        return None if session is None or session.loop.is_closed() else session

    def _running_here(self) -> Session | None:
        self._own_thread.check_free()
        session = self._running()
        if session is not None and session.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"{self!r} is running in another event loop")
        return session

    async def _update_metrics(self) -> None:
        while True:
            await asyncio.sleep(METRICS_INTERVAL)
            self._tell_metrics("update")

    def _tell_metrics(self, what: str) -> None:
        """Call a method of the metrics, whose mistakes must not cost a start or stop."""
        try:
            if self._metrics is not None:
                getattr(self._metrics, what)(self)
        except Exception as error:
            what = f"{type(self._metrics).__name__}.{what} failed"
            self.surface(MetricsError.because(error, what, source=what))


def _check_metrics(metrics: object) -> None:
    methods = ("attach", "update", "detach")
    usable = all(callable(getattr(metrics, name, None)) for name in methods)
    if metrics is not None and (isinstance(metrics, type) or not usable):
        raise TypeError(f"metrics must be such as PrometheusMetrics(), not {metrics!r}")
