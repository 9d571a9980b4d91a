"""The first to leave stopped a coordinator under the others: a block within a block, two apps, a
library that starts what it finds started."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
import trio

from tests.cluster.store import Store
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE, eventually, eventually_sync
from zenvark_web import Coordinator, MemoryBackend, Outcome, Role


@pytest.fixture
def coordinator(redis_server: ServerHandle, namespace: str) -> Coordinator:
    return Coordinator(redis_server.url, namespace=namespace)


def own_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "zenvark_web"]


async def works(coordinator: Coordinator) -> None:
    """It runs in a loop that goes on."""
    assert coordinator.running
    await eventually(lambda: coordinator.role is Role.LEADER, within=PATIENCE)
    evaluated = coordinator.statistics.batches
    coordinator.breaker("upstream").acquire().record(Outcome.FAILURE)
    await eventually(lambda: coordinator.statistics.batches > evaluated, within=PATIENCE)


# Users


async def test_block_within_a_block(coordinator: Coordinator) -> None:
    async with coordinator:
        async with coordinator:
            name = coordinator.instance_id
        await works(coordinator)
        assert coordinator.instance_id == name, "it is the same run"
    assert not coordinator.running


@pytest.mark.parametrize("first", [0, 1])
async def test_two_apps_in_either_order(first: int, coordinator: Coordinator) -> None:
    leave = [asyncio.Event(), asyncio.Event()]

    async def app(number: int) -> None:
        async with coordinator:
            await leave[number].wait()

    apps = [asyncio.create_task(app(number)) for number in range(2)]
    await eventually(lambda: coordinator.running)
    leave[first].set()
    await apps[first]
    await works(coordinator)
    leave[1 - first].set()
    await apps[1 - first]
    assert not coordinator.running


async def test_start_is_one_user_however_often_it_is_called(coordinator: Coordinator) -> None:
    for _ in range(3):
        await coordinator.start()
    async with coordinator:
        await coordinator.stop()
        await works(coordinator)
    assert not coordinator.running
    await coordinator.start()
    async with coordinator:
        pass
    await works(coordinator)
    await coordinator.stop()
    assert not coordinator.running


async def test_stop_without_a_start_means_everybody(coordinator: Coordinator) -> None:
    async with coordinator, coordinator:
        await coordinator.stop()
        assert not coordinator.running
    assert not coordinator.running
    async with coordinator:
        await works(coordinator)


async def test_many_at_once(coordinator: Coordinator) -> None:
    async def use(number: int) -> None:
        for turn in range(5):
            async with coordinator:
                assert coordinator.running
                await asyncio.sleep(0.001 * ((number + turn) % 3))

    await asyncio.gather(*(use(number) for number in range(10)))
    assert not coordinator.running
    async with coordinator:
        await works(coordinator)


# Elsewhere


def in_a_loop(coordinator: Coordinator, entered: threading.Event, leave: threading.Event) -> None:
    async def main() -> None:
        async with coordinator:
            entered.set()
            await asyncio.to_thread(leave.wait)

    asyncio.run(main())


def in_trio(coordinator: Coordinator, entered: threading.Event, leave: threading.Event) -> None:
    async def main() -> None:
        async with coordinator:
            entered.set()
            await trio.to_thread.run_sync(leave.wait)

    trio.run(main)


def in_a_block(coordinator: Coordinator, entered: threading.Event, leave: threading.Event) -> None:
    with coordinator:
        entered.set()
        leave.wait()


WAYS = [in_a_loop, in_trio, in_a_block]
Way = Callable[[Coordinator, threading.Event, threading.Event], None]


class User:
    """Somebody in a thread who uses a coordinator."""

    def __init__(self, way: Way, coordinator: Coordinator) -> None:
        self._entered, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=way, args=(coordinator, self._entered, self._leave))
        self._thread.start()
        assert self._entered.wait(PATIENCE)

    def leaves(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("one", WAYS)
@pytest.mark.parametrize("other", WAYS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_users_of_two_kinds(
    one: Way, other: Way, order: tuple[int, int], redis_server: ServerHandle, namespace: str
) -> None:
    """Also when the loop that it runs in is the first to end: it moves."""
    coordinator = Coordinator(redis_server.url, namespace=namespace)
    users = [User(one, coordinator), User(other, coordinator)]
    for number in order:
        assert coordinator.running
        before = coordinator.statistics.batches
        coordinator.breaker("upstream").acquire().record(Outcome.FAILURE)
        eventually_sync(lambda then=before: coordinator.statistics.batches > then, within=PATIENCE)
        users[number].leaves()
    assert not coordinator.running
    assert own_threads() == []
    assert Store(redis_server, namespace).leader() is None


def test_loop_that_stands_still_serves_nobody_else() -> None:
    coordinator = Coordinator()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(coordinator.start())

    async def enter() -> None:
        async with coordinator:
            pass

    with pytest.raises(RuntimeError, match="which does not run"):
        asyncio.run(enter())
    with pytest.raises(RuntimeError, match="which does not run"), coordinator:
        pass
    assert coordinator.running
    loop.run_until_complete(coordinator.stop())
    loop.close()
    assert not coordinator.running


# Cancelled


@asynccontextmanager
async def left_in_good_order(server: RedisServer) -> AsyncIterator[Coordinator]:
    """One that leaves no lease, no task and no result behind."""
    store = Store(server, "shop")
    coordinator = Coordinator(server.url, namespace="shop")
    before = asyncio.all_tasks()
    yield coordinator
    assert not coordinator.running
    assert asyncio.all_tasks() == before
    assert store.leader() is None


async def test_block_in_a_cancelled_scope_of_anyio(fresh_server: RedisServer) -> None:
    async with left_in_good_order(fresh_server) as coordinator:
        with anyio.CancelScope() as scope:
            async with coordinator:
                await eventually(lambda: coordinator.role is Role.LEADER, within=PATIENCE)
                coordinator.breaker("upstream").execute_sync(int)
                scope.cancel()
                await anyio.sleep_forever()
    assert Store(fresh_server, "shop").reported("upstream") == {"successes": 1}


async def test_stop_in_a_cancelled_scope_and_task_group(fresh_server: RedisServer) -> None:
    async with left_in_good_order(fresh_server) as coordinator:
        await coordinator.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(coordinator.stop)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 50])
@pytest.mark.parametrize("again", [1, 3])
async def test_block_whose_task_is_cancelled_at_each_turn(
    turns: int, again: int, fresh_server: RedisServer
) -> None:
    """While it starts, runs or stops, once or several times."""

    async def use() -> None:
        async with coordinator:
            coordinator.breaker("upstream").execute_sync(int)
            await asyncio.sleep(0)

    async with left_in_good_order(fresh_server) as coordinator:
        using = asyncio.create_task(use())
        for _ in range(again):
            for _ in range(turns):
                await asyncio.sleep(0)
            using.cancel()
        await asyncio.wait({using})


@pytest.mark.parametrize("bound", ["wait_for", "timeout", "move_on_after", "fail_after"])
async def test_start_that_is_abandoned_is_undone(bound: str, fresh_server: RedisServer) -> None:
    async def start() -> None:
        if bound == "wait_for":
            await asyncio.wait_for(coordinator.start(), 0.1)
        elif bound == "timeout":
            async with asyncio.timeout(0.1):
                await coordinator.start()
        elif bound == "fail_after":
            with anyio.fail_after(0.1):
                await coordinator.start()
        else:
            with anyio.move_on_after(0.1) as scope:
                await coordinator.start()
            assert scope.cancelled_caught
            raise TimeoutError

    coordinator = Coordinator(fresh_server.url)
    fresh_server.pause()
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        await start()
    assert not coordinator.running
    assert asyncio.all_tasks() == before
    fresh_server.resume()


async def test_start_that_is_abandoned_leaves_other_users_alone(
    fresh_server: RedisServer,
) -> None:
    coordinator = Coordinator(fresh_server.url)
    fresh_server.pause()
    other = asyncio.create_task(coordinator.start())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(coordinator.start(), 0.1)
    await other
    assert coordinator.running
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(coordinator.__aenter__(), 0)
    assert coordinator.running
    fresh_server.resume()
    await coordinator.stop()


def test_stop_in_a_cancelled_scope_of_trio(redis_server: ServerHandle, namespace: str) -> None:
    async def main() -> None:
        await coordinator.start()
        coordinator.breaker("upstream").execute_sync(int)
        with trio.CancelScope() as scope:
            scope.cancel()
            await coordinator.stop()

    coordinator = Coordinator(redis_server.url, namespace=namespace)
    trio.run(main)
    assert not coordinator.running
    assert own_threads() == []
    assert Store(redis_server, namespace).reported("upstream") == {"successes": 1}


async def test_callback_that_stops_it_ends_with_it() -> None:
    stopped = asyncio.Event()

    async def stop(_: Role) -> None:
        if not stopped.is_set():
            stopped.set()
            await coordinator.stop()

    coordinator = Coordinator(MemoryBackend(), on_role_change=stop)
    async with coordinator:
        await stopped.wait()
        await eventually(lambda: not coordinator.running)
