"""The event stream of the page: what a viewer receives, and when its stream ends."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.types import Message, Scope

from tests.helpers.waiting import PATIENCE, eventually
from tests.page.fleets import Viewer, call, looked_at, open_circuit
from zenvark_web import Coordinator
from zenvark_web.asgi import StatusApp
from zenvark_web.asgi._status import app, stream

SCOPE: Scope = {"type": "http", "method": "GET", "path": "/api/v1/stream", "headers": []}


async def nothing_more() -> Message:
    """What a viewer sends after its request."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_snapshot_then_changes(coordinator: Coordinator) -> None:
    await call(coordinator, "search")
    async with looked_at(StatusApp(coordinator, title="Shop")) as client, Viewer(client) as viewer:
        assert viewer.response.headers["content-type"] == "text/event-stream"
        assert await viewer.read() == "greeting"
        assert viewer.greeting["title"] == "Shop"
        assert viewer.greeting["acts"] is False
        assert await viewer.read() == "snapshot"
        assert viewer.circuits["search"]["state"] == "closed"
        await open_circuit(coordinator, "payments")
        await viewer.read_until(lambda: viewer.circuits.get("payments", {}).get("state") == "open")
        assert viewer.fleet["counts"]["open"] == 1
        await viewer.read_until(lambda: any(each.get("circuit") for each in viewer.events))
        assert set(viewer.kinds[2:]) == {"change"}


async def test_viewer_that_comes_back_receives_what_it_has_missed(alone: Coordinator) -> None:
    await call(alone, *(f"circuit {number}" for number in range(50)))
    async with looked_at(StatusApp(alone)) as client:
        async with Viewer(client) as first:
            await first.read_until(lambda: len(first.circuits) == 50)
            mark = first.mark
        await open_circuit(alone, "payments")
        async with Viewer(client, mark) as second:
            await second.read_until(lambda: "payments" in second.circuits)
            assert list(second.circuits) == ["payments"]
            assert "snapshot" not in second.kinds


@pytest.mark.parametrize("mark", ["nonsense", "other.7", "x.", ".", "a.b.c", "é.9", "7" * 3000])
async def test_unknown_mark_gets_a_snapshot(alone: Coordinator, mark: str) -> None:
    await call(alone, "payments")
    async with looked_at(StatusApp(alone)) as client:
        response = client.stream(
            "GET", "api/v1/stream", headers=[(b"last-event-id", mark.encode("utf-8"))]
        )
        async with response as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event: snapshot"):
                    break


async def test_removed_circuit_is_told(alone: Coordinator) -> None:
    page = StatusApp(alone)
    async with looked_at(page) as client, Viewer(client) as viewer:
        await call(alone, "payments")
        await viewer.read_until(lambda: "payments" in viewer.circuits)
        page._watch.board._shown["gone"] = (None, None, None)
        page._watch.board._circuits["gone"] = (0, b"{}")
        viewer.circuits["gone"] = {}
        await viewer.read_until(lambda: "gone" not in viewer.circuits)


async def test_stream_ends_when_the_coordinator_stops(namespace: str) -> None:
    coordinator = Coordinator(namespace=namespace)
    await coordinator.start()
    async with looked_at(StatusApp(coordinator)) as client, Viewer(client) as viewer:
        await viewer.read()
        await coordinator.stop()
        async with asyncio.timeout(30):
            while await viewer.read():
                pass


async def test_stream_ends_by_itself(alone: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LIFETIME", 0.0)
    async with looked_at(StatusApp(alone)) as client, Viewer(client) as viewer:
        assert await viewer.read() == "greeting"
        assert await viewer.read() == ""


async def test_quiet_stream_has_comments(
    alone: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "QUIET", 0.01)
    async with (
        looked_at(StatusApp(alone)) as client,
        client.stream("GET", "api/v1/stream") as response,
    ):
        async for line in response.aiter_lines():
            if line == ":":
                break


async def test_viewers_are_bounded(alone: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = httpx.Limits(max_connections=None)
    async with (
        looked_at(StatusApp(alone)) as client,
        httpx.AsyncClient(base_url=client.base_url, limits=limits, trust_env=False) as many,
    ):
        async with AsyncExitStack() as stack:
            for _ in range(app.MAX_VIEWERS):
                viewer = await stack.enter_async_context(Viewer(many))
                assert await viewer.read() == "greeting"
            response = await many.get("api/v1/stream")
            assert response.status_code == 503
            assert response.headers["retry-after"] == "5"
            assert "20 viewers" in response.json()["detail"]
            assert (await many.get("api/v1/status")).status_code == 200

        async def has_room() -> bool:
            async with many.stream("GET", "api/v1/stream") as response:
                return response.status_code == 200

        await eventually(has_room)


async def test_viewer_that_never_reads_is_dropped(
    alone: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server holds a send back while its buffers are full."""
    monkeypatch.setattr(stream, "LONGEST_SEND", 0.01)
    monkeypatch.setattr(app, "MAX_VIEWERS", 1)
    page = StatusApp(alone)
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if len(sent) == 3:
            await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE):
        for _ in range(2):  # there is room for the next one
            sent.clear()
            await page(SCOPE, nothing_more, send)
            assert sent == ["http.response.start", *["http.response.body"] * 2]


async def test_stream_ends_by_its_age_whatever_its_viewer_reads(
    alone: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer that takes a little of each event, just in time, is held no longer than others."""
    monkeypatch.setattr(stream, "LIFETIME", 0.0)
    monkeypatch.setattr(stream, "QUIET", 0.01)
    monkeypatch.setattr(stream, "LONGEST_SEND", 2 * PATIENCE)
    page = StatusApp(alone)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE):
        await page(SCOPE, nothing_more, send)


async def test_viewers_that_come_at_once_are_bounded(
    alone: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them slips in while `authorize` considers another."""
    monkeypatch.setattr(app, "MAX_VIEWERS", 1)
    considered, decided = asyncio.Semaphore(0), asyncio.Event()

    async def authorize(_: Scope, right: str) -> str:
        if right == "act":
            considered.release()
            await decided.wait()
        return "anna"

    statuses: list[int] = []
    all_answered = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            if len(statuses) == 3:
                all_answered.set()

    page = StatusApp(alone, authorize=authorize)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        viewers = [tasks.create_task(page(SCOPE, nothing_more, send)) for _ in range(3)]
        for _ in viewers:
            await considered.acquire()
        decided.set()
        await all_answered.wait()
        for viewer in viewers:
            viewer.cancel()
    assert sorted(statuses) == [200, 503, 503]


async def test_a_server_may_close_the_connection_in_the_last_send(
    alone: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypercorn reports the end of a response as a disconnect, and closes the connection then. It
    was cancelled in that under trio, and waited for the connection when it stopped."""
    monkeypatch.setattr(stream, "LIFETIME", 0.0)
    disconnected, is_closed = asyncio.Event(), False

    async def receive() -> Message:
        await disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal is_closed
        if message["type"] == "http.response.body" and not message.get("more_body"):
            disconnected.set()
            for _ in range(10):
                await asyncio.sleep(0)
            is_closed = True

    await StatusApp(alone)(SCOPE, receive, send)
    assert is_closed
