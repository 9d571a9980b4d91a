"""A store that took longer than a circuit's wait showed the leader its own transition while the
circuit's health check was under way. The leader took that for another's, began anew, and ran a
second check beside the first. With `healthy_after=2`, two checks of one moment closed the circuit.
A circuit that was forgotten during its check, and opened anew, was checked twice at once as well.
"""

import asyncio

from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MemoryBackend,
    Outcome,
    State,
)
from zenvark_web._core.order import Lease
from zenvark_web._core.states import Transition

CHECK = 0.5


class Slow(MemoryBackend):
    """Takes a while to write transitions."""

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        await asyncio.sleep(CHECK / 2)
        return await super().publish(lease, *transitions)


class Checks:
    """Health checks that take their time and pass, and how many were under way at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.passed = 0

    async def __call__(self, _: HealthCheckType) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(CHECK)
        self.running -= 1
        self.passed += 1


def policy_with(checks: Checks) -> BreakerPolicy:
    return BreakerPolicy(
        strategy=ConsecutiveFailures(1),
        health_check=checks,
        healthy_after=2,
        backoff=ConstantBackoff(0.05),
    )


def fail(coordinator: Coordinator, name: str) -> None:
    coordinator.breaker(name).acquire().record(Outcome.FAILURE)


async def test_a_leader_knows_its_own_transition_when_it_comes_back() -> None:
    checks = Checks()
    async with Coordinator(Slow(), policy=policy_with(checks)) as coordinator:
        fail(coordinator, "a")
        await eventually(lambda: checks.running, what="a health check begins")
        await eventually(
            lambda: coordinator.breaker("a").state is State.OPEN, what="the circuit opens"
        )
        await eventually(
            lambda: coordinator.breaker("a").state is State.CLOSED, what="the circuit closes"
        )
    assert (checks.most, checks.passed) == (1, 2)


async def test_a_circuit_that_begins_anew_is_not_checked_beside_its_own_check() -> None:
    checks = Checks()
    backend = MemoryBackend()
    async with Coordinator(backend, policy=policy_with(checks)) as coordinator:
        breaker = coordinator.breaker("a")
        fail(coordinator, "a")
        await eventually(lambda: checks.running, what="a health check begins")
        (transition,) = (await backend.load()).transitions
        assert await backend.forget(Lease(transition.epoch, transition.leader), transition)
        await eventually(lambda: breaker.state is State.CLOSED, what="the circuit is forgotten")
        fail(coordinator, "a")
        await eventually(lambda: breaker.state is State.OPEN, what="the circuit opens again")
        await eventually(lambda: breaker.state is State.CLOSED, what="the circuit closes")
    assert (checks.most, checks.passed) == (1, 2)
