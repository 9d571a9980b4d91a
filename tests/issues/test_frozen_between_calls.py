"""Functions as a service are frozen between calls. A failure waited for the next one, and was too
old to count then; an open circuit stayed open though others had seen it recover."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.cluster.store import Store
from tests.helpers.processes import ChildProcess, StartChild
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE, eventually, eventually_sync
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Outcome,
    Role,
    State,
)
from zenvark_web._coordination import session, thaw
from zenvark_web._runtime.host import Host

FUNCTION = Path(__file__).with_name("frozen.py")


class Function:
    """The function, which is frozen between calls."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        child.receive(within=PATIENCE)

    def __call__(self, *, well: bool = True, calls: int = 1) -> dict[str, Any]:
        self._child.resume()
        self._child.send({"well": well, "calls": calls})
        told = self._child.receive(within=PATIENCE)
        self._child.pause()
        return told


StartFunction = Callable[..., Function]


@pytest.fixture
def start(start_child: StartChild, redis_server: ServerHandle, namespace: str) -> StartFunction:
    def start(wait: float = 60.0, how: str = "flush") -> Function:
        where = (redis_server.url, namespace)
        return Function(start_child(FUNCTION, *where, str(wait), how))

    return start


async def there(url: str, namespace: str, wait: float) -> Coordinator:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(wait))
    coordinator = Coordinator(url, namespace=namespace, policy=policy)
    await coordinator.start()
    return coordinator


def passes(coordinator: Coordinator) -> bool:
    try:
        coordinator.breaker("upstream").execute_sync(int)
    except CircuitOpenError:
        return False
    return coordinator.breaker("upstream").state is State.CLOSED


async def test_what_a_call_came_to_is_sent_before_it_is_frozen(
    start: StartFunction, redis_server: ServerHandle, namespace: str
) -> None:
    function = await asyncio.to_thread(start)
    other = await there(redis_server.url, namespace, 60)
    told = await asyncio.to_thread(lambda: function(well=False, calls=3))
    assert told["flushed"] is True
    assert Store(redis_server, namespace).reported("upstream") == {"failures": 3}
    # Who leads may be frozen: then the next one leads within two seconds.
    await eventually(lambda: other.breaker("upstream").state is State.OPEN, within=PATIENCE)
    await other.stop()


@pytest.mark.slow
async def test_what_others_found_out_meanwhile_is_known_at_the_next_call(
    start: StartFunction, redis_server: ServerHandle, namespace: str
) -> None:
    other = await there(redis_server.url, namespace, 0.3)
    await eventually(lambda: other.role is Role.LEADER, within=PATIENCE)
    function = await asyncio.to_thread(start)
    await asyncio.to_thread(lambda: function(well=False, calls=3))
    breaker = other.breaker("upstream")
    await eventually(lambda: breaker.generation > 0, within=PATIENCE)
    told = await asyncio.to_thread(function)
    assert told["state"] != "closed"
    await eventually(lambda: passes(other), within=PATIENCE)
    await asyncio.sleep(6.0)  # all that waited for an answer has run out of time
    told = await asyncio.to_thread(lambda: function(calls=0))
    assert told["flushed"] is True
    assert told["state"] == "closed"
    assert (await asyncio.to_thread(function))["outcomes"] == ["passed"]
    await other.stop()


@pytest.mark.slow
def test_a_function_alone_recovers_within_a_few_calls(start: StartFunction) -> None:
    function = start(wait=1.0)

    def opens() -> bool:
        return bool(function(well=False, calls=3)["state"] != "closed")

    eventually_sync(opens, within=PATIENCE)
    time.sleep(4.0)  # longer than its lease
    outcomes: list[str] = []
    for _ in range(40):
        told = function()
        outcomes += told["outcomes"]
        if told["state"] == "closed":
            break
        time.sleep(0.05)
    assert told["state"] == "closed", outcomes


# A process that goes on by itself


@pytest.mark.slow
async def test_first_thing_after_a_thaw_is_a_read(
    start_child: StartChild, redis_server: ServerHandle, namespace: str
) -> None:
    """One that is frozen at any moment, and knows nothing of it."""
    other = await there(redis_server.url, namespace, 0.3)
    await eventually(lambda: other.role is Role.LEADER, within=PATIENCE)
    child = start_child(Path(__file__).with_name("thawing.py"), redis_server.url, namespace)
    child.receive(within=PATIENCE)
    for _ in range(3):
        other.breaker("upstream").acquire().record(Outcome.FAILURE)
    await asyncio.to_thread(lambda: child.receive(within=PATIENCE))  # it is open there, ...
    await eventually(lambda: other.breaker("upstream").generation > 0, within=PATIENCE)  # and here
    child.pause()
    await eventually(lambda: passes(other), within=PATIENCE)
    await asyncio.sleep(4.0)
    child.resume()
    told = await asyncio.to_thread(lambda: child.receive(within=PATIENCE))
    assert told["after"] < 1.0
    await other.stop()


class Machine:
    """One that may be frozen whole: its monotonic clock stands still, too."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.host = Host(wall=lambda: time.time() + self.ahead)


async def test_a_machine_that_was_frozen_reads_the_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thaw, "LOOK_INTERVAL", 0.02)
    machine, loads = Machine(), []

    class Loading(MemoryBackend):
        async def load(self, *, leading: bool = False) -> Any:
            loads.append(leading)
            return await super().load(leading=leading)

    class OnMachine(Coordinator):
        _host = machine.host

    async with OnMachine(Loading()) as coordinator:
        await eventually(lambda: coordinator.role is Role.LEADER)
        await asyncio.sleep(0.1)
        before = len(loads)
        await asyncio.sleep(0.1)
        assert len(loads) == before
        machine.ahead = 60.0
        await eventually(lambda: len(loads) == before + 1)
        await asyncio.sleep(0.1)
        assert len(loads) == before + 1


# Bounds, and other places


async def test_it_ends_in_time_whatever_the_store_does(fresh_server: RedisServer) -> None:
    async with Coordinator(fresh_server.url) as coordinator:
        await eventually(lambda: coordinator.role is Role.LEADER, within=PATIENCE)
        assert await coordinator.flush()
        fresh_server.pause()
        coordinator.breaker("upstream").acquire().record(Outcome.FAILURE)
        began = time.monotonic()
        assert not await coordinator.flush(0.3)
        assert time.monotonic() - began < PATIENCE / 2
        fresh_server.resume()
        assert await coordinator.flush(10)
        assert coordinator.statistics.batches == 1
    assert not await coordinator.flush()
    assert not coordinator.flush_sync()


@pytest.mark.parametrize("seconds", [0, -1, 61, float("nan"), "1", None])
async def test_time_that_makes_no_sense(seconds: Any) -> None:
    async with Coordinator() as coordinator:
        with pytest.raises((TypeError, ValueError), match="timeout"):
            await coordinator.flush(seconds)
        with pytest.raises((TypeError, ValueError), match="timeout"):
            coordinator.flush_sync(seconds)


def test_from_synchronous_code_and_from_other_loops() -> None:
    coordinator = Coordinator()

    def sent() -> int:
        before = coordinator.statistics.batches
        coordinator.breaker("upstream").acquire().record(Outcome.SUCCESS)
        return before

    async def flush() -> bool:
        return await coordinator.flush()

    with coordinator:
        for how in (coordinator.flush_sync, lambda: asyncio.run(flush()), lambda: trio.run(flush)):
            before = sent()
            assert how()
            assert coordinator.statistics.batches > before


async def test_loop_that_it_would_hold_up_is_told() -> None:
    async with Coordinator() as coordinator:
        with pytest.raises(RuntimeError, match="await flush"):
            coordinator.flush_sync()
        assert await asyncio.to_thread(coordinator.flush_sync)
        assert threading.active_count()


async def test_cancelled_flush_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MemoryBackend):
        async def load(self, *, leading: bool = False) -> Any:
            await asyncio.sleep(0.2)
            return await super().load(leading=leading)

    before = asyncio.all_tasks()
    async with Coordinator(Slow()) as coordinator:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(coordinator.flush(), 0.05)
        assert await coordinator.flush()
    assert asyncio.all_tasks() == before
    assert session.THAW_PATIENCE <= 5
