"""A FastAPI app whose routes need an upstream, and reject requests while it is down.

    python examples/dependency_routes.py
    curl -i -X POST localhost:8000/checkout
    curl -i localhost:8000/healthz

Nothing listens at the upstream's address at first: five checkouts fail, then `payments` is open.
The next checkouts receive a 503 at once, before the handler runs and the body is read, except for
the few trial calls. `python -m http.server 9000` in another terminal starts the upstream. The
health check answers at all times, and localhost:8000/docs shows the 503.

REDIS_URL, UPSTREAM_URL and PORT select other servers and another port.
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException

from zenvark_web import (
    Breaker,
    BreakerMiddleware,
    BreakerTransport,
    CircuitOpenError,
    Coordinator,
    ProtectedRoute,
)
from zenvark_web.fastapi import breaker, circuit_open_handler, unavailable

UPSTREAM = os.environ.get("UPSTREAM_URL", "http://127.0.0.1:9000")

coordinator = Coordinator(os.environ.get("REDIS_URL"), namespace="dependency-routes")
client = httpx.AsyncClient(
    transport=BreakerTransport(coordinator, circuits=lambda _: "payments", when_open="raise")
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(
    BreakerMiddleware,
    coordinator=coordinator,
    routes={
        "/": "shop",
        "/checkout": ProtectedRoute(needs=["payments"]),
        "/healthz": None,
    },
)
app.add_exception_handler(CircuitOpenError, circuit_open_handler)


@app.post("/checkout", responses=unavailable())
async def checkout() -> str:
    try:
        response = await client.get(UPSTREAM)
    except (httpx.NetworkError, httpx.TimeoutException) as error:
        raise HTTPException(502, f"the bank does not answer: {error!r}") from error
    return f"paid, says the bank with {response.status_code}"


@app.get("/healthz")
async def health(payments: Annotated[Breaker, Depends(breaker("payments"))]) -> dict[str, str]:
    return {"payments": payments.state}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
