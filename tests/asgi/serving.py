"""Apps served by uvicorn on a real socket, in the loop of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from tests.helpers.waiting import PATIENCE, eventually

HOST = "127.0.0.1"


class StartupError(Exception):
    """The app did not start."""


@asynccontextmanager
async def served(app: ASGIApp, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an app; gives a client for it. No task may be left behind.

    Raises:
        StartupError: The app did not start.
    """
    before = asyncio.all_tasks()
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        settings = {"lifespan": "on", "log_config": None, "ws": "none", **settings}
        config = uvicorn.Config(app, **settings)
        server = _Server(config)
        serving = asyncio.create_task(server.serve_on(listener))
        try:
            await eventually(lambda: server.started or serving.done(), within=PATIENCE)
            if not server.started:
                raise StartupError
            url = f"http://{HOST}:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            await serving
    await eventually(lambda: asyncio.all_tasks() <= before, within=PATIENCE)


class _Server(uvicorn.Server):
    async def serve_on(self, listener: socket.socket) -> None:
        with suppress(SystemExit):  # what newer versions raise when the app does not start
            await self.serve(sockets=[listener])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals stay with the test run."""
        yield
