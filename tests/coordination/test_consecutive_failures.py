"""A streak of failures is one by when the calls ended, not by when the leader heard of them."""

import asyncio
from contextlib import AsyncExitStack

from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, ConstantBackoff, Coordinator, MemoryBackend, State


async def fail() -> None:
    raise ConnectionError


async def succeed() -> int:
    return 1


async def test_successes_that_wait_for_company_end_no_later_streak():
    backend, policy = MemoryBackend(), BreakerPolicy(backoff=ConstantBackoff(30))
    async with AsyncExitStack() as stack:
        fleet = [
            await stack.enter_async_context(Coordinator(backend, policy=policy)) for _ in range(5)
        ]
        breakers = [coordinator.breaker("upstream") for coordinator in fleet]
        for breaker in breakers:
            await breaker.execute(succeed)
        await asyncio.sleep(0.03)  # results are told apart by milliseconds
        for breaker in breakers:  # before any of the successes has been sent
            await asyncio.gather(breaker.execute(fail), return_exceptions=True)
        await eventually(
            lambda: all(breaker.state is State.OPEN for breaker in breakers), what="all open"
        )
