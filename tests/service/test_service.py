"""A realistic service as a whole: web workers, task workers, model SDKs, event streams, one fleet.

`nox -s service` runs it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.helpers.ports import Port
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually
from tests.http.server import HOST, Upstream, status
from tests.service import upstreams
from tests.service.programs import PATIENCE, Program, tasks, web

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

LONG = "60"
SHORT = "1"


@dataclass
class Service:
    """The programs, what they call, and a way to ask them."""

    redis: RedisServer
    environment: dict[str, str]
    catalog: Upstream
    models: Upstream
    web: Program
    address: str

    @property
    def catalog_circuit(self) -> str:
        return f"{HOST}:{self.catalog.port}"

    @property
    def models_circuit(self) -> str:
        return f"{HOST}:{self.models.port}"

    async def get(self, path: str) -> httpx.Response:
        """Ask over a connection of its own, so that any worker may answer."""
        async with httpx.AsyncClient(
            base_url=self.address, timeout=PATIENCE, trust_env=False
        ) as client:
            return await client.get(path)

    async def know(self, circuit: str, state: str) -> bool:
        """Whether both workers know of this state. (One that has never called has no breaker.)"""
        answers = [await self.get("/circuits") for _ in range(8)]
        known = {answer.headers["x-worker"]: answer.json().get(circuit) for answer in answers}
        return set(known.values()) == {state}

    async def seen_by_both(self, path: str) -> None:
        """Ask until both workers have answered."""
        workers: set[str] = set()

        async def asked() -> bool:
            workers.add((await self.get(path)).headers["x-worker"])
            return len(workers) == 2

        await eventually(asked, within=PATIENCE, what="an answer from each worker")


@asynccontextmanager
async def running(
    server: str, redis: RedisServer, namespace: str, backoff: str
) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        catalog, models = Upstream(), Upstream()
        catalog.answer, models.answer = upstreams.catalog, upstreams.models
        for upstream in (catalog, models):
            await stack.enter_async_context(upstream)
        environment = {
            "SERVICE_REDIS": redis.url,
            "SERVICE_NAMESPACE": namespace,
            "SERVICE_CATALOG": catalog.url,
            "SERVICE_MODELS": models.url,
            "SERVICE_BACKOFF": backoff,
        }
        port = Port()
        stack.callback(port.release)
        program = await stack.enter_async_context(web(server, port, environment))
        address = f"http://{HOST}:{port.number}"
        service = Service(redis, environment, catalog, models, program, address)
        await eventually(lambda: _answers(service), within=PATIENCE, what="the service")
        yield service
        await program.stop()
        assert program.exit_code == 0, program.log
        assert "was never retrieved" not in program.log, program.log


async def _answers(service: Service) -> bool:
    try:
        return (await service.get("/circuits")).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(params=["uvicorn", "gunicorn"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_an_outage_seen_by_one_program_is_every_programs(
    server: str, fresh_server: RedisServer, namespace: str
) -> None:
    """Web workers and task workers stop together, answer honestly, and no circuit of the app's own
    routes opens because of it."""
    async with (
        running(server, fresh_server, namespace, LONG) as service,
        tasks("tests.service.tasks", service.environment) as pool,
    ):
        for path in ("/price", "/prices"):
            await service.seen_by_both(path)
            assert (await service.get(path)).is_success
        assert await outcomes(service, 4) == {"200"}

        service.catalog.answer = status(500)
        await eventually(lambda: _is_rejected(service), within=PATIENCE, what="a 503")
        await eventually(
            lambda: service.know(service.catalog_circuit, "open"), within=PATIENCE, what="open"
        )
        reached = len(service.catalog.requests)
        for path in ("/price", "/prices"):
            answer = await service.get(path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 30
        for _ in range(30):  # more than the routes' own circuits would bear
            assert (await service.get("/price")).status_code == 503
        assert await outcomes(service, 8) == {"rejected"}
        assert len(service.catalog.requests) == reached
        assert (await service.get("/circuits")).json()["route-price"] == "closed"
        assert "was never retrieved" not in pool.log, pool.log
        await pool.stop()
        assert pool.exit_code == 0, pool.log


async def test_an_outage_seen_by_a_task_is_the_web_workers_too(
    fresh_server: RedisServer, namespace: str
) -> None:
    async with (
        running("uvicorn", fresh_server, namespace, LONG) as service,
        tasks("tests.service.tasks", service.environment),
    ):
        await service.seen_by_both("/price")
        service.catalog.answer = status(500)

        async def rejected() -> bool:
            return "rejected" in await outcomes(service, 2)

        await eventually(rejected, within=PATIENCE, what="a rejected task")
        await eventually(
            lambda: service.know(service.catalog_circuit, "open"), within=PATIENCE, what="open"
        )
        assert (await service.get("/price")).status_code == 503


async def test_recovery_and_a_redis_that_is_killed_meanwhile(
    server: str, fresh_server: RedisServer, namespace: str
) -> None:
    async with running(server, fresh_server, namespace, SHORT) as service:
        await service.seen_by_both("/price")
        service.catalog.answer = status(500)
        await eventually(lambda: _is_rejected(service), within=PATIENCE, what="a 503")
        fresh_server.kill()
        assert (await service.get("/circuits")).is_success
        fresh_server.start()
        service.catalog.answer = upstreams.catalog

        async def is_well() -> bool:
            return (await service.get("/price")).is_success

        await eventually(is_well, within=PATIENCE, what="a price")
        await eventually(
            lambda: service.know(service.catalog_circuit, "closed"), within=PATIENCE, what="closed"
        )


async def test_an_event_stream_lasts_while_its_circuit_recovers(
    server: str, fresh_server: RedisServer, namespace: str
) -> None:
    """A stream is a call that went well as soon as it has begun, though it has no end."""
    async with (
        running(server, fresh_server, namespace, SHORT) as service,
        httpx.AsyncClient(base_url=service.address, timeout=PATIENCE, trust_env=False) as client,
    ):
        await service.seen_by_both("/price")
        service.catalog.answer = status(500)
        await eventually(lambda: _is_rejected(service), within=PATIENCE, what="a 503")
        service.catalog.answer = upstreams.catalog

        async def streams() -> bool:
            async with client.stream("GET", "/events") as events:
                if events.is_error:
                    return False
                lines = events.aiter_lines()
                assert await anext(lines) == "data: tick"
                await eventually(
                    lambda: service.know(service.catalog_circuit, "closed"),
                    within=PATIENCE,
                    what="closed by a stream",
                )
                assert "data: tick" in [await anext(lines) for _ in range(3)]
                return True

        await eventually(streams, within=3 * PATIENCE, what="an event stream")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_model_sdks_stream_and_are_told_not_to_retry(
    fresh_server: RedisServer, namespace: str, provider: str
) -> None:
    """The SDKs retry by themselves and sleep by Retry-After: not so by that of an open circuit."""
    async with running("uvicorn", fresh_server, namespace, LONG) as service:
        path = f"/ask/{provider}"
        for other in ("openai", "anthropic"):
            assert (await service.get(f"/ask/{other}")).json() == "hello"
        await service.seen_by_both(path)

        service.models.answer = _overloaded
        await eventually(
            lambda: _status(service, path, 503), within=PATIENCE, what="an open circuit"
        )
        await eventually(
            lambda: service.know(service.models_circuit, "open"), within=PATIENCE, what="open"
        )
        reached = len(service.models.requests)
        began = asyncio.get_running_loop().time()
        for _ in range(4):
            assert (await service.get(path)).status_code == 503
        # One sleep by our Retry-After would take a minute: LONG.
        assert asyncio.get_running_loop().time() - began < float(LONG) / 2
        assert len(service.models.requests) == reached
        circuits = (await service.get("/circuits")).json()
        assert circuits["route-ask"] == "closed"


async def _overloaded(exchange: Any) -> None:
    await exchange.read_body()
    await exchange.send("HTTP/1.1 529 Overloaded", "Content-Length: 0", "retry-after-ms: 1")


async def _status(service: Service, path: str, code: int) -> bool:
    return (await service.get(path)).status_code == code


async def _is_rejected(service: Service) -> bool:
    return await _status(service, "/price", 503)


async def outcomes(service: Service, calls: int) -> set[str]:
    """What came of some calls by task workers."""
    return await asyncio.to_thread(_run_tasks, service.environment, calls)


def _run_tasks(environment: dict[str, str], calls: int) -> set[str]:
    made = [_sender(environment)() for _ in range(calls)]
    return {str(result.get(timeout=PATIENCE)[1]) for result in made}


def _sender(environment: dict[str, str]) -> Callable[[], Any]:
    from celery import Celery

    url = environment["SERVICE_REDIS"]
    app = Celery("service", broker=url, backend=url)
    app.conf.task_default_queue = environment["SERVICE_NAMESPACE"]
    return lambda: app.send_task("tests.service.tasks.price")
