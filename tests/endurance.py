"""A hundred thousand requests of all kinds to a real uvicorn: its memory must stay flat.

    python -m tests.endurance [--requests 100000]

The server's process is asked for its size after each tenth of them. Once it has seen three tenths
it is as large as it gets.
"""

import argparse
import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect

from tests.helpers.children import Child
from tests.helpers.processes import ROOT
from tests.helpers.servers import RedisServer, current_server
from tests.helpers.waiting import PATIENCE, eventually, eventually_sync

CLIENTS = 16
STEPS = 10
WARM = 3
MOST_BYTES = 4 * 1024 * 1024
MOST_OBJECTS = 1_000
"""By how much the process may differ between its third step and its last."""

REQUESTS = {
    "/plain": 200, "/stream": 200, "/background": 202, "/fails": 500, "/down": 503,
    "/needs": 503, "/runs-into": 503, "/nothing": 404,
}  # fmt: skip


class Connection:
    """A client as small as it can be: it keeps its connection, and reads what it is told to."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def get(self, path: str) -> int:
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    async def post(self, path: str, body: bytes) -> int:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._exchange(head.encode() + body)

    async def leave(self, path: str) -> int:
        """Leave in the middle of a stream."""
        reader, writer = await self._connected()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status = int((await reader.readline()).split()[1])
        await reader.readuntil(b"tick")
        await self.close()
        return status

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()
            self._reader = self._writer = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self._reader, self._writer

    async def _exchange(self, request: bytes) -> int:
        reader, writer = await self._connected()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if length := re.search(rb"content-length: (\d+)", head):
            await reader.readexactly(int(length[1]))
        else:
            assert b"transfer-encoding: chunked" in head, head
            await reader.readuntil(b"0\r\n\r\n")
        return int(head.split()[1])


class Clients:
    """All kinds of requests in turn, by some clients at once."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self.made = 0

    async def make(self, requests: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(self._client(requests // CLIENTS))

    async def _client(self, requests: int) -> None:
        connection = Connection(self._url.host, self._url.port or 80)
        kinds: list[Callable[[], Awaitable[bool]]] = [
            lambda path=path, status=status: self._get(connection, path, status)  # type: ignore[misc]
            for path, status in REQUESTS.items()
        ]
        kinds += [lambda: self._upload(connection), lambda: self._leave(connection), self._echo]
        for number in range(requests):
            assert await kinds[number % len(kinds)](), number % len(kinds)
            self.made += 1
        await connection.close()

    async def _get(self, connection: Connection, path: str, status: int) -> bool:
        return await connection.get(path) == status

    async def _upload(self, connection: Connection) -> bool:
        return await connection.post("/upload", b"x" * 20_000) == 200

    async def _leave(self, connection: Connection) -> bool:
        return await connection.leave("/endless") == 200

    async def _echo(self) -> bool:
        address = f"ws://{self._url.host}:{self._url.port}/echo"
        async with connect(address, proxy=None) as websocket:
            await websocket.send("hello")
            return await websocket.recv() == "hello"


@contextmanager
def serving(redis: str) -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    with tempfile.TemporaryFile() as output:
        child = Child(
            [
                *(sys.executable, "-m", "uvicorn", "tests.asgi.endurance_app:app", "--ws"),
                *("wsproto", "--port", "0", "--no-access-log", "--timeout-keep-alive", "600"),
            ],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ENDURANCE_REDIS": redis},
        )

        def written() -> str:
            size = os.fstat(output.fileno()).st_size
            return os.pread(output.fileno(), size, 0).decode(errors="replace")

        def address() -> str | None:
            assert child.running, written()
            found = re.search(r"running on (http://\S+)", written())
            return found and found[1]

        try:
            yield str(eventually_sync(address, within=PATIENCE, what="the server's address"))
        finally:
            child.terminate(within=PATIENCE)
        assert child.process.returncode in (0, -signal.SIGTERM), written()[-3000:]
        assert "Traceback" not in written(), written()[-3000:]


async def endure(url: str, requests: int) -> bool:
    """Make the requests; tells whether the server's memory stayed flat."""
    sizes: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as client:
        await client.get("/prepare")

        async def prepared() -> bool:
            return (await client.get("/down")).status_code == 503 and (
                await client.get("/needs")
            ).status_code == 503

        await eventually(prepared, within=PATIENCE, what="open circuits")
        clients = Clients(url)
        began = time.monotonic()
        print("requests  seconds  MiB resident  objects  tasks", flush=True)
        for _ in range(STEPS):
            await clients.make(requests // STEPS)
            # Those who were left in the middle need a moment to notice.
            await asyncio.sleep(1)
            size = (await client.get("/size")).json()
            sizes.append(size)
            print(
                f"{clients.made:8} {time.monotonic() - began:8.1f} {size['bytes'] / 2**20:13.1f}"
                f" {size['objects']:8} {size['tasks']:6}",
                flush=True,
            )
        print("counted:", sizes[-1]["successes"], "failures:", sizes[-1]["failures"])
    warm, last = sizes[WARM - 1], sizes[-1]
    return (
        last["bytes"] - warm["bytes"] < MOST_BYTES
        and last["objects"] - warm["objects"] < MOST_OBJECTS
        and last["tasks"] <= warm["tasks"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    requests = parser.parse_args().requests
    with RedisServer(current_server()) as redis, serving(redis.url) as url:
        flat = asyncio.run(endure(url, requests))
    print("flat" if flat else "it grew")
    sys.exit(not flat)


if __name__ == "__main__":
    main()
