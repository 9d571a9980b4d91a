"""A process with one or more instances of the fleets that `cost.py` measures."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from tests.helpers.child import serve
from zenvark_web import BreakerPolicy, ConstantBackoff, Coordinator, HealthCheckType

CHUNK = 200
"""So many calls in a row, then the loops have their turn."""

TICK = 0.01


async def healthy(_: HealthCheckType) -> None:
    """All is well."""


async def _succeed() -> None:
    """A call that takes no time."""


async def _fail() -> None:
    raise ConnectionError


class Members:
    """The instances in this process.

    Args:
        url: The server.
        count: How many there are.
    """

    def __init__(self, url: str, count: int) -> None:
        policy = BreakerPolicy(backoff=ConstantBackoff(0.05), health_check=healthy)
        self._names: list[str] = []
        self._coordinators = [Coordinator(url, policy=policy) for _ in range(count)]

    async def start(self) -> None:
        """Join the fleet, one after another."""
        for coordinator in self._coordinators:
            await coordinator.start()

    async def trip(self, circuits: int) -> None:
        """Start the first alone, and have each circuit open once."""
        await self._coordinators[0].start()
        breakers = [self._coordinators[0].breaker(name) for name in _names(circuits)]
        for number, breaker in enumerate(breakers):
            failures = (breaker.execute(_fail) for _ in range(5))
            await asyncio.gather(*failures, return_exceptions=True)
            if number % CHUNK == 0:
                await asyncio.sleep(0.01)

    def recovered(self, circuits: int, first: bool = False) -> bool:
        """Whether each circuit is known to have opened and closed, to all or to the first."""
        self._names = _names(circuits)
        coordinators = self._coordinators[:1] if first else self._coordinators
        breakers = (
            coordinator.breaker(name) for coordinator in coordinators for name in self._names
        )
        return all(breaker.state == "closed" and breaker.generation > 1 for breaker in breakers)

    async def use(self) -> None:
        """Call each circuit once from each instance."""
        for coordinator in self._coordinators:
            for number, name in enumerate(self._names):
                await coordinator.breaker(name).execute(_succeed)
                if number % CHUNK == 0:
                    await asyncio.sleep(0.01)

    def settled(self) -> bool:
        """Whether every result has been judged."""
        told = [coordinator.statistics for coordinator in self._coordinators]
        return all(
            counts.recorded == counts.evaluated + counts.expired + counts.dropped for counts in told
        )

    async def load(self, rate: float, seconds: float) -> dict[str, float]:
        """Make so many calls a second in each instance, of all circuits in turn."""
        began, cpu = time.monotonic(), time.process_time()
        made = sum(
            await asyncio.gather(
                *(self._load(coordinator, rate, seconds) for coordinator in self._coordinators)
            )
        )
        taken = time.monotonic() - began
        return {"calls": made / taken, "cpu": (time.process_time() - cpu) / taken}

    async def _load(self, coordinator: Coordinator, rate: float, seconds: float) -> int:
        breakers = [coordinator.breaker(name) for name in self._names]
        began, made = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            for _ in range(min(int(passed * rate) - made, int(rate * TICK * 10))):
                await breakers[made % len(breakers)].execute(_succeed)
                made += 1
            await asyncio.sleep(TICK)
        return made

    def counts(self) -> dict[str, int]:
        """What became of all results in this process."""
        told = [coordinator.statistics for coordinator in self._coordinators]
        names = ("recorded", "evaluated", "expired", "dropped", "batches")
        return {name: sum(getattr(counts, name) for counts in told) for name in names}


def _names(circuits: int) -> list[str]:
    return [f"service-{number}.example.com" for number in range(circuits)]


def memory() -> int:
    """The bytes of memory that this process occupies."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def main() -> None:
    members = Members(sys.argv[1], int(sys.argv[2]))
    handlers = ("start", "trip", "recovered", "use", "settled", "load", "counts")
    await serve({"memory": memory, **{name: getattr(members, name) for name in handlers}})


asyncio.run(main())
