"""A process whose calls go to an upstream by a way of its own.

Its arguments are the URL of Redis, the namespace, and the URL by which it reaches the upstream.
"""

import asyncio
import sys
from collections import Counter

import httpx

from tests.helpers.child import serve
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    Role,
)

redis_url, namespace, way = sys.argv[1:]
coordinator = Coordinator(
    redis_url,
    namespace=namespace,
    lease_ttl=1.0,
    policy=BreakerPolicy(strategy=CountWindow(40, 0.3, 10), backoff=ConstantBackoff(0.5), quorum=2),
)
client = httpx.AsyncClient(
    transport=BreakerTransport(coordinator, circuits=lambda request: "upstream", when_open="raise"),
    timeout=5.0,
    trust_env=False,
)


async def start() -> None:
    await coordinator.start()


async def stop() -> None:
    await coordinator.stop()


def leads() -> bool:
    return coordinator.role is Role.LEADER


def states() -> dict[str, str]:
    breaker = coordinator.breaker("upstream")
    return {"state": breaker.state, "own": breaker.own_state}


def kinds() -> dict[str, int]:
    return dict(coordinator.breaker("upstream").failure_kinds)


def refusals() -> int:
    counted = coordinator.statistics.quorum_refusals.get("upstream")
    return 0 if counted is None else counted.count


async def call(count: int, pause: float) -> dict[str, int]:
    """Make calls, one after another; how they ended."""
    ended: Counter[str] = Counter()
    for _ in range(count):
        try:
            await client.get(way)
        except CircuitOpenError:
            ended["rejected"] += 1
        except httpx.TransportError:
            ended["failed"] += 1
        else:
            ended["succeeded"] += 1
        await asyncio.sleep(pause)
    return dict(ended)


async def recovers() -> None:
    """Call until the own verdict is that the upstream is well again."""
    while coordinator.breaker("upstream").own_state != "closed":
        await call(1, 0.02)


HANDLERS = (start, stop, leads, states, kinds, refusals, call, recovers)
asyncio.run(serve({handler.__name__: handler for handler in HANDLERS}))
