"""How long a new leader takes until it judges what is new, by how much was reported before.

Once with windows that are saved, so that it reads on from the last leader's checkpoint, and once
with those of a user's strategy that are not, so that it has to read everything that is kept.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.servers import RedisServer, current_server
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator, Role, State, Strategy, Trip
from zenvark_web._core.states import Report, Run
from zenvark_web.backends.base import START, Batch
from zenvark_web.backends.redis import RedisBackend

CIRCUITS = [f"upstream-{number}.example.com" for number in range(5)]
ROUNDS = 3
ENTRIES = (1_000, 10_000, 30_000, 90_000)


class Unsaved:
    """Failures in a row, counted in a window that can't be saved."""

    def window(self) -> Unsaved:
        window = Unsaved()
        window.failures = 0
        return window

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        self.failures = self.failures + count if failed else 0
        return Trip(1, 5, 5, 0) if self.failures >= 5 else None


class Elections:
    """Knows when an instance was elected last."""

    at = 0.0

    def changed(self, role: Role) -> None:
        if role is Role.LEADER:
            self.at = time.monotonic()


def report(circuit: str, count: int, *, failed: bool = False) -> Report:
    return Report(circuit, (Run(0, failed, False, count),))


async def send(backend: RedisBackend, first: int, entries: int) -> None:
    """Successes of all circuits from one instance."""
    now = (await backend.load()).now
    reports = tuple(report(circuit, 2) for circuit in CIRCUITS)
    for number in range(first, first + entries):
        await backend.append(Batch("sender", number, now, reports))


async def judged(coordinator: Coordinator, name: str) -> None:
    while coordinator.breaker(name).state is State.CLOSED:
        await asyncio.sleep(0.0005)


async def takeover(url: str, strategy: Strategy, entries: int) -> list[float]:
    """Seconds from the election to the verdict on failures that came last."""
    namespace = f"{type(strategy).__name__}-{entries}"
    policy = BreakerPolicy(strategy=strategy)
    sender = RedisBackend(url, namespace)
    sender.open()
    async with Coordinator(url, namespace=namespace, policy=policy) as first:
        for part in range(1, entries + 1, 500):
            await send(sender, part, 500)
        await sender.append(Batch("marker", 1, 2e9, (report("marker", 5, failed=True),)))
        await judged(first, "marker")
        while (await sender.load(leading=True)).checkpoint.position == START:
            await asyncio.sleep(0.1)
        await asyncio.sleep(6)  # a checkpoint is written every five
    taken: list[float] = []
    for number in range(2, 2 + ROUNDS):
        await sender.append(Batch("marker", number, 2e9, (report(f"m{number}", 5, failed=True),)))
        elected = Elections()
        coordinator = Coordinator(
            url, namespace=namespace, policy=policy, on_role_change=elected.changed
        )
        async with coordinator:
            await judged(coordinator, f"m{number}")
            taken.append(time.monotonic() - elected.at)
            await asyncio.sleep(6)
    await sender.close()
    return taken


async def main() -> None:
    print("median seconds from an election to the first verdict on something new")
    with RedisServer(current_server()) as server:
        for entries in ENTRIES:
            for strategy in (ConsecutiveFailures(5), Unsaved()):
                taken = statistics.median(await takeover(server.url, strategy, entries))
                print(
                    f"{entries:>7,} entries  {type(strategy).__name__:<20} {taken:8.3f}", flush=True
                )


asyncio.run(main())
