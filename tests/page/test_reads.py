"""What the page shares with the rest of its process: the connection to the store, and sockets."""

import asyncio
import os
import socket
from typing import Any

import httpx
import pytest

from tests.helpers.waiting import PATIENCE
from tests.page.fleets import POLICY, Viewer, looked_at
from zenvark_web import Coordinator, MemoryBackend
from zenvark_web._core.order import Position
from zenvark_web.asgi import StatusApp
from zenvark_web.asgi._status import watch
from zenvark_web.backends.base import StateEntry
from zenvark_web.backends.views import StoreView


class SlowStore(MemoryBackend):
    """A store that answers the page when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Semaphore(0)
        self.answers = asyncio.Event()
        self.now = self.most = 0

    def view(self) -> Any:
        return _SlowView(super().view(), self)


class _SlowView:
    def __init__(self, view: StoreView, store: SlowStore) -> None:
        self._view = view
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    async def entries(self, after: Position | None, most: int) -> list[StateEntry]:
        store = self._store
        store.now += 1
        store.most = max(store.most, store.now)
        store.begun.release()
        await store.answers.wait()
        store.now -= 1
        return list(await self._view.entries(after, most))


async def test_reads_wait_for_each_other_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE", PATIENCE)  # a busy host is no store that is away
    store, refused = SlowStore(), []
    async with (
        Coordinator(store, policy=POLICY) as coordinator,
        looked_at(StatusApp(coordinator)) as client,
        _many_connections(client) as many,
        asyncio.timeout(PATIENCE),
    ):
        number = watch.MOST_WAITING + 3
        reads = {asyncio.create_task(many.get("api/v1/events")) for _ in range(number)}
        while len(refused) < 3:
            done, reads = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            refused += [each.result() for each in done]
        for response in refused:
            assert response.status_code == 503
            assert "too many requests" in response.json()["detail"]
        store.answers.set()
        served = await asyncio.gather(*reads)
        assert [each.status_code for each in served] == [200] * watch.MOST_WAITING
        assert store.most == watch.AT_ONCE
        assert (await many.get("api/v1/events")).status_code == 200  # there is room again


async def test_sockets_of_others_stay_as_they_are(alone: Coordinator) -> None:
    """A stream looks for the socket of its server. With a default timeout, a look at any other
    would take away that it blocks."""
    with socket.create_server(("127.0.0.1", 0)) as blocking:
        socket.setdefaulttimeout(PATIENCE)
        try:
            async with looked_at(StatusApp(alone)) as client, Viewer(client) as viewer:
                assert await viewer.read() == "greeting"
            assert os.get_blocking(blocking.fileno())
        finally:
            socket.setdefaulttimeout(None)


def _many_connections(client: httpx.AsyncClient) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(
        base_url=client.base_url, limits=limits, trust_env=False, timeout=PATIENCE
    )
