"""`HttpHealthCheck`: what it asks, what it takes for well, and how long it waits."""

import asyncio
import gc
import ssl
import time
from collections.abc import Container
from typing import Any

import httpx
import pytest

from tests.helpers.waiting import PATIENCE, eventually
from tests.http import server
from tests.http.circuits import opened
from tests.http.conftest import StartCoordinator
from tests.http.server import Exchange, Upstream
from zenvark_web import (
    BreakerPolicy,
    Cause,
    ConsecutiveFailures,
    ConstantBackoff,
    HealthCheckError,
    HealthCheckType,
    HttpHealthCheck,
    State,
    StateChange,
)

RECOVERY = HealthCheckType.RECOVERY


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https", "all"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


async def test_it_asks_once_and_leaves(upstream: Upstream) -> None:
    left = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await server.ok(exchange)
        await exchange.client_left()
        left.set()

    upstream.answer = answer
    await HttpHealthCheck(f"{upstream.url}/health?deep=1")(RECOVERY)
    [request] = upstream.requests
    assert (request.method, request.target) == ("GET", "/health?deep=1")
    assert request.headers["host"] == f"{server.HOST}:{upstream.port}"
    async with asyncio.timeout(PATIENCE):
        await left.wait()


@pytest.mark.parametrize(
    ("status", "expect"),
    [
        (200, None),
        (204, None),
        (301, None),
        (399, None),
        (404, {404}),
        (503, [200, 503]),
        (418, range(400, 500)),
    ],
)
async def test_expected_status_passes(
    upstream: Upstream, status: int, expect: Container[int] | None
) -> None:
    upstream.answer = server.status(status, "Location: /elsewhere")
    settings: Any = {} if expect is None else {"expect": expect}
    await HttpHealthCheck(upstream.url, **settings)(RECOVERY)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("status", "expect"),
    [(400, None), (404, None), (429, None), (500, None), (503, None), (200, {204}), (302, {200})],
)
async def test_other_status_fails(
    upstream: Upstream, status: int, expect: Container[int] | None
) -> None:
    upstream.answer = server.status(status, "Location: /elsewhere")
    settings: Any = {} if expect is None else {"expect": expect}
    with pytest.raises(HealthCheckError, match=f"^status {status}$"):
        await HttpHealthCheck(upstream.url, **settings)(RECOVERY)
    assert len(upstream.requests) == 1


async def test_body_is_not_waited_for(upstream: Upstream) -> None:
    upstream.answer = server.half(server.stall)
    async with asyncio.timeout(PATIENCE):
        await HttpHealthCheck(upstream.url, timeout=PATIENCE * 2)(RECOVERY)


async def trickle(exchange: Exchange) -> None:
    """Headers without end, so that no single wait is long."""
    await exchange.send_body(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1_000):
        await exchange.send_body(b"X-Header: x\r\n")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [server.stall, trickle])
async def test_timeout_is_for_the_whole(upstream: Upstream, answer: server.Answer) -> None:
    upstream.answer = answer
    began = time.monotonic()
    with pytest.raises((TimeoutError, httpx.TimeoutException)):
        await HttpHealthCheck(upstream.url, timeout=0.3)(RECOVERY)
    assert 0.25 < time.monotonic() - began < PATIENCE


async def test_hung_tls_handshake_leaves_no_socket_behind(upstream: Upstream) -> None:
    with pytest.raises(httpx.ConnectTimeout):
        await HttpHealthCheck(f"https://{server.HOST}:{upstream.port}", timeout=2.0)(RECOVERY)
    gc.collect()  # one that was not closed warns now


async def test_refused_connection_fails() -> None:
    with server.unused_port() as port, pytest.raises(httpx.ConnectError):
        await HttpHealthCheck(f"http://{server.HOST}:{port}")(RECOVERY)


async def test_broken_connection_fails(upstream: Upstream) -> None:
    upstream.answer = server.reset
    with pytest.raises(httpx.ReadError):
        await HttpHealthCheck(upstream.url)(RECOVERY)


async def test_one_check_serves_many_circuits(upstream: Upstream) -> None:
    check = HttpHealthCheck("http://{name}/health?of={name}")
    for host in (server.HOST, "localhost"):
        await check.for_circuit(f"{host}:{upstream.port}")(RECOVERY)
    assert [request.headers["host"] for request in upstream.requests] == [
        f"{server.HOST}:{upstream.port}",
        f"localhost:{upstream.port}",
    ]
    assert upstream.requests[0].target == f"/health?of={server.HOST}:{upstream.port}"


@pytest.mark.parametrize("name", ["api.example.com", "127.0.0.1:8000", "[::1]:8000", "a_b~c-d"])
def test_names_of_hosts_can_stand_in_a_url(name: str) -> None:
    HttpHealthCheck("http://{name}/health").for_circuit(name)


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "a b", "user@host", "a?b", "a#b", "a%2fb", "a\\b", "ü", "a&b", "{name}", "a\n"],
)
def test_names_that_would_change_the_url_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of the URL"):
        HttpHealthCheck("http://host/{name}").for_circuit(name)


async def test_any_name_will_do_where_it_does_not_matter(upstream: Upstream) -> None:
    await HttpHealthCheck(upstream.url).for_circuit("any name / at all")(RECOVERY)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", ValueError),
        ("example.com/health", ValueError),
        ("/health", ValueError),
        ("ftp://example.com", ValueError),
        ("http://", ValueError),
        ("http:///health", ValueError),
        ("http://[::1", ValueError),
        ("http://example.com:port", ValueError),
        ("http://example.com:99999", ValueError),
        ("http://exa mple.com\n", ValueError),
        (None, TypeError),
        (b"http://example.com", TypeError),
        (httpx.URL("http://example.com"), TypeError),
    ],
)
def test_bad_urls_are_refused(url: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="url must be"):
        HttpHealthCheck(url)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(0, ValueError), (-1, ValueError), (float("inf"), ValueError), ("5", TypeError)],
)
def test_bad_timeouts_are_refused(timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="timeout must be"):
        HttpHealthCheck("http://example.com", timeout=timeout)


@pytest.mark.parametrize("expect", [200, None, "2xx"])
def test_bad_expectations_are_refused(expect: Any) -> None:
    with pytest.raises(TypeError, match="expect must be"):
        HttpHealthCheck("http://example.com", expect=expect)


def test_repr_tells_the_url() -> None:
    assert repr(HttpHealthCheck("https://{name}/health")) == (
        "HttpHealthCheck('https://{name}/health')"
    )


async def test_certificates_are_verified_with_one_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[ssl.SSLContext] = []
    make = httpx.create_ssl_context

    def counting(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        made.append(make(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(httpx, "create_ssl_context", counting)
    check = HttpHealthCheck("https://{name}/")
    for host in (server.HOST, "localhost"):
        with server.unused_port() as port, pytest.raises(httpx.ConnectError):
            await check.for_circuit(f"{host}:{port}")(RECOVERY)
    [context] = made
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_circuit_recovers_by_it(
    start_coordinator: StartCoordinator, upstream: Upstream
) -> None:
    changes: list[StateChange] = []
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1),
        backoff=ConstantBackoff(0.05),
        health_check=HttpHealthCheck("http://{name}/health"),
    )
    coordinator = await start_coordinator(policy, on_state_change=changes.append)
    upstream.answer = server.status(503)
    breaker = coordinator.breaker(f"{server.HOST}:{upstream.port}")
    await opened(breaker)
    await eventually(lambda: len(upstream.requests) >= 3, within=PATIENCE)
    assert breaker.state is State.OPEN
    upstream.answer = server.ok
    await eventually(lambda: breaker.state is State.CLOSED, within=PATIENCE)
    assert {request.target for request in upstream.requests} == {"/health"}
    await eventually(lambda: len(changes) == 2, within=PATIENCE)
    assert changes[-1].reason.cause is Cause.CHECK_PASSED


async def test_circuit_with_an_odd_name_says_why_it_stays_open(
    start_coordinator: StartCoordinator,
) -> None:
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1),
        backoff=ConstantBackoff(0.02),
        health_check=HttpHealthCheck("http://{name}/health"),
    )
    coordinator = await start_coordinator(policy)
    breaker = coordinator.breaker("user@evil.example/x")
    await opened(breaker)
    checks = coordinator.statistics.health_checks
    failed = (breaker.name, RECOVERY, False)
    await eventually(lambda: failed in checks, within=PATIENCE)
    assert (breaker.name, RECOVERY, True) not in checks
    assert breaker.state is State.OPEN
