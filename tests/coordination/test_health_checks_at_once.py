"""An upstream of many circuits that breaks does not meet as many health checks at once."""

import asyncio

from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    State,
)
from zenvark_web._judging.health import MAX_CHECKS

CIRCUITS = MAX_CHECKS + 20


async def fail() -> None:
    raise ConnectionError


async def test_only_so_many_run_at_a_time() -> None:
    running: set[asyncio.Task[None] | None] = set()
    healthy = asyncio.Event()
    most = 0

    async def check(type_: HealthCheckType) -> None:
        nonlocal most
        running.add(asyncio.current_task())
        most = max(most, len(running))
        await healthy.wait()
        running.remove(asyncio.current_task())

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), health_check=check, backoff=ConstantBackoff(0.01)
    )
    async with Coordinator(policy=policy) as coordinator:
        breakers = [coordinator.breaker(f"service {number}") for number in range(CIRCUITS)]
        failing = (breaker.execute(fail) for breaker in breakers)
        await asyncio.gather(*failing, return_exceptions=True)
        await eventually(lambda: all(breaker.state is State.OPEN for breaker in breakers))
        await eventually(lambda: len(running) >= MAX_CHECKS, what="as many checks as may run")
        await asyncio.sleep(0.05)  # time for one more
        healthy.set()
        await eventually(lambda: all(breaker.state is State.CLOSED for breaker in breakers))
    assert most == MAX_CHECKS
