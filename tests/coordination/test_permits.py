"""What a permit is told is looked at before anything is done with it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    Permit,
    State,
    StateChange,
)

WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("success",), {}),
    ((None,), {}),
    ((True,), {}),
    ((State.CLOSED,), {}),
    ((Outcome,), {}),
    ((Outcome.FAILURE, 503), {}),
    ((Outcome.FAILURE, None), {}),
    ((Outcome.FAILURE, b"HTTP 503"), {}),
    ((Outcome.FAILURE, ValueError()), {}),
    ((Outcome.FAILURE,), {"retry_after": "5"}),
    ((Outcome.FAILURE,), {"retry_after": True}),
    ((Outcome.SUCCESS,), {"retry_after": object()}),
]


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.1), slow_call=60
    )
    async with Coordinator(policy=policy) as coordinator:
        yield coordinator


@pytest.mark.parametrize(("arguments", "keywords"), WRONG, ids=range(len(WRONG)))
async def test_wrong_types_are_refused_and_tell_nothing(
    coordinator: Coordinator, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    breaker = coordinator.breaker("payments")
    permit = breaker.acquire()
    with pytest.raises(TypeError, match="must be"):
        permit.record(*arguments, **keywords)
    assert not permit.recorded
    permit.record(Outcome.SUCCESS)
    assert sum(breaker.failures.counts) == 0


async def test_a_trial_permit_is_not_lost(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("payments")
    breaker.acquire().record(Outcome.FAILURE)
    await eventually(lambda: breaker.state is State.OPEN)
    trial = await eventually(lambda: taken(breaker))
    for arguments, keywords in WRONG:
        with pytest.raises(TypeError):
            trial.record(*arguments, **keywords)
    trial.record(Outcome.SUCCESS)
    await eventually(lambda: breaker.state is State.CLOSED)


@pytest.mark.parametrize("error", ["boom", OSError, None, 503], ids=range(4))
async def test_what_was_not_raised_is_refused(coordinator: Coordinator, error: Any) -> None:
    breaker = coordinator.breaker("payments")
    permit = breaker.acquire()
    with pytest.raises(TypeError, match="error must be an exception"):
        permit.raised(error)
    permit.raised(OSError())
    await eventually(lambda: breaker.state is State.OPEN)


def taken(breaker: Breaker) -> Permit | None:
    try:
        return breaker.acquire()
    except CircuitOpenError:
        return None


async def test_a_block_may_tell_itself(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("payments")
    async with breaker.acquire() as permit:
        permit.record(Outcome.IGNORED)
    with breaker.acquire() as permit, breaker.guard() as guarded:
        permit.record(Outcome.IGNORED)
        guarded.record(Outcome.IGNORED)
    assert sum(breaker.successes.counts) + sum(breaker.failures.counts) == 0


@pytest.mark.parametrize(
    ("label", "shown"),
    [("HTTP 503 \ud800", "HTTP 503 ?"), ("\udfff" * 100, "?" * 64), ("Ausfall in Zürich 😀",) * 2],
    ids=range(3),
)
async def test_a_label_can_be_written_down(
    server: ServerHandle, namespace: str, label: str, shown: str
) -> None:
    """UTF-8 has no lone surrogates: one was stored, and unreadable to the scripts then."""
    changes: list[StateChange] = []
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1))
    async with Coordinator(
        server.url, namespace=namespace, policy=policy, on_state_change=changes.append
    ) as coordinator:
        coordinator.breaker("payments").acquire().record(Outcome.FAILURE, label)
        await eventually(lambda: changes)
    assert changes[0].reason.failures == {shown: 1}
