"""Under trio: the coordinator runs in a thread of its own, and breakers work in trio's tasks."""

import asyncio
import threading
from contextlib import suppress

import pytest
import trio

from tests.cluster.store import Store
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    State,
)

POLICY = BreakerPolicy(backoff=ConstantBackoff(0.1))


class CallFailedError(Exception):
    """A call failed."""


async def fail() -> None:
    raise CallFailedError


async def answer() -> int:
    return 42


async def open_circuit(breaker: Breaker) -> None:
    for _ in range(5):
        with pytest.raises(CallFailedError):
            await breaker.execute(fail)
    with trio.fail_after(PATIENCE):
        while breaker.state is State.CLOSED:
            await trio.sleep(0.01)


def test_all_ways_to_call(redis_server: ServerHandle, namespace: str) -> None:
    store = Store(redis_server, namespace)

    async def main() -> None:
        async with Coordinator(redis_server.url, namespace=namespace) as coordinator:
            breaker = coordinator.breaker("upstream")
            assert await breaker.execute(answer) == 42
            assert await breaker(answer)() == 42
            async with breaker.guard():
                await trio.lowlevel.checkpoint()
            assert await trio.to_thread.run_sync(breaker.execute_sync, int) == 0
            await trio.sleep(0.03)  # results are told apart by milliseconds
            await open_circuit(breaker)
            with pytest.raises(CircuitOpenError):
                await breaker.execute(answer)

    trio.run(main)
    assert store.reported("upstream") == {"successes": 4, "failures": 5}
    assert own_threads() == []


def test_a_cancelled_call_says_nothing_and_gives_its_permit_back(
    redis_server: ServerHandle, namespace: str
) -> None:
    store = Store(redis_server, namespace)

    async def cancelled(breaker: Breaker) -> bool:
        """Whether a call was let through; it is cancelled."""
        passed = False

        async def hang() -> None:
            nonlocal passed
            passed = True
            scope.cancel()
            await trio.sleep_forever()

        with trio.CancelScope() as scope, suppress(CircuitOpenError):
            await breaker.execute(hang)
        if not passed:
            await trio.sleep(0.01)
        return passed

    async def main() -> None:
        coordinator = Coordinator(redis_server.url, namespace=namespace, policy=POLICY)
        async with coordinator:
            breaker = coordinator.breaker("upstream")
            for _ in range(5):
                assert await cancelled(breaker)
            await open_circuit(breaker)
            with trio.fail_after(PATIENCE):
                for _ in range(3):  # each takes the one permit, and each gives it back
                    while not await cancelled(breaker):
                        pass
                while breaker.state is not State.CLOSED:
                    try:
                        await breaker.execute(answer)
                    except CircuitOpenError:
                        await trio.sleep(0.01)

    trio.run(main)
    assert store.reported("upstream") == {"successes": 1, "failures": 5}


def test_starting_and_stopping_while_redis_hangs_hold_up_nothing(
    fresh_server: RedisServer,
) -> None:
    coordinator = Coordinator(fresh_server.url)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.001)
            turns += 1

    async def main() -> None:
        nonlocal turns
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            fresh_server.pause()
            await coordinator.start()
            assert turns > 1
            assert not coordinator.connected
            turns = 0
            await coordinator.stop()
            assert turns > 1
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert own_threads() == []


def test_starting_and_stopping_twice(redis_server: ServerHandle, namespace: str) -> None:
    coordinator = Coordinator(redis_server.url, namespace=namespace)

    async def main() -> None:
        for do in (coordinator.start, coordinator.start, coordinator.stop, coordinator.stop):
            await do()
            assert coordinator.connected is (do == coordinator.start)

    trio.run(main)
    assert own_threads() == []


def test_a_cancelled_block_is_left_in_good_order(
    redis_server: ServerHandle, namespace: str
) -> None:
    store = Store(redis_server, namespace)

    async def main() -> None:
        with trio.move_on_after(0):
            async with Coordinator(redis_server.url, namespace=namespace) as coordinator:
                coordinator.breaker("upstream").execute_sync(int)
                await trio.sleep_forever()

    trio.run(main)
    assert own_threads() == []
    assert store.reported("upstream") == {"successes": 1}
    assert store.leader() is None


def test_it_joins_in_where_asyncio_runs_it(redis_server: ServerHandle, namespace: str) -> None:
    coordinator = Coordinator(redis_server.url, namespace=namespace)

    async def main() -> None:
        async with coordinator:
            assert own_threads() == []
        await coordinator.start()
        await coordinator.stop()

    async def asyncio_main() -> None:
        async with coordinator:
            await asyncio.to_thread(trio.run, main)
            assert coordinator.running
        assert not coordinator.running

    asyncio.run(asyncio_main())


def own_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "zenvark_web"]
