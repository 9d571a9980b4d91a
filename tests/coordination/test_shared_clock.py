"""The one clock may jump; circuits open and recover all the same."""

import asyncio
import time

import pytest

from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MemoryBackend,
    State,
    TimeWindow,
)

HOUR = 3600.0


class JumpingClock:
    """A store's clock that somebody sets."""

    def __init__(self) -> None:
        self.offset = 100_000.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset


async def fail() -> None:
    raise ConnectionError


async def succeed() -> int:
    return 1


async def healthy(_: HealthCheckType) -> None:
    return


async def trip(coordinator: Coordinator, failures: int = 5) -> None:
    breaker = coordinator.breaker("upstream")
    await asyncio.gather(*(breaker.execute(fail) for _ in range(failures)), return_exceptions=True)
    await eventually(lambda: breaker.state is State.OPEN, what="the circuit opens")


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("check", [healthy, None], ids=["health check", "trial calls"])
@pytest.mark.parametrize("window", [None, TimeWindow(5, 0.5, 5)], ids=["streak", "time"])
async def test_a_circuit_opens_and_recovers_across_a_jump(jump, check, window):
    clock = JumpingClock()
    policy = BreakerPolicy(health_check=check, backoff=ConstantBackoff(0.2))
    if window is not None:
        policy = BreakerPolicy(strategy=window, health_check=check, backoff=ConstantBackoff(0.2))
    backend = MemoryBackend(clock)
    async with (
        Coordinator(backend, policy=policy) as one,
        Coordinator(backend, policy=policy) as two,
    ):
        await trip(one)
        clock.offset += jump
        breaker = two.breaker("upstream")

        async def closed() -> bool:
            try:
                await breaker.execute(succeed)
            except CircuitOpenError:
                return False
            return breaker.state is State.CLOSED

        await eventually(closed, what="the circuit closes after the jump")
        await trip(two)


async def test_a_newcomer_is_told_an_honest_wait_after_a_jump():
    clock = JumpingClock()
    policy = BreakerPolicy(backoff=ConstantBackoff(30))
    backend = MemoryBackend(clock)
    async with Coordinator(backend, policy=policy) as one:
        await trip(one)
        clock.offset -= HOUR
        async with Coordinator(backend, policy=policy) as two:
            assert two.breaker("upstream").state is State.OPEN
            assert 0 <= two.breaker("upstream").retry_after <= 30
