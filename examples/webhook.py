"""Send one message to a chat for each transition of the fleet.

WEBHOOK_URL=https://hooks.example.com/... python examples/webhook.py

Without the URL, it prints the messages.
"""

import asyncio
import os

import httpx
import stamina

from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    Coordinator,
    Outcome,
    PublishedChange,
    State,
)

URL = os.environ.get("WEBHOOK_URL")
SIGNS = {
    State.OPEN: ":red_circle:",
    State.HALF_OPEN: ":yellow_circle:",
    State.CLOSED: ":green_circle:",
}


def message(change: PublishedChange) -> dict[str, str]:
    text = f"{SIGNS[change.state]} *{change.name}* is {change.state.value}: {change.reason}"
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


@stamina.retry(on=httpx.HTTPError, attempts=4, timeout=8.0, wait_initial=0.2)
async def post(client: httpx.AsyncClient, url: str, change: PublishedChange) -> None:
    # A leader that dies before it has recorded the call leaves it to the next: one key for both.
    headers = {"Idempotency-Key": f"{change.name} {change.position}"}
    response = await client.post(url, json=message(change), headers=headers)
    response.raise_for_status()


async def main() -> None:
    sent = asyncio.Event()
    async with httpx.AsyncClient(timeout=2.0) as client:

        async def notify(change: PublishedChange) -> None:
            if change.state is change.previous:
                return  # a failed recovery attempt: no news for people
            if URL is None:
                print(message(change)["text"])
            else:
                await post(client, URL, change)
            sent.set()

        coordinator = Coordinator(
            os.environ.get("REDIS_URL"),
            namespace="webhook",
            policy=BreakerPolicy(strategy=ConsecutiveFailures(3)),
            on_published=notify,
        )
        async with coordinator:
            for _ in range(3):
                permit = coordinator.breaker("payments").acquire()
                permit.record(Outcome.FAILURE, "ConnectTimeout")
            await sent.wait()


asyncio.run(main())
