"""An answer that says nothing of how well the upstream is: ignored by a closed circuit, but a trial
has passed."""

import asyncio
from contextlib import suppress

from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    State,
)

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.1))


async def test_it_ends_no_streak() -> None:
    async with Coordinator(policy=POLICY) as coordinator:
        breaker = coordinator.breaker("payments")
        for _ in range(3):
            breaker.acquire().record(Outcome.ANSWERED, "HTTP 404")
            breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)
        assert sum(breaker.successes.counts) == 0


async def test_a_trial_passes_by_it() -> None:
    def classify(_: object) -> Outcome:
        return Outcome.ANSWERED

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.1), classify=classify
    )
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("payments")
        breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)

        async def tried() -> bool:
            with suppress(CircuitOpenError):
                await breaker.execute(asyncio.sleep, 0)
            return breaker.state is State.CLOSED

        await eventually(tried)
        assert sum(breaker.successes.counts) == 1
