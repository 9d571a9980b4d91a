"""Upstreams that hang, and upstreams that say when to come back, through the transport."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from tests.helpers.waiting import PATIENCE, eventually_sync
from tests.http import server
from tests.http.backstage import Backstage, backstage
from tests.http.clients import KINDS, Kind
from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, State

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


def get(kind: Kind, transport: Any, url: str) -> Any:
    async def get_async() -> Any:
        async with kind.client(transport, timeout=PATIENCE) as client:
            return await client.get(url)

    if kind.sync:
        with kind.client(transport, timeout=PATIENCE) as client:
            return client.get(url)
    return kind.run(get_async)
