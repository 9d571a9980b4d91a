"""The service: a FastAPI app that calls a catalog and two model providers.

SERVICE_REDIS, SERVICE_NAMESPACE, SERVICE_CATALOG and SERVICE_MODELS say where things are.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import httpx
import httpx2
import openai
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.service.circuits import CATALOG, MODELS, make_coordinator
from zenvark_web import BreakerMiddleware, BreakerTransport
from zenvark_web.httpx2 import BreakerTransport as BreakerTransport2

coordinator = make_coordinator()
catalog = httpx.AsyncClient(transport=BreakerTransport(coordinator), base_url=CATALOG, timeout=5)
models = httpx2.AsyncClient(transport=BreakerTransport2(coordinator), timeout=30)
gpt = openai.AsyncOpenAI(api_key="key", base_url=f"{MODELS}/v1", http_client=models)
claude = anthropic.AsyncAnthropic(api_key="key", base_url=MODELS, http_client=models)


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
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with catalog, models:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(
    BreakerMiddleware,
    coordinator=coordinator,
    routes={"/price": "route-price", "/ask/": "route-ask"},
)
app.add_middleware(NameWorker)


@app.get("/circuits")
async def circuits() -> dict[str, str]:
    return {name: breaker.state for name, breaker in coordinator.breakers.items()}


@app.get("/price")
async def price() -> str:
    response = await catalog.get("/price")
    response.raise_for_status()
    return response.text


@app.get("/prices")
async def prices() -> list[str]:
    """Several calls at once: what goes wrong comes as a group of exceptions."""
    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(price()) for _ in range(3)]
    return [task.result() for task in made]


@app.get("/events")
async def events() -> StreamingResponse:
    """Passes the catalog's own event stream on."""
    upstream = await catalog.send(catalog.build_request("GET", "/events"), stream=True)
    if upstream.is_error:
        await upstream.aclose()
        raise HTTPException(502)

    async def passed_on() -> AsyncIterator[bytes]:
        try:
            async for chunk in upstream.aiter_raw():
                yield chunk
        finally:
            await upstream.aclose()

    return StreamingResponse(passed_on(), media_type="text/event-stream")


@app.get("/ask/openai")
async def ask_openai() -> str:
    stream = await gpt.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


@app.get("/ask/anthropic")
async def ask_anthropic() -> str:
    async with claude.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        return "".join([text async for text in stream.text_stream])


@app.exception_handler(openai.APIError)
@app.exception_handler(anthropic.APIError)
async def model_failed(request: object, error: Exception) -> StreamingResponse:
    """What apps do: an answer of their own for whatever an SDK raises."""
    status = getattr(error, "status_code", 502)
    return StreamingResponse(iter([type(error).__name__]), status)
