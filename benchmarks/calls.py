"""What a breaker adds to a call: closed and open, with reporting and metrics going on; in the
thread of the coordinator's loop, and in another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from _measure import microseconds, show
from prometheus_client import CollectorRegistry

from zenvark_web import Breaker, CircuitOpenError, Coordinator, PrometheusMetrics, State

CALLS = 50_000


async def upstream() -> int:
    return 1


def plain() -> int:
    return 1


async def broken() -> int:
    raise ConnectionError


async def open_breaker(coordinator: Coordinator) -> Breaker:
    breaker = coordinator.breaker("open")
    while breaker.state is State.CLOSED:
        try:
            await breaker.execute(broken)
        except (ConnectionError, CircuitOpenError):
            await asyncio.sleep(0.01)
    return breaker


async def main() -> None:
    async with Coordinator(metrics=PrometheusMetrics(CollectorRegistry())) as coordinator:
        closed, opened = coordinator.breaker("closed"), await open_breaker(coordinator)

        async def guarded() -> None:
            async with closed.guard():
                await upstream()

        async def rejected() -> None:
            try:
                await opened.execute(upstream)
            except CircuitOpenError:  # as a caller would, not with a context manager's cost
                return

        async def raised() -> None:
            try:
                raise CircuitOpenError("name", 1.0)
            except CircuitOpenError:
                pass

        rows = await microseconds(
            {
                "await, no breaker": upstream,
                "execute, closed": lambda: closed.execute(upstream),
                "async with guard(), closed": guarded,
                "raise and except, no breaker": raised,
                "execute, open": rejected,
            },
            CALLS,
        )
        in_threads = await plain_calls(closed)
    show("One call, CPU time", rows, "us", "await, no breaker")
    show("One call of a plain function, CPU time", in_threads, "us", "no breaker")


async def plain_calls(breaker: Breaker) -> dict[str, float]:
    """The same for plain functions, with all that the coordinator's thread does for them."""

    def calls(call: Callable[[], object]) -> None:
        for _ in range(CALLS):
            call()

    def guarded() -> object:
        return breaker.execute_sync(plain)

    async def in_its_thread() -> None:
        calls(guarded)

    async def in_another() -> None:
        counted = sum(breaker.successes.counts)
        await asyncio.to_thread(calls, guarded)
        while sum(breaker.successes.counts) < counted + CALLS:
            await asyncio.sleep(0.001)

    rows = await microseconds(
        {
            "no breaker": lambda: asyncio.to_thread(calls, plain),
            "execute_sync, closed, the coordinator's thread": in_its_thread,
            "execute_sync, closed, another thread": in_another,
        },
        1,
    )
    return {name: value / CALLS for name, value in rows.items()}


asyncio.run(main())
