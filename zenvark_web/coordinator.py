"""The coordinator: one per process and namespace. It creates breakers and shares their circuits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

from ._circuits.shard import Shard
from ._coordination.lifecycle import Lifecycle
from ._coordination.session import OPERATOR_PATIENCE, Session
from ._core._checks import check_call, check_name, check_number, check_whole
from ._core.common_cause import check_common_cause
from ._core.overrides import Override, OverrideRecord, OverrideRequest, check_operator
from ._core.policy import BreakerPolicy, PolicyBook
from ._core.states import Role, Suspect
from ._runtime import forks
from ._runtime.host import Host
from ._runtime.instance import Instance
from ._runtime.notifier import Callbacks, Notifier
from ._state import CoordinatorState
from .backends import Backend, MemoryBackend
from .backends.base import Probe
from .breaker import Breaker
from .events import OverrideChange, PublishedChange, StateChange
from .exceptions import BackendError, MetricsError, StopError
from .statistics import Statistics

if TYPE_CHECKING:
    import redis.asyncio

T = TypeVar("T")
L = TypeVar("L", bound=Lifecycle)

# Scrapes are rarer: whatever they read is a second old at most.
METRICS_INTERVAL = 1.0
# Each instance holds two connections, and runs its own loops, for each shard.
MAX_SHARDS = 256

Store: TypeAlias = "str | redis.asyncio.Redis | redis.asyncio.RedisCluster | Backend | None"
CallbackResult: TypeAlias = Awaitable[object] | object


class MetricsRecorder(Protocol):
    """Exports a coordinator's numbers. A recorder reads `Coordinator.statistics`, `breakers`,
    `role` and `connected` when its own consumer asks for them."""

    def attach(self, coordinator: Coordinator) -> None:
        """Start exporting this coordinator, which has just been started."""
        ...

    def update(self, coordinator: Coordinator) -> None:
        """Called about once a second in the coordinator's event loop while it runs, for recorders
        that write the numbers somewhere instead of being asked for them."""
        ...

    def detach(self, coordinator: Coordinator) -> None:
        """Stop exporting this coordinator, which has been stopped."""
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

    A coordinator can be created and imported anywhere, without an event loop or Redis. While it
    does not run, breakers record nothing. A circuit that was open when it stopped permits calls
    after its wait, because this instance receives no news of its recovery. A warning is logged
    once if calls are made in this state.

    Args:
        redis: A URL; a `redis.asyncio` client or cluster client, which the coordinator never
            closes; a `Backend`; or None to work for this process alone.
        namespace: The fleet that shares circuits.
        policy: The policy of all circuits that `policies` does not name.
        policies: Policies by circuit name, with the wildcards `*` and `?`. The most specific match
            applies.
        lease_ttl: Seconds until a dead leader is replaced, at least 0.2.
        max_breakers: The maximum number of breakers to keep. The least recently used breaker is
            evicted first, but never an open one.
        shards: Distributes the circuits, by name, over this number of leaders, streams and Redis
            Cluster slots, for fleets that outgrow one leader. Each shard takes two connections per
            process. All processes of a namespace must use the same number; changing it resets all
            circuits.
        common_cause: The share of the called circuits (at least 5) above which circuits that fail
            within 10 s have a common cause, probably the fleet's own: its egress, DNS, a
            deployment. The leader then reports a `CommonCauseError` and opens no further circuits
            for 30 s; each instance rejects calls by its own results. With a common cause set,
            instances do so for all circuits, as with a `quorum` above 1. Default: None, circuits
            are independent of each other.
        metrics: Exports the numbers, such as `PrometheusMetrics()`.
        on_error: Called with each background error. Errors are logged and counted in any case.
        on_state_change: Called with each state change of a circuit when it takes effect here.
        on_suspect: Called on the leader with a `Suspect` when the failures of an instance do not
            open a circuit because they are its own (`quorum`): once per circuit, instance and
            minute.
        on_role_change: Called when this instance becomes the leader or a follower.
        on_override: Called when an operator's override takes effect here, is lifted or expires.
        on_published: Called on the leader with a `PublishedChange`: once for each transition of the
            fleet, in their order, whichever instance leads. Pass it to all instances. A new leader
            continues where the last one has ended, so it repeats a call only if the last leader
            died, or lost its lease, before it could record that the call had ended. A call that
            raises, or is cancelled after 10 s, is reported and not repeated.

    Callbacks may be sync or async. They run one after another (those of `on_published` in a line of
    their own), independently of calls, in the coordinator's event loop and thread, as health checks
    do.

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
        common_cause: float | None = None,
        metrics: MetricsRecorder | None = None,
        on_error: Callable[[Exception], CallbackResult] | None = None,
        on_state_change: Callable[[StateChange], CallbackResult] | None = None,
        on_role_change: Callable[[Role], CallbackResult] | None = None,
        on_override: Callable[[OverrideChange], CallbackResult] | None = None,
        on_suspect: Callable[[Suspect], CallbackResult] | None = None,
        on_published: Callable[[PublishedChange], CallbackResult] | None = None,
    ) -> None:
        check_name("namespace", namespace)
        if "/" in namespace:
            raise ValueError(
                "namespace must not contain a slash, which separates shards: pass "
                f"{namespace.replace('/', '-')!r} instead of {namespace!r}"
            )
        check_number("lease_ttl", lease_ttl, least=0.2, most=3600, unit="seconds")
        check_whole("max_breakers", max_breakers)
        check_whole("shards", shards, most=MAX_SHARDS)
        check_common_cause(common_cause)
        for what, callback in (
            ("on_error", on_error),
            ("on_state_change", on_state_change),
            ("on_role_change", on_role_change),
            ("on_override", on_override),
            ("on_suspect", on_suspect),
            ("on_published", on_published),
        ):
            if callback is not None:
                check_call(what, callback, "one argument", None)
        _check_metrics(metrics)
        host, statistics = self._host, Statistics()
        callbacks = Callbacks(
            on_error, on_state_change, on_role_change, on_override, on_suspect, on_published
        )
        instance = Instance(
            host=host,
            policies=PolicyBook(policy, {} if policies is None else policies),
            notifier=Notifier(namespace, callbacks, statistics, host),
            statistics=statistics,
            lease_ttl=lease_ttl,
            max_breakers=max_breakers,
            shards=shards,
            common_cause=common_cause,
        )
        self._state = CoordinatorState(instance, self._backends(redis, namespace, shards))
        self._namespace = namespace
        self._metrics = metrics
        self._lifecycle = self._make_lifecycle(Lifecycle)
        forks.watch(self, Coordinator._begin_anew)
        _all.add(self)

    def __repr__(self) -> str:
        state = "started" if self._lifecycle.session else "stopped"
        instance = self._state.identity.name or None
        return (
            f"<Coordinator {self._namespace!r} {state} {self.role} instance={instance} "
            f"breakers={self._state.kept} {self._state.shards[0].backend!r}>"
        )

    @property
    def namespace(self) -> str:
        """The fleet that shares circuits."""
        return self._namespace

    @property
    def instance_id(self) -> str:
        """This instance's name in the fleet. Each start assigns a name, so that copies of a machine
        image do not share one. Reading this property fixes the name, except in a forked process
        and after the machine was suspended."""
        return self._state.name

    @property
    def role(self) -> Role:
        """Whether this instance is the leader of its namespace."""
        session = self._lifecycle.session
        return session.role if session else Role.FOLLOWER

    @property
    def shard_roles(self) -> Sequence[Role]:
        """This instance's role in each shard."""
        session, shards = self._lifecycle.session, range(len(self._state.shards))
        leads = [session is not None and session.leads(shard) for shard in shards]
        return [Role.LEADER if each else Role.FOLLOWER for each in leads]

    @property
    def shards_led(self) -> Sequence[bool]:
        """Whether each shard has a leader, as far as this instance knows."""
        session, shards = self._lifecycle.session, range(len(self._state.shards))
        return [session is not None and session.led(shard) for shard in shards]

    @property
    def running(self) -> bool:
        """Whether the coordinator is started."""
        session = self._lifecycle.session
        return session is not None and not session.stopping

    @property
    def connected(self) -> bool:
        """Whether Redis answered the last request."""
        session = self._lifecycle.session
        return session is not None and session.connected

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """A copy of this instance's breakers, by name, in the order of their last use. It does not
        change during iteration."""
        return self._state.breakers

    @property
    def statistics(self) -> Statistics:
        """The counters of this instance."""
        return self._state.instance.statistics

    def breaker(self, name: str) -> Breaker:
        """The breaker of a circuit, created on first use.

        Raises:
            TypeError, ValueError: The name is empty, too long or not printable.
        """
        return self._state.breaker(name)

    @property
    def overrides(self) -> Mapping[str, OverrideRecord]:
        """The operators' overrides in force, by circuit or pattern, as known to this instance."""
        return self._state.overrides

    async def override(
        self,
        circuit: str,
        mode: Override | None,
        *,
        reason: str,
        actor: str | None = None,
        expires_in: float | None = 3600.0,
        expect: int | None = None,
    ) -> OverrideRecord:
        """Set an override for the whole fleet, in place of the previous one, or lift it. It is
        written to the store, without the leader, and takes effect within milliseconds.

        Args:
            circuit: The circuit's name, or a pattern with the wildcards `*` and `?`. An exact name
                takes precedence, then the pattern with the most literal characters, then the newest
                override.
            mode: The override; None to lift the one that is in force.
            reason: The reason, for the audit and the log: up to 500 printable characters.
            actor: The operator. Default: the id of this instance.
            expires_in: Seconds until it ends, up to 30 days. Default: an hour. None, which must be
                passed, for no end.
            expect: The number of the override that is in force (0 for none), to change nothing if
                it is another one by now. Requires the name of one circuit if there are shards.

        Returns:
            The record, as the store has written it. Its `replaced` is the override of the same name
            that was in force before, or None.

        Raises:
            TypeError, ValueError: An argument is not usable; the message says what to pass.
            BackendError: The store did not answer within 2 s, or the coordinator does not run.
                Nothing is written later, but it may have been written; of a pattern, the message
                names the shards. Repeating is harmless.
            OverrideConflictError: The override in force is not the expected one.
            OverrideLimitError: There are 1,000 overrides already.
        """
        request = OverrideRequest(
            circuit=circuit,
            mode=mode,
            reason=reason,
            actor=self.instance_id if actor is None else actor,
            expires_in=None if mode is None else expires_in,
            expect=expect,
        )
        work = self._in_session(lambda session: session.override(request))
        return await self._lifecycle.ask(work, OPERATOR_PATIENCE)

    def override_sync(
        self,
        circuit: str,
        mode: Override | None,
        *,
        reason: str,
        actor: str | None = None,
        expires_in: float | None = 3600.0,
        expect: int | None = None,
    ) -> OverrideRecord:
        """`override` for synchronous code, while the coordinator runs in another thread.

        Raises:
            RuntimeError: The coordinator runs in the event loop that this call would block; await
                `override`.
            BackendError, TypeError, ValueError, OverrideConflictError, OverrideLimitError: As for
                `override`.
        """
        request = OverrideRequest(
            circuit=circuit,
            mode=mode,
            reason=reason,
            actor=self.instance_id if actor is None else actor,
            expires_in=None if mode is None else expires_in,
            expect=expect,
        )
        work = self._in_session(lambda session: session.override(request))
        return self._lifecycle.ask_sync(work, OPERATOR_PATIENCE)

    async def probe(self, circuit: str, *, reason: str, actor: str | None = None) -> bool:
        """Try now: have the next attempt to recover an open circuit made at once, whatever is left
        of its wait and of the upstream's Retry-After deadline. A circuit that is not open, or that
        an operator holds open, is left as it is.

        Args:
            circuit: The circuit's name.
            reason: The reason, for the audit: up to 500 printable characters.
            actor: The operator. Default: the id of this instance.

        Returns:
            Whether the attempt was asked for. False if this instance knows that the circuit is not
            open, or that an operator holds it open; then nothing is written.

        Raises:
            TypeError, ValueError: An argument is not usable; the message says what to pass.
            BackendError: The store did not answer within 2 s, or the coordinator does not run.
        """
        actor = self.instance_id if actor is None else actor
        check_name("circuit", circuit)
        check_operator(reason, actor)
        probe = Probe(circuit, actor, reason)
        work = self._in_session(lambda session: session.probe(probe))
        return await self._lifecycle.ask(work, OPERATOR_PATIENCE)

    def _in_session(
        self, work: Callable[[Session], Coroutine[Any, Any, T]]
    ) -> Callable[[], Coroutine[Any, Any, T]]:
        """Bind a request to the session that runs.

        Raises:
            BackendError: The coordinator does not run.
        """
        session = self._lifecycle.session
        if session is None or session.stopping:
            raise BackendError(f"{self!r} does not run: start it first, such as with `with`")
        return lambda: work(session)

    def report_error(self, error: Exception) -> None:
        """Report a background error: log and count it, and pass it to `on_error`. For code that is
        built on a coordinator."""
        self._state.instance.notifier.report_error(error)

    async def start(self) -> None:
        """Join the fleet. Returns when the fleet's state is loaded, or after about one second.

        If Redis is down, the error is reported, and the instance joins when Redis is available.
        The coordinator runs until `stop` is called, regardless of the number of starts. If it is
        running already, in any event loop or thread, it continues there. Under trio, its event
        loop runs in a thread of its own, and cancellation waits for the start. Elsewhere, a
        cancelled start is undone.

        Raises:
            RuntimeError: The coordinator belongs to an event loop that no longer runs, or its own
                thread is blocked, or one of its own callbacks calls this in that thread.
        """
        await self._lifecycle.start()

    async def stop(self) -> None:
        """Undo `start`. Unless a `with` or `async with` block of the coordinator is still active,
        leave the fleet: send the remaining results, release the lease, end every task. Without a
        previous `start`, stop for all blocks.

        Takes a few seconds at most, even if Redis is down; cancellation waits for the end. Stopping
        a stopped coordinator has no effect.

        Raises:
            RuntimeError: One of its own callbacks calls this in the coordinator's thread.
        """
        await self._lifecycle.stop()

    def start_sync(self) -> None:
        """`start` for synchronous code: a worker's start-up hook, a Django `AppConfig`, a script.

        The coordinator's event loop runs in a thread of its own, unless the coordinator runs
        already. A process that ends stops it. After a fork, the child starts its own.

        Raises:
            RuntimeError: For the reasons of `start`.
        """
        self._lifecycle.start_blocking()

    def stop_sync(self) -> None:
        """`stop` for synchronous code. Takes a few seconds at most, even if Redis is down.

        Raises:
            RuntimeError: One of its own callbacks calls this in the coordinator's thread.
        """
        self._lifecycle.stop_blocking()

    async def flush(self, timeout: float = 1.0) -> bool:  # noqa: ASYNC109 - it returns by then
        """Send all pending results now and read the fleet's current states. Only needed in
        processes that are frozen between calls, such as serverless functions.

        Args:
            timeout: The maximum duration in seconds, above 0 and up to 60.

        Returns:
            Whether both were completed in time. False if the coordinator does not run.

        Raises:
            TypeError, ValueError: `timeout` is not usable.
        """
        check_number("timeout", timeout, above=0, most=60, unit="seconds")
        return await self._lifecycle.flush(timeout)

    def flush_sync(self, timeout: float = 1.0) -> bool:
        """`flush` for synchronous code, while the coordinator runs in another thread.

        Raises:
            RuntimeError: The coordinator runs in the event loop that this call would block; await
                `flush`.
            TypeError, ValueError: `timeout` is not usable.
        """
        check_number("timeout", timeout, above=0, most=60, unit="seconds")
        return self._lifecycle.flush_blocking(timeout)

    async def __aenter__(self) -> Coordinator:
        """Join the fleet, as `start` does, for the duration of the block. Blocks are counted in all
        loops and threads: leaving the last one stops the coordinator."""
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
        Waits as long as `start` does. Where asyncio runs, use `async with`, which does not block
        the event loop.

        Raises:
            RuntimeError: For the reasons of `start`.
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

    def _make_lifecycle(self, kind: Callable[..., L]) -> L:
        """A lifecycle of this coordinator."""
        return kind(
            self,
            begin=self._begin,
            ended=self._ended,
            blocked=self._blocked,
            context=self._host.context,
        )

    def _begin(self) -> Session:
        """Begin a run in the running event loop."""
        instance = self._state.begin_run()
        self._tell_metrics("attach")
        others = [] if self._metrics is None else [self._update_metrics]
        return Session(instance, self._state.shards, self._state, others)

    def _ended(self, in_order: bool) -> None:
        if in_order:
            self._state.idle.stopped()
        self._tell_metrics("detach")

    def _blocked(self) -> None:
        self.report_error(
            StopError(
                f"the thread of {self!r} did not stop in time: a callback or health check blocks it"
            )
        )

    def _begin_anew(self) -> object:
        """In a child process after a fork: a coordinator that has not been started."""
        return self._lifecycle.abandon(), self._state.begin_anew()

    def _backends(self, redis: Store, namespace: str, shards: int) -> Sequence[Backend]:
        if isinstance(redis, type):
            raise TypeError(f"redis must be an object, not a class: {redis!r}")
        if isinstance(redis, Backend):
            if shards > 1:
                raise ValueError("shards require a Redis URL or client: one Backend is one shard")
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
        """Call a method of the metrics recorder. Its errors must not make a start or stop fail."""
        try:
            if self._metrics is not None:
                getattr(self._metrics, what)(self)
        except Exception as error:
            what = f"{type(self._metrics).__name__}.{what} failed"
            self.report_error(MetricsError.because(error, what, source=what))


_all: WeakSet[Coordinator] = WeakSet()


def all_coordinators() -> Sequence[Coordinator]:
    """The coordinators of this process, for tests that switch them off."""
    return list(_all)


def policies_of(coordinator: Coordinator) -> PolicyBook:
    """The policies of a coordinator, for tests that put it into another fleet."""
    return home_of(coordinator)[0].instance.policies


def lifecycle_of(coordinator: Coordinator, kind: Callable[..., L]) -> L:
    """A further lifecycle of a coordinator, for tests that put it into another fleet."""
    return coordinator._make_lifecycle(kind)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


Home: TypeAlias = "tuple[CoordinatorState, Lifecycle]"
"""What a coordinator knows, and where it runs."""


def home_of(coordinator: Coordinator) -> Home:
    """What a coordinator knows now, and where it runs."""
    state, lifecycle = coordinator._state, coordinator._lifecycle  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return state, lifecycle


def move(coordinator: Coordinator, state: CoordinatorState, lifecycle: Lifecycle | None) -> Home:
    """Give a stopped coordinator another state, and the breakers that users hold with it.

    Args:
        coordinator: The coordinator.
        state: The state.
        lifecycle: The lifecycle; None for the same.

    Returns:
        The previous ones.

    Raises:
        RuntimeError: The coordinator runs.
    """
    if coordinator.running:
        raise RuntimeError(f"{coordinator!r} runs: stop it first, or do this before the app starts")
    before = home_of(coordinator)
    coordinator._state = state  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    coordinator._lifecycle = lifecycle or before[1]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    state.take_in(before[0].breakers)
    return before


def observe_calls(coordinator: Coordinator, observe: Callable[[str, str], None] | None) -> None:
    """Set the function that is called with the calls that a circuit does not plainly permit."""
    coordinator._state.instance.notifier.observe_call = observe  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def replaced_call(coordinator: Coordinator, circuit: str) -> None:
    """Report that a fallback has replaced a call."""
    observe = coordinator._state.instance.notifier.observe_call  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if observe is not None:
        observe("fallback", circuit)


def shards_of(coordinator: Coordinator) -> Sequence[Shard]:
    """The shards of a coordinator, for the status page."""
    return coordinator._state.shards  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def ask_store(
    coordinator: Coordinator, work: Callable[[], Coroutine[Any, Any, T]], patience: float
) -> T:
    """Run a request to the store in the coordinator's event loop, for the status page.

    Raises:
        BackendError: The store does not answer, or the coordinator does not run.
    """
    lifecycle = coordinator._lifecycle  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return await lifecycle.ask(work, patience)


def _check_metrics(metrics: object) -> None:
    methods = [getattr(metrics, name, None) for name in ("attach", "update", "detach")]
    usable = all(callable(each) and not iscoroutinefunction(each) for each in methods)
    if metrics is not None and (isinstance(metrics, type) or not usable):
        raise TypeError(
            "metrics must be a recorder such as PrometheusMetrics(), with synchronous methods "
            f"attach, update and detach, not {metrics!r}"
        )
