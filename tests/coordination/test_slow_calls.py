"""Calls under way count as slow once they have passed `slow_call`, and as results when they end."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.coordination.test_judging import Store
from tests.helpers.inside import circuit_of, shard_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    Outcome,
    State,
    StateChange,
)
from zenvark_web._circuits.in_flight import InFlight
from zenvark_web.breaker import Permit

LIMIT = 0.2
MINIMUM = 20
POLICY = BreakerPolicy(
    strategy=CountWindow(100, 1.0, MINIMUM, slow_rate=1.0),
    slow_call=LIMIT,
    backoff=ConstantBackoff(60),
)


class Calls:
    """Calls that hang until they are let go.

    Args:
        breaker: What they go through.
        count: How many to begin.
    """

    def __init__(self, breaker: Breaker, count: int) -> None:
        self._end = asyncio.Event()
        self.tasks = [asyncio.create_task(breaker.execute(self._end.wait)) for _ in range(count)]

    async def finish(self) -> None:
        self._end.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def changes() -> list[StateChange]:
    return []


@pytest.fixture
async def coordinator(changes: list[StateChange]) -> AsyncIterator[Coordinator]:
    async with Coordinator(Store(), policy=POLICY, on_state_change=changes.append) as coordinator:
        yield coordinator


def under_way(breaker: Breaker) -> int:
    return len(circuit_of(breaker).in_flight.began)


def overdue(breaker: Breaker) -> int:
    local = circuit_of(breaker)
    return local.slow_in_flight(local.monotonic())[0]


def sent(coordinator: Coordinator) -> list[int]:
    """The numbers of overdue calls that were written, in order."""
    shard = shard_of(coordinator)
    assert isinstance(shard.backend, Store)
    return [report.overdue for batch in shard.backend.appended for report in batch.reports]


async def test_hung_calls_open_the_circuit_and_are_recorded_once_when_they_end(
    coordinator: Coordinator, changes: list[StateChange]
) -> None:
    breaker = coordinator.breaker("upstream")
    calls = Calls(breaker, MINIMUM)
    await eventually(lambda: changes, what="the circuit opens")
    assert not any(task.done() for task in calls.tasks)
    assert coordinator.statistics.recorded == 0
    [change] = changes
    assert change.state is State.OPEN
    assert f"{MINIMUM} slow ({MINIMUM} still in flight)" in change.reason.detail
    assert change.reason.instances == {coordinator.instance_id: MINIMUM}

    await calls.finish()
    await eventually(lambda: coordinator.statistics.recorded == MINIMUM)
    assert under_way(breaker) == 0
    assert sum(breaker.successes.counts) == MINIMUM
    assert changes == [change]


async def test_one_call_fewer_does_not(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("upstream")
    calls = Calls(breaker, MINIMUM - 1)
    await eventually(lambda: overdue(breaker) == MINIMUM - 1)
    await eventually(
        lambda: sent(coordinator).count(MINIMUM - 1) >= 2, what="it is told again and again"
    )
    assert breaker.state is State.CLOSED
    await calls.finish()
    await eventually(lambda: sent(coordinator)[-1] == 0, what="that they have ended is told")
    assert breaker.state is State.CLOSED


async def test_calls_that_end_without_a_result_are_taken_back(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("upstream")
    permits = [breaker.acquire() for _ in range(3)]
    await eventually(lambda: sent(coordinator)[-1:] == [3])
    for permit in permits:
        permit.record(Outcome.IGNORED)
    await eventually(lambda: sent(coordinator)[-1] == 0)
    assert circuit_of(breaker).in_flight.watched_in is None


async def test_a_dropped_permit_is_under_way_no_longer(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("upstream")
    breaker.acquire()
    assert under_way(breaker) == 0
    cycle: list[object] = [breaker.acquire()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert under_way(breaker) == 0


async def test_a_call_whose_clock_was_stopped_is_never_overdue(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("upstream")
    permits = [breaker.acquire() for _ in range(MINIMUM)]
    for permit in permits:
        permit.stop_clock()
    other = breaker.acquire()
    await eventually(lambda: sent(coordinator)[-1:] == [1])
    assert overdue(breaker) == 1
    for permit in [*permits, other]:
        permit.record(Outcome.SUCCESS)
    await eventually(lambda: coordinator.statistics.recorded == MINIMUM + 1)
    assert breaker.state is State.CLOSED


async def test_calls_in_threads_are_watched_as_well(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("upstream")
    end = threading.Event()
    threads = [
        threading.Thread(target=breaker.execute_sync, args=[end.wait]) for _ in range(MINIMUM)
    ]
    for thread in threads:
        thread.start()
    try:
        await eventually(lambda: breaker.state is State.OPEN)
    finally:
        end.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert under_way(breaker) == 0


async def test_calls_of_an_earlier_generation_open_nothing() -> None:
    policy = BreakerPolicy(strategy=POLICY.strategy, slow_call=LIMIT, backoff=ConstantBackoff(0.05))
    async with Coordinator(Store(), policy=policy) as coordinator:
        breaker = coordinator.breaker("upstream")
        calls = Calls(breaker, MINIMUM)
        await eventually(lambda: breaker.state is State.OPEN)

        async def recovered() -> bool:
            try:
                await breaker.execute(asyncio.sleep, 0)
            except CircuitOpenError:
                return False
            return breaker.state is State.CLOSED

        await eventually(recovered)
        generation = breaker.generation
        assert overdue(breaker) == 0
        assert under_way(breaker) == MINIMUM
        hung = breaker.acquire()
        await eventually(lambda: sent(coordinator)[-1] == 1, what="the new one is told alone")
        assert breaker.generation == generation
        hung.record(Outcome.SUCCESS)
        await calls.finish()


async def test_works_again_after_a_restart(coordinator: Coordinator) -> None:
    breaker = coordinator.breaker("upstream")
    calls = Calls(breaker, 5)
    await eventually(lambda: sent(coordinator)[-1:] == [5])
    await coordinator.stop()
    assert circuit_of(breaker).in_flight.watched_in is None
    before = len(sent(coordinator))
    more = Calls(breaker, MINIMUM - 5)
    await asyncio.sleep(0)
    assert circuit_of(breaker).in_flight.watched_in is None, "nobody is there to look"
    await coordinator.start()
    async with asyncio.timeout(10):
        last = breaker.acquire()
        await eventually(lambda: breaker.state is State.OPEN)
    assert len(sent(coordinator)) > before
    last.record(Outcome.IGNORED)
    await calls.finish()
    await more.finish()


@pytest.mark.parametrize("settings", [{}, {"classify": lambda ended: Outcome.SUCCESS}])
async def test_circuits_that_know_no_slow_calls_keep_track_of_nothing(
    settings: dict[str, Any],
) -> None:
    async with Coordinator(policy=BreakerPolicy(**settings)) as coordinator:
        breaker = coordinator.breaker("upstream")
        calls = Calls(breaker, 3)
        permit = breaker.acquire()
        assert type(permit) is Permit
        assert under_way(breaker) == 0
        permit.record(Outcome.SUCCESS)
        await calls.finish()


async def test_without_a_slow_rate_they_are_only_told() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), slow_call=LIMIT)
    async with Coordinator(Store(), policy=policy) as coordinator:
        breaker = coordinator.breaker("upstream")
        calls = Calls(breaker, 5)
        await eventually(lambda: sent(coordinator)[-1:] == [5])
        await calls.finish()
        await eventually(lambda: coordinator.statistics.recorded == 5)
        assert breaker.state is State.CLOSED


class TestInFlight:
    def test_those_that_began_first_pass_the_limit_first(self) -> None:
        in_flight = InFlight(2.0)
        for call, began in enumerate([10.0, 11.0, 12.0]):
            in_flight.began[call] = 7, began
        assert in_flight.count_slow(7, 11.9) == (0, 12.0)
        assert in_flight.count_slow(7, 12.0) == (1, 13.0)
        assert in_flight.count_slow(7, 13.5) == (2, 14.0)
        assert in_flight.count_slow(7, 14.0) == (3, None)
        assert in_flight.count_slow(8, 14.0) == (0, None)
        in_flight.end(1)
        in_flight.end(1)
        assert in_flight.count_slow(7, 14.0) == (2, None)
