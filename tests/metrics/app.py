"""The app of docs/metrics.md for a server with several processes."""

import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from zenvark_web import Coordinator
from zenvark_web.metrics import PrometheusMetrics

coordinator = Coordinator(
    os.environ["REDIS_URL"], namespace=os.environ["NAMESPACE"], metrics=PrometheusMetrics()
)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with coordinator:
        yield


def metrics(request: Request) -> Response:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    text, headers = encode(registry), {"vary": "accept, accept-encoding"}
    if gzip_accepted(request.headers.get("accept-encoding", "")):
        text, headers["content-encoding"] = gzip.compress(text, 1), "gzip"
    return Response(text, media_type=content_type, headers=headers)


async def pay(request: Request) -> Response:
    with coordinator.breaker("payments").guard():
        return PlainTextResponse(str(os.getpid()))


app = Starlette(routes=[Route("/metrics", metrics), Route("/pay", pay)], lifespan=lifespan)
