"""How the metrics get out of a process: the ways that docs/metrics.md shows, over real sockets."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry, make_asgi_app, start_http_server
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from tests.helpers.waiting import eventually
from tests.metrics.scraping import Scrape
from zenvark_web import CircuitOpenError, Coordinator
from zenvark_web.metrics import PrometheusMetrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def make_app(registry: CollectorRegistry) -> Starlette:
    coordinator = Coordinator(namespace="shop", metrics=PrometheusMetrics(registry))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with coordinator:
            yield

    async def pay(request: Request) -> Response:
        try:
            with coordinator.breaker("payments").guard():
                raise ConnectionError
        except (ConnectionError, CircuitOpenError) as error:
            return PlainTextResponse(type(error).__name__, 502)

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text, headers = encode(registry), {"vary": "accept, accept-encoding"}
        if gzip_accepted(request.headers.get("accept-encoding", "")):
            text, headers["content-encoding"] = gzip.compress(text, 1), "gzip"
        return Response(text, media_type=content_type, headers=headers)

    return Starlette(
        routes=[
            Route("/pay", pay),
            Route("/metrics", metrics),
            Mount("/mounted", make_asgi_app(registry)),
        ],
        lifespan=lifespan,
    )


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    config = uvicorn.Config(app, port=0, lifespan="on", ws="none", log_level="warning")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started or task.done())
        _, port = server.servers[0].sockets[0].getsockname()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        await task


async def test_an_app_serves_its_metrics() -> None:
    async with serving(make_app(CollectorRegistry())) as client:
        for _ in range(5):
            assert (await client.get("/pay")).text == "ConnectionError"

        async def is_open() -> bool:
            return (await client.get("/pay")).text == "CircuitOpenError"

        await eventually(is_open)

        plain = await client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain; version=")
        strict = await client.get("/metrics", headers={"accept": OPENMETRICS})
        assert strict.headers["content-type"].startswith("application/openmetrics-text")
        # A mount answers at its path with a slash only.
        redirect = await client.get("/mounted")
        assert redirect.status_code == 307
        assert httpx.URL(redirect.headers["location"]).path == "/mounted/"
        mounted = await client.get("/mounted", follow_redirects=True)
        uncompressed = {"accept-encoding": "identity"}
        for path in ("/metrics", "/mounted/"):
            assert (await client.get(path)).headers["content-encoding"] == "gzip"
            raw = await client.get(path, headers=uncompressed)
            assert "content-encoding" not in raw.headers
            assert "zenvark_state" in raw.text

    for families in (parse(plain.text), parse_openmetrics(strict.text), parse(mounted.text)):
        scraped = Scrape(families)
        labels = {"breaker_id": "payments"}
        assert scraped.values("zenvark_state", "state", **labels)["open"] == 1
        assert scraped.value("zenvark_blocked_requests_total", **labels) >= 1
        calls = scraped.values("zenvark_call_duration_seconds_count", "result", **labels)
        assert calls["failure"] >= 5


async def test_a_server_in_a_thread_of_its_own() -> None:
    registry = CollectorRegistry()
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        async with (
            Coordinator(metrics=PrometheusMetrics(registry)) as coordinator,
            httpx.AsyncClient() as client,
        ):
            with (
                pytest.raises(ConnectionError),
                coordinator.breaker("payments").guard(),
            ):
                raise ConnectionError
            response = await client.get(f"http://127.0.0.1:{server.server_port}/metrics")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    scraped = Scrape(parse(response.text))
    assert scraped.value("zenvark_call_duration_seconds_count", result="failure") == 1
