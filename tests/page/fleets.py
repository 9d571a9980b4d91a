"""Fleets whose page is looked at, and the events of its stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.serving import served
from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator
from zenvark_web.asgi import StatusApp

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(600))


class BrokenError(Exception):
    """The upstream is broken."""


async def answer() -> None:
    pass


async def fail() -> None:
    raise BrokenError


async def call(coordinator: Coordinator, *names: str) -> None:
    """Make a call of each circuit that succeeds."""
    for name in names:
        await coordinator.breaker(name).execute(answer)


async def open_circuit(coordinator: Coordinator, name: str) -> None:
    """Have a circuit opened by a failure, and wait for that."""
    from tests.helpers.waiting import eventually

    with suppress(BrokenError):
        await coordinator.breaker(name).execute(fail)
    await eventually(lambda: coordinator.breaker(name).state == "open")


def mounted(page: StatusApp, prefix: str = "/circuits") -> Starlette:
    return Starlette(routes=[Mount(prefix, page)])


@asynccontextmanager
async def looked_at(page: StatusApp) -> AsyncIterator[httpx.AsyncClient]:
    """The page behind a real server; gives a client whose addresses begin at the mount."""
    async with served(mounted(page)) as client:
        client.base_url = client.base_url.join("/circuits/")
        yield client


class Viewer:
    """Reads the stream of a page.

    Args:
        client: A client of the page.
        mark: The last event that it has seen.
    """

    def __init__(self, client: httpx.AsyncClient, mark: str | None = None) -> None:
        self._client = client
        self._mark = mark
        self.circuits: dict[str, Any] = {}
        self.events: list[Any] = []
        self.fleet: Mapping[str, Any] = {}
        self.kinds: list[str] = []
        self.greeting: Mapping[str, Any] = {}
        self.mark = ""

    async def __aenter__(self) -> Self:
        headers = {"last-event-id": self._mark} if self._mark else {}
        self._response = self._client.stream("GET", "api/v1/stream", headers=headers)
        self.response = await self._response.__aenter__()
        self._lines = self.response.aiter_lines()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._lines.aclose()  # type: ignore[attr-defined]
        await self._response.__aexit__(*error)

    async def read(self) -> str:
        """Read the next event, and return its kind; empty at the end."""
        kind = ""
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                self.mark = value
            elif name == "data":
                self._take(kind, json.loads(value))
            elif not line and kind:
                self.kinds.append(kind)
                return kind
        return ""

    async def read_until(self, true: Any) -> None:
        """Read until something is true."""
        async with asyncio.timeout(60):
            while not true():
                assert await self.read(), "the stream has ended"

    def _take(self, kind: str, data: Any) -> None:
        if kind == "greeting":
            self.greeting = data
            return
        if kind == "snapshot":
            self.circuits.clear()
        for name in data.get("gone", ()):
            self.circuits.pop(name, None)
        self.circuits |= {each["name"]: each for each in data.get("circuits", ())}
        self.events += data.get("events", ())
        self.fleet = data.get("fleet", self.fleet)
