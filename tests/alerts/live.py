"""Has a real Prometheus scrape a fleet with every kind of trouble, and asks it for each panel.

    python -m tests.alerts.live

`nox -s dashboard` fetches Prometheus if it is missing. `PROMETHEUS` names another one.
"""

import asyncio
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, start_http_server

from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    Outcome,
    Override,
)
from zenvark_web._observability import dashboard
from zenvark_web.demo import server
from zenvark_web.metrics import PrometheusMetrics

PATIENCE = 180.0
PAUSE = 0.05
"""Seconds between two rounds of calls."""

RATE = "10s"
VARIABLES = {"$__rate_interval": RATE, "$namespace": ".*", "$circuit": ".*"}
STRATEGY = CountWindow(size=20, failure_rate=0.3, minimum_calls=10)
RECOVERY = ConstantBackoff(1)


def check(_: object) -> None:
    """A health check that passes."""


def complain(_: object) -> None:
    """A callback of a user's that raises."""
    raise RuntimeError("a callback that raises")


POLICIES = {
    "payments": BreakerPolicy(strategy=STRATEGY, backoff=RECOVERY, health_check=check),
    "observed": BreakerPolicy(strategy=STRATEGY, backoff=RECOVERY, observe=True),
    "egress": BreakerPolicy(strategy=STRATEGY, backoff=ConstantBackoff(30), quorum=2),
    "held": BreakerPolicy(),
}


async def main() -> None:
    """Let the fleet run until each panel has data. Exits if one gets none."""
    logging.disable()  # the fleet tells of its troubles
    program = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if program is None:
        sys.exit("prometheus is missing: install Debian's package, or set PROMETHEUS")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(redis())
        ports, members = [], []
        for _ in range(2):
            registry = CollectorRegistry()
            metrics = PrometheusMetrics(registry)
            web, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
            stack.callback(thread.join)
            stack.callback(web.server_close)
            stack.callback(web.shutdown)
            ports.append(web.server_port)
            coordinator = Coordinator(
                url, policies=POLICIES, metrics=metrics, on_state_change=complain
            )
            members.append(await stack.enter_async_context(coordinator))
        await members[0].override("held", Override.FORCE_OPEN, reason="a test", actor="operator")
        alone = asyncio.Event()
        traffic = asyncio.create_task(call(members, alone))
        stack.callback(traffic.cancel)
        address = await stack.enter_async_context(prometheus(program, ports))
        await answered(address, alone)


async def call(members: list[Coordinator], alone: asyncio.Event) -> None:
    """All calls fail. Those of `egress` fail on the second instance only, from a moment on."""
    while True:
        for number, member in enumerate(members):
            for circuit in POLICIES:
                fails = circuit != "egress" or (number == 1 and alone.is_set())
                with suppress(CircuitOpenError):
                    permit = member.breaker(circuit).acquire()
                    permit.record(*([Outcome.FAILURE, "HTTP 503"] if fails else [Outcome.SUCCESS]))
        await asyncio.sleep(PAUSE)


async def answered(address: str, alone: asyncio.Event) -> None:
    """Ask for each panel until it has data.

    Args:
        address: That of Prometheus.
        alone: Set when it has scraped how often the quorum has refused: never.
    """
    missing = dict(queries())
    print(f"{len(missing)} queries")
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient(base_url=address) as client:
            while missing:
                await asyncio.sleep(1)
                if await has_data(client, f"rate(zenvark_quorum_refusals_total[{RATE}])"):
                    alone.set()
                for name, query in list(missing.items()):
                    if await has_data(client, query):
                        del missing[name]
    if missing:
        sys.exit("no data for " + "".join(f"\n{name}: {query}" for name, query in missing.items()))
    print("each panel has data")


async def has_data(client: httpx.AsyncClient, query: str) -> bool:
    """Whether a query has a number now."""
    response = await client.get("/api/v1/query", params={"query": query})
    found: dict[str, Any] = response.raise_for_status().json()
    return any(result["value"][1] != "NaN" for result in found["data"]["result"])


def queries() -> Iterator[tuple[str, str]]:
    """The queries of all panels, as Grafana sends them."""
    for panel in json.loads(dashboard())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            yield f"{panel['title']} {target['refId']}", query


@asynccontextmanager
async def redis() -> Any:
    """A server of its own."""
    dismissed, told = asyncio.Event(), asyncio.get_running_loop().create_future()
    with TemporaryDirectory(ignore_cleanup_errors=True) as directory:  # the server removes it, too
        running = asyncio.create_task(
            server.run(directory, dismissed, lambda *, url, about: told.set_result(url))
        )
        try:
            await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
            yield told.result() if told.done() else await running
        finally:
            dismissed.set()
            await running


@asynccontextmanager
async def prometheus(program: str, ports: list[int]) -> Any:
    """Prometheus on a port that is free, scraping these."""
    with TemporaryDirectory() as directory:
        config = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "web",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
                }
            ],
        }
        path = written(directory, config)
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={path}",
            f"--storage.tsdb.path={directory}/data",
            "--web.listen-address=127.0.0.1:0",
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            address = await listening(process)
            draining = asyncio.create_task(process.communicate())  # or its log fills the pipe
            yield address
        finally:
            process.terminate()
            await process.wait()
        await draining


def written(directory: str, config: object) -> Path:
    """The file with a configuration."""
    path = Path(directory, "prometheus.json")
    path.write_text(json.dumps(config))  # JSON is YAML, too
    return path


async def listening(process: asyncio.subprocess.Process) -> str:
    """The address that Prometheus tells in its log."""
    assert process.stderr is not None
    lines = []
    async with asyncio.timeout(PATIENCE):
        async for line in process.stderr:
            lines.append(line.decode())
            if "Listening on" in lines[-1]:
                return "http://" + lines[-1].rpartition("address=")[2].strip()
    sys.exit("Prometheus did not start:\n" + "".join(lines))


if __name__ == "__main__":
    asyncio.run(main())
