"""Upstreams that hang, and upstreams that say when to come back, through the transport."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from tests.helpers.waiting import PATIENCE, eventually_sync
from tests.http import server
from tests.http.backstage import Backstage, backstage
from tests.http.clients import KINDS, Kind
from zenvark_web import BreakerPolicy, Cause, ConsecutiveFailures, ConstantBackoff, State

ASYNC_KINDS = [kind for kind in KINDS if not kind.sync]


@pytest.fixture(scope="module")
def stage() -> Iterator[Backstage]:
    with backstage() as running:
        yield running


@pytest.mark.parametrize("kind", ASYNC_KINDS, ids=str)
@pytest.mark.parametrize("answer", [server.stall, server.half(server.stall)], ids=["all", "body"])
def test_cancellation_after_the_limit_is_a_failure(
    stage: Backstage, kind: Kind, answer: server.Answer
) -> None:
    """Unless the headers came in time: what the body takes does not make an upstream slow."""
    coordinator = stage.start(BreakerPolicy(slow_call=0.1, strategy=ConsecutiveFailures(10_000)))
    stage.set(answer)
    breaker = coordinator.breaker("upstream")
    transport = kind.guarded(coordinator, kind.real_transport(), circuits=lambda _: "upstream")

    async def give_up() -> None:
        async with (
            kind.client(transport, timeout=PATIENCE) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(client.get, stage.upstream.url)
            with anyio.fail_after(PATIENCE):
                while not stage.upstream.requests:
                    await anyio.sleep(0.002)
            await anyio.sleep(0.2)
            tasks.cancel_scope.cancel()

    kind.run(give_up)
    successes, failures = stage.counts(breaker)
    if answer is server.stall:
        assert (successes, failures) == (0, 1)
    else:
        assert successes == 0  # on a busy host the headers may be late as well


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("status", "held"), [(503, True), (429, True), (500, False)])
def test_upstream_is_left_alone_for_as_long_as_it_asked(
    stage: Backstage, kind: Kind, status: int, held: bool
) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(2))
    coordinator = stage.start(policy)
    stage.set(server.status(status, "Retry-After: 120"))
    transport = kind.guarded(coordinator, kind.real_transport(), circuits=lambda _: "upstream")
    get(kind, transport, stage.upstream.url)
    breaker = coordinator.breaker("upstream")
    eventually_sync(lambda: breaker.state is not State.CLOSED, within=PATIENCE)
    rejected = get(kind, transport, stage.upstream.url)
    if held:
        assert 120 - PATIENCE < breaker.retry_after < 121
        assert rejected.status_code == 503
        assert int(rejected.headers["retry-after"]) > 60
    else:
        assert breaker.retry_after <= 2


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("status", "field", "opens"),
    [
        (429, "Retry-After: 120", True),
        (529, "retry-after-ms: 120000", True),
        (429, "x-ratelimit-reset-tokens: 2m0s", True),
        (503, "X-Nothing: 120", False),
        (200, 'RateLimit: "default";r=0;t=120', True),
        (404, "RateLimit-Remaining: 0\r\nRateLimit-Reset: 120", True),
        (200, 'RateLimit: "default";r=9;t=120', False),
        (200, "Retry-After: 120", False),
    ],
)
def test_one_answer_that_names_a_wait_opens_the_circuit(
    stage: Backstage, kind: Kind, status: int, field: str, opens: bool
) -> None:
    coordinator = stage.start(BreakerPolicy(throttle="open"))
    told = len(stage.changes)
    stage.set(server.status(status, field))
    transport = kind.guarded(coordinator, kind.real_transport(), circuits=lambda _: "upstream")
    assert get(kind, transport, stage.upstream.url).status_code == status
    breaker = coordinator.breaker("upstream")
    if opens:
        eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)
        assert 120 - PATIENCE < breaker.retry_after < 121
        eventually_sync(lambda: len(stage.changes) > told, within=PATIENCE)
        assert stage.changes[-1].reason.cause is Cause.THROTTLED
    else:
        stage.counts(breaker)
        assert breaker.state is State.CLOSED


def get(kind: Kind, transport: Any, url: str) -> Any:
    async def get_async() -> Any:
        async with kind.client(transport, timeout=PATIENCE) as client:
            return await client.get(url)

    if kind.sync:
        with kind.client(transport, timeout=PATIENCE) as client:
            return client.get(url)
    return kind.run(get_async)
