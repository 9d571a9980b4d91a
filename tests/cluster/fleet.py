"""The test's side of `tests.cluster.instance`: processes that share circuits."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from tests.cluster.settings import Settings
from tests.cluster.traffic import Counts
from tests.helpers.processes import ChildProcess
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually

_STRICT = {"PYTHONWARNINGS": "error"}

_BECOME = ("evaluated", "expired", "dropped")

# What Python prints when something went wrong where nobody looked.
_TROUBLE = ("Traceback", "never retrieved", "never awaited", "destroyed", "Warning")


class Instance:
    """One process with one coordinator."""

    def __init__(self, process: ChildProcess) -> None:
        self.process = process
        self.id = ""
        self._stderr_before = len(process.stderr)

    def __repr__(self) -> str:
        return f"<Instance {self.id} {self.process!r}>"

    async def configure(self, settings: Settings) -> None:
        self.id = await self._do("configure", settings=asdict(settings))

    async def start(self) -> None:
        await self._do("start")

    async def stop(self) -> None:
        await self._do("stop")

    async def start_and_call(self, circuit: str = "upstream") -> str:
        """How the very first call after the start ends."""
        return str(await self._do("start_and_call", circuit=circuit))

    async def fail(self, count: int = 1, circuit: str = "upstream") -> dict[str, int]:
        """Make calls that fail; tells how many ended how."""
        return dict(await self._do("fail", circuit=circuit, count=count))

    async def fail_each(self, first: int, last: int) -> None:
        """Make one call that fails on each of these circuits, `circuit-<number>`."""
        await self._do("fail_each", first=first, last=last)

    async def succeed(self, count: int = 1, circuit: str = "upstream") -> dict[str, int]:
        return dict(await self._do("succeed", circuit=circuit, count=count))

    async def hang(self, count: int = 1, circuit: str = "upstream") -> None:
        """Begin calls that do not end before `let_go`."""
        await self._do("hang", circuit=circuit, count=count)

    async def let_go(self, *, retry_after: float | None = None) -> None:
        """End them: they failed, and so long the upstream wants to be left alone."""
        await self._do("let_go", retry_after=retry_after)

    async def retry_after(self, circuit: str = "upstream") -> float:
        return float(await self._do("retry_after", circuit=circuit))

    async def fail_and_stop(self, circuit: str = "upstream") -> None:
        await self._do("fail_and_stop", circuit=circuit)

    async def override(
        self, mode: str | None, circuit: str = "upstream", *, expires_in: float | None = 3600.0
    ) -> int:
        """Set or lift an override; tells its number."""
        arguments = {"circuit": circuit, "mode": mode, "expires_in": expires_in}
        return int(await self._do("override", **arguments))

    async def overridden(self, circuit: str = "upstream") -> str | None:
        """The mode of the override that it knows."""
        mode: str | None = await self._do("overridden", circuit=circuit)
        return mode

    async def work(self, *, circuits: int, calls: int, seconds: float) -> None:
        """Make successful calls, spread evenly over circuits and time."""
        await self._do("work", circuits=circuits, calls=calls, seconds=seconds)

    async def use(self, circuits: int) -> int:
        """Make one call on each of so many circuits; tells how many breakers are kept."""
        return int(await self._do("use", circuits=circuits))

    async def traffic_on(
        self, circuit: str = "upstream", *, rate: float = 25, via: str = "execute"
    ) -> None:
        """Call at a steady rate: the upstream via "execute" or "transport", or none, "local"."""
        await self._do("traffic_on", circuit=circuit, rate=rate, via=via)

    async def asked(self) -> list[tuple[float, float]]:
        """When calls were asked for via "execute" (monotonic), and the share at that moment."""
        return [(at, share) for at, share in await self._do("asked")]

    async def traffic_off(self, circuit: str = "upstream") -> Counts:
        counts: Counts = await self._do("traffic_off", circuit=circuit)
        return counts

    async def traffic(self, circuit: str = "upstream") -> Counts:
        """The calls that ended since this was last asked."""
        counts: Counts = await self._do("traffic", circuit=circuit)
        return counts

    async def unwell(self, circuits: Collection[str]) -> None:
        """Have local traffic of these circuits fail from now on, and of no others."""
        await self._do("unwell", circuits=list(circuits))

    async def vitals(self) -> dict[str, int]:
        """Its bytes of memory, tasks, threads and open files."""
        return dict(await self._do("vitals"))

    async def cancel_calls(self, circuit: str = "upstream") -> int:
        return int(await self._do("cancel_calls", circuit=circuit))

    async def state(self, circuit: str = "upstream") -> tuple[str, int]:
        """State and generation."""
        state, generation = await self._do("state", circuit=circuit)
        return state, generation

    async def reaches(self, state: str, circuit: str = "upstream") -> None:
        await self._do("wait_state", circuit=circuit, state=state)

    async def role(self) -> str:
        return str(await self._do("role"))

    async def becomes(self, role: str) -> None:
        await self._do("wait_role", role=role)

    async def connects(self) -> None:
        await self._do("wait_connected")

    async def events(self, kind: str) -> list[tuple[float, str]]:
        """When (monotonic seconds) callbacks of a kind were told what."""
        return [(at, what) for at, other, what in await self._do("events") if other == kind]

    async def counters(self) -> dict[str, Any]:
        return dict(await self._do("counters"))

    async def accounts(self) -> dict[str, int]:
        """What became of its results, once each has become something and one thing only."""

        async def closed() -> dict[str, int] | None:
            counters = await self.counters()
            found = {what: counters[what] for what in _BECOME}
            return found if sum(found.values()) == counters["recorded"] else None

        return await eventually(closed, within=PATIENCE, what="an account that closes") or {}

    async def end(self) -> None:
        """Stop it, unless it was killed, and see that all is in order."""
        if self.process.running:
            self.process.resume()
            assert await self._do("reset") == []
        said = self.process.stderr[self._stderr_before :]
        assert not [line for line in said.splitlines() if any(t in line for t in _TROUBLE)]

    async def _do(self, command: str, **arguments: Any) -> Any:
        return await self.process.acall(command, within=PATIENCE, **arguments)


Fleet = Sequence[Instance]


class Processes:
    """Processes that run one instance after another."""

    def __init__(self) -> None:
        self._idle: list[ChildProcess] = []

    def take(self) -> ChildProcess:
        return (
            self._idle.pop() if self._idle else ChildProcess("tests.cluster.instance", env=_STRICT)
        )

    def give_back(self, process: ChildProcess) -> None:
        """Keep it for another test, if it still lives."""
        if process.running:
            self._idle.append(process)
        else:
            process.close()

    def close(self) -> None:
        for process in self._idle:
            process.close()


class StartFleet:
    """Starts instances of one fleet; the fixture `start_fleet`.

    Args:
        processes: Where instances run.
        server: Their server, unless a test names another.
        upstream: The URL of their upstream.
        namespace: What they share.
    """

    def __init__(
        self, processes: Processes, server: ServerHandle, upstream: str, namespace: str
    ) -> None:
        self._processes = processes
        self._server = server
        self._upstream = upstream
        self._namespace = namespace
        self._started: list[Instance] = []

    async def __call__(
        self,
        count: int,
        *,
        server: ServerHandle | None = None,
        started: bool = True,
        **settings: Any,
    ) -> list[Instance]:
        chosen = Settings(
            url=(server or self._server).url,
            namespace=self._namespace,
            upstream=self._upstream,
            **settings,
        )
        fleet = [Instance(self._processes.take()) for _ in range(count)]
        self._started += fleet
        await asyncio.gather(*(instance.configure(chosen) for instance in fleet))
        if started:
            await asyncio.gather(*(instance.start() for instance in fleet))
        return fleet

    async def end(self) -> None:
        """End every instance that still lives; none may leave a trace of trouble behind."""
        try:
            await asyncio.gather(*(instance.end() for instance in self._started))
        except BaseException:
            for instance in self._started:
                instance.process.kill()
            raise
        finally:
            for instance in self._started:
                self._processes.give_back(instance.process)


async def all_reach(fleet: Fleet, state: str, circuit: str = "upstream") -> None:
    """Every instance gets to know that state."""
    await asyncio.gather(*(instance.reaches(state, circuit) for instance in fleet))


async def split(fleet: Fleet) -> tuple[Instance, list[Instance]]:
    """The leader, once there is exactly one, and its followers."""

    async def leaders() -> list[Instance]:
        roles = await asyncio.gather(*(instance.role() for instance in fleet))
        found = [instance for instance, role in zip(fleet, roles, strict=True) if role == "leader"]
        return found if len(found) == 1 else []

    leader = (await eventually(leaders, within=PATIENCE, what="exactly one leader"))[0]
    return leader, [instance for instance in fleet if instance is not leader]
