"""Servers that stop while viewers are connected: no stream holds them up."""

import asyncio
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.helpers.children import Child
from tests.helpers.ports import Port
from tests.helpers.processes import ROOT
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually
from tests.page.fleets import Viewer
from zenvark_web.asgi._status.stream import LIFETIME

SERVERS = {
    "uvicorn": "uvicorn tests.page.program:app --port PORT",
    "hypercorn": "hypercorn tests.page.program:app --bind 127.0.0.1:PORT --graceful-timeout 60",
    "hypercorn on trio": (
        "hypercorn tests.page.program:app --bind 127.0.0.1:PORT --graceful-timeout 60 "
        "--worker-class trio"
    ),
}


@pytest.mark.parametrize("name", spanning(SERVERS, {"uvicorn", "hypercorn"}))
async def test_sigterm_ends_it_at_once(name: str, tmp_path: Path) -> None:
    port = Port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = Child(
            [sys.executable, "-m", *SERVERS[name].replace("PORT", str(port.number)).split()],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            async with _client(port.number) as client, AsyncExitStack() as stack:
                await eventually(lambda: _answers(client), what=f"an answer of {name}")
                viewers = [await stack.enter_async_context(Viewer(client)) for _ in range(5)]
                for viewer in viewers:
                    await viewer.read_until(lambda: "snapshot" in viewer.kinds)  # noqa: B023
                began = time.monotonic()
                os.kill(child.pid, signal.SIGTERM)
                await asyncio.gather(*map(_read_to_the_end, viewers))
                await eventually(lambda: not child.running, within=PATIENCE)
                print(f"{name} has ended after {time.monotonic() - began:.2f} s")
                assert time.monotonic() - began < LIFETIME / 2
        finally:
            if child.running:
                await asyncio.to_thread(child.kill)
            port.release()
    assert "Exception in ASGI" not in log.read_text()
    assert "without completing response" not in log.read_text()


def _client(port: int) -> httpx.AsyncClient:
    url = f"http://127.0.0.1:{port}/circuits/"
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE)


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("api/v1/health")).status_code == 200
    except httpx.TransportError:  # it is not up yet
        return False


async def _read_to_the_end(viewer: Viewer) -> None:
    while await viewer.read():
        pass
