"""An httpx client with a breaker and no web framework.

    python examples/plain_httpx.py

Processes with the same REDIS_URL share their circuits. Without REDIS_URL, the breaker works for
this process alone.
"""

import asyncio
import os

import httpx

from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    Coordinator,
    ExponentialBackoff,
    StateChange,
)


def show(change: StateChange) -> None:
    print(f"    {change.name}: {change.previous} -> {change.state} ({change.reason})")


async def main() -> None:
    broken = True

    def upstream(_: httpx.Request) -> httpx.Response:  # replaces the network
        return httpx.Response(500 if broken else 200)

    coordinator = Coordinator(
        os.environ.get("REDIS_URL"),
        namespace="plain-httpx",
        policy=BreakerPolicy(
            strategy=ConsecutiveFailures(3), backoff=ExponentialBackoff(initial=1.5)
        ),
        on_state_change=show,
    )
    transport = BreakerTransport(coordinator, httpx.MockTransport(upstream))
    async with coordinator, httpx.AsyncClient(transport=transport) as client:
        for number in range(1, 31):
            broken = number < 12
            response = await client.get("https://api.example.com/price")
            answered_by = "breaker" if "breaker" in response.extensions else "upstream"
            print(f"{number:2}  {response.status_code} from the {answered_by}")
            await asyncio.sleep(0.1)


asyncio.run(main())
