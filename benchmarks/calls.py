"""What a breaker adds to a call: closed and open, with reporting and metrics going on."""

from __future__ import annotations

import asyncio

from _measure import microseconds, show
from prometheus_client import CollectorRegistry

from zenvark_web import Breaker, CircuitOpenError, Coordinator, PrometheusMetrics, State

CALLS = 50_000


async def upstream() -> int:
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
    show("One call, CPU time", rows, "us", "await, no breaker")


asyncio.run(main())
