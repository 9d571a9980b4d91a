"""With `cut_off="local"`, an instance that was cut off for less than a few seconds showed the
fleet's word from before the cut, an open circuit that had recovered since, until it had read the
news. And all the while it was cut off, a call took eight times as long."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.helpers.inside import circuit_of, connection_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    MemoryBackend,
    State,
    StateChange,
)
from zenvark_web._core.order import Position
from zenvark_web._judging.alone import Alone
from zenvark_web.exceptions import BackendError

POLICY = BreakerPolicy(
    strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.2), cut_off="local"
)
COMMANDS = {"heartbeat", "load", "append", "publish", "checkpoint", "tidy", "resign"}


class Shared(MemoryBackend):
    """The store itself."""


class Way:
    """One instance's way to the store, which may be cut. A read that waits for news then goes on
    waiting, as one in Redis does for seconds."""

    def __init__(self, store: MemoryBackend) -> None:
        self._store = store
        self.up = True

    def open(self) -> None:
        self._store.open()

    async def close(self) -> None: ...

    async def read(self, states: Position, results: Position | None, wait: float) -> Sequence[Any]:
        entries: Sequence[Any] = await self._store.read(states, results, 0.05)
        while not self.up:
            await asyncio.sleep(0.01)
            entries = []
        return entries

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in COMMANDS:
            return found

        async def command(*args: Any, **options: Any) -> Any:
            await asyncio.sleep(0.01)  # the way there
            if not self.up:
                raise BackendError("cut")
            return await found(*args, **options)

        return command


def calls(breaker: Breaker, function: Any) -> bool:
    """Whether a call is let through."""
    try:
        breaker.execute_sync(function)
    except CircuitOpenError:
        return False
    except OSError:
        return True
    return True


def fail() -> None:
    raise OSError


async def alone(coordinator: Coordinator, *names: str) -> None:
    for name in names:
        local = circuit_of(coordinator.breaker(name))
        await eventually(lambda it=local: isinstance(it._listener, Alone))


async def recovers(breaker: Breaker) -> None:
    await eventually(lambda: calls(breaker, int) and breaker.state is State.CLOSED)


async def test_news_are_read_before_the_fleets_word_holds() -> None:
    store = Shared()
    way = Way(store)
    changes: list[StateChange] = []
    away = Coordinator(way, policy=POLICY, on_state_change=changes.append)  # type: ignore[arg-type]
    there = Coordinator(store, policy=POLICY)
    async with there, away:
        ours, theirs = away.breaker("upstream"), there.breaker("upstream")
        for _ in range(5):
            for _ in range(3):
                calls(theirs, fail)
            await eventually(lambda: ours.state is not State.CLOSED)
            way.up = False
            await recovers(theirs)
            await alone(away, "upstream")
            await recovers(ours)
            assert ours.generation < 0
            await eventually(lambda: changes[-1].state is State.CLOSED)
            changes.clear()
            way.up = True
            while ours.generation < theirs.generation:
                assert calls(ours, int)
                await asyncio.sleep(0.001)
            assert [change.state for change in changes if change.state is not State.CLOSED] == []


async def test_store_that_is_cut_off_again_while_it_tells_the_news() -> None:
    store = Shared()
    way = Way(store)
    away = Coordinator(way, policy=POLICY)  # type: ignore[arg-type]
    async with away:
        breaker = away.breaker("upstream")
        for _ in range(3):
            way.up = False
            await alone(away, "upstream")
            for _ in range(3):
                calls(breaker, fail)
            assert breaker.state is State.OPEN
            way.up = True
            await eventually(lambda: connection_of(away).connected)
            way.up = False
            await asyncio.sleep(0.05)
            await recovers(breaker)
        way.up = True
        await eventually(lambda: breaker.generation >= 0 and away.connected)


async def test_calls_are_judged_in_order_however_they_are_taken_note_of() -> None:
    """Successes of a run are not shown one by one; a failure must come after those before it."""
    policy = BreakerPolicy(
        strategy=CountWindow(10, failure_rate=0.5, minimum_calls=10), cut_off="local"
    )
    way = Way(Shared())
    async with Coordinator(way, policies={"rate": policy}, policy=POLICY) as away:  # type: ignore[arg-type]
        way.up = False
        await alone(away, "streak", "rate")
        streak, rate = away.breaker("streak"), away.breaker("rate")
        for _ in range(20):
            calls(streak, fail)
            calls(streak, fail)
            for _ in range(3):
                calls(streak, int)
        assert streak.state is State.CLOSED
        for _ in range(3):
            calls(streak, fail)
        assert streak.state is State.OPEN
        for _ in range(100):
            calls(rate, int)
        for number in range(5):
            assert rate.state is State.CLOSED, number
            calls(rate, fail)
        assert rate.state is State.OPEN
        way.up = True


@pytest.mark.slow
async def test_a_call_takes_no_longer_while_it_is_cut_off() -> None:
    way = Way(Shared())

    async def answer() -> None: ...

    async def seconds(breaker: Breaker) -> float:
        best = float("inf")
        for _ in range(7):
            began = time.perf_counter()
            for _ in range(3_000):
                await breaker.execute(answer)
            best = min(best, time.perf_counter() - began)
            await asyncio.sleep(0.01)
        return best

    async with Coordinator(way, policy=POLICY) as away:  # type: ignore[arg-type]
        breaker = away.breaker("upstream")
        usual = await seconds(breaker)
        way.up = False
        await alone(away, "upstream")
        cut_off = await seconds(breaker)
        with suppress(OSError):
            breaker.execute_sync(fail)
        way.up = True
    assert cut_off < 2 * usual, (cut_off, usual)
