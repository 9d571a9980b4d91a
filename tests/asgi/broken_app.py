"""An app whose only page is broken, and whose middleware may or may not hear of a lifespan."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
)

coordinator = Coordinator(
    os.environ["BROKEN_REDIS"],
    namespace=os.environ["BROKEN_NAMESPACE"],
    policy=BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(60)),
)


async def broken(request: Request) -> Response:
    return PlainTextResponse("broken", 500)


app = Starlette(routes=[Route("/broken", broken)])
app.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
mounting = Starlette(routes=[Mount("/", app)])
