"""Real servers that run no lifespan, or none for a mounted app: requests are protected, and in the
end the lease is given back."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.helpers.children import Child
from tests.helpers.ports import Port
from tests.helpers.processes import ROOT
from tests.helpers.servers import ServerHandle
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually

SERVERS = {
    "uvicorn without lifespan": "uvicorn broken_app:app --port PORT --lifespan off",
    "uvicorn with a mounted app": "uvicorn broken_app:mounting --port PORT",
    "hypercorn with a mounted app": "hypercorn broken_app:mounting --bind 127.0.0.1:PORT",
    "hypercorn on trio with a mounted app": (
        "hypercorn broken_app:mounting --bind 127.0.0.1:PORT --worker-class trio"
    ),
}


SPANNING = {"uvicorn without lifespan", "hypercorn on trio with a mounted app"}


@pytest.mark.parametrize("name", spanning(SERVERS, SPANNING))
async def test_it_is_protected(
    name: str, redis_server: ServerHandle, namespace: str, tmp_path: Path
) -> None:
    port = Port()
    command = SERVERS[name].replace("broken_app", "tests.asgi.broken_app")
    command = command.replace("PORT", str(port.number))
    settings = {
        "BROKEN_REDIS": redis_server.url,
        "BROKEN_NAMESPACE": namespace,
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = Child(
            [sys.executable, "-m", *command.split()],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, **settings},
        )
        try:
            await rejects(f"http://127.0.0.1:{port.number}/broken")
            os.kill(child.pid, signal.SIGINT)  # SIGTERM ends uvicorn without ending its loop
            await eventually(lambda: not child.running, within=PATIENCE)
        finally:
            if child.running:
                await asyncio.to_thread(child.kill)
            port.release()
    assert not redis_server.client().exists(f"zenvark:{{{namespace}}}:leader"), log.read_text()
    assert "Exception in ASGI application" not in log.read_text()


async def rejects(url: str) -> None:
    """Ask until the circuit of the broken page is open."""
    statuses: list[int] = []

    async def attempt() -> bool:
        try:
            statuses.append((await client.get(url)).status_code)
        except httpx.TransportError:  # it is not up yet
            return False
        return statuses[-1] == 503

    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        await eventually(attempt, within=PATIENCE, what="an open circuit")
    assert statuses[:3] == [500] * 3
