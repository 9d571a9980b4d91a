"""The fleet: apps, their upstream and the store they share, as processes or all in this one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
import redis.asyncio

from ..backends import MemoryBackend, RedisBackend
from ..backends.redis import KEYS
from ..exceptions import BackendError
from .app import App, AppSettings
from .errors import MisbehaviourError, SetupError
from .processes import Child
from .settings import DemoSettings
from .upstream import Hit, Upstream

UPSTREAM, SERVER = "upstream", "server"
CALL_TIMEOUT = 15.0
ERASE_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class DemoFleet:
    """What the demo watches.

    Args:
        store: What the apps share, for people.
        apps: A client for each app, by its name, for calls.
        pages: A client for each app's status. With connections of its own: a call that waits
            for one of a crowd's must not be in the way.
        upstream: A client for the upstream.
        children: Its processes by name, if it has any.
    """

    store: str
    apps: Mapping[str, httpx.AsyncClient]
    pages: Mapping[str, httpx.AsyncClient]
    upstream: httpx.AsyncClient
    children: Mapping[str, Child] = field(default_factory=dict[str, Child])

    @property
    def addresses(self) -> Sequence[str]:
        """The URLs of the apps."""
        return [str(client.base_url).rstrip("/") for client in self.apps.values()]

    @property
    def lost(self) -> Sequence[str]:
        """How processes ended that should not have."""
        return [lost for child in self.children.values() if (lost := child.lost)]

    def pid(self, app: str) -> int | None:
        """An app's process id, if it has a process of its own."""
        child = self.children.get(app)
        return child.pid if child else None

    def kill(self, app: str) -> None:
        """Kill an app's process."""
        self.children[app].kill()

    async def switch(self, *, broken: bool) -> float:
        """Break or mend the upstream; tells when that was."""
        return float(await self._ask_upstream("PUT" if broken else "DELETE", "/demo/broken"))

    async def force_open(self, app: str) -> float:
        """Have an operator at an app hold the circuit open; tells when that was."""
        try:
            response = await self.pages[app].post("/demo/override")
            return float(response.raise_for_status().json())
        except httpx.HTTPError as error:
            raise MisbehaviourError(f"{app} sets no override: {error!r}") from error

    async def hits(self) -> Sequence[Hit]:
        """What has reached the upstream since it broke."""
        return [Hit(**hit) for hit in await self._ask_upstream("GET", "/demo/log")]

    async def _ask_upstream(self, method: str, path: str) -> Any:
        try:
            response = await self.upstream.request(method, path)
            return response.raise_for_status().json()
        except httpx.HTTPError as error:
            raise MisbehaviourError(f"the upstream does not answer: {error!r}") from error


@asynccontextmanager
async def running(settings: DemoSettings) -> AsyncGenerator[DemoFleet, None]:
    """A fleet that runs, and is gone without a trace afterwards.

    Raises:
        SetupError: Something it needs is not there.
    """
    make = _in_processes if settings.processes else _in_memory
    async with make(settings) as fleet:
        yield fleet


@asynccontextmanager
async def _in_memory(settings: DemoSettings) -> AsyncGenerator[DemoFleet, None]:
    backend = MemoryBackend()
    upstream = httpx.ASGITransport(Upstream().asgi)
    async with AsyncExitStack() as stack:
        clients: dict[str, httpx.AsyncClient] = {}
        for each in _app_settings(settings, "demo", "http://upstream"):
            app = App(each, backend, upstream)
            await stack.enter_async_context(app.running())
            clients[each.name] = _client("http://app", httpx.ASGITransport(app.asgi))
        caller = _client("http://upstream", upstream)
        await _enter(stack, *clients.values(), caller)
        yield DemoFleet("memory", clients, clients, caller)


@asynccontextmanager
async def _in_processes(settings: DemoSettings) -> AsyncGenerator[DemoFleet, None]:
    namespace = f"demo-{uuid.uuid4().hex[:12]}"
    if settings.redis is not None:
        await _check_redis(settings.redis, namespace)
    helpers = [UPSTREAM] if settings.redis else [UPSTREAM, SERVER]
    children: dict[str, Child] = {}
    # The server's keeper removes the directory as well, if it should outlive us.
    directory = tempfile.mkdtemp(prefix="zenvark-demo-")
    try:
        for name in [*helpers, *_names(settings)]:
            children[name] = await Child.start(name)
        async with _started(settings, namespace, children, directory) as fleet:
            yield fleet
    finally:
        await _end(child for name, child in children.items() if name not in helpers)
        await _end(child for name, child in children.items() if name in helpers)
        shutil.rmtree(directory, ignore_errors=True)
        if settings.redis is not None:
            await _erase(settings.redis, namespace)


@asynccontextmanager
async def _started(
    settings: DemoSettings, namespace: str, children: Mapping[str, Child], directory: str
) -> AsyncGenerator[DemoFleet, None]:
    upstream = (await children[UPSTREAM].configure(part=UPSTREAM))["url"]
    store = {"url": settings.redis or "", "about": "the Redis you gave"}
    if SERVER in children:
        store = await children[SERVER].configure(part=SERVER, directory=directory)
    apps = _app_settings(settings, namespace, upstream)
    shared = {"part": "app", "store": store["url"]}
    told = await asyncio.gather(
        *(children[app.name].configure(**shared, **asdict(app)) for app in apps)
    )
    urls = {app.name: answer["url"] for app, answer in zip(apps, told, strict=True)}
    calls = {name: _client(url) for name, url in urls.items()}
    pages = {name: _client(url) for name, url in urls.items()}
    caller = _client(upstream)
    async with AsyncExitStack() as stack:
        await _enter(stack, *calls.values(), *pages.values(), caller)
        yield DemoFleet(store["about"], calls, pages, caller, children)


def _names(settings: DemoSettings) -> Sequence[str]:
    return [f"app-{number}" for number in range(1, settings.instances + 1)]


def _app_settings(settings: DemoSettings, namespace: str, upstream: str) -> Sequence[AppSettings]:
    return [
        AppSettings(
            name=name,
            namespace=namespace,
            upstream=upstream,
            trial=settings.trial,
            ramp=settings.ramp,
        )
        for name in _names(settings)
    ]


def _client(url: str, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        transport=transport,
        timeout=CALL_TIMEOUT,
        trust_env=False,
        verify=False,  # noqa: S501 - it is all plain HTTP, and TLS takes a while to set up
    )


async def _enter(stack: AsyncExitStack, *clients: httpx.AsyncClient) -> None:
    for client in clients:
        await stack.enter_async_context(client)


async def _end(children: Iterable[Child]) -> None:
    await asyncio.gather(*(child.end() for child in children))


async def _check_redis(url: str, namespace: str) -> None:
    try:
        backend = RedisBackend(url, namespace)
        backend.open()
        try:
            await backend.load()
        finally:
            await backend.close()
    except (BackendError, ValueError) as error:
        raise SetupError(
            f"the given Redis can't be used: {error.__cause__ or error}\n"
            "Without --redis, the demo starts a private server."
        ) from error


async def _erase(url: str, namespace: str) -> None:
    """Leave nothing behind in a Redis that is not ours."""
    with suppress(redis.RedisError, OSError):
        async with redis.asyncio.from_url(url, socket_timeout=ERASE_TIMEOUT) as client:
            await client.delete(*(f"zenvark:{{{namespace}}}:{key}" for key in KEYS))
