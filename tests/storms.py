"""Storms: what many circuits at once do to one, in real processes with a real server.

    python -m tests.storms [storm ...] [--seconds 60] [--names 100000] [--code PATH]

`flood`: one process of three calls names that nobody has called before, each of which fails; what
does that do to the openings of another? `openings`: three hundred known circuits fail within a
second, over a network with a round trip of 40 ms. `dead`: an upstream that is well again waits for
its health check behind those of dead hosts that hang. `newcomer`: a process joins a fleet with
30,000 open circuits.

`--code` measures the package in another checkout, to compare with. Without it, figures that are not
as they should be end the script with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.helpers.processes import ROOT, ChildProcess
from tests.helpers.servers import RedisServer
from zenvark_web import Cause, Reason, State
from zenvark_web._core.states import Transition
from zenvark_web.backends._encoding import encode_transition

HOST = "127.0.0.1"
MEMBER = Path(__file__).parent / "storm_member.py"
LIMIT = 0.5
"""Seconds that an opening may take, or be late by, in a storm."""

LARGEST = 400.0
"""MiB that a process may have in a flood of names."""

ROUND_TRIP = 0.04
CIRCUITS = 300
STORED = 30_000
DEAD = 1_500


class SlowLine:
    """A port that leads to a server over a line on which everything takes a while, each way.

    Args:
        port: The server's.
        seconds: How long, each way.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._accept, HOST)
        return f"redis://{HOST}:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(HOST, self._port)
        for source, target in ((reader, to_server), (from_server, writer)):
            task = asyncio.create_task(self._carry(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await source.read(65536):
                loop.call_later(self._seconds, target.write, data)
        loop.call_later(self._seconds, target.close)


class Storms:
    """The storms, against the package in one checkout.

    Args:
        code: The checkout, if it is not this one.
        seconds, names: How long a flood lasts, and of how many names it is.
    """

    def __init__(self, code: str, seconds: float, names: int) -> None:
        self._paths = ":".join(filter(None, (code, str(ROOT))))
        self._seconds = seconds
        self._names = names
        self.failed: list[str] = []

    @asynccontextmanager
    async def _fleet(
        self, url: str, size: int, settings: str = ""
    ) -> AsyncIterator[list[ChildProcess]]:
        """Processes that have started; the first one leads."""
        async with AsyncExitStack() as stack:
            fleet: list[ChildProcess] = []
            for _ in range(size):
                member = await self._member(stack, url, settings)
                await member.acall("start", within=60)
                fleet.append(member)
            await _until(lambda: _leads(fleet[0]), 60)
            yield fleet

    async def _member(self, stack: AsyncExitStack, url: str, settings: str) -> ChildProcess:
        env = {"PYTHONPATH": self._paths, "PYTHONSAFEPATH": "1"}
        member = await asyncio.to_thread(ChildProcess, MEMBER, url, settings, env=env)
        stack.callback(member.close)
        return member

    def _tell(self, what: str, figure: float, unit: str, most: float | None) -> None:
        bad = most is not None and not figure <= most
        limit = "" if most is None else f"  (at most {most:g} {unit})"
        print(f"  {what:58} {figure:9.2f} {unit:4}{limit}{'  <-- too much' * bad}", flush=True)
        if bad:
            self.failed.append(what)

    async def flood(self) -> None:
        """What a flood of names does to the openings of another process."""
        print(f"\nflood: {self._names:,} failing names within {self._seconds:g} s")
        with RedisServer() as server:
            async with self._fleet(server.url, 3) as fleet:
                leader, honest, stranger = fleet
                others = [leader, honest]
                usual = [await self._opening(honest, others, f"before-{n}") for n in range(5)]
                await stranger.acall("flood", names=self._names, seconds=self._seconds)
                late, began = list[float](), time.monotonic()
                while time.monotonic() - began < self._seconds + 5:
                    name = f"honest-{len(late)}"
                    late.append(await self._opening(honest, others, name))
                    await asyncio.sleep(max(0.0, began + len(late) - time.monotonic()))
                came = [seconds for seconds in late if seconds != float("inf")]
                usually = statistics.median(usual)
                self._tell("an honest opening, before it", usually, "s", LIMIT)
                self._tell(f"the slowest of {len(late)} during it", max(late), "s", usually + LIMIT)
                self._tell("their median", statistics.median(late), "s", None)
                self._tell("how many never came", len(late) - len(came), "", 0)
                self._tell("how often the lease moved", _epoch(server) - 1, "", 0)
                vitals = [await member.acall("vitals", within=60) for member in fleet]
                for what, told in zip(("leader's", "honest", "stranger's"), vitals, strict=True):
                    self._tell(f"memory of the {what} process", told["rss"], "MiB", LARGEST)
                self._tell("processor time of the leader", vitals[0]["cpu"], "s", None)
                self._tell("circuits in the store", _length(server, "circuits"), "", None)
                behind = _checkpoint_behind(server)
                self._tell("how far the checkpoint is behind", behind, "s", 15)
                print(f"  {leader} errors {vitals[0]['errors']}")

    async def _opening(self, one: ChildProcess, fleet: list[ChildProcess], name: str) -> float:
        """The seconds from a circuit's last failure in one process until it is open in all."""
        watching = [
            asyncio.create_task(member.acall("opened", within=60, names=[name], patience=15))
            for member in fleet
            if member is not one
        ]
        last = await one.acall("fail", within=60, names=[name])
        seen = [await watch for watch in watching]
        seen.append(await one.acall("opened", within=60, names=[name], patience=15))
        return max(opened.get(name, float("inf")) for opened in seen) - float(last[name])

    async def openings(self) -> None:
        """How long many openings at once take over a slow network."""
        print(f"\nopenings: {CIRCUITS} known circuits, round trip {ROUND_TRIP * 1000:g} ms")
        names = [f"known-{number}" for number in range(CIRCUITS)]
        with RedisServer() as server:
            async with (
                SlowLine(server.port, ROUND_TRIP / 2) as url,
                self._fleet(url, 3, "stays") as fleet,
            ):
                for member in fleet:
                    await member.acall("succeed", names=names)
                one = [await self._opening(fleet[1], fleet, f"one-{n}") for n in range(5)]
                self._tell("one circuit alone", statistics.median(one), "s", LIMIT)
                last, seen = await self._all_open(fleet, names)
                slowest = max(
                    max(opened.get(name, float("inf")) for opened in seen) - last[name]
                    for name in names
                )
                self._tell("the slowest of all, from its own last failure", slowest, "s", LIMIT)
                end = max(opened.get(name, float("inf")) for opened in seen for name in names)
                self._tell("all of them, from the very last", end - max(last.values()), "s", LIMIT)

    @staticmethod
    async def _all_open(
        fleet: list[ChildProcess], names: list[str]
    ) -> tuple[dict[str, float], list[dict[str, float]]]:
        """When each circuit had failed often enough, and when it was open in each process."""
        watching = [
            asyncio.create_task(member.acall("opened", within=90, names=names, patience=60))
            for member in (fleet[0], fleet[2])
        ]
        last = await fleet[1].acall("fail", within=60, names=names, seconds=1.0)
        own = await fleet[1].acall("opened", within=90, names=names, patience=60)
        return last, [own, *[await watch for watch in watching]]

    async def dead(self) -> None:
        """How long an upstream that is well again waits for its health check."""
        print(f"\ndead: {DEAD:,} dead hosts whose health checks hang")
        honest = "honest.checked"
        with RedisServer() as server:
            async with self._fleet(server.url, 2) as fleet:
                for member in fleet:
                    await member.acall("succeed", names=[honest])
                dead = [f"dead-{number}.checked" for number in range(DEAD)]
                await fleet[1].acall("fail", within=60, names=dead)
                await fleet[1].acall("opened", within=60, names=dead, patience=50)
                await asyncio.sleep(5)
                await fleet[1].acall("fail", names=[honest])
                opened = await fleet[1].acall("opened", names=[honest], patience=5)
                at = await fleet[1].acall("closed", within=200, name=honest, patience=180)
                waited = float("inf") if at is None else at - opened[honest]
                self._tell("from open to closed, with a wait of 1 s", waited, "s", 3)

    async def newcomer(self) -> None:
        """What a process that joins knows of the circuits that are open."""
        print(f"\nnewcomer: {STORED:,} open circuits in the store")
        names = [f"stored-{number}" for number in range(STORED)]
        with RedisServer() as server:
            _store_open(server, names)
            async with self._fleet(server.url, 1) as fleet, AsyncExitStack() as stack:
                await fleet[0].acall("opened", within=120, names=names[-1:], patience=100)
                newcomer = await self._member(stack, server.url, "")
                asked = names[:: STORED // 500]
                taken, passed = await newcomer.acall("start_and_call", within=120, names=asked)
                self._tell("its start", taken, "s", None)
                self._tell(f"calls to {len(asked)} open circuits that it let pass", passed, "", 0)


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def _leads(member: ChildProcess) -> bool:
    return (await member.acall("vitals"))["role"] == "leader"


def _key(name: str) -> str:
    return f"zenvark:{{default}}:{name}"


def _epoch(server: RedisServer) -> int:
    return int(server.command("GET", _key("epoch")))


def _length(server: RedisServer, name: str) -> int:
    return int(server.command("HLEN", _key(name)))


def _checkpoint_behind(server: RedisServer) -> float:
    position: Any = server.command("HGET", _key("tallies"), "")
    written = int((position or "0-0").partition("-")[0])
    return int(server.command("TIME")[0]) - written / 1000


def _store_open(server: RedisServer, names: list[str]) -> None:
    """Have the store hold open circuits, as a fleet has left them."""
    now = float(server.command("TIME")[0])
    with server.client() as client, client.pipeline() as pipeline:
        for name in names:
            transition = Transition(
                circuit=name,
                generation=1,
                state=State.OPEN,
                at=now,
                since=now,
                attempt=1,
                delay=3600.0,
                reason=Reason(cause=Cause.TRIPPED, detail="5 of 5 calls failed"),
            )
            pipeline.hset(_key("circuits"), name, encode_transition(transition))
        pipeline.execute()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    storms = ("flood", "openings", "dead", "newcomer")
    parser.add_argument("storms", nargs="*", choices=[*storms, []], help="default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long a flood lasts")
    parser.add_argument("--names", type=int, default=100_000, help="of how many names it is")
    parser.add_argument("--code", default="", help="a checkout of the package to measure instead")
    given = parser.parse_args()
    run = Storms(given.code, given.seconds, given.names)
    for storm in given.storms or storms:
        asyncio.run(getattr(run, storm)())
    if run.failed and not given.code:
        sys.exit(f"not as it should be: {'; '.join(run.failed)}")


if __name__ == "__main__":
    main()
