"""A shop that charges its customers through an upstream, for `uvicorn --workers`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    BreakerTransport,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
)

UPSTREAM = os.environ["SHOP_UPSTREAM"]

coordinator = Coordinator(
    os.environ["SHOP_REDIS"],
    namespace=os.environ["SHOP_NAMESPACE"],
    policy=BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(60)),
)


class NameWorker:
    """Tells with each response which process made it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Worker"] = str(os.getpid())
            await send(message)

        await self._app(scope, receive, named_send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    transport = BreakerTransport(coordinator, when_open="raise")
    headers = {"X-Worker": str(os.getpid())}
    async with httpx.AsyncClient(
        transport=transport, base_url=UPSTREAM, headers=headers, timeout=30
    ) as client:
        yield {"client": client}


app = FastAPI(lifespan=lifespan)
app.add_middleware(BreakerMiddleware, coordinator=coordinator)
app.add_middleware(NameWorker)


@app.get("/")
async def state() -> dict[str, str]:
    """What this worker knows, without asking the upstream."""
    return {name: breaker.state for name, breaker in coordinator.breakers.items()}


@app.post("/charges")
async def charge(request: Request) -> str:
    response = await request.state.client.post("/charges")
    if response.is_error:
        raise HTTPException(502, "The bank is unwell.")
    return "charged"
