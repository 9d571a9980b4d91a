"""A fleet, the faults that befall it, and what must hold after every step."""

from __future__ import annotations

import asyncio
import logging
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from .._coordination.host import Host
from .._core.backoff import ExponentialBackoff
from .._core.circuit import TRANSITIONS
from .._core.policy import BreakerPolicy
from .._core.states import Role, State, Transition
from .._core.strategies import ConsecutiveFailures
from ..backends.base import Backend
from ..coordinator import Coordinator, Store
from ..events import StateChange
from ..exceptions import CircuitOpenError
from .loop import MACHINE, VirtualLoop
from .network import Server, SimulatedBackend, Way

KEPT = 400
"""Lines of history to keep."""

CALM = 90.0
"""Seconds after the last fault within which all must agree."""

RECHECK = 1.0
LONGEST_FAULT = 20.0


class ViolationError(AssertionError):
    """Something did not hold that must. The message ends with the newest history."""


class UpstreamError(Exception):
    """The simulated upstream failed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to simulate.

    Args:
        instances: How many hosts, each with one coordinator.
        circuits: How many circuits, each with an upstream of its own.
        shards: As `Coordinator` has it.
        cut_off: As `BreakerPolicy` has it.
        seconds: How long faults happen; then all must agree before long.
        faults: Faults per minute.
        calls: Calls per second that each instance makes of each circuit.
        lease_ttl: As `Coordinator` has it.
    """

    instances: int = 4
    circuits: int = 3
    shards: int = 1
    cut_off: str = "hold"
    seconds: float = 300.0
    faults: float = 6.0
    calls: float = 2.0
    lease_ttl: float = 2.0


@dataclass
class Outcome:
    """What a run came to.

    Args:
        seconds: Virtual seconds.
        steps: Steps of code that were run.
        calls: Calls that were made, let through or not.
        transitions: Transitions that were published.
        faults: Faults that happened.
        history: Its newest lines.
    """

    seconds: float = 0.0
    steps: int = 0
    calls: int = 0
    transitions: int = 0
    faults: int = 0
    history: Sequence[str] = field(default_factory=tuple)


class _Coordinator(Coordinator):
    def __init__(self, host: Host, backends: Sequence[Backend], **settings: object) -> None:
        self._host = host
        self._given = backends
        super().__init__(None, shards=len(backends), **settings)  # type: ignore[arg-type] # pyright: ignore

    def _backends(self, redis: Store, namespace: str, shards: int) -> Sequence[Backend]:
        return self._given


class Instance:
    """A host and its coordinator.

    Args:
        world: The simulation.
        number: Which host it is.
    """

    def __init__(self, world: Simulation, number: int) -> None:
        self._world = world
        self.number = number
        self.name: str = f"host-{number}.{world.births}"
        world.births += 1
        self.way: Way = Way(world.chance)
        self.alive: bool = True
        self.paused: bool = False
        self._waiting: list[asyncio.Handle] = []
        self._rate = 1 + world.chance.uniform(-1e-4, 1e-4)
        self._offset = world.chance.uniform(0, 1e6)
        self.known: dict[str, tuple[int, int]] = {}
        self.context: Context = Context()
        self.context.run(MACHINE.set, self)
        self.coordinator: Coordinator = self.context.run(self._make)
        self.tasks: list[asyncio.Task[None]] = []

    def _make(self) -> Coordinator:
        world = self._world
        settings = world.settings
        return _Coordinator(
            Host(
                monotonic=lambda: self.local(world.loop.now),
                chance=world.chance.random,
                unique_id=lambda: self.name,
            ),
            [SimulatedBackend(world.loop, server, self.way) for server in world.servers],
            policy=BreakerPolicy(
                strategy=ConsecutiveFailures(5),
                backoff=ExponentialBackoff(1, 2, 8),
                cut_off="local" if settings.cut_off == "local" else "hold",
            ),
            lease_ttl=settings.lease_ttl,
            on_error=lambda error: world.tell(self.name, f"error: {error!r}"[:160]),
            on_state_change=self._changed,
            on_role_change=lambda role: world.tell(self.name, f"is a {role} now"),
        )

    def _changed(self, change: StateChange) -> None:
        self._world.tell(
            self.name, f"{change.name} {change.state} {change.generation}: {change.reason}"[:160]
        )

    # As a machine

    def local(self, now: float) -> float:
        """Its monotonic seconds: hosts' clocks differ, and do not run alike."""
        return now * self._rate + self._offset

    def moment(self, local: float) -> float:
        """The virtual time of those."""
        return (local - self._offset) / self._rate

    def admits(self, handle: asyncio.Handle) -> bool:
        """Nothing runs on a host that sleeps, and never again on one that died."""
        if self.alive and self.paused:
            self._waiting.append(handle)
        return self.alive and not self.paused

    def resume(self) -> None:
        """Wake up, and do what has become due."""
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for handle in waiting:
            self._world.loop.put(self._world.loop.now, handle)

    # What it does

    def start(self) -> None:
        """Start the coordinator, and call each circuit now and then."""
        self.spawn(self._live())

    def spawn(self, coro: object) -> asyncio.Task[None]:
        """Run something on this host."""
        loop = self._world.loop
        task = self.context.run(loop.create_task, coro)  # type: ignore[arg-type]
        self.tasks.append(task)
        return task

    async def _live(self) -> None:
        await self.coordinator.start()
        for number in range(self._world.settings.circuits):
            self.spawn(self._call(f"upstream-{number}"))

    async def _call(self, circuit: str) -> None:
        world = self._world
        breaker = self.coordinator.breaker(circuit)
        while True:
            await asyncio.sleep(world.chance.expovariate(world.settings.calls))
            world.outcome.calls += 1
            try:
                permit = breaker.acquire()
            except CircuitOpenError:
                continue
            world.passed(self, circuit, breaker.generation, breaker.state)
            if circuit in world.down:
                permit.raised(UpstreamError())
            else:
                permit.returned(None)

    async def stop(self) -> None:
        """Stop calling, then the coordinator."""
        for task in self.tasks[1:]:
            if task is not asyncio.current_task():
                task.cancel()
        await self.coordinator.stop()


Fault: TypeAlias = "Callable[[Simulation], Callable[[], None]]"


class Simulation:
    """One run. `simulate` makes and runs one.

    Args:
        seed: Chooses everything that is left to chance.
        settings: What to simulate.
    """

    def __init__(self, seed: int, settings: Settings = Settings()) -> None:
        self.seed: int = seed
        self.settings: Settings = settings
        self.chance: random.Random = random.Random(seed)
        self.loop: VirtualLoop = VirtualLoop()
        self.births: int = 0
        self.down: set[str] = set()
        self.outcome: Outcome = Outcome()
        self._history: deque[str] = deque(maxlen=KEPT)
        self._newest: dict[tuple[int, int, str], Transition] = {}
        self._leaders: dict[tuple[int, int, int], str] = {}
        self._epochs: dict[tuple[int, int], int] = {}
        self._permits: dict[tuple[str, int, str], int] = {}
        self._trials: dict[tuple[str, int, str], int] = {}
        self._lost = False
        with self._in_loop():
            self.servers: list[Server] = [
                Server(self.loop, self._published) for _ in range(settings.shards)
            ]
            self.instances: list[Instance] = [
                Instance(self, number) for number in range(settings.instances)
            ]

    @contextmanager
    def _in_loop(self) -> Iterator[None]:
        before = events._get_running_loop()
        events._set_running_loop(self.loop)
        try:
            yield
        finally:
            events._set_running_loop(before)

    def tell(self, who: str, what: str) -> None:
        """Note something in the history."""
        self._history.append(f"{self.loop.now:10.3f}  {who:12}  {what}")

    # What must hold

    def require(self, holds: bool, what: str) -> None:
        """Fail the run unless something holds.

        Raises:
            ViolationError: It does not.
        """
        if not holds:
            history = "\n".join(self._history)
            raise ViolationError(f"seed {self.seed}, at {self.loop.now:.3f}: {what}\n{history}")

    def _published(self, server: Server, transition: Transition) -> None:
        number = self.servers.index(server)
        life = (number, server.lives)
        self.outcome.transitions += 1
        self.tell(
            f"store {number}",
            f"{transition.circuit} {transition.state} {transition.generation} "
            f"by {transition.leader} in {transition.epoch}",
        )
        leader = self._leaders.setdefault((*life, transition.epoch), transition.leader)
        self.require(leader == transition.leader, "two instances wrote under one epoch")
        self.require(
            transition.epoch >= self._epochs.get(life, 0), "a lease that was over was written under"
        )
        self._epochs[life] = transition.epoch
        before = self._newest.get((*life, transition.circuit))
        if before is not None:
            self.require(transition.generation > before.generation, "a generation was written over")
        if transition.reason.cause.value != "initial":
            self.require(
                TRANSITIONS.get((transition.previous, transition.reason.cause)) is transition.state,
                "no such move",
            )
        self._newest[*life, transition.circuit] = transition
        if transition.grant is not None:
            key = (transition.circuit, transition.generation, transition.grant.holder)
            self._permits[key] = self._permits.get(key, 0) + transition.grant.permits

    def passed(self, instance: Instance, circuit: str, generation: int, state: State) -> None:
        """A call was let through."""
        if state is State.CLOSED or generation < 0:
            return
        key = (circuit, generation, instance.name)
        self._trials[key] = self._trials.get(key, 0) + 1
        self.require(
            state is State.HALF_OPEN and self._trials[key] <= self._permits.get(key, 0),
            f"{instance.name} made a call of {circuit} for which it had no permit",
        )

    def _check(self, instance: Instance) -> None:
        """What one instance knows, after a step of its own."""
        counted = instance.coordinator.statistics
        self.require(
            counted.recorded >= counted.evaluated + counted.expired + counted.dropped
            and min(counted.evaluated, counted.expired, counted.dropped) >= 0,
            f"{instance.name} counted a result twice",
        )
        for shard in instance.coordinator._parts.shards:  # pyright: ignore
            self.require(shard.outbox.runs <= shard.outbox.limit, "more waits than may")
            for name, transition in shard.table.latest.items():
                known = instance.known.get(name, (0, 0))
                if transition.order != known:
                    self.require(transition.order > known, f"{instance.name} went back with {name}")
                    instance.known[name] = transition.order

    # How it runs

    def run(self) -> Outcome:
        """Let faults happen for a while, then all come to rest.

        Raises:
            ViolationError: Something did not hold that must.
        """
        with self._in_loop(), _silence():
            try:
                for instance in self.instances:
                    instance.start()
                self._run_until(10)
                self._let_faults_happen()
                self._settle()
                self._end()
            finally:
                self._bury()
        self.outcome.seconds = self.loop.now
        self.outcome.history = tuple(self._history)
        return self.outcome

    def _run_until(self, until: float) -> None:
        due = self.loop.now + RECHECK
        while self.loop.step(until):
            self.outcome.steps += 1
            if self.loop.now >= due:
                due = self.loop.now + RECHECK
                for instance in self.instances:
                    self._check(instance)

    def _let_faults_happen(self) -> None:
        ends: list[tuple[float, int, Callable[[], None]]] = []
        until = self.loop.now + self.settings.seconds
        while self.loop.now < until:
            at = self.loop.now + self.chance.expovariate(self.settings.faults / 60)
            while ends and ends[0][0] <= at:
                end_at, _, end = ends.pop(0)
                self._run_until(end_at)
                end()
            self._run_until(min(at, until))
            fault = self.chance.choice(FAULTS)
            self.outcome.faults += 1
            self.tell("FAULT", fault.__name__.replace("_", " "))
            end = fault(self)
            ends.append(
                (self.loop.now + self.chance.uniform(0, LONGEST_FAULT), self.outcome.faults, end)
            )
            ends.sort(key=lambda each: each[:2])
        for end_at, _, end in ends:
            self._run_until(end_at)
            end()

    def _settle(self) -> None:
        self.tell("FAULT", "no more")
        until = self.loop.now + CALM
        while self.loop.now < until and self._disagreement():
            self._run_until(self.loop.now + 1)
        trouble = self._disagreement()
        self.require(trouble is None, f"{CALM:g} s after the last fault: {trouble}")

    def _disagreement(self) -> str | None:
        for number, _ in enumerate(self.servers):
            holders = [
                instance.name
                for instance in self.instances
                if instance.coordinator._session is not None  # pyright: ignore
                and instance.coordinator._session._memberships[number]._campaign.leading  # pyright: ignore
            ]
            if len(holders) != 1:
                return f"shard {number} is led by {holders}"
        for number in range(self.settings.circuits):
            name = f"upstream-{number}"
            breakers = [each.coordinator.breaker(name) for each in self.instances]
            states = {breaker.state for breaker in breakers}
            if (name in self.down) is (State.CLOSED in states):
                return f"{name} is {sorted(states)}, its upstream down: {name in self.down}"
            if name not in self.down and len({each.generation for each in breakers}) != 1:
                return f"{name} has {[each.generation for each in breakers]}"
        if not all(each.coordinator.connected for each in self.instances):
            return "somebody is cut off"
        return None

    def _end(self) -> None:
        """Stop the calls, have all accounts close, and stop."""
        for instance in self.instances:
            for task in instance.tasks[1:]:
                task.cancel()
        self._run_until(self.loop.now + 60)
        for instance in self.instances:
            counted = instance.coordinator.statistics
            became = counted.evaluated + counted.expired + counted.dropped
            self.require(
                counted.recorded == became,
                f"{instance.name} recorded {counted.recorded}, of which {became} became something",
            )
        stops = [instance.spawn(instance.coordinator.stop()) for instance in self.instances]
        self._run_until(self.loop.now + 10)
        self.require(all(stop.done() for stop in stops), "stop() does not end")
        for instance in self.instances:
            self.require(instance.coordinator.role is Role.FOLLOWER, "a leader after its stop")
        living = set(map(id, self.instances))
        left = [task for task in tuple(self.loop.tasks) if id(_machine(task)) in living]
        self.require(not left, f"tasks were left behind: {left}")
        for stop in stops:
            stop.result()

    def _bury(self) -> None:
        """End what died with a host, so that nothing of it is left to the garbage collector."""
        for task in tuple(self.loop.tasks):
            machine = _machine(task)
            if machine is not None:
                machine.alive, machine.paused = True, False
                machine.way.requests = machine.way.replies = False
        for _ in range(100):
            tasks = tuple(self.loop.tasks)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            with suppress(Exception):
                while self.loop.step(self.loop.now + 1):
                    pass
        self.loop.close()


def _machine(task: asyncio.Task[object]) -> Instance | None:
    machine = getattr(task, "machine", None)
    return machine if isinstance(machine, Instance) else None


@contextmanager
def _silence() -> Iterator[None]:
    """What is surfaced stands in the history."""
    logger = logging.getLogger("zenvark_web")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


# Faults: each happens, and returns what puts it right


def upstreams_change(world: Simulation) -> Callable[[], None]:
    names = [f"upstream-{number}" for number in range(world.settings.circuits)]
    world.down = {name for name in names if world.chance.random() < 0.4}
    world.tell("upstreams", f"down: {sorted(world.down)}")
    return _nothing


def server_is_down(world: Simulation) -> Callable[[], None]:
    server = world.chance.choice(world.servers)
    server.up = False
    empty = world.chance.random() < 0.5
    return partial(server.restart, empty=True) if empty else partial(setattr, server, "up", True)


def server_hangs(world: Simulation) -> Callable[[], None]:
    server = world.chance.choice(world.servers)
    server.hangs = True
    return server.resume


def server_loses_all(world: Simulation) -> Callable[[], None]:
    world.chance.choice(world.servers).restart(empty=True)
    return _nothing


def server_comes_back_old(world: Simulation) -> Callable[[], None]:
    server = world.chance.choice(world.servers)
    server.save()
    return partial(server.restart, empty=False)


def server_clock_jumps(world: Simulation) -> Callable[[], None]:
    world.chance.choice(world.servers).ahead += world.chance.uniform(-20, 60)
    return _nothing


def way_is_cut(world: Simulation) -> Callable[[], None]:
    way = world.chance.choice(world.instances).way
    way.requests = way.replies = False
    return partial(_heal, way)


def way_is_cut_in_one_direction(world: Simulation) -> Callable[[], None]:
    way = world.chance.choice(world.instances).way
    setattr(way, world.chance.choice(("requests", "replies")), False)
    return partial(_heal, way)


def network_is_bad(world: Simulation) -> Callable[[], None]:
    ways = [instance.way for instance in world.instances]
    for way in ways:
        way.trouble = 0.3
    return lambda: [_heal(way) for way in ways] and None


def host_sleeps(world: Simulation) -> Callable[[], None]:
    instance = world.chance.choice(world.instances)
    instance.paused = True
    return instance.resume


def host_dies(world: Simulation) -> Callable[[], None]:
    number = world.chance.randrange(len(world.instances))
    world.instances[number].alive = False
    world.instances[number] = Instance(world, number)
    world.instances[number].start()
    return _nothing


def process_restarts(world: Simulation) -> Callable[[], None]:
    number = world.chance.randrange(len(world.instances))
    leaving = world.instances[number]
    leaving.resume()
    leaving.spawn(leaving.stop())
    world.instances[number] = Instance(world, number)
    world.instances[number].start()
    return _nothing


def _heal(way: Way) -> None:
    way.requests = way.replies = True
    way.trouble = 0.0


def _nothing() -> None:
    pass


FAULTS: tuple[Fault, ...] = (
    upstreams_change,
    upstreams_change,
    upstreams_change,
    server_is_down,
    server_hangs,
    server_loses_all,
    server_comes_back_old,
    server_clock_jumps,
    way_is_cut,
    way_is_cut_in_one_direction,
    network_is_bad,
    host_sleeps,
    host_dies,
    process_restarts,
)


def simulate(seed: int, settings: Settings = Settings()) -> Outcome:
    """Run a fleet through the faults that a seed chooses.

    Args:
        seed: The same one gives the same run, step by step.
        settings: What to simulate.

    Returns:
        What it came to, with its history.

    Raises:
        ViolationError: Something did not hold that must. Its message tells what and when, and
            what happened before.
    """
    return Simulation(seed, settings).run()
