"""A program whose plain health check hangs, and that ends meanwhile."""

import asyncio
import threading

from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator, Outcome

checking = threading.Event()


def check(_: object) -> None:
    checking.set()
    threading.Event().wait()


async def main() -> None:
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.01), health_check=check
    )
    async with Coordinator(policy=policy) as coordinator:
        coordinator.breaker("payments").acquire().record(Outcome.FAILURE)
        while not checking.is_set():
            await asyncio.sleep(0.01)
        print('{"checking": true}', flush=True)


asyncio.run(main())
