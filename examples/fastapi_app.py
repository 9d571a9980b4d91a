"""A FastAPI app that calls an upstream through a breaker.

    python examples/fastapi_app.py
    curl -i localhost:8000/price

Nothing listens at the upstream's address at first: five requests fail, then the circuit is open
and the response is an immediate 503. `python -m http.server 9000` in another terminal starts the
upstream. The page at http://localhost:8000/circuits/ shows all of this.

REDIS_URL, UPSTREAM_URL and PORT select other servers and another port.
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException

from zenvark_web import BreakerMiddleware, BreakerTransport, Coordinator
from zenvark_web.asgi import StatusApp

UPSTREAM = os.environ.get("UPSTREAM_URL", "http://127.0.0.1:9000")

coordinator = Coordinator(os.environ.get("REDIS_URL"), namespace="fastapi-app")
client = httpx.AsyncClient(transport=BreakerTransport(coordinator, when_open="raise"))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(BreakerMiddleware, coordinator=coordinator)
app.mount("/circuits", StatusApp(coordinator, title="Upstreams"))


@app.get("/price")
async def price() -> dict[str, int]:
    try:
        response = await client.get(UPSTREAM)
    except (httpx.NetworkError, httpx.TimeoutException) as error:
        raise HTTPException(502, f"the upstream does not answer: {error!r}") from error
    return {"upstream_status": response.status_code}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
