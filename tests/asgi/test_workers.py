"""The point of it all: what one worker has suffered, the other one knows."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Self

import httpx

from tests.helpers.children import Child
from tests.helpers.processes import ROOT
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from tests.http.server import HOST, Upstream, ok, status

"""Seconds in which a busy host gets round to starting two workers."""


class Shop:
    """`uvicorn --workers 2` with the app of `tests.asgi.shop`."""

    def __init__(self, **settings: str) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the shop
        self._settings = {f"SHOP_{name.upper()}": value for name, value in settings.items()}

    async def __aenter__(self) -> Self:
        self._child = Child(
            [
                *(sys.executable, "-m", "uvicorn", "tests.asgi.shop:app"),
                *("--workers", "2", "--host", HOST, "--port", "0", "--timeout-keep-alive", "600"),
            ],
            cwd=ROOT,
            stdout=self._output,
            stderr=self._output,
            env={**os.environ, **self._settings, "PYTHONPATH": str(ROOT)},
        )
        try:
            await eventually(self._is_up, within=PATIENCE, what="the shop")
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def log(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    @property
    def url(self) -> str:
        return re.findall(rf"http://{HOST}:\d+", self.log)[0]

    @property
    def exit_code(self) -> int | None:
        return self._child.process.returncode

    def _is_up(self) -> bool:
        assert self._child.running, self.log
        return self.log.count("Application startup complete.") == 2

    async def stop(self) -> None:
        await asyncio.to_thread(self._child.terminate, within=PATIENCE)
        if self.exit_code == -signal.SIGKILL:  # it did not see to its workers
            for pid in re.findall(r"Started server process \[(\d+)\]", self.log):
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    async def close(self) -> None:
        if self._child.running:
            await self.stop()
        self._output.close()


class Worker:
    """One worker, through a connection that stays with it."""

    def __init__(self, client: httpx.AsyncClient, pid: int) -> None:
        self.pid = pid
        self._client = client

    async def request(self, method: str, path: str) -> httpx.Response:
        response = await self._client.request(method, path)
        assert int(response.headers["x-worker"]) == self.pid
        return response

    async def charge(self) -> httpx.Response:
        return await self.request("POST", "/charges")

    async def knows(self, circuit: str, state: str) -> bool:
        """Whether it knows of this state; it makes no call to find out."""
        return bool((await self.request("GET", "/")).json()[circuit] == state)


async def connect(url: str, stack: AsyncExitStack) -> Worker:
    """Connect with whichever worker takes the connection."""
    client = httpx.AsyncClient(
        base_url=url,
        timeout=PATIENCE,
        trust_env=False,
        limits=httpx.Limits(max_connections=1, keepalive_expiry=None),
    )
    await stack.enter_async_context(client)
    return Worker(client, int((await client.get("/")).headers["x-worker"]))


async def connect_with_another(url: str, stack: AsyncExitStack, worker: Worker) -> Worker:
    """Connect while one worker sleeps, so that the other takes the connection."""

    async def attempt() -> Worker | None:
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(2):
                found = await connect(url, stack)
        except TimeoutError:  # it was taken just before
            return None
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        return found if found.pid != worker.pid else None

    return await eventually(attempt, within=PATIENCE, what="the other worker")


def askers(upstream: Upstream) -> list[int]:
    """Which worker made each of the calls that reached the upstream."""
    return [int(request.headers["x-worker"]) for request in upstream.requests]


async def test_failures_of_one_worker_make_the_other_answer_503(
    server: ServerHandle, namespace: str
) -> None:
    async with (
        Upstream() as upstream,
        Shop(redis=server.url, namespace=namespace, upstream=upstream.url) as shop,
        AsyncExitStack() as stack,
    ):
        unlucky = await connect(shop.url, stack)
        spared = await connect_with_another(shop.url, stack, unlucky)
        circuit = f"{HOST}:{upstream.port}"
        upstream.answer = ok
        for worker in (unlucky, spared):
            assert (await worker.charge()).json() == "charged"

        upstream.answer = status(500)
        upstream.requests.clear()
        async with asyncio.timeout(PATIENCE):
            while (await unlucky.charge()).status_code == 502:
                pass
        await eventually(partial(spared.knows, circuit, "open"), within=PATIENCE)

        for worker in (unlucky, spared):
            response = await worker.charge()
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert 1 <= int(response.headers["retry-after"]) <= 72  # some is added by chance
            assert response.json()["status"] == 503
            assert circuit not in response.text
        assert len(askers(upstream)) >= 5
        assert set(askers(upstream)) == {unlucky.pid}

        await stack.aclose()
        await shop.stop()
        assert shop.exit_code == 0, shop.log
        # (A store that is slow on a busy host is told of with a traceback, too.)
        assert "Exception in ASGI application" not in shop.log
        assert shop.log.count("Application shutdown complete.") == 2
