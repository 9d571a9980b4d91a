"""Three worker processes of one app share a circuit.

    REDIS_URL=redis://localhost:6379 python examples/several_workers.py
    curl localhost:8000/fail     # five times: each request fails, whichever worker it reaches
    curl localhost:8000/         # repeatedly: the circuit is open in every worker

PORT selects another port.
"""

import os
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from zenvark_web import BreakerMiddleware, Coordinator

# A coordinator belongs to one process: each worker creates one, and the middleware starts it.
coordinator = Coordinator(os.environ.get("REDIS_URL"), namespace="several-workers")
payments = coordinator.breaker("payments")


async def status(_: Request) -> JSONResponse:
    return JSONResponse(
        {"worker": os.getpid(), "role": coordinator.role, "payments": payments.state}
    )


async def fail(_: Request) -> JSONResponse:
    try:
        async with payments.guard():  # the middleware handles CircuitOpenError
            raise ConnectionError("the upstream is down")
    except ConnectionError as error:
        return JSONResponse({"worker": os.getpid(), "error": str(error)}, 502)


app = Starlette(
    routes=[Route("/", status), Route("/fail", fail)],
    middleware=[Middleware(BreakerMiddleware, coordinator=coordinator)],
)

if __name__ == "__main__":
    if "REDIS_URL" not in os.environ:
        sys.exit("Several processes can share circuits only through Redis: set REDIS_URL.")
    uvicorn.run(
        f"{Path(__file__).stem}:app",
        app_dir=str(Path(__file__).parent),
        workers=3,
        port=int(os.environ.get("PORT", "8000")),
    )
