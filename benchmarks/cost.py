"""What a fleet costs: commands, connections, bytes in Redis and memory, idle and under load.

Starts the server of the tests. Many instances share a few processes, as two cores carry no
hundred processes; each has connections, a reader and a lease campaign of its own all the same.

    python benchmarks/cost.py [idle|load ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.cluster.store import connections
from tests.helpers.processes import ChildProcess
from tests.helpers.servers import RedisServer

PROCESSES = 5
"""At most so many; more instances share them."""

CIRCUITS = (10, 1_000, 10_000)
IDLE = (1, 10, 100)
LOADED = (1, 2, 5, 10)
RATE = 10_000.0
SECONDS = 15.0
PATIENCE = 600.0
SENT = ("evalsha", "eval", "xread")
"""The commands that instances send; scripts run the others inside of the server."""


@dataclass(frozen=True)
class Cost:
    """What a server saw in a while, for each instance and second."""

    sent: float
    inside: float


class Fleet:
    """Instances in a few processes."""

    def __init__(self, server: RedisServer, instances: int, children: list[ChildProcess]) -> None:
        self.server = server
        self.instances = instances
        self._children = children
        self._pool = ThreadPoolExecutor(len(children))

    def each(self, do: str, **arguments: Any) -> list[Any]:
        """Have all processes do something at the same time."""
        calls = (
            self._pool.submit(child.call, do, within=PATIENCE, **arguments)
            for child in self._children
        )
        return [call.result() for call in list(calls)]

    def get_ready(self, circuits: int) -> float:
        """Every circuit has opened once and closed, every instance knows and has called it.

        Returns:
            The bytes of memory that one instance takes for it.
        """
        before = sum(self.each("memory"))
        first = self._children[0]
        first.call("trip", circuits=circuits, within=PATIENCE)
        while not first.call("recovered", circuits=circuits, first=True, within=PATIENCE):
            time.sleep(1.0)
        self.each("start")
        self.wait_for("recovered", circuits=circuits)
        self.each("use")
        self.wait_for("settled")
        return (sum(self.each("memory")) - before) / self.instances

    def wait_for(self, what: str, **arguments: Any) -> None:
        """All processes say yes."""
        deadline = time.monotonic() + PATIENCE
        while not all(self.each(what, **arguments)):
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            time.sleep(1.0)

    def costs(self, do: str = "", **arguments: Any) -> tuple[Cost, list[Any]]:
        """What the server sees while they do something, or nothing."""
        calls, began = self.server.command_calls(), time.monotonic()
        all_before = self.server.info_commands()
        answers = self.each(do, **arguments) if do else time.sleep(SECONDS) or []
        now, all_now = self.server.command_calls(), self.server.info_commands()
        each = (time.monotonic() - began) * self.instances
        sent = sum(now[command] - calls[command] for command in SENT)
        return Cost(sent / each, (all_now - all_before) / each), answers


@contextmanager
def fleet_of(instances: int) -> Iterator[Fleet]:
    processes = min(instances, PROCESSES)
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        script = Path(__file__).parent / "_member.py"
        children = [
            stack.enter_context(
                closing(ChildProcess(script, server.url, str(instances // processes)))
            )
            for _ in range(processes)
        ]
        yield Fleet(server, instances, children)


def stored(server: RedisServer) -> dict[str, int]:
    """The bytes that each key takes."""
    with server.client() as client:
        keys = [str(key) for key in client.scan_iter("zenvark:*")]
        return {
            key.rpartition(":")[2]: int(client.memory_usage(key, samples=0) or 0) for key in keys
        }


def kilobytes(sizes: dict[str, int]) -> str:
    parts = (f"{name} {size / 1000:,.0f}" for name, size in sorted(sizes.items()) if size > 1000)
    return f"{sum(sizes.values()) / 1000:,.0f} kB ({', '.join(parts)})"


def idle(instances: int, circuits: int) -> None:
    with fleet_of(instances) as fleet:
        memory = fleet.get_ready(circuits)
        cost, _ = fleet.costs()
        held = connections(fleet.server) / instances
        print(
            f"idle {instances:4} instances {circuits:6,} circuits: {cost.sent:.2f} commands/s each "
            f"({cost.inside:.2f} with scripts' own), {held:g} connections each, "
            f"{memory / 1e6:.1f} MB each, Redis {kilobytes(stored(fleet.server))}",
            flush=True,
        )


def load(instances: int, circuits: int) -> None:
    with fleet_of(instances) as fleet:
        fleet.get_ready(circuits)
        before = fleet.each("memory")
        cost, loads = fleet.costs("load", rate=RATE, seconds=SECONDS)
        grown = (sum(fleet.each("memory")) - sum(before)) / instances
        calls = sum(load["calls"] for load in loads) / instances
        held = connections(fleet.server) / instances
        print(
            f"load {instances:4} instances {circuits:6,} circuits: {calls:,.0f} calls/s each, "
            f"{cost.sent:.1f} commands/s each ({cost.inside:.1f} with scripts' own), "
            f"{held:g} connections each, {grown / 1e6:+.1f} MB each, "
            f"{sum(load['cpu'] for load in loads):.2f} cores, "
            f"Redis {kilobytes(stored(fleet.server))}",
            flush=True,
        )
        fleet.wait_for("settled")
        counts = fleet.each("counts")
        print(f"     { ({name: sum(c[name] for c in counts) for name in counts[0]}) }", flush=True)


def main() -> None:
    chosen = sys.argv[1:] or ["idle", "load"]
    for kind, measure, sizes in (("idle", idle, IDLE), ("load", load, LOADED)):
        for instances in sizes if kind in chosen else ():
            for circuits in CIRCUITS:
                measure(instances, circuits)


if __name__ == "__main__":
    main()
