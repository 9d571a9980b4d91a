"""What a breaker adds to a call, beside the breakers of other libraries: closed and open, with
reporting and metrics going on; in the thread of the coordinator's loop, and in another one."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import _peers
from _measure import Loop, measure, show
from prometheus_client import CollectorRegistry

from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    Outcome,
    PrometheusMetrics,
    State,
)

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
SLOW = BreakerPolicy(slow_call=5.0)


async def upstream() -> int:
    return 1


def plain() -> int:
    return 1


async def broken() -> int:
    raise ConnectionError


def awaiting(call: Callable[[], Awaitable[Any]]) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            await call()

    return loop


def calling(call: Callable[[], Any]) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            call()

    return loop


def refused(call: Callable[[], Awaitable[Any]], error: type[Exception]) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            try:
                await call()
            except error:  # as a caller would, not with a context manager's cost
                continue
            raise AssertionError("the circuit is not open")

    return loop


def refused_sync(call: Callable[[], Any], error: type[Exception]) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            try:
                call()
            except error:
                continue
            raise AssertionError("the circuit is not open")

    return loop


def executing(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            await breaker.execute(upstream)

    return loop


def guarding(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            async with breaker.guard():
                await upstream()

    return loop


def acquiring(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            permit = breaker.acquire()
            await upstream()
            permit.record(Outcome.SUCCESS)

    return loop


def executing_sync(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            breaker.execute_sync(plain)

    return loop


def guarding_sync(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            with breaker.guard():
                plain()

    return loop


def acquiring_sync(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            permit = breaker.acquire()
            plain()
            permit.record(Outcome.SUCCESS)

    return loop


def executing_open(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            try:
                await breaker.execute(upstream)
            except CircuitOpenError:
                pass

    return loop


def guarding_open(breaker: Breaker) -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            try:
                async with breaker.guard():
                    pass
            except CircuitOpenError:
                pass

    return loop


def raising() -> Loop:
    async def loop(calls: int) -> None:
        for _ in range(calls):
            try:
                raise ConnectionError("name", 1.0)
            except ConnectionError:
                pass

    return loop


async def open_breaker(coordinator: Coordinator) -> Breaker:
    breaker = coordinator.breaker("open")
    while breaker.state is State.CLOSED:
        try:
            await breaker.execute(broken)
        except (ConnectionError, CircuitOpenError):
            await asyncio.sleep(0.01)
    return breaker


async def closed_calls(closed: Breaker, slow: Breaker) -> None:
    contestants = {
        "await, no breaker": awaiting(upstream),
        "Breaker.execute": executing(closed),
        "Breaker.execute, slow_call": executing(slow),
        "decorated with a Breaker": awaiting(closed(upstream)),
        "async with Breaker.guard()": guarding(closed),
        "Breaker.acquire, Permit.record": acquiring(closed),
    }
    for name, peer in _peers.asynchronous().items():
        contestants[f"decorated, {name}"] = awaiting(peer.decorate(upstream))
    measured = await measure(contestants, CALLS)
    show("A call, closed: CPU time", measured, "await, no breaker")


async def closed_plain_calls(closed: Breaker) -> None:
    contestants = {
        "call, no breaker": calling(plain),
        "Breaker.execute_sync": executing_sync(closed),
        "decorated with a Breaker": calling(closed(plain)),
        "with Breaker.guard()": guarding_sync(closed),
        "Breaker.acquire, Permit.record": acquiring_sync(closed),
    }
    for name, peer in _peers.synchronous().items():
        contestants[f"decorated, {name}"] = calling(peer.decorate(plain))
    measured = await measure(contestants, CALLS)
    show("A call of a plain function, closed: CPU time", measured, "call, no breaker")


async def rejections(opened: Breaker) -> None:
    contestants = {
        "await, no breaker": awaiting(upstream),
        "raise and except, no breaker": raising(),
        "Breaker.execute": executing_open(opened),
        "async with Breaker.guard()": guarding_open(opened),
        "Breaker.acquire": refused_sync(opened.acquire, CircuitOpenError),
        "Breaker.execute_sync": refused_sync(lambda: opened.execute_sync(plain), CircuitOpenError),
    }
    for name, peer in _peers.asynchronous().items():
        contestants[f"decorated, {name}"] = refused(await _peers.opened(peer), peer.refuses)
    measured = await measure(contestants, CALLS // 4)
    show("A rejection: CPU time", measured, "await, no breaker")
    await memory_of_rejections(opened)


async def memory_of_rejections(opened: Breaker) -> None:
    """What stays in memory of a hundred thousand rejections."""
    loop = executing_open(opened)
    await loop(1_000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await loop(100_000)
    await asyncio.sleep(0.3)  # they are reported
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"\nMemory after 100,000 more rejections: {after - before:+,} bytes")


async def threads(breaker: Breaker) -> None:
    """Plain functions, with all that the coordinator's thread does for them."""

    def guarded(calls: int) -> None:
        for _ in range(calls):
            breaker.execute_sync(plain)

    async def in_its_thread(calls: int) -> None:
        guarded(calls)

    async def in_another(calls: int) -> None:
        counted = sum(breaker.successes.counts)
        await asyncio.to_thread(guarded, calls)
        while sum(breaker.successes.counts) < counted + calls:
            await asyncio.sleep(0.001)

    contestants = {
        "execute_sync, the coordinator's thread": in_its_thread,
        "execute_sync, another thread": in_another,
    }
    measured = await measure(contestants, CALLS)
    show("Threads, closed: CPU time", measured, "execute_sync, the coordinator's thread")


async def main() -> None:
    policy = BreakerPolicy(backoff=ConstantBackoff(600))  # longer than a run
    metrics = PrometheusMetrics(CollectorRegistry())
    coordinator = Coordinator(policy=policy, policies={"slow": SLOW}, metrics=metrics)
    async with coordinator:
        closed, slow = coordinator.breaker("closed"), coordinator.breaker("slow")
        await closed_calls(closed, slow)
        await closed_plain_calls(closed)
        await rejections(await open_breaker(coordinator))
        await threads(closed)


asyncio.run(main())
