"""A function as a service: its event loop runs during calls only, and it is frozen in between."""

import asyncio
import json
import sys

from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
)

coordinator = Coordinator(
    sys.argv[1],
    namespace=sys.argv[2],
    policy=BreakerPolicy(
        strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(float(sys.argv[3]))
    ),
)
flushes = "flush" in sys.argv
breaker = coordinator.breaker("upstream")


def call(well: bool) -> str:
    try:
        permit = breaker.acquire()
    except CircuitOpenError:
        return "rejected"
    permit.record(Outcome.SUCCESS if well else Outcome.FAILURE)
    return "passed"


async def invocation(well: bool, calls: int) -> dict[str, object]:
    outcomes = [call(well) for _ in range(calls)]
    flushed = await coordinator.flush() if flushes else None
    return {"outcomes": outcomes, "flushed": flushed, "state": breaker.state}


loop = asyncio.new_event_loop()
loop.run_until_complete(coordinator.start())
print(json.dumps({"started": True}), flush=True)
for line in sys.stdin:
    told = loop.run_until_complete(invocation(**json.loads(line)))
    print(json.dumps(told), flush=True)
loop.run_until_complete(coordinator.stop())
loop.close()
