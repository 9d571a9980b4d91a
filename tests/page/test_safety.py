"""What the page keeps from its surroundings, and its surroundings from it."""

import asyncio
import re
from importlib.resources import files

import pytest

from tests.helpers.proxy import SILENT, Proxy
from tests.helpers.servers import ServerHandle
from tests.page.fleets import POLICY, call, looked_at, open_circuit
from zenvark_web import Coordinator
from zenvark_web.asgi import StatusApp

STATIC = files("zenvark_web.asgi._status").joinpath("static")
POLICY_PARTS = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}


@pytest.mark.parametrize("path", ["", "page.js", "page.css", "api/v1/status", "nothing"])
async def test_every_response_has_the_policy(alone: Coordinator, path: str) -> None:
    async with looked_at(StatusApp(alone)) as client:
        headers = (await client.get(path)).headers
    assert set(headers["content-security-policy"].split("; ")) == POLICY_PARTS
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in headers


async def test_files_are_asked_for_again_only_if_they_have_changed(alone: Coordinator) -> None:
    async with looked_at(StatusApp(alone)) as client:
        first = await client.get("page.js")
        again = await client.get("page.js", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = STATIC.joinpath("page.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", page)
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
    assert not re.search(r"https?://|@import|url\(", STATIC.joinpath("page.css").read_text("utf-8"))


def test_the_script_makes_no_markup() -> None:
    script = STATIC.joinpath("page.js").read_text("utf-8")
    makes_markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
    assert not re.search(makes_markup, script)
    assert not re.search(r"https?://|localStorage|cookie", script)


async def test_no_call_waits_for_a_request_to_the_page(
    redis_server: ServerHandle, namespace: str
) -> None:
    """Redis hangs: the page waits for it, and calls do not."""
    async with Proxy(redis_server.port) as proxy:
        coordinator = Coordinator(proxy.url, namespace=namespace, policy=POLICY)
        async with coordinator, looked_at(StatusApp(coordinator)) as client:
            await open_circuit(coordinator, "payments")
            proxy.switch(SILENT)
            reading = asyncio.create_task(client.get("api/v1/events"))
            await asyncio.sleep(0)
            for number in range(1_000):
                await call(coordinator, f"circuit {number % 10}")
            assert not reading.done()
            assert (await reading).status_code == 503
            assert coordinator.breaker("payments").state == "open"


async def test_looking_changes_no_circuit(coordinator: Coordinator) -> None:
    await call(coordinator, "search")
    await open_circuit(coordinator, "payments")
    known = {name: each.generation for name, each in coordinator.breakers.items()}
    async with looked_at(StatusApp(coordinator)) as client:
        for path in ("status", "circuit?name=payments", "circuit?name=other", "events", "health"):
            await client.get(f"api/v1/{path}")
    assert {name: each.generation for name, each in coordinator.breakers.items()} == known
