"""A server that loads its app, counts something, and only then forks its workers."""

import asyncio
import os
import sys

from zenvark_web import Coordinator
from zenvark_web.metrics import PrometheusMetrics

coordinator = Coordinator(metrics=PrometheusMetrics())


async def work(calls: int) -> None:
    async with coordinator:
        for _ in range(calls):
            await coordinator.breaker("payments").execute(asyncio.sleep, 0)


asyncio.run(work(3))
for calls in (4, 5):
    if os.fork() == 0:
        asyncio.run(work(calls))
        sys.exit()
for _ in range(2):
    assert os.wait()[1] == 0
