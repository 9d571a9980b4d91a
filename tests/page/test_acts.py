"""What operators do on the page, and who is refused."""

from contextlib import suppress
from typing import Any

import httpx
import pytest
from starlette.types import Scope

from tests.cli.schema import check
from tests.helpers.waiting import eventually
from tests.page.fleets import Viewer, call, looked_at, open_circuit
from zenvark_web import CircuitOpenError, Coordinator, Override
from zenvark_web.asgi import StatusApp

HEADERS = {"x-zenvark": "1", "content-type": "application/json"}
FORCE = {"circuit": "payments", "mode": "force_open", "reason": "migration", "expires_in": 60}
LIFT = {"circuit": "payments", "reason": "done"}


def authorize(scope: Scope, right: str) -> str | None:
    """Names come from a header; only anna may act, and only known people may read."""
    user = dict(scope["headers"]).get(b"x-user", b"anna").decode()
    return user if user == "anna" or (user == "ben" and right == "read") else None


async def post(client: httpx.AsyncClient, act: str, body: Any, **headers: str) -> httpx.Response:
    return await client.post(f"api/v1/{act}", json=body, headers={**HEADERS, **headers})


async def test_an_override_from_its_beginning_to_its_end(coordinator: Coordinator) -> None:
    await call(coordinator, "payments")
    page = StatusApp(coordinator, authorize=authorize)
    async with looked_at(page) as client, Viewer(client) as viewer:
        response = await post(client, "override", FORCE)
        assert response.status_code == 200, response.text
        record = response.json()
        assert (record.pop("version"), record.pop("replaced")) == (1, None)
        assert (record["mode"], record["actor"], record["reason"]) == (
            "force_open",
            "anna",
            "migration",
        )
        await eventually(lambda: coordinator.breaker("payments").state == "open")
        assert coordinator.overrides["payments"].mode is Override.FORCE_OPEN
        await viewer.read_until(lambda: any(each["event"] == "override" for each in viewer.events))
        assert viewer.greeting["acts"] is True
        assert viewer.circuits["payments"]["override"] == record
        assert viewer.fleet["overrides"] == [record]
        found = (await client.get("api/v1/circuit", params={"name": "payments"})).json()
        check(found, "why")
        assert found["override"] == record
        check((await client.get("api/v1/status")).json(), "status")
        lifted = await post(client, "lift", {**LIFT, "expect": record["number"]})
        assert lifted.json()["mode"] is None
        await eventually(lambda: not coordinator.overrides)


async def test_an_attempt_now(coordinator: Coordinator) -> None:
    await open_circuit(coordinator, "payments")
    async with looked_at(StatusApp(coordinator, authorize=authorize)) as client:
        response = await post(client, "probe", LIFT)
        assert response.status_code == 200, response.text

        async def recovers() -> bool:
            with suppress(CircuitOpenError):
                await call(coordinator, "payments")
            return coordinator.breaker("payments").state == "closed"

        await eventually(recovers)  # instead of in ten minutes
        refused = await post(client, "probe", LIFT)
        assert refused.status_code == 409
        assert "the circuit is not open" in refused.json()["detail"]


async def test_conflict(alone: Coordinator) -> None:
    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        response = await post(client, "override", {**FORCE, "expect": 7})
        assert response.status_code == 409
        assert not alone.overrides


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("override", {**FORCE, "circuit": 7}, "circuit"),
        ("override", {**FORCE, "circuit": ""}, "circuit"),
        ("override", {**FORCE, "circuit": "two\nlines"}, "circuit"),
        ("override", {**FORCE, "mode": "open"}, "mode"),
        ("override", {**FORCE, "mode": None}, "mode"),
        ("override", {**FORCE, "reason": " "}, "reason"),
        ("override", {**FORCE, "reason": "x" * 501}, "reason"),
        ("override", {**FORCE, "reason": "\u202e"}, "reason"),
        ("override", {**FORCE, "expires_in": 0}, "expires_in"),
        ("override", {**FORCE, "expires_in": "60"}, "expires_in"),
        ("override", {**FORCE, "expires_in": True}, "expires_in"),
        ("override", {**FORCE, "expires_in": 10**9}, "expires_in"),
        ("override", {**FORCE, "expect": "1"}, "expect"),
        ("override", {**FORCE, "expect": -1}, "expect"),
        ("override", {**FORCE, "actor": "ben"}, "actor"),
        ("override", {key: FORCE[key] for key in ("circuit", "mode", "reason")}, "expires_in"),
        ("lift", {"circuit": "payments"}, "reason"),
        ("probe", {"reason": "now"}, "circuit"),
        ("probe", [], None),
    ],
)
async def test_wrong_bodies(alone: Coordinator, act: str, body: Any, field: str | None) -> None:
    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        response = await post(client, act, body)
    assert response.status_code == 400, response.text
    assert response.json().get("field") == field
    assert not alone.overrides


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'"text"', b"[" * 30_000, b"null"])
async def test_bodies_that_are_no_object(alone: Coordinator, content: bytes) -> None:
    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        response = await client.post("api/v1/override", content=content, headers=HEADERS)
    assert response.status_code == 400


async def test_bodies_are_bounded(alone: Coordinator) -> None:
    async def parts() -> Any:
        for _ in range(100):
            yield b" " * 1024

    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        for content in (b" " * 70_000, parts()):
            response = await client.post("api/v1/override", content=content, headers=HEADERS)
            assert response.status_code == 413


CROSS_SITE: dict[str, tuple[dict[str, str | None], int]] = {
    "a form of another site": ({"x-zenvark": None, "content-type": "text/plain"}, 403),
    "a fetch without consent": ({"x-zenvark": None}, 403),
    "another value": ({"x-zenvark": "0"}, 403),
    "no JSON": ({"content-type": "text/plain"}, 415),
    "a form's type": ({"content-type": "application/x-www-form-urlencoded"}, 415),
    "another site": ({"sec-fetch-site": "cross-site"}, 403),
    "another host of the site": ({"sec-fetch-site": "same-site"}, 403),
    "a bookmark": ({"sec-fetch-site": "none"}, 403),
    "another origin": ({"origin": "https://evil.example"}, 403),
    "an opaque origin": ({"origin": "null"}, 403),
    "an origin that is none": ({"origin": "http://["}, 403),
}


@pytest.mark.parametrize("act", ["override", "lift", "probe"])
@pytest.mark.parametrize("name", CROSS_SITE)
async def test_other_sites_are_refused(alone: Coordinator, act: str, name: str) -> None:
    changes, status = CROSS_SITE[name]
    headers = {key: value for key, value in {**HEADERS, **changes}.items() if value is not None}
    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        response = await client.post(f"api/v1/{act}", json=FORCE, headers=headers)
    assert response.status_code == status
    assert not alone.overrides


async def test_own_pages_and_programs_are_not(alone: Coordinator) -> None:
    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        origin = str(client.base_url).partition("/circuits")[0]
        for headers in ({}, {"sec-fetch-site": "same-origin"}, {"origin": origin}):
            assert (await post(client, "override", FORCE, **headers)).status_code == 200


@pytest.mark.parametrize("act", ["override", "lift", "probe"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_only_posts_have_effects(alone: Coordinator, act: str, method: str) -> None:
    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        response = await client.request(method, f"api/v1/{act}", headers=HEADERS)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


async def test_without_authorize_nothing_changes(alone: Coordinator) -> None:
    await open_circuit(alone, "payments")
    async with looked_at(StatusApp(alone)) as client, Viewer(client) as viewer:
        for act, body in (("override", FORCE), ("lift", LIFT), ("probe", LIFT)):
            response = await post(client, act, body)
            assert response.status_code == 403
            assert "authorize" in response.json()["detail"]
        await viewer.read()
        assert viewer.greeting["acts"] is False
    assert not alone.overrides
    assert alone.breaker("payments").state == "open"


async def test_authorize_decides(alone: Coordinator) -> None:
    async with looked_at(StatusApp(alone, authorize=authorize)) as client:
        for path in ("", "page.js", "api/v1/status", "api/v1/stream", "api/v1/events"):
            assert (await client.get(path, headers={"x-user": "eve"})).status_code == 403
        ben = {"x-user": "ben"}
        assert (await client.get("api/v1/status", headers=ben)).status_code == 200
        assert (await post(client, "override", FORCE, **ben)).status_code == 403
        assert (await client.get("api/v1/health", headers={"x-user": "eve"})).status_code == 200
    assert not alone.overrides


async def test_authorize_may_be_asynchronous(alone: Coordinator) -> None:
    async def later(scope: Scope, right: str) -> str | None:
        return authorize(scope, right)

    async with looked_at(StatusApp(alone, authorize=later)) as client:
        assert (await post(client, "override", FORCE)).json()["actor"] == "anna"
        assert (await client.get("", headers={"x-user": "eve"})).status_code == 403


@pytest.mark.parametrize("right", ["read", "act"])
async def test_an_empty_name_is_nobody(alone: Coordinator, right: str) -> None:
    """A proxy that knows nobody sends an empty header."""
    page = StatusApp(alone, authorize=lambda _, asked: "" if asked == right else "anna")
    async with looked_at(page) as client:
        status = (await client.get("api/v1/status")).status_code
        acted = (await post(client, "override", FORCE)).status_code
    assert (status, acted) == ((403, 200) if right == "read" else (200, 403))
