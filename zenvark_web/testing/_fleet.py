"""Coordinators for the tests of code that uses them: in memory, on a manual clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar, cast

from .._coordination.lifecycle import Lifecycle
from .._core.policy import BreakerPolicy, HealthCheck
from .._core.states import HealthCheckType, Outcome, State
from .._runtime.host import Host
from ..breaker import Breaker
from ..coordinator import Coordinator, Home, home_of, lifecycle_of, move, policies_of
from ..exceptions import CircuitOpenError
from ._coordinator import SimulatedCoordinator, UpstreamError
from ._lifecycle import FleetLifecycle
from ._loop import Running, VirtualLoop
from ._network import Server, SimulatedBackend, Way

T = TypeVar("T")

MOMENT = 0.25
"""Seconds after which all coordinators of a fleet know what one of them has seen."""

MOST_CALLS = 10_000
CALLS_PER_MOMENT = 5


class Fleet:
    """Coordinators that share a store in memory and a manual clock.

        with Fleet(policy=BreakerPolicy()) as fleet:
            coordinator = fleet.coordinator()
            fleet.trip("payments")
            assert coordinator.breaker("payments").state is State.OPEN

    The coordinators are real, and work in any test, plain or async, with any event loop. Their
    background work runs during `advance` (or `trip`, `recover`), and at no other time: failed calls
    open a circuit at the next `advance`.

    The fleet never runs the health checks of a policy, which would have no server to reach: checks
    of circuits in `down` fail, and all others pass.

    Args:
        policy: The policy of all circuits that `policies` does not name, as for `Coordinator`.
        policies: Policies by circuit name, as for `Coordinator`.
        lease_ttl: Seconds until a dead leader is replaced.

    Attributes:
        down: The circuits whose health checks fail. `trip` adds to it, and `recover` removes from
            it.
    """

    def __init__(
        self,
        *,
        policy: BreakerPolicy = BreakerPolicy(),
        policies: Mapping[str, BreakerPolicy] | None = None,
        lease_ttl: float = 2.0,
    ) -> None:
        self.down: set[str] = set()
        self._policy = policy
        self._policies = policies or {}
        self._lease_ttl = lease_ttl
        self._chance = random.Random(0)
        self._loop = VirtualLoop()
        self._server = Server(self._loop)
        self._made = 0
        self._members: dict[Coordinator, _Member] = {}
        # A loop of its own in a thread of its own: the caller's thread may be running another.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="zenvark_web.testing")

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def now(self) -> float:
        """The current time: the seconds by which `advance` has moved the clock."""
        return self._loop.now

    def coordinator(
        self,
        *,
        policy: BreakerPolicy | None = None,
        policies: Mapping[str, BreakerPolicy] | None = None,
        **settings: Any,
    ) -> Coordinator:
        """Create and start one more instance.

        Args:
            policy: Replaces the fleet's policy.
            policies: Replaces the fleet's policies.
            settings: Further settings of `Coordinator`: callbacks, metrics.
        """
        host, way = self._host(), Way(self._chance)
        coordinator = _FleetCoordinator(
            self._lifecycle,
            host,
            SimulatedBackend(self._loop, self._server, way),
            policy=self._own_check(self._policy if policy is None else policy),
            policies={
                name: self._own_check(each)
                for name, each in (self._policies if policies is None else policies).items()
            },
            lease_ttl=self._lease_ttl,
            **settings,
        )
        self._join(coordinator, way)
        return coordinator

    def _take_in(self, coordinator: Coordinator) -> Home:
        """Make a stopped coordinator an instance of this fleet, and start it.

        Returns:
            What to move it back to, as `_let_go` needs it.

        Raises:
            RuntimeError: It runs.
        """
        way = Way(self._chance)
        state = home_of(coordinator)[0].renewed(
            host=self._host(),
            policies=policies_of(coordinator).changed(self._own_check),
            backends=[SimulatedBackend(self._loop, self._server, way)],
        )
        home = move(coordinator, state, lifecycle_of(coordinator, self._lifecycle))
        self._join(coordinator, way)
        return home

    def _let_go(self, coordinator: Coordinator, home: Home) -> None:
        """Stop a coordinator that was taken in, and move it back."""
        self.run(self._members.pop(coordinator).lifecycle.end_for_all())
        move(coordinator, *home)

    def advance(self, seconds: float = MOMENT) -> None:
        """Advance the clock of all coordinators, and run their due work.

        Args:
            seconds: The time to add. By default, enough for a result on one instance to reach all.
        """
        self._thread.submit(self._run_until, self._loop.now + seconds).result()

    def trip(self, circuit: Breaker | str) -> None:
        """Open a circuit on all running coordinators: its calls fail there until it opens.

        Raises:
            RuntimeError: The policy does not open the circuit for these failures, or no coordinator
                runs.
        """
        name = _name(circuit)
        self.down.add(name)
        for number in range(MOST_CALLS):
            breakers = self._breakers(name)
            if all(breaker.state is State.OPEN for breaker in breakers):
                return
            for breaker in breakers:
                _call(breaker, Outcome.FAILURE)
            if number % CALLS_PER_MOMENT == CALLS_PER_MOMENT - 1:
                self.advance()
        raise RuntimeError(f"circuit {name!r} does not open, though {MOST_CALLS} calls failed")

    def recover(self, circuit: Breaker | str) -> None:
        """Close a circuit on all running coordinators: advance the clock to its recovery attempts,
        and let its health check or trial calls pass.

        Raises:
            RuntimeError: The circuit does not close, or no coordinator runs.
        """
        name = _name(circuit)
        self.down.discard(name)
        for _ in range(MOST_CALLS):
            breakers = self._breakers(name)
            if all(breaker.state is State.CLOSED for breaker in breakers):
                return
            for breaker in breakers:
                _call(breaker, Outcome.SUCCESS)
            self.advance(max(MOMENT, *(breaker.retry_after for breaker in breakers)))
        raise RuntimeError(f"circuit {name!r} does not close")

    def cut_off(self, coordinator: Coordinator) -> None:
        """Disconnect a coordinator from the store, like a broken network. It detects the loss at
        its next request: `advance` by a few seconds."""
        way = self._way(coordinator)
        way.requests = way.replies = False

    def reconnect(self, coordinator: Coordinator) -> None:
        """Reconnect a coordinator to the store. It retries within about ten seconds."""
        self._way(coordinator).heal()

    def close(self) -> None:
        """Stop all coordinators."""
        self.run(self._stop_all())
        self._thread.submit(self._loop.close).result()
        self._thread.shutdown()

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run something where the coordinators run, and let time pass until it has ended; return
        its result."""
        return self._thread.submit(self._run, coro).result()

    # In the thread of its own

    def _run_until(self, until: float) -> None:
        with Running(self._loop):
            while self._loop.step(until):
                pass

    def _run(self, coro: Coroutine[Any, Any, T]) -> T:
        with Running(self._loop):
            task: asyncio.Task[T] = Context().run(self._loop.create_task, coro)
            while not task.done():
                self._loop.step(self._loop.now + MOMENT)
        return task.result()

    def _monotonic(self) -> float:
        return self._loop.now

    async def _stop_all(self) -> None:
        for member in self._members.values():
            await member.lifecycle.end()

    def _breakers(self, name: str) -> list[Breaker]:
        breakers = [
            coordinator.breaker(name)
            for coordinator, member in self._members.items()
            if coordinator.connected and member.way.requests
        ]
        if not breakers:
            raise RuntimeError("no coordinator of the fleet runs: make one with coordinator()")
        return breakers

    def _lifecycle(self, *arguments: Any, **settings: Any) -> FleetLifecycle:
        return FleetLifecycle(self.run, self._loop, *arguments, **settings)

    def _host(self) -> Host:
        self._made += 1
        name = f"instance-{self._made}"
        return Host(monotonic=self._monotonic, chance=self._chance.random, unique_id=lambda: name)

    def _join(self, coordinator: Coordinator, way: Way) -> None:
        lifecycle = cast(FleetLifecycle, home_of(coordinator)[1])
        self._members[coordinator] = _Member(way, lifecycle)
        self.run(lifecycle.begin())

    def _way(self, coordinator: Coordinator) -> Way:
        if coordinator not in self._members:
            raise ValueError(f"{coordinator!r} is none of this fleet's")
        return self._members[coordinator].way

    def _own_check(self, policy: BreakerPolicy) -> BreakerPolicy:
        check = policy.health_check
        return policy if check is None else replace(policy, health_check=_UpstreamChecks(self.down))


@dataclass(frozen=True, slots=True)
class _Member:
    """A coordinator of the fleet.

    Args:
        way: Its way to the store.
        lifecycle: Starts and stops it.
    """

    way: Way
    lifecycle: FleetLifecycle


class _FleetCoordinator(SimulatedCoordinator):
    """A coordinator that a fleet has made.

    Args:
        lifecycle: Creates its lifecycle.
        host: The host.
        backend: The way to the store.
        settings: As `Coordinator` has them.
    """

    def __init__(
        self,
        lifecycle: Callable[..., FleetLifecycle],
        host: Host,
        backend: SimulatedBackend,
        **settings: Any,
    ) -> None:
        self._fleets_lifecycle = lifecycle
        super().__init__(host, [backend], **settings)

    def _make_lifecycle(self, kind: Callable[..., Any]) -> Any:
        return super()._make_lifecycle(self._fleets_lifecycle if kind is Lifecycle else kind)


class _UpstreamChecks:
    def __init__(self, down: set[str]) -> None:
        self._down = down

    def for_circuit(self, name: str) -> HealthCheck:
        async def check(_: HealthCheckType) -> None:
            if name in self._down:
                raise UpstreamError(name)

        return check


def _name(circuit: Breaker | str) -> str:
    return circuit if isinstance(circuit, str) else circuit.name


def _call(breaker: Breaker, outcome: Outcome) -> None:
    with suppress(CircuitOpenError):
        breaker.acquire().record(outcome, "by hand" if outcome is Outcome.FAILURE else "")
