"""From the deciding failure to open everywhere, against two bare hops through the same server.

Also what a fleet costs Redis: idle, and per call at load. Starts the server of the tests.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import redis.asyncio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.helpers.processes import ChildProcess
from tests.helpers.servers import RedisServer
from zenvark_web import Coordinator

ROUNDS = 100
CALLS = 100_000
IDLE_SECONDS = 5.0


async def succeed() -> int:
    return 1


async def two_hops(url: str) -> float:
    """Milliseconds for a stream entry there, and one back in answer to it."""
    here, there = redis.asyncio.Redis.from_url(url), redis.asyncio.Redis.from_url(url)
    writer, answerer = redis.asyncio.Redis.from_url(url), redis.asyncio.Redis.from_url(url)
    taken: list[float] = []
    asked = answered = "0-0"

    async def answer() -> None:
        nonlocal asked
        [[_, entries]] = await there.xread({"bench:ask": asked}, block=2000)
        asked = entries[-1][0]
        await answerer.xadd("bench:answer", {"v": "1"})

    for _ in range(ROUNDS):
        answering = asyncio.create_task(answer())
        waiting = asyncio.create_task(here.xread({"bench:answer": answered}, block=2000))
        await asyncio.sleep(0.005)
        began = time.perf_counter()
        await writer.xadd("bench:ask", {"v": "1"})
        [[_, entries]] = await waiting
        taken.append((time.perf_counter() - began) * 1000)
        answered = entries[-1][0]
        await answering
    for client in (here, there, writer, answerer):
        await client.aclose()
    return statistics.median(taken)


def open_everywhere(fleet: list[ChildProcess]) -> float:
    """Milliseconds from the fifth failure until the last process is open."""
    taken: list[float] = []
    for number in range(ROUNDS):
        name = f"circuit-{number}"
        for process in fleet[:4]:
            process.call("fail", name=name)
        time.sleep(0.02)
        began = fleet[-1].call("fail", name=name)
        taken.append((max(process.call("opened", name=name) for process in fleet) - began) * 1000)
    return statistics.median(taken)


def idle_cost(server: RedisServer, instances: int) -> float:
    before = server.info_commands()
    time.sleep(IDLE_SECONDS)
    return (server.info_commands() - before) / IDLE_SECONDS / instances


async def load_cost(server: RedisServer) -> tuple[float, float]:
    async with Coordinator(server.url, namespace="load") as coordinator:
        breaker = coordinator.breaker("busy")
        before, began = server.info_commands(), time.perf_counter()
        for number in range(CALLS):
            await breaker.execute(succeed)
            if number % 100 == 0:
                await asyncio.sleep(0.005)
        seconds = time.perf_counter() - began
        return (server.info_commands() - before) / CALLS, CALLS / seconds


def main(server: RedisServer) -> None:
    hops = asyncio.run(two_hops(server.url))
    print(f"two bare stream hops, median {hops:.2f} ms")
    for size in (2, 5, 10):
        with ExitStack() as stack:
            script = Path(__file__).parent / "_instance.py"
            fleet = [
                stack.enter_context(closing(ChildProcess(script, server.url))) for _ in range(size)
            ]
            idle = idle_cost(server, size)
            opened = open_everywhere([*fleet, *fleet, *fleet][: max(size, 5)])
            print(
                f"{size:3} processes: fifth failure -> open everywhere {opened:.2f} ms "
                f"({opened / hops:.2f} x), idle {idle:.1f} Redis commands/s each"
            )
        server.command("FLUSHALL")
    per_call, rate = asyncio.run(load_cost(server))
    print(f"{rate:,.0f} calls/s: {per_call:.5f} Redis commands per call")


if __name__ == "__main__":
    with RedisServer() as started:
        main(started)
