"""Count streams that stay silent, and errors inside a stream.

python examples/streams.py
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator

import httpx

from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    Coordinator,
    Outcome,
    State,
)


def judge_chunk(line: bytes) -> Outcome | None:
    return Outcome.FAILURE if b'"error"' in line and "error" in json.loads(line) else None


async def ask(client: httpx.AsyncClient, question: str) -> str:
    try:
        async with client.stream("POST", "https://model.example.com/", content=question) as answer:
            return "".join([text async for text in answer.aiter_text()]).strip()
    except CircuitOpenError:
        return "rejected"
    except httpx.ReadTimeout:
        return "timed out"


async def main() -> None:
    patience = asyncio.Event()

    async def words(question: str) -> AsyncIterator[bytes]:
        if question == "silent":
            await patience.wait()
            raise httpx.ReadTimeout("no token")  # the client's own timeout
        yield b'data: {"error": "overloaded"}\n\n' if question == "broken" else b"data: {}\n\n"

    async def upstream(request: httpx.Request) -> httpx.Response:  # replaces the network
        question = (await request.aread()).decode()
        headers = {"Content-Type": "text/event-stream"}
        return httpx.Response(200, headers=headers, content=words(question))

    policy = BreakerPolicy(strategy=ConsecutiveFailures(4), first_chunk=0.2, stall=0.2)
    coordinator = Coordinator(os.environ.get("REDIS_URL"), namespace="streams", policy=policy)
    breaker = coordinator.breaker("model.example.com")
    transport = BreakerTransport(
        coordinator,
        httpx.MockTransport(upstream),
        judge_chunk=judge_chunk,
        when_open="raise",
    )
    async with coordinator, httpx.AsyncClient(transport=transport) as client:
        print(f"well:   {await ask(client, 'well')}")
        print(f"broken: {await ask(client, 'broken')}")
        async with asyncio.TaskGroup() as tasks:
            silent = [tasks.create_task(ask(client, "silent")) for _ in range(3)]
            while breaker.state is State.CLOSED:  # until they have been silent for 0.2 s
                await asyncio.sleep(0.01)
            print(f"next:   {await ask(client, 'well')}")
            patience.set()
        print(f"silent: {', '.join(task.result() for task in silent)}")


asyncio.run(main())
