"""The coordinator: one per process and namespace. It makes breakers and shares their opinion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ._coordination.lifecycle import Lifecycle
from ._coordination.session import Session
from ._core._checks import check_call, check_name, check_number, check_whole
from ._core.policy import BreakerPolicy, PolicyBook
from ._core.states import Role
from ._parts import Parts
from ._runtime import forks
from ._runtime.host import Host
from .backends import Backend, MemoryBackend
from .breaker import Breaker
from .events import StateChange
from .exceptions import MetricsError, StopError
from .statistics import Statistics

if TYPE_CHECKING:
    import redis.asyncio

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

    It can be made and imported anywhere, without a loop or a Redis. While it does not run,
    breakers record nothing. Circuits that were open then let calls pass when their wait is over,
    for nobody hears of their recovery. The log tells once that calls are made in such a state.

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
        if "/" in namespace:
            raise ValueError(
                "namespace must hold no slash, it marks the shards of a namespace: pass "
                f"{namespace.replace('/', '-')!r} instead of {namespace!r}"
            )
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
        self._lifecycle = Lifecycle(
            self,
            begin=self._begin,
            ended=self._ended,
            blocked=self._blocked,
            context=self._host.context,
        )
        forks.watch(self, Coordinator._begin_anew)

    def __repr__(self) -> str:
        state = "started" if self._lifecycle.session else "stopped"
        instance = self._parts.presence.instance or None
        return (
            f"<Coordinator {self._namespace!r} {state} {self.role} instance={instance} "
            f"breakers={self._parts.kept} {self._parts.shards[0].backend!r}>"
        )

    @property
    def namespace(self) -> str:
        """The fleet that shares circuits."""
        return self._namespace

    @property
    def instance_id(self) -> str:
        """This instance's name in the fleet. It takes one with each start, not when it is made:
        copies of a machine's image must not share it. A name that was asked for stays, but not in
        a forked process, nor when the machine has stood still meanwhile."""
        return self._parts.name

    @property
    def role(self) -> Role:
        """Whether this instance leads its namespace."""
        session = self._lifecycle.session
        return session.role if session else Role.FOLLOWER

    @property
    def shard_roles(self) -> Sequence[Role]:
        """What this instance does in each shard."""
        session, shards = self._lifecycle.session, range(len(self._parts.shards))
        leads = [session is not None and session.leads(shard) for shard in shards]
        return [Role.LEADER if each else Role.FOLLOWER for each in leads]

    @property
    def shards_led(self) -> Sequence[bool]:
        """Of each shard, whether anybody leads it, as far as this instance has heard."""
        session, shards = self._lifecycle.session, range(len(self._parts.shards))
        return [session is not None and session.led(shard) for shard in shards]

    @property
    def running(self) -> bool:
        """Whether it has been started, and not been stopped since."""
        session = self._lifecycle.session
        return session is not None and not session.stopping

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked."""
        session = self._lifecycle.session
        return session is not None and session.connected

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """The breakers this instance keeps now, by name, the one used last at the end. A copy:
        it does not change while you walk over it, whatever comes and goes meanwhile."""
        return self._parts.breakers

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

        Redis may be down: that surfaces, and the instance joins in when it can. It runs until
        `stop` is called, however often it was started. One that is running already, in whatever
        event loop or thread, goes on there. Under trio, its event loop runs in a thread of its
        own, and cancellation waits for the start; elsewhere a start that is cancelled is undone.

        Raises:
            RuntimeError: It is running in an event loop that stands still, or its own thread is
                blocked; or it is one of its callbacks in a thread of its own that asks.
        """
        await self._lifecycle.start()

    async def stop(self) -> None:
        """Take back what `start` has asked for. If nobody else needs it to run (no block that was
        entered by `with` or `async with` is still to be left), leave the fleet: send what is left,
        give the lease back, end every task. If nobody has called `start`, it stops for all blocks.

        Takes a few seconds at most, also with Redis down; cancellation waits for that. Stopping a
        stopped coordinator does nothing.

        Raises:
            RuntimeError: It is one of its callbacks in a thread of its own that asks.
        """
        await self._lifecycle.stop()

    async def flush(self, timeout: float = 1.0) -> bool:  # noqa: ASYNC109 - it returns by then
        """Send the results that wait, now, and read what is new of the fleet: for processes that
        are frozen when they have nothing to do, before which nothing may be left to do, and after
        which everything that is known is old. Others need it never.

        Args:
            timeout: Seconds after which it returns in any case, above 0 and up to 60.

        Returns:
            Whether all of it was done in time. False, too, if the coordinator does not run.

        Raises:
            TypeError, ValueError: `timeout` is not usable.
        """
        check_number("timeout", timeout, above=0, most=60, unit="seconds")
        return await self._lifecycle.flush(timeout)

    def flush_sync(self, timeout: float = 1.0) -> bool:
        """The same from synchronous code, while the coordinator runs in another thread.

        Raises:
            RuntimeError: It runs in the event loop that this would hold up; await `flush`.
            TypeError, ValueError: `timeout` is not usable.
        """
        check_number("timeout", timeout, above=0, most=60, unit="seconds")
        return self._lifecycle.flush_blocking(timeout)

    async def __aenter__(self) -> Coordinator:
        """Join the fleet, as `start` does, until the block is left. Blocks are counted, wherever
        they are entered: the one that is left last stops it."""
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._lifecycle.leave()

    def __enter__(self) -> Coordinator:
        """Join the fleet from synchronous code, in a thread of its own if it does not run yet.
        Waits as long as `start` does; where asyncio runs, use `async with`, which does not hold up
        the event loop.

        Raises:
            RuntimeError: As `start`.
        """
        self._lifecycle.enter_blocking()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lifecycle.leave_blocking()

    @property
    def _session(self) -> Session | None:
        return self._lifecycle.latest

    def _begin(self) -> Session:
        """Begin a run in the running event loop."""
        self._parts.begin_run()
        self._tell_metrics("attach")
        others = [] if self._metrics is None else [self._update_metrics]
        return Session(self._parts, self._parts.shards, others)

    def _ended(self, in_order: bool) -> None:
        if in_order:
            self._parts.absence.stopped()
        self._tell_metrics("detach")

    def _blocked(self) -> None:
        self.surface(StopError(f"{self!r}: something blocks its thread, it did not end"))

    def _begin_anew(self) -> object:
        """In a child process after a fork: a coordinator that has not been started."""
        return self._lifecycle.abandon(), self._parts.begin_anew()

    def _backends(self, redis: Store, namespace: str, shards: int) -> Sequence[Backend]:
        if isinstance(redis, type):
            raise TypeError(f"redis must be an object, not a class: {redis!r}")
        if isinstance(redis, Backend):
            if shards > 1:
                raise ValueError("shards need a Redis URL or client, one Backend is one shard")
            return [redis]
        if redis is None:
            return [MemoryBackend() for _ in range(shards)]
        from .backends.redis import RedisBackend  # and with it redis-py

        if shards == 1:
            return [RedisBackend(redis, namespace)]
        names = [f"{namespace}/{number}" for number in range(shards)]
        return [RedisBackend(redis, name, shards=shards) for name in names]

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
    methods = [getattr(metrics, name, None) for name in ("attach", "update", "detach")]
    usable = all(callable(each) and not iscoroutinefunction(each) for each in methods)
    if metrics is not None and (isinstance(metrics, type) or not usable):
        raise TypeError(
            "metrics must be such as PrometheusMetrics(), with methods attach, update and detach "
            f"that are not async, not {metrics!r}"
        )
