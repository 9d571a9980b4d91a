"""The store's clock steps, as after a failover to a server whose clock differs: every wait after
that is as long as it would have been, and everyone is told how long that is."""

from contextlib import suppress

import pytest

from tests.helpers.spanning import spanning
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    Outcome,
    State,
)
from zenvark_web.testing import Fleet

STEPS = spanning([0.0, 2.0, 10.0, 60.0, 300.0, -10.0, -60.0, -3600.0], {2.0, 300.0, -60.0})
SINCE = spanning([6.0, 3000.0], {6.0})


def fail(coordinator: Coordinator, retry_after: float | None = None) -> None:
    permit = coordinator.breaker("a").acquire()
    permit.record(Outcome.FAILURE, "HTTP 503", retry_after=retry_after)


def seconds_until_closed(fleet: Fleet, coordinator: Coordinator) -> float:
    breaker = coordinator.breaker("a")
    waited = 0.0
    while breaker.state is not State.CLOSED:
        assert waited < 1000
        with suppress(CircuitOpenError):
            breaker.acquire().record(Outcome.SUCCESS)
        fleet.advance(0.25)
        waited += 0.25
    return waited


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("asked", [None, 5.0], ids=["backoff", "retry after"])
def test_waits_are_as_long_as_ever_and_told_rightly(
    step: float, since: float, asked: float | None
) -> None:
    wait = 30.0 if asked is None else asked
    backoff = ConstantBackoff(30 if asked is None else 1)
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=backoff)
    with Fleet(policy=policy) as fleet:
        coordinators = [fleet.coordinator() for _ in range(2)]
        fleet.advance(10)
        fleet._server.ahead += step
        fleet.advance(since)
        for failing in coordinators:
            fail(failing, asked)
            fleet.advance(0.5)
            for each in coordinators:
                told = each.breaker("a").retry_after
                assert told == pytest.approx(wait - 0.5, abs=0.25)
            assert seconds_until_closed(fleet, failing) == pytest.approx(wait, abs=1.5)


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("step", STEPS)
def test_an_open_circuits_further_waits_are_told_rightly(step: float, since: float) -> None:
    async def check(_: HealthCheckType) -> None:
        """Replaced by one that fails until the circuit is to recover."""

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(30), health_check=check
    )
    with Fleet(policy=policy) as fleet:
        coordinators = [fleet.coordinator() for _ in range(2)]
        fleet.advance(10)
        fleet.trip("a")
        fleet.advance(1)
        fleet._server.ahead += step
        fleet.advance(since + 30)
        longest = 0.0
        for _ in range(130):
            told = [each.breaker("a").retry_after for each in coordinators]
            assert told[0] == pytest.approx(told[1], abs=0.1)
            longest = max(longest, told[0])
            fleet.advance(0.25)
        assert longest == pytest.approx(30, abs=0.5)


@pytest.mark.parametrize("step", STEPS)
def test_what_was_counted_before_still_counts_after_a_takeover(step: float) -> None:
    """Also by the next leader, whose own seconds begin at the new clock's."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(30))
    with Fleet(policy=policy) as fleet:
        first, second = fleet.coordinator(), fleet.coordinator()
        fleet.advance(10)
        fail(first)
        fail(first)
        fleet.advance(10)
        fleet._server.ahead += step
        fleet.advance(20)
        fleet.cut_off(first)
        fleet.advance(10)
        fail(second)
        fleet.advance(0.5)
        breaker = second.breaker("a")
        assert breaker.state is State.OPEN
        assert breaker.retry_after == pytest.approx(29.5, abs=0.25)
