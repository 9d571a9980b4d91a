"""An instance keeps a bounded number of breakers; what matters is never lost."""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.cluster.fleet import StartFleet
from tests.cluster.store import Store
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import BreakerPolicy, CircuitOpenError, ConstantBackoff, Coordinator, State


def is_open(coordinator: Coordinator, name: str) -> bool:
    return coordinator.breaker(name).state is State.OPEN


@pytest.fixture
async def small(redis_server: ServerHandle, namespace: str) -> AsyncIterator[Coordinator]:
    """A coordinator that keeps ten breakers."""
    async with Coordinator(
        redis_server.url,
        namespace=namespace,
        policy=BreakerPolicy(backoff=ConstantBackoff(60)),
        max_breakers=10,
    ) as coordinator:
        yield coordinator


async def test_hundred_names_leave_the_ten_used_last(small: Coordinator) -> None:
    names = [f"circuit-{number}" for number in range(100)]
    for name in names:
        small.breaker(name)
        small.breaker("busy")
        assert len(small.breakers) <= 10
    assert list(small.breakers) == [*names[-9:], "busy"]


async def test_results_of_a_hundred_names_all_arrive(
    small: Coordinator, redis_server: ServerHandle, namespace: str
) -> None:
    store = Store(redis_server, namespace)
    names = [f"circuit-{number}" for number in range(100)]
    for name in names:
        small.breaker(name).execute_sync(int)
        assert len(small.breakers) <= 10
    for name in names:
        await eventually(partial(store.reported, name), within=PATIENCE)


async def test_open_ones_stay_and_a_held_one_learns_what_others_find_out(
    small: Coordinator, start_fleet: StartFleet
) -> None:
    [other] = await start_fleet(1, wait=60)
    small.breaker("down")
    held = small.breaker("held")
    await other.fail(5, circuit="down")
    await eventually(partial(is_open, small, "down"), within=PATIENCE)

    for number in range(100):
        small.breaker(f"circuit-{number}").execute_sync(int)
        assert len(small.breakers) <= 10
    assert "down" in small.breakers
    assert "held" not in small.breakers

    await other.fail(5, circuit="held")
    await eventually(lambda: held.state is State.OPEN, within=PATIENCE)
    with pytest.raises(CircuitOpenError):
        held.execute_sync(int)
    assert small.breaker("held").state is State.OPEN


async def test_what_an_evicted_breaker_had_to_report_is_still_sent(
    small: Coordinator, start_fleet: StartFleet
) -> None:
    [other] = await start_fleet(1, wait=60)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            small.breaker("failing").execute_sync(lambda: 1 / 0)
    for number in range(100):
        small.breaker(f"circuit-{number}")
    await other.reaches("open", "failing")


async def test_with_all_places_taken_by_open_circuits_a_further_one_works(
    small: Coordinator, start_fleet: StartFleet
) -> None:
    [other] = await start_fleet(1, wait=60)
    down = [f"down-{number}" for number in range(10)]
    for name in down:
        small.breaker(name)
        await other.fail(5, circuit=name)
    for name in down:
        await eventually(partial(is_open, small, name), within=PATIENCE)
    further = small.breaker("further")
    assert further.execute_sync(int) == 0
    assert sorted(small.breakers) == sorted(down)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            further.execute_sync(lambda: 1 / 0)
    await eventually(lambda: further.state is State.OPEN, within=PATIENCE)
