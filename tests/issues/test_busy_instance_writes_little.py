"""What came in while a batch was on its way went out at once in the next one. With a store a few
milliseconds away, a busy healthy instance so wrote hundreds of batches a second instead of ten."""

import asyncio
import time

from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator, MemoryBackend
from zenvark_web.backends.base import Batch

ROUND_TRIP = 0.002


class DistantBackend(MemoryBackend):
    async def append(self, batch: Batch) -> float:
        await asyncio.sleep(ROUND_TRIP)
        return await super().append(batch)


async def test_healthy_instance_writes_about_ten_times_a_second() -> None:
    async with Coordinator(DistantBackend()) as coordinator:
        breaker = coordinator.breaker("payments")
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < 1:
            await breaker.execute(asyncio.sleep, 0)
        assert 1 <= coordinator.statistics.batches <= 15 * seconds


async def test_what_one_batch_cannot_hold_follows_at_once() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))
    async with Coordinator(DistantBackend(), policy=policy) as coordinator:
        for number in range(9_500):
            coordinator.breaker(f"circuit-{number}").acquire().raised(OSError())
        await eventually(lambda: coordinator.statistics.batches == 10, what="ten batches")
