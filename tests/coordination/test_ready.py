"""Callers that wait until a circuit lets calls pass, in virtual time."""

import asyncio
import random
import threading
from collections.abc import Iterator

import pytest
import trio

from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    Outcome,
    Override,
    State,
)
from zenvark_web.testing import Fleet

WAITING = 200
WAIT = ConstantBackoff(10)


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(7)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=BreakerPolicy(backoff=WAIT)) as fleet:
        yield fleet


def opened(fleet: Fleet, **settings: object) -> Breaker:
    breaker = fleet.coordinator(**settings).breaker("payments")
    fleet.trip(breaker)
    return breaker


async def waits(fleet: Fleet, breaker: Breaker) -> float:
    """When a caller that waits returns."""
    assert await breaker.ready()
    return fleet.now


def test_at_once_while_it_is_closed(fleet: Fleet) -> None:
    breaker = fleet.coordinator().breaker("payments")
    before = fleet.now
    assert fleet.run(breaker.ready(1))
    assert breaker.ready_sync(1)
    assert fleet.now == pytest.approx(before, abs=0.01)


def test_returns_false_at_the_timeout(fleet: Fleet) -> None:
    breaker = opened(fleet)
    before = fleet.now
    assert fleet.run(breaker.ready(3)) is False
    assert fleet.now - before == pytest.approx(3, abs=0.3)
    assert breaker.ready_sync(0.01) is False
    assert breaker.blocked == 0


def test_waiting_alone_has_the_circuit_tried_and_the_waiter_makes_the_trial(fleet: Fleet) -> None:
    breaker = opened(fleet)
    before = fleet.now
    blocked = breaker.blocked
    assert fleet.run(breaker.ready(60))
    assert fleet.now - before < 15
    breaker.acquire().record(Outcome.SUCCESS)
    fleet.advance()
    assert breaker.state is State.CLOSED
    assert breaker.blocked == blocked


async def work(fleet: Fleet, breaker: Breaker) -> tuple[float, int]:
    """A worker of the kind that the docstring shows: when it has done its call, and how often it
    was rejected."""
    rejections = 0
    while await breaker.ready(600):
        try:
            breaker.acquire().record(Outcome.SUCCESS)
            return fleet.now, rejections
        except CircuitOpenError:
            rejections += 1
    raise AssertionError


def test_no_herd_when_it_closes(fleet: Fleet) -> None:
    breaker = opened(fleet)

    async def all_of_them() -> list[tuple[float, int]]:
        return await asyncio.gather(*(work(fleet, breaker) for _ in range(WAITING)))

    done = fleet.run(all_of_them())
    times = sorted(time for time, _ in done)
    # All but the trial come within a look, and no tenth of a second has many of them.
    assert times[-1] - times[1] < 3
    tenths = [int(time * 10) for time in times]
    assert max(tenths.count(each) for each in set(tenths)) < WAITING / 4
    assert sum(rejections for _, rejections in done) < WAITING / 20


def test_a_ramp_lets_its_share_of_them_pass_at_each_step(fleet: Fleet) -> None:
    policy = BreakerPolicy(backoff=WAIT, ramp=(0.25, 0.5), ramp_step=20)
    breaker = opened(fleet, policy=policy)
    began: list[float] = []

    async def watch() -> None:
        while not 0 < breaker.share < 1:
            await asyncio.sleep(0.05)
        began.append(fleet.now)

    async def all_of_them() -> list[float]:
        watching = asyncio.create_task(watch())
        waiting = [asyncio.create_task(waits(fleet, breaker)) for _ in range(WAITING)]
        await make_trial(breaker)
        await watching
        return await asyncio.gather(*waiting)

    times = fleet.run(all_of_them())
    after = [time - began[0] for time in times]
    first = sum(-1 < each < 19 for each in after) / WAITING
    second = sum(19 <= each < 39 for each in after) / WAITING
    assert first == pytest.approx(0.25, abs=0.1)
    assert second == pytest.approx(0.25, abs=0.1)


async def make_trial(breaker: Breaker) -> None:
    """Makes the trial as soon as there is a permit, so that the ramp begins."""
    while breaker.state is not State.HALF_OPEN or breaker.share:
        await asyncio.sleep(0.01)
    while True:
        try:
            breaker.acquire().record(Outcome.SUCCESS)
            return
        except CircuitOpenError:
            await asyncio.sleep(0.01)


def test_an_operators_override_comes_before_the_verdict(fleet: Fleet) -> None:
    coordinator = fleet.coordinator()
    breaker = coordinator.breaker("payments")
    coordinator.override_sync("payments", Override.FORCE_OPEN, reason="maintenance")
    fleet.advance()
    assert fleet.run(breaker.ready(2)) is False
    coordinator.override_sync("payments", Override.FORCE_CLOSED, reason="over")
    fleet.advance()
    fleet.trip("other")
    assert fleet.run(breaker.ready(2))


def test_held_open_it_is_not_ready_after_the_end_of_the_coordinator(fleet: Fleet) -> None:
    coordinator = fleet.coordinator()
    breaker = coordinator.breaker("payments")
    coordinator.override_sync("payments", Override.FORCE_OPEN, reason="maintenance")
    fleet.advance()
    coordinator.stop_sync()
    assert breaker.ready_sync(0.01) is False


def test_ready_without_a_coordinator_that_could_learn_of_a_recovery(fleet: Fleet) -> None:
    breaker = opened(fleet)
    coordinator = next(iter(fleet._members))
    coordinator.stop_sync()
    fleet.advance(11)
    assert breaker.ready_sync(0.01)


def test_from_a_thread_and_under_trio() -> None:
    coordinator = Coordinator()
    breaker = coordinator.breaker("payments")
    with coordinator:
        for _ in range(5):
            breaker.acquire().record(Outcome.FAILURE)
        assert coordinator.flush_sync()
        assert trio.run(breaker.ready, 0.01) is False
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(breaker.ready_sync(0.01)))
        thread.start()
        thread.join()
        assert found == [False]


async def test_cancelled_it_leaves_nothing(fleet: Fleet) -> None:
    breaker = opened(fleet)
    waiting = asyncio.create_task(breaker.ready())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1", True])
async def test_other_timeouts_are_refused(seconds: float) -> None:
    breaker = Coordinator().breaker("payments")
    with pytest.raises((TypeError, ValueError), match="timeout"):
        await breaker.ready(seconds)
    with pytest.raises((TypeError, ValueError), match="timeout"):
        breaker.ready_sync(seconds)
