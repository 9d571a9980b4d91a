"""Serve the last good response while a circuit is open.

python examples/fallback.py
"""

import asyncio
import os

import httpx

from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    Coordinator,
    LastGoodResponse,
)


async def price(client: httpx.AsyncClient, product: str) -> str:
    try:
        response = await client.get(f"https://api.example.com/{product}")
    except CircuitOpenError as error:
        return f"no price, try again in {error.retry_after:.0f} s"
    if response.is_error:
        return f"error {response.status_code}"
    return response.text + (" (old)" if "breaker" in response.extensions else "")


async def main() -> None:
    broken = False

    def upstream(_: httpx.Request) -> httpx.Response:  # replaces the network
        return httpx.Response(502) if broken else httpx.Response(200, text="42.00 EUR")

    policy = BreakerPolicy(strategy=ConsecutiveFailures(3))
    coordinator = Coordinator(os.environ.get("REDIS_URL"), namespace="fallback", policy=policy)
    transport = BreakerTransport(
        coordinator,
        httpx.MockTransport(upstream),
        fallback=LastGoodResponse(),
        when_open="raise",  # applies if there is no good response
    )
    async with coordinator, httpx.AsyncClient(transport=transport) as client:
        for number in range(1, 7):
            broken = number > 1
            print(f"{number}  tea:    {await price(client, 'tea')}")
            await asyncio.sleep(0.1)
        print(f"7  coffee: {await price(client, 'coffee')}")


asyncio.run(main())
