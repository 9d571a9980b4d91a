"""Random faults on real processes for as long as you like: nothing may get stuck, lost or larger.

    python -m tests.soak [--minutes 30] [--seed 1] [--shards 1]

Instances call at a steady rate all the time. Round after round something breaks, upstreams become
well or unwell, and what broke is put right. Calls must never notice, and in the end of each round
the whole fleet must agree on what is true of the upstreams.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import pytest

from tests.cluster.fleet import Instance, Processes, StartFleet
from tests.helpers.servers import RedisServer, current_server
from tests.helpers.waiting import PATIENCE, eventually

INSTANCES = 5
STEADY = "steady"
SHAKY = [f"shaky-{number}" for number in range(4)]
CIRCUITS = [STEADY, *SHAKY]
RATE = 20
LONGEST_CALL = 2.0
"""Seconds that the slowest hundredth of calls may take: they do nothing, but the host is busy."""

GROWTH = 16 * 1024 * 1024
"""Bytes by which a process may grow once it has seen some rounds."""

WARM = 10
"""Rounds after which processes are as large as they get."""

Fault: TypeAlias = "Callable[[Soak], Awaitable[None]]"


class Soak:
    """A fleet that runs, what is wrong with its upstreams, and what was seen.

    Args:
        server: The fleet's server.
        start: Starts instances.
        chance: Chooses what goes wrong.
        shards: As `Coordinator` has it.
    """

    def __init__(
        self, server: RedisServer, start: StartFleet, chance: random.Random, shards: int
    ) -> None:
        self.server = server
        self.chance = chance
        self.fleet: list[Instance] = []
        self.calls: Counter[str] = Counter()
        self._start = start
        self._shards = shards
        self._unwell: set[str] = set()
        self._vitals: dict[str, int] = {}

    async def begin(self) -> None:
        """Start the fleet."""
        for _ in range(INSTANCES):
            await self.add()
        await self.settle()

    async def add(self) -> None:
        """One more instance, under traffic."""
        [instance] = await self._start(
            1, server=self.server, wait=0.5, lease_ttl=1.0, shards=self._shards
        )
        await instance.unwell(self._unwell)
        for circuit in CIRCUITS:
            await instance.traffic_on(circuit, rate=RATE, via="local")
        self.fleet.append(instance)

    def anyone(self) -> Instance:
        """An instance that may be harmed. The first one stays, to see whether it grows."""
        return self.chance.choice(self.fleet[1:])

    async def change_upstreams(self) -> None:
        """Have other upstreams fail from now on."""
        self._unwell = {circuit for circuit in SHAKY if self.chance.random() < 0.4}
        for instance in self.fleet:
            await instance.unwell(self._unwell)

    async def look(self) -> None:
        """See that calls have not noticed anything."""
        for instance in self.fleet:
            counts = await instance.traffic(STEADY)
            assert counts["ended"].keys() <= {"passed"}, (instance, counts)
            assert counts["p99"] < LONGEST_CALL, (instance, counts)
            self.calls.update(counts["ended"])
            for circuit in SHAKY:
                self.calls.update((await instance.traffic(circuit))["ended"])

    async def settle(self) -> None:
        """Wait until all agree on what is true."""
        try:
            await eventually(
                self._agrees, within=PATIENCE, what=f"agreement, {self._unwell} unwell"
            )
        except pytest.fail.Exception:
            for instance in self.fleet:
                states = {circuit: await instance.state(circuit) for circuit in CIRCUITS}
                print(f"{instance.id} {await instance.role()} {states}")
                print(f"  {await instance.counters()} {(await instance.events('error'))[-10:]}")
            with self.server.client() as client:
                for key in client.scan_iter("zenvark:*"):
                    print(f"{key} {client.object('encoding', key)}")
                for name, stored in client.hgetall("zenvark:{soak}:circuits").items():
                    print(f"  {name} {stored}")
                print(client.get("zenvark:{soak}:leader"), client.time())
                print(client.xrevrange("zenvark:{soak}:results", count=6))
                print(client.xrevrange("zenvark:{soak}:states", count=6), flush=True)
            raise

    async def _agrees(self) -> bool:
        roles = Counter([await instance.role() for instance in self.fleet])
        if not 1 <= roles["leader"] <= self._shards:
            return False
        for circuit in CIRCUITS:
            states = {(await instance.state(circuit))[0] for instance in self.fleet}
            if circuit in self._unwell and "closed" in states:
                return False
            if circuit not in self._unwell and states != {"closed"}:
                return False
        return True

    async def measure(self) -> None:
        """See that the instance which has been there from the beginning does not grow."""
        vitals = await self.fleet[0].vitals()
        known = self._vitals = self._vitals or vitals
        assert vitals["bytes"] < known["bytes"] + GROWTH, (known, vitals)
        assert vitals["tasks"] < known["tasks"] + 50, (known, vitals)
        for what in ("threads", "files"):
            assert vitals[what] <= known[what] + 4, (known, vitals)
        print(f"  {vitals['bytes'] >> 20} MiB, {vitals['tasks']} tasks", flush=True)

    async def end(self) -> None:
        """Stop the traffic and see that each result has become something, once."""
        for instance in self.fleet:
            for circuit in CIRCUITS:
                await instance.traffic_off(circuit)
        for instance in self.fleet:
            print(" ", instance.id, await instance.accounts(), flush=True)


async def server_hangs(soak: Soak) -> None:
    soak.server.pause()
    await asyncio.sleep(soak.chance.uniform(0.1, 8))
    soak.server.resume()


async def server_dies(soak: Soak) -> None:
    soak.server.kill()
    await asyncio.sleep(soak.chance.uniform(0.1, 4))
    soak.server.restart()


async def server_comes_back_with_its_data(soak: Soak) -> None:
    soak.server.command("SAVE")
    await asyncio.sleep(soak.chance.uniform(0, 2))
    soak.server.kill()
    await asyncio.sleep(soak.chance.uniform(0.1, 4))
    soak.server.start()


async def server_forgets(soak: Soak) -> None:
    soak.server.command("FLUSHALL")


async def server_forgets_scripts(soak: Soak) -> None:
    soak.server.command("SCRIPT", "FLUSH")


async def connections_break(soak: Soak) -> None:
    for _ in range(soak.chance.randint(1, 5)):
        with soak.server.client() as client:
            for other in client.client_list():
                if other["name"] == "zenvark_web":
                    client.client_kill_filter(_id=other["id"])
        await asyncio.sleep(soak.chance.uniform(0, 0.5))


async def process_sleeps(soak: Soak) -> None:
    instance = soak.anyone()
    instance.process.pause()
    await asyncio.sleep(soak.chance.uniform(0.1, 8))
    instance.process.resume()
    await asyncio.sleep(0.5)
    for circuit in CIRCUITS:
        await instance.traffic(circuit)  # its calls slept as well


async def process_dies(soak: Soak) -> None:
    instance = soak.anyone()
    instance.process.kill()
    soak.fleet.remove(instance)
    await asyncio.sleep(soak.chance.uniform(0, 3))
    await soak.add()


async def process_is_replaced(soak: Soak) -> None:
    instance = soak.anyone()
    soak.fleet.remove(instance)
    await asyncio.gather(instance.stop(), soak.add())


async def process_restarts_its_coordinator(soak: Soak) -> None:
    instance = soak.anyone()
    await instance.stop()
    await asyncio.sleep(soak.chance.uniform(0, 1))
    await instance.start()


FAULTS: tuple[Fault, ...] = (
    server_hangs,
    server_dies,
    server_comes_back_with_its_data,
    server_forgets,
    server_forgets_scripts,
    connections_break,
    process_sleeps,
    process_dies,
    process_is_replaced,
    process_restarts_its_coordinator,
)


async def run(minutes: float, seed: int, shards: int) -> None:
    """Break things for so long."""
    chance = random.Random(seed)
    processes = Processes()
    faults: Counter[str] = Counter()
    with RedisServer(current_server()) as server:
        start = StartFleet(processes, server, "http://127.0.0.1:9", "soak")
        soak = Soak(server, start, chance, shards)
        try:
            await soak.begin()
            until = time.monotonic() + 60 * minutes
            while time.monotonic() < until:
                fault = chance.choice(FAULTS)
                faults[fault.__name__] += 1
                print(f"{faults.total()}. {fault.__name__}", flush=True)
                steps = [partial(fault, soak), soak.change_upstreams]
                chance.shuffle(steps)
                for step in steps:
                    await step()
                await soak.settle()
                await soak.look()
                if faults.total() >= WARM:
                    await soak.measure()
            await soak.end()
            await start.end()
        finally:
            processes.close()
    print(f"seed {seed}: {faults.total()} faults in {minutes:g} minutes, {dict(faults)}")
    print(f"calls: {dict(soak.calls)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(run(options.minutes, options.seed, options.shards))


if __name__ == "__main__":
    main()
