"""The page's API, over a real server."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.cli.schema import check
from tests.helpers.proxy import CLOSING, Proxy
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from tests.page.fleets import POLICY, call, looked_at, mounted, open_circuit
from zenvark_web import BreakerMiddleware, Coordinator
from zenvark_web.asgi import StatusApp


async def read(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    response = await client.get(f"api/v1/{path}", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    return response.json()


async def test_status(coordinator: Coordinator) -> None:
    async with looked_at(StatusApp(coordinator)) as client:
        await call(coordinator, "search")
        await open_circuit(coordinator, "payments")
        status = await read(client, "status")
        check(status, "status")
        assert [(each["name"], each["state"]) for each in status["circuits"]] == [
            ("payments", "open"),
            ("search", "closed"),
        ]
        assert status["counts"] == {"open": 1, "half_open": 0, "closed": 1}
        assert status["circuits"][0]["transition"]["failures"] == {"BrokenError": 1}
        assert status["namespace"] == coordinator.namespace
        assert [each["name"] for each in status["instances"]] == [coordinator.instance_id]
        assert all(each["leader"] == coordinator.instance_id for each in status["shards"])
        assert not status["away"]


async def test_circuit(coordinator: Coordinator) -> None:
    async with looked_at(StatusApp(coordinator)) as client:
        await open_circuit(coordinator, "payments")
        found = await read(client, "circuit", name="payments")
        check(found, "why")
        assert found["state"] == "open"
        assert [each["state"] for each in found["history"]] == ["open"]
        assert "Next attempt in" in found["what_next"]


async def test_names_are_any_text(coordinator: Coordinator) -> None:
    async with looked_at(StatusApp(coordinator)) as client:
        for name in ("a/b?c=d&e#f%20", "süß + ähnlich", "x" * 255):
            await call(coordinator, name)
            assert (await read(client, "circuit", name=name))["circuit"] == name


async def test_events(coordinator: Coordinator) -> None:
    async with looked_at(StatusApp(coordinator)) as client:
        names = [f"circuit {number}" for number in range(4)]
        for name in names:
            await open_circuit(coordinator, name)
        whole = (await read(client, "events"))["events"]
        for each in whole:
            check(each, "events")
        assert [each["circuit"] for each in whole if each["event"] == "transition"] == names
        paged, after = [], "0-0"
        while page := (await read(client, "events", after=after, limit=2))["events"]:
            paged += page
            after = page[-1]["position"]
        assert paged == whole
        assert (await read(client, "events", limit=2))["events"] == whole[-2:]


async def test_policies(coordinator: Coordinator) -> None:
    async with looked_at(StatusApp(coordinator)) as client:
        [instance] = (await read(client, "status"))["instances"]

        async def text() -> str | None:
            texts: dict[str, str] = (await read(client, "policies"))["policies"]
            return texts.get(instance["policies"])

        assert "ConsecutiveFailures" in await eventually(text)


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("circuit", 400, "name"),
        ("circuit?name=", 400, "name"),
        ("circuit?name=a&name=b", 400, "name"),
        ("circuit?name=unknown", 404, "name"),
        ("events?after=now", 400, "after"),
        ("events?after=1", 400, "after"),
        ("events?after=٣-٣", 400, "after"),
        ("events?limit=0", 400, "limit"),
        ("events?limit=501", 400, "limit"),
        ("events?limit=many", 400, "limit"),
        ("circuit?name=" + "x" * 5000, 414, None),
        ("nothing", 404, None),
        ("", 404, None),
        ("../../page.py", 404, None),
    ],
)
async def test_wrong_requests(
    alone: Coordinator, path: str, status: int, field: str | None
) -> None:
    async with looked_at(StatusApp(alone)) as client:
        response = await client.get(f"api/v1/{path}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert problem.get("field") == field


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["", "page.js", "api/v1/status", "api/v1/stream", "api/v1/health"])
async def test_wrong_methods(alone: Coordinator, method: str, path: str) -> None:
    async with looked_at(StatusApp(alone)) as client:
        response = await client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["", "page.css", "api/v1/status", "api/v1/stream", "api/v1/health"]
)
async def test_head_has_no_body(alone: Coordinator, path: str) -> None:
    async with looked_at(StatusApp(alone)) as client:
        response = await client.head(path)
    assert response.status_code == 200
    assert response.content == b""


async def test_health_is_that_of_the_coordinator(namespace: str) -> None:
    coordinator = Coordinator(namespace=namespace, policy=POLICY)
    async with looked_at(StatusApp(coordinator)) as client:
        assert (await client.get("api/v1/health")).status_code == 503
        assert (await client.get("api/v1/status")).status_code == 503
        async with coordinator:
            await open_circuit(coordinator, "payments")
            response = await client.get("api/v1/health")
            assert response.status_code == 200
            assert response.json() == {"running": True, "connected": True}
        assert (await client.get("api/v1/health")).status_code == 503


async def test_store_that_does_not_answer(redis_server: ServerHandle, namespace: str) -> None:
    async with Proxy(redis_server.port) as proxy:
        coordinator = Coordinator(proxy.url, namespace=namespace, policy=POLICY)
        async with coordinator, looked_at(StatusApp(coordinator)) as client:
            await open_circuit(coordinator, "payments")
            assert not (await read(client, "status"))["away"]
            proxy.switch(CLOSING)

            async def away() -> bool:
                return bool((await read(client, "status"))["away"])

            await eventually(away)
            assert (await client.get("api/v1/health")).status_code == 200
            status = await read(client, "status")
            assert status["circuits"][0]["state"] == "open"
            response = await client.get("api/v1/events")
            assert response.status_code == 503
            assert "Redis does not answer" in response.json()["detail"]
            assert (await client.get("api/v1/health")).status_code == 200


async def test_coordinator_in_a_thread_of_its_own(
    redis_server: ServerHandle, namespace: str
) -> None:
    coordinator = Coordinator(redis_server.url, namespace=namespace, policy=POLICY)
    await asyncio.to_thread(coordinator.__enter__)
    try:
        async with looked_at(StatusApp(coordinator)) as client:
            await call(coordinator, "payments")
            assert [each["name"] for each in (await read(client, "status"))["instances"]]
            assert (await read(client, "events"))["events"]
            assert (await read(client, "circuit", name="payments"))["state"] == "closed"
    finally:
        await asyncio.to_thread(coordinator.__exit__, None, None, None)


async def test_behind_the_middleware_and_a_prefix(alone: Coordinator) -> None:
    app = BreakerMiddleware(mounted(StatusApp(alone), "/ops/circuits"), coordinator=alone)
    transport = httpx.ASGITransport(app, root_path="/proxied")
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        response = await client.get("/proxied/ops/circuits/")
        assert response.status_code == 200
        assert (await client.get("/proxied/ops/circuits/api/v1/status")).status_code == 200


async def test_the_address_without_a_slash_leads_to_the_page(alone: Coordinator) -> None:
    page = StatusApp(alone)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await page({**scope, "root_path": "/circuits"}, receive, send)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        response = await client.get("/circuits")
        assert response.status_code == 308
        assert str(response.url.join(response.headers["location"])) == "http://app/circuits/"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"coordinator": "redis://localhost"}, TypeError),
        ({"authorize": "token"}, TypeError),
        ({"authorize": lambda: "me"}, TypeError),
        ({"title": ""}, ValueError),
        ({"title": 7}, TypeError),
        ({"title": "two\nlines"}, ValueError),
    ],
)
def test_wrong_settings(wrong: dict[str, Any], error: type[Exception]) -> None:
    settings = {"coordinator": Coordinator(), **wrong}
    with pytest.raises(error):
        StatusApp(**settings)
