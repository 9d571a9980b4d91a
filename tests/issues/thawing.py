"""A program that tells when a circuit opens, and how long after it was frozen it closes."""

import asyncio
import json
import sys
import time

from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator, State

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.3))


async def main() -> None:
    async with Coordinator(sys.argv[1], namespace=sys.argv[2], policy=POLICY) as coordinator:
        breaker = coordinator.breaker("upstream")
        print(json.dumps({"started": True}), flush=True)
        while breaker.state is State.CLOSED:
            await asyncio.sleep(0.01)
        print(json.dumps({"open": True}), flush=True)
        last = thawed = time.monotonic()
        while breaker.state is not State.CLOSED:
            await asyncio.sleep(0.01)
            if time.monotonic() - last > 2:
                thawed = time.monotonic()
            last = time.monotonic()
        print(json.dumps({"after": time.monotonic() - thawed}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
