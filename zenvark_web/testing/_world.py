"""A fleet in virtual time: runs it through a schedule of faults, and watches it."""

from __future__ import annotations

import heapq
import logging
import random
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

from .._core.states import Role
from ._checks import Checks
from ._faults import Fault, Kind, happen, schedule_of
from ._hosts import CHECKED, SimulatedHost
from ._loop import NumberedTask, Running, VirtualLoop
from ._network import Server
from ._settings import Settings, Summary

KEPT = 400
"""Lines of history to keep."""

COMES_UP = 10.0
CALM = 90.0
"""Seconds after the last fault within which all must agree, if there are calls to agree on."""

ENOUGH_CALLS = 20.0
"""Calls that each instance makes of each circuit in the time that is added to that: it takes a call
to find out that an upstream is down, and one of the instance that may try whether it is well."""

LOOK_AGAIN = 1.0
BUSY = 10_000
"""Steps that a host may need for each second. It needs a few hundred at most."""

MOST_CANCELLATIONS = 20
"""Tries to end what still runs. Some do not take the first."""


class Simulation:
    """One run. `simulate` makes and runs one.

    Args:
        seed: Chooses everything that is left to chance.
        settings: What to simulate.
        schedule: The faults.

    Attributes:
        chance: Where chance comes from.
        loop: Where time comes from.
        circuits: Their names.
        down: The circuits whose upstreams are down.
        touched: The circuits whose upstreams ever were.
        servers, hosts: What there is now.
        checks: What must hold.
        summary: What it has come to.
        history: What has happened, the newest lines.
    """

    def __init__(self, seed: int, settings: Settings, schedule: Iterable[Fault]) -> None:
        self.seed: int = seed
        self.settings: Settings = settings
        self.schedule: Sequence[Fault] = sorted(schedule, key=lambda fault: fault.at)
        self.chance: random.Random = random.Random(seed)
        self.loop: VirtualLoop = VirtualLoop()
        self.circuits: Sequence[str] = [
            CHECKED.replace("*", str(n)) if n % 3 == 2 else f"upstream-{n}"
            for n in range(settings.circuits)
        ]
        self.down: set[str] = set()
        self.touched: set[str] = set()
        self.summary: Summary = Summary()
        self.history: deque[str] = deque(maxlen=KEPT)
        self.checks: Checks = Checks(self)
        self._births = count()
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._disturbances = 0
        self._looks_at = 0.0
        self._busy_after = 0
        self._calm_since = 0.0
        with Running(self.loop):
            self.servers: list[Server] = [
                Server(self.loop, self.checks) for _ in range(settings.shards)
            ]
            self.hosts: list[SimulatedHost] = [self._make_host() for _ in range(settings.instances)]

    def __str__(self) -> str:
        faults = "".join(f"    {fault!r},\n" for fault in self.schedule)
        return f"simulate({self.seed}, {self.settings!r}, [\n{faults}])"

    def tell(self, who: str, what: str) -> None:
        """Note something in the history."""
        self.history.append(f"{self.loop.now:10.3f}  {who:12}  {what}")

    def _make_host(self) -> SimulatedHost:
        host = SimulatedHost(self, f"host-{next(self._births)}")
        self.checks.watch(host)
        return host

    def replace(self, host: SimulatedHost) -> SimulatedHost:
        """Start another host in the place of one that is gone."""
        successor = self._make_host()
        self.hosts[self.hosts.index(host)] = successor
        self.tell(successor.name, f"in the place of {host}")
        successor.start()
        return successor

    # How it runs

    def run(self) -> Summary:
        """Let faults happen, then all come to rest.

        Raises:
            ViolationError: Something did not hold that must.
        """
        try:
            with Running(self.loop), _silence():
                self._live()
        finally:
            self.loop.close()
        self.summary.seconds = self.loop.now
        self.summary.history = tuple(self.history)
        return self.summary

    def _live(self) -> None:
        try:
            for host in self.hosts:
                host.start()
            self._run_until(COMES_UP)
            self._let_faults_happen()
            self._settle()
            self._end()
        finally:
            self._bury()

    def _run_until(self, until: float) -> None:
        step, checks = self.loop.step, self.checks
        most = BUSY * (1 + len(self.hosts))
        while step(until):
            self.summary.steps += 1
            if checks.violation is not None:
                raise checks.violation
            if self.loop.now >= self._looks_at:
                self._looks_at = self.loop.now + LOOK_AGAIN
                self._busy_after = self.summary.steps + most
                self._look()
            checks.require(self.summary.steps < self._busy_after, "somebody is busy with nothing")

    def _look(self) -> None:
        for host in self.hosts:
            self.checks.look_at(host)
        self.checks.look_for_what_is_owed(self._calm_since)
        self.checks.look_at_tasks()

    def _let_faults_happen(self) -> None:
        for fault in self.schedule:
            self._plan(COMES_UP + fault.at, partial(self._begin, fault))
        while self._planned:
            at, _, event = heapq.heappop(self._planned)
            self._run_until(at)
            event()

    def _plan(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._planned, (at, next(self._numbers), event))

    def _begin(self, fault: Fault) -> None:
        self.summary.faults += 1
        self.tell("FAULT", repr(fault))
        end = happen(self, fault)
        self.touched |= self.down
        self._disturb(fault, int(end is not None))
        if end is not None:
            self._plan(self.loop.now + fault.lasts, partial(self._put_right, fault, end))

    def _put_right(self, fault: Fault, end: Callable[[], object]) -> None:
        self.tell("FAULT", f"is over: {fault.kind.value}")
        end()
        self._disturb(fault, -1)

    def _disturb(self, fault: Fault, more: int) -> None:
        """Keep in mind since when there is nothing that could keep a leader from deciding."""
        if fault.kind not in (Kind.UPSTREAM_CHANGES, Kind.UPSTREAM_FAILS):
            self._disturbances += more
            self._calm_since = float("inf") if self._disturbances else self.loop.now

    def _settle(self) -> None:
        self.tell("FAULT", "no more")
        patience = CALM + ENOUGH_CALLS * self.settings.circuits / self.settings.calls
        until = self.loop.now + patience
        while self.loop.now < until and self.checks.disagreement():
            self._run_until(self.loop.now + 1)
        trouble = self.checks.disagreement()
        self._require(trouble is None, f"{patience:g} s after the last fault: {trouble}")

    def _require(self, holds: bool, what: str) -> None:
        self.checks.require(holds, what)
        if self.checks.violation is not None:
            raise self.checks.violation

    def _end(self) -> None:
        """End the calls, have all accounts close, and stop."""
        for host in self.hosts:
            host.quieten()
        self._run_until(self.loop.now + 60)
        self.checks.close_accounts()
        stops = [host.spawn(host.coordinator.stop()) for host in self.hosts]
        self._run_until(self.loop.now + 10)
        self._require(all(stop.done() for stop in stops), "stop() does not end")
        for host in self.hosts:
            self._require(host.coordinator.role is Role.FOLLOWER, "a leader after its stop")
        left = [task for task in self.loop.tasks if _host_of(task) in self.hosts]
        self._require(not left, f"tasks were left behind: {left}")
        for stop in stops:
            stop.result()

    def _bury(self) -> None:
        """End what died with a host, so that nothing of it is left to the garbage collector."""
        for host in {host: None for task in self.loop.tasks if (host := _host_of(task))}:
            host.bury()
        for _ in range(MOST_CANCELLATIONS):
            for task in tuple(self.loop.tasks):
                task.cancel()
            with suppress(Exception):
                until = self.loop.now + 1
                steps = 0
                while steps < BUSY and self.loop.step(until):
                    steps += 1


def _host_of(task: Any) -> SimulatedHost | None:
    machine = task.machine if isinstance(task, NumberedTask) else None
    return machine if isinstance(machine, SimulatedHost) else None


@contextmanager
def _silence() -> Generator[None]:
    """What is surfaced stands in the history."""
    logger = logging.getLogger("zenvark_web")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def simulate(
    seed: int, settings: Settings = Settings(), schedule: Iterable[Fault] | None = None
) -> Summary:
    """Run a fleet through faults.

    Args:
        seed: Chooses all that is left to chance. With the same settings and schedule, the same
            one gives the same run, step by step.
        settings: What to simulate.
        schedule: The faults. Default: the seed chooses them.

    Returns:
        What it came to, with its history.

    Raises:
        ViolationError: Something did not hold that must. Its message tells what and when, the
            call of `simulate` that shows it again, and what happened before.
    """
    faults = schedule_of(seed, settings) if schedule is None else schedule
    return Simulation(seed, settings, faults).run()
