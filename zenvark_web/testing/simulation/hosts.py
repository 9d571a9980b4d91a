"""Simulated hosts, each with a clock, a network, a coordinator and calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

from ..._core.backoff import ExponentialBackoff
from ..._core.policy import BreakerPolicy, HealthCheck
from ..._core.states import HealthCheckType, Outcome, Role
from ..._core.strategies import ConsecutiveFailures
from ..._runtime.host import Host
from ...breaker import Breaker
from ...events import PublishedChange, StateChange
from ...exceptions import CircuitOpenError
from .._coordinator import SimulatedCoordinator, UpstreamError
from .._loop import MACHINE, Step
from .._network import SimulatedBackend, Way
from .world import CHECKED, World

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ExponentialBackoff(1, 2, 8))

LONG_CALLS = 0.2
"""The share of calls that take time."""

IMPATIENT = 0.5
"""The share of long calls with an impatient caller, who cancels many of them."""

USUAL_CALL = 2.0
RETRY_AFTER = (None, None, 0.5, 3.0, 6.0)

LAST_ONE = 0.005
"""How often a success says that no further call is left."""

LAST_WAIT = 2.0
"""The seconds that it names."""
BROKEN_CALLBACKS = 0.05


class CallbackError(Exception):
    """The callback of a simulated user failed."""


class UpstreamCheck:
    """The health checks of the simulated upstreams.

    Args:
        world: The world, which knows the upstreams that are down.
        reaches: Returns whether the host reaches any upstream.
    """

    def __init__(self, world: World, reaches: Callable[[], bool] = lambda: True) -> None:
        self._world = world
        self._reaches = reaches

    def for_circuit(self, name: str) -> HealthCheck:
        """The check of one upstream: its request takes a moment to arrive."""

        async def check(_: HealthCheckType) -> None:
            await asyncio.sleep(self._world.chance.expovariate(10))
            if name in self._world.down or not self._reaches():  # a cold one passes
                raise UpstreamError(name)

        return check


class HostObserver(Protocol):
    """Is called with each new host, and with the progress of its calls."""

    def watch(self, host: SimulatedHost) -> None:
        """A host was made, and will be started."""
        ...

    def passed(self, instance: str, breaker: Breaker) -> None:
        """A call is permitted."""
        ...

    def told_to_wait(self, circuit: str, seconds: float) -> None:
        """The upstream of a circuit names a wait."""
        ...

    def ended(self, instance: str, circuit: str, generation: int, *, failed: bool) -> None:
        """A call ends without a cancellation."""
        ...

    def cancelled(self, instance: str, circuit: str, generation: int, *, slow: bool) -> None:
        """The caller cancels a call."""
        ...

    def notified(self, instance: str, change: PublishedChange) -> None:
        """`on_published` is called."""
        ...


class SimulatedHost:
    """A host and its coordinator.

    Args:
        world: The world of the host.
        name: Its unique name.
        observer: Observes the calls that it makes.

    Attributes:
        way: Its connection to the servers.
        egress: Whether its calls reach upstreams.
        alive: Whether it exists.
        paused: Whether it is frozen.
        rate: Seconds of its clock in one virtual second.
        broken: The number of failures of a user's callback here.
        born_at: The virtual second at which it was made.
    """

    def __init__(self, world: World, name: str, observer: HostObserver) -> None:
        self._world = world
        self._observer = observer
        self.name: str = name
        self.way: Way = Way(world.chance)
        self.egress: bool = True
        self.alive: bool = True
        self.paused: bool = False
        self.broken: int = 0
        self.born_at: float = world.loop.now
        self.jumped_at: float = float("-inf")
        self._waiting: list[Step] = []
        self.rate: float = 1 + world.chance.uniform(-1e-3, 1e-3)
        self._since = world.loop.now
        self._then = world.chance.uniform(0, 1e6)
        self._context = Context()
        self._context.run(MACHINE.set, self)
        self.coordinator: SimulatedCoordinator = self._context.run(self._make)
        self._callers: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return self.name

    def _make(self) -> SimulatedCoordinator:
        world, settings = self._world, self._world.settings
        policy = replace(settings.policy or POLICY, health_check=None, idle_interval=None)
        policy = replace(policy, cut_off=settings.cut_off)
        self._slow_call = policy.slow_call or float("inf")
        return SimulatedCoordinator(
            Host(
                monotonic=lambda: self.local(world.loop.now),
                chance=world.chance.random,
                wall=lambda: self.local(world.loop.now),
                unique_id=lambda: self.name,
                context=self._context.copy,
            ),
            [SimulatedBackend(world.loop, server, self.way) for server in world.servers],
            policy=policy,
            policies={
                CHECKED: replace(policy, health_check=UpstreamCheck(world, lambda: self.egress))
            },
            lease_ttl=settings.lease_ttl,
            on_error=self._failed,
            on_state_change=self._changed,
            on_role_change=self._elected,
            on_published=self._published if settings.notify else None,
        )

    # Callbacks

    def _failed(self, error: Exception) -> None:
        self._world.tell(self.name, f"error: {error!r}"[:160])

    def _elected(self, role: Role) -> None:
        self._world.tell(self.name, f"is a {role} now")

    def _changed(self, change: StateChange) -> None:
        self._world.tell(
            self.name, f"{change.name} {change.state} {change.generation}: {change.reason}"[:160]
        )
        self._make_mistakes()

    def _published(self, change: PublishedChange) -> None:
        self._observer.notified(self.name, change)
        self._make_mistakes()

    def _make_mistakes(self) -> None:
        if self._world.chance.random() < BROKEN_CALLBACKS:
            self.broken += 1
            raise CallbackError("a user's mistake")

    # As a machine

    def local(self, now: float) -> float:
        """The monotonic seconds of the host, whose clock has its own offset and rate."""
        return self._then + (now - self._since) * self.rate

    def moment(self, local: float) -> float:
        """The virtual time of these seconds."""
        return self._since + (local - self._then) / self.rate

    def clock_runs(self, rate: float) -> None:
        """Change the rate of its clock."""
        self._then = self.local(self._world.loop.now)
        self._since = self._world.loop.now
        self.rate = rate

    def clock_jumps(self, seconds: float) -> None:
        """Set its clock forward."""
        self._then += seconds
        self.jumped_at = self._world.loop.now

    def admits(self, step: Step) -> bool:
        """Refuse steps of a suspended or dead host, and timers that are not due by its clock."""
        if self.paused or not self.alive:
            self._waiting.append(step)
            return False
        due = self._since + (step.due - self._then) / self.rate
        if due > self._world.loop.now + 1e-6:
            self._world.loop.put(due, step)
            return False
        return True

    def wake_up(self) -> None:
        """Run the steps that have become due during a freeze."""
        if self.alive:
            self._go_on()

    def bury(self) -> None:
        """Let the tasks of a dead host end, without a network."""
        self.alive = True
        self.way.requests = self.way.replies = False
        self._go_on()

    def _go_on(self) -> None:
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for step in waiting:
            self._world.loop.put(self._world.loop.now, step)

    # Calls

    def leads(self) -> bool:
        """Whether it leads any shard, as far as it knows."""
        return self.coordinator.role is Role.LEADER

    def start(self) -> None:
        """Start the coordinator, and then the calls."""
        self._callers.append(self.spawn(self._live()))

    def spawn(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine on this host."""
        return self._context.run(self._world.loop.create_task, coro)

    def quieten(self) -> None:
        """Stop the calls."""
        for task in self._callers:
            task.cancel()

    async def stop(self) -> None:
        """Stop the calls, then the coordinator."""
        self.quieten()
        await self.coordinator.stop()

    async def _live(self) -> None:
        await self.coordinator.start()
        world = self._world
        while True:
            await asyncio.sleep(world.chance.expovariate(world.settings.calls))
            breaker = self.coordinator.breaker(world.chance.choice(world.circuits))
            world.summary.calls += 1
            if world.chance.random() < LONG_CALLS:
                self._callers = [task for task in self._callers if not task.done()]
                self._callers.append(self.spawn(self._call_for_long(breaker)))
            else:
                self._call(breaker)

    def _call(self, breaker: Breaker) -> None:
        """Make a call that takes no time; neither may its breaker."""
        call = breaker.execute(self._ask, breaker)
        try:
            call.send(None)
        except (StopIteration, UpstreamError, CircuitOpenError):
            return
        call.close()
        self._world.require(False, f"{self.name}: a call of {breaker.name} had to wait")

    async def _call_for_long(self, breaker: Breaker) -> None:
        chance = self._world.chance
        try:
            async with asyncio.timeout(
                chance.uniform(0, USUAL_CALL) if chance.random() < IMPATIENT else None
            ):
                await self._ask_patiently(breaker, chance.expovariate(1 / USUAL_CALL))
        except (UpstreamError, CircuitOpenError, TimeoutError):
            pass

    async def _ask_patiently(self, breaker: Breaker, seconds: float) -> None:
        """Make a call, and record the wait that the upstream names, if it names one."""
        chance = self._world.chance
        async with breaker.guard() as permit:
            try:
                await self._ask(breaker, seconds)
            except UpstreamError as error:
                asks = chance.choice(RETRY_AFTER)
                self._observer.told_to_wait(breaker.name, asks or 0.0)
                permit.record(Outcome.FAILURE, type(error).__name__, retry_after=asks)
                raise
            if permit.obeys_waits and self._has_faults and chance.random() < LAST_ONE:
                self._observer.told_to_wait(breaker.name, LAST_WAIT)
                permit.hold_off(LAST_WAIT)

    @property
    def _has_faults(self) -> bool:
        """Whether the time with faults is not over yet."""
        return self._world.loop.now < self._world.settings.seconds

    async def _ask(self, breaker: Breaker, seconds: float = 0.0) -> None:
        """The upstream: fails while it is down, or cannot be reached from here."""
        world, observer, generation = self._world, self._observer, breaker.generation
        began = self.local(world.loop.now)
        observer.passed(self.name, breaker)
        if seconds:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                slow = self.local(world.loop.now) - began > self._slow_call
                observer.cancelled(self.name, breaker.name, generation, slow=slow)
                raise
        failed = not self.egress or not world.serves(breaker.name)
        observer.ended(self.name, breaker.name, generation, failed=failed)
        if failed:
            raise UpstreamError(breaker.name)


class Hosts:
    """The hosts of a simulation.

    Args:
        world: The world.
        observer: Is called with each new host, and with the progress of its calls.

    Attributes:
        world: The same.
        present: The current hosts, each in its place.
    """

    def __init__(self, world: World, observer: HostObserver) -> None:
        self.world: World = world
        self._observer = observer
        self._births = count()
        self.present: list[SimulatedHost] = [self._make() for _ in range(world.settings.instances)]

    def _make(self) -> SimulatedHost:
        host = SimulatedHost(self.world, f"host-{next(self._births)}", self._observer)
        self._observer.watch(host)
        return host

    def replace(self, host: SimulatedHost) -> SimulatedHost:
        """Start a new host in place of another."""
        successor = self._make()
        self.present[self.present.index(host)] = successor
        self.world.tell(successor.name, f"in the place of {host}")
        successor.start()
        return successor
