"""One process of the fleets that `tests.storms` has storms break over."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.helpers.child import serve
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    HealthCheck,
    HealthCheckType,
    State,
)

FAILURES = 5
LOOK = 0.005
HANG = 1.5
"""Seconds that the health check of a dead host takes."""


async def _fail() -> None:
    raise ConnectionError


async def _succeed() -> None:
    """A call that takes no time."""


class Checks:
    """Health checks: those of dead hosts hang, all others pass."""

    def for_circuit(self, name: str) -> HealthCheck:
        async def check(_: HealthCheckType) -> None:
            if name.startswith("dead"):
                await asyncio.sleep(HANG)
                raise TimeoutError

        return check


class Member:
    """A coordinator and what it is told to do; each public method is a command."""

    def __init__(self, url: str, settings: str) -> None:
        checked = BreakerPolicy(backoff=ConstantBackoff(1), health_check=Checks())
        policies = {"*.checked": checked}
        plain = BreakerPolicy(backoff=ConstantBackoff(600)) if settings == "stays" else None
        self._coordinator = Coordinator(url, policy=plain or BreakerPolicy(), policies=policies)
        self._flood: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._coordinator.start()

    async def stop(self) -> None:
        await self._coordinator.stop()

    def breaker(self, name: str) -> Breaker:
        return self._coordinator.breaker(name)

    async def succeed(self, names: list[str]) -> None:
        """Call each circuit once, with success."""
        for name in names:
            await self.breaker(name).execute(_succeed)

    async def fail(self, names: list[str], seconds: float = 0.0) -> dict[str, float]:
        """Have all calls of these circuits fail, spread over so many seconds; tells when each has
        failed often enough."""
        last: dict[str, float] = {}
        began = time.monotonic()
        for number in range(FAILURES):
            for place, name in enumerate(names):
                share = (number * len(names) + place) / (FAILURES * len(names))
                if (wait := began + share * seconds - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                await self._fail_once(name)
                last[name] = time.monotonic()
        return last

    async def _fail_once(self, name: str) -> None:
        with suppress(ConnectionError, CircuitOpenError):
            await self.breaker(name).execute(_fail)

    async def opened(self, names: list[str], patience: float) -> dict[str, float]:
        """When each of these circuits was seen open here; those are missing that were not."""
        until = time.monotonic() + patience
        waiting, seen = list(names), dict[str, float]()
        while waiting and time.monotonic() < until:
            for name in waiting:  # a process with too many names keeps no breaker for new ones
                if self.breaker(name).state is State.OPEN:
                    seen[name] = time.monotonic()
            waiting = [name for name in waiting if name not in seen]
            await asyncio.sleep(LOOK)
        return seen

    async def closed(self, name: str, patience: float) -> float | None:
        """When a circuit was seen closed here again, if it was."""
        until = time.monotonic() + patience
        while self.breaker(name).state is not State.CLOSED:
            if time.monotonic() > until:
                return None
            await asyncio.sleep(LOOK)
        return time.monotonic()

    def flood(self, names: int, seconds: float) -> None:
        """Begin to call so many names that nobody has called before, each of which fails."""
        self._flood = asyncio.create_task(self._call_strangers(names, seconds))

    async def _call_strangers(self, names: int, seconds: float) -> None:
        began = time.monotonic()
        for number in range(names):
            if (wait := began + number / names * seconds - time.monotonic()) > 0.001:
                await asyncio.sleep(wait)
            elif number % 20 == 0:
                await asyncio.sleep(0)
            for _ in range(FAILURES):
                await self._fail_once(f"host-{number}.example")

    def flooded(self) -> bool:
        """Whether that is done."""
        return self._flood is None or self._flood.done()

    async def admitted(self, names: Iterable[str]) -> int:
        """How many of these circuits let the very next call pass."""
        passed = 0
        for name in names:
            with suppress(CircuitOpenError):
                await self.breaker(name).execute(_succeed)
                passed += 1
        return passed

    async def start_and_call(self, names: list[str]) -> tuple[float, int]:
        """How long the start took, and how many of these circuits let the first call pass."""
        began = time.monotonic()
        await self._coordinator.start()
        return time.monotonic() - began, await self.admitted(names)

    def vitals(self) -> dict[str, Any]:
        """What is known of this process."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        times = os.times()
        return {
            "role": str(self._coordinator.role),
            "id": self._coordinator.instance_id,
            "rss": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            "cpu": times.user + times.system,
            "breakers": len(self._coordinator.breakers),
            "errors": dict(self._coordinator.statistics.errors),
        }


async def main() -> None:
    member = Member(sys.argv[1], sys.argv[2])
    names = ("start", "stop", "succeed", "fail", "opened", "closed", "flood", "flooded", "vitals")
    await serve({name: getattr(member, name) for name in (*names, "start_and_call")})


asyncio.run(main())
