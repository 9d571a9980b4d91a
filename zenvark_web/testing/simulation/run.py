"""A fleet in virtual time: runs it through a schedule of faults, and watches it."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

from ..._core.states import Role
from .._loop import NumberedTask, Running
from .checks import InvariantChecks
from .faults import Fault, FaultKind, happen, schedule_of
from .hosts import Hosts, SimulatedHost
from .settings import SimulationSettings, SimulationSummary
from .world import World

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
    """One run. `simulate` creates and runs one.

    Args:
        seed: Determines all random choices.
        settings: The settings of the simulation.
        schedule: The faults.

    Attributes:
        world: The world of the run.
        checks: The invariant checks.
        hosts: The current hosts.
    """

    def __init__(self, seed: int, settings: SimulationSettings, schedule: Iterable[Fault]) -> None:
        self._schedule = sorted(schedule, key=lambda fault: fault.at)
        self.world: World = World(seed, settings, self._schedule)
        self._loop = self.world.loop
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._disturbances = 0
        self._looks_at = 0.0
        self._busy_after = 0
        self._calm_since = 0.0
        with Running(self._loop):
            self.checks: InvariantChecks = InvariantChecks(self.world)
        self.hosts: Hosts = self.checks.hosts

    # How it runs

    def run(self) -> SimulationSummary:
        """Let faults happen, then all come to rest.

        Raises:
            ViolationError: Something did not hold that must.
        """
        try:
            with Running(self._loop), _silence():
                self._live()
        finally:
            self._loop.close()
        self.world.summary.seconds = self._loop.now
        self.world.summary.history = tuple(self.world.history)
        return self.world.summary

    def _live(self) -> None:
        try:
            for host in self.hosts.present:
                host.start()
            self._run_until(COMES_UP)
            self._let_faults_happen()
            self._await_agreement()
            self._end()
        finally:
            self._bury()

    def _run_until(self, until: float) -> None:
        loop, world, summary = self._loop, self.world, self.world.summary
        most = BUSY * (1 + len(self.hosts.present))
        while loop.step(until):
            summary.steps += 1
            if world.violation is not None:
                raise world.violation
            if loop.now >= self._looks_at:
                self._looks_at = loop.now + LOOK_AGAIN
                self._busy_after = summary.steps + most
                self._look()
            if summary.steps >= self._busy_after:
                world.require(False, "somebody is busy with nothing")

    def _look(self) -> None:
        for host in self.hosts.present:
            self.checks.look_at(host)
            self.checks.look_at_overrides(host)
        self.checks.look_for_what_is_owed(self._calm_since)
        self.checks.look_at_tasks()

    def _let_faults_happen(self) -> None:
        for fault in self._schedule:
            self._plan(COMES_UP + fault.at, partial(self._begin, fault))
        while self._planned:
            at, _, event = heapq.heappop(self._planned)
            self._run_until(at)
            event()

    def _plan(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._planned, (at, next(self._numbers), event))

    def _begin(self, fault: Fault) -> None:
        self.world.summary.faults += 1
        self.world.tell("FAULT", repr(fault))
        end = happen(self.hosts, fault)
        self.world.touched |= self.world.down
        self._disturb(fault, int(end is not None))
        if end is not None:
            self._plan(self._loop.now + fault.lasts, partial(self._put_right, fault, end))

    def _put_right(self, fault: Fault, end: Callable[[], object]) -> None:
        self.world.tell("FAULT", f"is over: {fault.kind.value}")
        end()
        self._disturb(fault, -1)

    def _disturb(self, fault: Fault, more: int) -> None:
        """Keep in mind since when there is nothing that could keep a leader from deciding."""
        if fault.kind not in (FaultKind.UPSTREAM_CHANGES, FaultKind.UPSTREAM_FAILS):
            self._disturbances += more
            self._calm_since = float("inf") if self._disturbances else self._loop.now

    def _await_agreement(self) -> None:
        self.world.tell("FAULT", "no more")
        patience = CALM + ENOUGH_CALLS * self.world.settings.circuits / self.world.settings.calls
        until = self._loop.now + patience
        while self._loop.now < until and self.checks.disagreement():
            self._run_until(self._loop.now + 1)
        trouble = self.checks.disagreement()
        self._require(trouble is None, f"{patience:g} s after the last fault: {trouble}")

    def _require(self, holds: bool, what: str) -> None:
        self.world.require(holds, what)
        if self.world.violation is not None:
            raise self.world.violation

    def _end(self) -> None:
        """End the calls, have all accounts close, and stop."""
        for host in self.hosts.present:
            host.quieten()
        self._run_until(self._loop.now + 60)
        self.checks.close_accounts()
        stops = [host.spawn(host.coordinator.stop()) for host in self.hosts.present]
        self._run_until(self._loop.now + 10)
        self._require(all(stop.done() for stop in stops), "stop() does not end")
        for host in self.hosts.present:
            self._require(host.coordinator.role is Role.FOLLOWER, "a leader after its stop")
        left = [task for task in self._loop.tasks if _host_of(task) in self.hosts.present]
        self._require(not left, f"tasks were left behind: {left}")
        for stop in stops:
            stop.result()

    def _bury(self) -> None:
        """End what died with a host, so that nothing of it is left to the garbage collector."""
        for host in {host: None for task in self._loop.tasks if (host := _host_of(task))}:
            host.bury()
        for _ in range(MOST_CANCELLATIONS):
            for task in tuple(self._loop.tasks):
                task.cancel()
            with suppress(Exception):
                until = self._loop.now + 1
                steps = 0
                while steps < BUSY and self._loop.step(until):
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
    seed: int,
    settings: SimulationSettings = SimulationSettings(),
    schedule: Iterable[Fault] | None = None,
) -> SimulationSummary:
    """Run a fleet through faults.

    Args:
        seed: Determines all random choices. The same seed, settings and schedule produce the same
            run, step by step.
        settings: The settings of the simulation.
        schedule: The faults. Default: chosen by the seed.

    Returns:
        The summary of the run, with its history.

    Raises:
        ViolationError: An invariant was violated. The message contains the violation and its time,
            the call of `simulate` that reproduces it, and the preceding events.
    """
    faults = schedule_of(seed, settings) if schedule is None else schedule
    return Simulation(seed, settings, faults).run()
