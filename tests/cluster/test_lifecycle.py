"""Starting and stopping at any moment: it ends within seconds and leaves nothing behind."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.cluster.store import connections
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import (
    BackendError,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    Role,
    State,
)

SECONDS = 20.0
"""In which a stop ends at the latest, on a busy host."""


class CallFailedError(Exception):
    """A call failed."""


async def fail_once() -> None:
    raise CallFailedError


async def open_circuit(coordinator: Coordinator, name: str = "upstream") -> None:
    breaker = coordinator.breaker(name)
    before = breaker.generation
    for _ in range(5):
        with pytest.raises(CallFailedError):
            await breaker.execute(fail_once)
    # Not by its state: it may recover at once.
    await eventually(lambda: breaker.generation > before, within=PATIENCE)


@asynccontextmanager
async def nothing_left(server: RedisServer, within: float = SECONDS) -> AsyncIterator[None]:
    """Checks that the block ends in time and leaves no task and no connection."""
    before = asyncio.all_tasks()
    began = time.monotonic()
    yield
    assert time.monotonic() - began < within
    assert asyncio.all_tasks() == before
    if server.running:
        server.resume()
        await eventually(lambda: connections(server) == 0, within=PATIENCE)


async def leading(coordinator: Coordinator) -> None:
    await eventually(lambda: coordinator.role is Role.LEADER, within=PATIENCE)


async def test_start_without_redis_returns_soon_and_joins_when_it_comes_up(
    fresh_server: RedisServer,
) -> None:
    fresh_server.kill()
    errors: list[Exception] = []
    coordinator = Coordinator(fresh_server.url, on_error=errors.append)
    began = time.monotonic()
    await coordinator.start()
    assert time.monotonic() - began < SECONDS
    try:
        assert not coordinator.connected
        assert await coordinator.breaker("upstream").execute(answer) == 42
        await eventually(lambda: errors, within=PATIENCE)
        assert {type(error) for error in errors} == {BackendError}
        fresh_server.start()
        await eventually(lambda: coordinator.connected, within=PATIENCE)
        await open_circuit(coordinator)
    finally:
        await coordinator.stop()


async def answer() -> int:
    return 42


async def test_start_with_redis_hung_returns_soon(fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url)
    fresh_server.pause()
    async with nothing_left(fresh_server):
        began = time.monotonic()
        await coordinator.start()
        assert time.monotonic() - began < SECONDS
        await coordinator.stop()


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 50])
async def test_stop_during_start(turns: int, fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url)
    async with nothing_left(fresh_server):
        starting = asyncio.create_task(coordinator.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        await coordinator.stop()
        await starting
    assert not coordinator.connected


@pytest.mark.parametrize("paused", [False, True], ids=["answers", "hangs"])
async def test_start_that_is_cancelled(paused: bool, fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url)
    if paused:
        fresh_server.pause()
    async with nothing_left(fresh_server):
        entering = asyncio.create_task(coordinator.__aenter__())
        await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering


@pytest.mark.parametrize("kind", ["killed", "hung"])
async def test_stop_during_an_outage(kind: str, fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url)
    async with nothing_left(fresh_server, within=SECONDS + 1):
        await coordinator.start()
        await leading(coordinator)
        if kind == "killed":
            fresh_server.kill()
        else:
            fresh_server.pause()
        with pytest.raises(CallFailedError):
            await coordinator.breaker("upstream").execute(fail_once)
        began = time.monotonic()
        await coordinator.stop()
        assert time.monotonic() - began < SECONDS
    assert coordinator.statistics.dropped == 1


async def test_stop_that_is_cancelled_can_be_asked_for_again(fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url)
    async with nothing_left(fresh_server):
        await coordinator.start()
        fresh_server.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await coordinator.stop()
        await coordinator.stop()


async def test_starts_and_stops_twice_and_at_once(fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url)
    async with nothing_left(fresh_server):
        await asyncio.gather(*(coordinator.start() for _ in range(3)))
        await eventually(lambda: connections(fresh_server) == 2, within=PATIENCE)
        await coordinator.start()
        await asyncio.gather(*(coordinator.stop() for _ in range(3)))
        await coordinator.stop()


async def test_start_while_it_stops(fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url)
    async with nothing_left(fresh_server):
        await coordinator.start()
        await asyncio.gather(coordinator.stop(), coordinator.start())
        await leading(coordinator)
        await coordinator.stop()


async def test_stop_while_a_health_check_hangs(fresh_server: RedisServer) -> None:
    begun = asyncio.Event()

    async def hang(type_: HealthCheckType) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    policy = BreakerPolicy(health_check=hang, backoff=ConstantBackoff(0.01))
    coordinator = Coordinator(fresh_server.url, policy=policy)
    async with nothing_left(fresh_server):
        await coordinator.start()
        await open_circuit(coordinator)
        await begun.wait()
        await coordinator.stop()


async def test_stop_gives_up_on_a_health_check_that_will_not_be_cancelled(
    fresh_server: RedisServer,
) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def cling(type_: HealthCheckType) -> None:
        begun.set()
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    policy = BreakerPolicy(health_check=cling, backoff=ConstantBackoff(0.01))
    coordinator = Coordinator(fresh_server.url, policy=policy)
    async with nothing_left(fresh_server, within=60.0):
        before = asyncio.all_tasks()
        await coordinator.start()
        await open_circuit(coordinator)
        await begun.wait()
        began = time.monotonic()
        await coordinator.stop()
        assert time.monotonic() - began < 30.0
        assert coordinator.statistics.errors["StopError"] == 1
        await eventually(lambda: connections(fresh_server) == 0, within=PATIENCE)

        clinging = asyncio.all_tasks() - before
        await coordinator.start()
        release.set()
        await asyncio.wait(clinging, timeout=PATIENCE)
        await open_circuit(coordinator, "another")
        await coordinator.stop()


async def test_start_after_stop_goes_on_where_the_fleet_is(fresh_server: RedisServer) -> None:
    policy = BreakerPolicy(backoff=ConstantBackoff(60))
    first = Coordinator(fresh_server.url, policy=policy)
    second = Coordinator(fresh_server.url, policy=policy)
    breaker = first.breaker("upstream")
    async with nothing_left(fresh_server):
        async with first, second:
            pass
        async with second:
            await open_circuit(second)
        assert await breaker.execute(answer) == 42
        async with first:
            with pytest.raises(CircuitOpenError):
                await breaker.execute(answer)
            await leading(first)
            await open_circuit(first, "another")
        with pytest.raises(CircuitOpenError):
            await breaker.execute(answer)


@pytest.mark.usefixtures("patient_commands")
def test_two_event_loops_one_after_the_other(fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url, policy=BreakerPolicy(backoff=ConstantBackoff(60)))

    async def use(name: str) -> None:
        async with coordinator:
            await leading(coordinator)
            await open_circuit(coordinator, name)

    asyncio.run(use("one"))
    asyncio.run(use("two"))
    assert coordinator.breaker("one").state is State.OPEN
    assert coordinator.statistics.errors == {}
    assert connections(fresh_server) == 0


@pytest.mark.usefixtures("patient_commands")
def test_loop_that_ends_without_a_stop(fresh_server: RedisServer) -> None:
    coordinator = Coordinator(fresh_server.url, policy=BreakerPolicy(backoff=ConstantBackoff(60)))

    async def abandon() -> None:
        await coordinator.start()
        await open_circuit(coordinator, "one")

    asyncio.run(abandon())
    assert not coordinator.connected
    assert coordinator.breaker("one").state is State.OPEN
    asyncio.run(abandon_again(coordinator))
    assert coordinator.statistics.errors == {}


async def abandon_again(coordinator: Coordinator) -> None:
    await coordinator.start()
    await open_circuit(coordinator, "two")
    await coordinator.stop()


async def test_start_after_its_tasks_were_cancelled_by_someone_else(
    fresh_server: RedisServer,
) -> None:
    coordinator = Coordinator(fresh_server.url)
    async with nothing_left(fresh_server):
        before = asyncio.all_tasks()
        await coordinator.start()
        for task in asyncio.all_tasks() - before:
            task.cancel()
        await eventually(lambda: asyncio.all_tasks() == before, within=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            await coordinator.start()
        await open_circuit(coordinator)
        await coordinator.stop()
