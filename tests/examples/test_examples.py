"""Each example does what it says, run as its reader would run it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.examples.upstream import Upstream
from tests.examples.webhook import Webhook
from tests.helpers.processes import ROOT, StartChild
from tests.helpers.servers import RedisServer
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually_sync

EXAMPLES = ROOT / "examples"


def run(name: str, **env: str) -> list[str]:
    """What an example prints until it ends by itself."""
    ended = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=ROOT,
        env={**_without_redis(), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # Nothing but the warnings that tell of an open circuit, or of a retry.
    told = re.compile(r"Circuit .* is open: |stamina\.retry_scheduled")
    assert [line for line in ended.stderr.splitlines() if not told.match(line)] == []
    return ended.stdout.splitlines()


@contextmanager
def serving(start_child: StartChild, name: str, **env: str) -> Iterator[httpx.Client]:
    """A client for an example that serves, which is told to end in the end: killed, it would
    leave its workers behind."""
    child = start_child(EXAMPLES / name, env={"PORT": "0", "PYTHONUNBUFFERED": "1", **env})

    def address() -> str | None:
        found = re.search(r"running on (http://\S+)", child.stderr)
        if not found:
            assert child.running, child.stderr
        return found and found[1]

    try:
        url = eventually_sync(address, within=PATIENCE, what=f"the address of {name}")
        with httpx.Client(base_url=str(url), trust_env=False, timeout=PATIENCE) as client:
            eventually_sync(lambda: _answers(client), within=PATIENCE, what=f"{name} listening")
            yield client
    finally:
        child.terminate(within=PATIENCE)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/nothing").status_code == HTTPStatus.NOT_FOUND
    except httpx.ConnectError:
        return False


def _without_redis() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "REDIS_URL"}


def get(client: httpx.Client, path: str) -> tuple[int, Any]:
    # A connection for each request, so that any worker may take it.
    response = client.get(path, headers={"connection": "close"})
    return response.status_code, response.json()


def test_every_example_is_run_here() -> None:
    named = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} <= named


@pytest.mark.parametrize("shared", spanning([False, True], {True}), ids=["alone", "redis"])
def test_plain_httpx(shared: bool, fresh_server: RedisServer) -> None:
    lines = run("plain_httpx.py", **({"REDIS_URL": fresh_server.url} if shared else {}))
    answers = [line[4:] for line in lines if line[:2].strip().isdigit()]
    assert answers[:3] == ["500 from the upstream"] * 3
    assert "503 from the breaker" in answers[3:11]
    assert answers[-1] == "200 from the upstream"
    changes = [line.split(" (")[0].strip() for line in lines if "->" in line]
    assert changes == [
        "api.example.com: closed -> open",
        "api.example.com: open -> half_open",
        "api.example.com: half_open -> closed",
    ]


@pytest.mark.parametrize("shared", spanning([False, True], {False}), ids=["alone", "redis"])
def test_plain_threads(shared: bool, fresh_server: RedisServer) -> None:
    lines = run("plain_threads.py", **({"REDIS_URL": fresh_server.url} if shared else {}))
    said = "\n".join(lines)  # two threads may write into one line
    ended = re.findall(r"order \d+: (paid|failed|not tried)", said)
    assert ended[:12] == ["paid"] * 12
    assert ended.count("failed") >= 3
    assert "not tried" in ended
    assert ended[-4:] == ["paid"] * 4
    changes = re.findall(r"payments: (\w+ -> \w+) \(", said)
    assert changes[0] == "closed -> open"
    assert changes[-1] == "half_open -> closed"


def test_webhook_posts_until_it_is_received() -> None:
    with Webhook(failures=1) as webhook:
        run("webhook.py", WEBHOOK_URL=webhook.url)
    [refused, received] = webhook.received
    assert refused == received
    assert "*payments* is open" in received["text"]


def test_fallback() -> None:
    lines = [re.split(r"  +", line, maxsplit=1)[1] for line in run("fallback.py")]
    assert lines[0] == "tea:    42.00 EUR"
    assert lines[1:4] == ["tea:    error 502"] * 3
    assert lines[5] == "tea:    42.00 EUR (old)"
    assert re.fullmatch(r"coffee: no price, try again in \d s", lines[6])


def test_streams() -> None:
    assert run("streams.py") == [
        "well:   data: {}",
        'broken: data: {"error": "overloaded"}',
        "next:   rejected",
        "silent: timed out, timed out, timed out",
    ]


def test_fastapi_app(fresh_server: RedisServer, start_child: StartChild) -> None:
    with Upstream() as upstream:
        upstream.stop()
        env = {"REDIS_URL": fresh_server.url, "UPSTREAM_URL": upstream.url}
        with serving(start_child, "fastapi_app.py", **env) as client:
            failures = [get(client, "/price")[0] for _ in range(5)]
            assert failures == [HTTPStatus.BAD_GATEWAY] * 5
            _eventually_shown(client, {upstream.circuit: "open"})
            rejected = client.get("/price")
            assert rejected.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            assert rejected.headers["content-type"] == "application/problem+json"
            assert int(rejected.headers["retry-after"]) >= 1

            upstream.start()
            eventually_sync(
                lambda: get(client, "/price") == (HTTPStatus.OK, {"upstream_status": 200}),
                within=PATIENCE,
                what="an answer of the upstream",
            )
            _eventually_shown(client, {upstream.circuit: "closed"})
            assert client.get("/circuits/").headers["content-type"].startswith("text/html")


def _eventually_shown(client: httpx.Client, states: dict[str, str]) -> None:
    """Wait for the status page to show states."""

    def shown() -> bool:
        circuits = client.get("/circuits/api/v1/status").json()["circuits"]
        return {each["name"]: each["state"] for each in circuits} == states

    eventually_sync(shown, within=PATIENCE, what=f"{states} on the page")


def test_dependency_routes(fresh_server: RedisServer, start_child: StartChild) -> None:
    with Upstream() as upstream:
        upstream.stop()
        env = {"REDIS_URL": fresh_server.url, "UPSTREAM_URL": upstream.url}
        with serving(start_child, "dependency_routes.py", **env) as client:
            assert client.get("/healthz").json() == {"payments": "closed"}
            failures = [client.post("/checkout").status_code for _ in range(5)]
            assert failures == [HTTPStatus.BAD_GATEWAY] * 5
            _eventually_is(client, "/healthz", {"payments": "open"})
            rejected = client.post("/checkout", content=b"x" * 100_000)
            assert rejected.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            assert rejected.json()["type"] == "urn:zenvark:problem:route-unavailable"
            assert int(rejected.headers["retry-after"]) >= 1

            upstream.start()
            eventually_sync(
                lambda: client.post("/checkout").status_code == HTTPStatus.OK,
                within=PATIENCE,
                what="a checkout that succeeds",
            )
            _eventually_is(client, "/healthz", {"payments": "closed"})
            schema = client.get("/openapi.json").json()
            assert "503" in schema["paths"]["/checkout"]["post"]["responses"]


def _eventually_is(client: httpx.Client, path: str, expected: Any) -> None:
    eventually_sync(
        lambda: get(client, path) == (HTTPStatus.OK, expected), within=PATIENCE, what=f"{expected}"
    )


@pytest.mark.slow
def test_several_workers(fresh_server: RedisServer, start_child: StartChild) -> None:
    with serving(start_child, "several_workers.py", REDIS_URL=fresh_server.url) as client:
        seen = _collect(client, lambda workers: len(workers) == 3)
        assert sorted(worker["role"] for worker in seen) == ["follower", "follower", "leader"]
        assert [get(client, "/fail")[0] for _ in range(5)] == [HTTPStatus.BAD_GATEWAY] * 5

        def all_open(workers: list[dict[str, Any]]) -> bool:
            states = [worker["payments"] for worker in workers]
            return states == ["open"] * 3

        _collect(client, all_open)
        assert client.get("/fail").status_code == HTTPStatus.SERVICE_UNAVAILABLE


def test_several_workers_need_redis() -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / "several_workers.py"],
        cwd=ROOT,
        env={**_without_redis(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    assert "set REDIS_URL" in ended.stderr


def _collect(
    client: httpx.Client, enough: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """What each worker last said of itself, once that is enough."""
    workers: dict[int, dict[str, Any]] = {}

    def look() -> bool:
        _, worker = get(client, "/")
        workers[worker["worker"]] = worker
        return enough(list(workers.values()))

    eventually_sync(look, within=PATIENCE, what="word of every worker")
    return list(workers.values())
