"""Judges for one instance alone while it is cut off from the store (`cut_off="local"`).

The same machine that a leader runs for the fleet is fed with this instance's own results, and
what it decides holds here and nowhere else. When the store is back, so is the fleet's word.

What is decided here is numbered below zero, so that a call which began under it counts in no
generation of the fleet's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from dataclasses import replace
from functools import partial

from .._circuits.local import LocalCircuit
from .._circuits.runs import PendingRun
from .._circuits.table import Table
from .._core.policy import PolicyBook
from .._core.states import Report, Run, State, Transition
from .._runtime.clock import SharedClock
from .._runtime.link import Link
from .._runtime.notifier import Surface
from ..backends._turns import Turn
from ..exceptions import BackendError
from ..statistics import Statistics
from .evaluator import Judge
from .health import HealthChecks

NOTE_INTERVAL = 1.0

GATHERING = 0.1
"""Seconds that successes wait for company before they are judged. What fails is judged at once,
with all that was before it."""

READ_AGAIN = 0.1
"""Seconds until it asks again what the store has to say, if it could not tell."""


class Alone:
    """The loop that steps in for the fleet.

    Args:
        instance: This instance's id.
        link: Tells when it is cut off.
        table: The circuits here.
        policies: The policies of circuits.
        clock: The shared clock.
        surface: Where errors go.
        statistics: Counts health checks.
        chance: Makes random numbers from 0 to 1.
        max_circuits: How many closed circuits to keep count of.
        unsent: Tells the results that wait or are under way.
        catch_up: Reads what the store has now, or raises `BackendError`.
        context: Makes the context variables in which users' strategies run.
    """

    def __init__(
        self,
        *,
        instance: str,
        link: Link,
        table: Table,
        policies: PolicyBook,
        clock: SharedClock,
        surface: Surface,
        statistics: Statistics,
        chance: Callable[[], float],
        max_circuits: int,
        unsent: Callable[[], Iterable[tuple[LocalCircuit, Sequence[PendingRun]]]],
        catch_up: Callable[[], Awaitable[None]],
        context: Callable[[], Context],
    ) -> None:
        self._instance = instance
        self._link = link
        self._table = table
        self._policies = policies
        self._clock = clock
        self._surface = surface
        self._statistics = statistics
        self._chance = chance
        self._max_circuits = max_circuits
        self._unsent = unsent
        self._catch_up = catch_up
        self._context = context
        self._fresh: dict[str, LocalCircuit] = {}
        self._is_fresh = asyncio.Event()
        self._frame = clock.frame()
        self._judge: Judge | None = None
        self._starts: dict[str, int] = {}
        self._newest = 0

    async def run(self) -> None:
        """Step in whenever this instance is cut off, for ever."""
        while True:
            if self._link.cut_off:
                await self._step_in()
            else:
                await self._link.changes()

    async def _step_in(self) -> None:
        self._newest += 1  # no call that began under an earlier word of its own counts
        self._frame = self._clock.frame()
        self._judge = judge = Judge(
            policies=self._policies,
            known=self._start,
            frame=self._frame,
            chance=self._chance,
            surface=self._surface,
            checks=HealthChecks(self._statistics, self._clock.monotonic, self._surface),
            max_circuits=self._max_circuits,
            decided=self._decided,
        )
        self._table.watch(self)
        try:
            self._take_up(judge)
            async with asyncio.TaskGroup() as tasks:
                loops = (judge.run, self._tell_notes, self._see_fresh)
                running = [tasks.create_task(loop()) for loop in loops]
                await self._until_back()
                for task in running:
                    task.cancel()
        finally:
            self._judge = None
            self._starts.clear()
            self._fresh.clear()
            self._table.watch(None)

    async def _until_back(self) -> None:
        """Wait until the store is back, and its news are read: the word from before the cut may be
        an old one."""
        while True:
            while self._link.cut_off:
                await self._link.changes()
            try:
                await self._catch_up()
            except BackendError:
                await asyncio.sleep(READ_AGAIN)
            else:
                if not self._link.cut_off:
                    return

    def _take_up(self, judge: Judge) -> None:
        """Go on from the fleet's word, with what it has not been told."""
        for name, latest in self._table.latest.items():
            if latest.state is not State.CLOSED and self._concerns(name):
                judge.begin(name)
        for circuit, runs in list(self._unsent()):
            if self._concerns(circuit.name):
                for run in list(runs):
                    run.shown = run.count
                    self._ended(circuit, run)

    def _concerns(self, name: str) -> bool:
        return self._policies[name].cut_off == "local"

    # What the circuits show

    def recorded(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """See results: those that may be, soon."""
        if urgent:
            self._see(circuit)
        else:
            self._fresh[circuit.name] = circuit
            self._is_fresh.set()

    async def _see_fresh(self) -> None:
        while True:
            await self._is_fresh.wait()
            self._is_fresh.clear()
            await asyncio.sleep(GATHERING)
            fresh, self._fresh = self._fresh, {}
            turn = Turn()
            for circuit in fresh.values():
                await turn.share()
                self._see(circuit)

    def _see(self, circuit: LocalCircuit) -> None:
        for run in circuit.unseen():
            self._ended(circuit, run)

    def _ended(self, circuit: LocalCircuit, run: PendingRun) -> None:
        """Judge results."""
        now = self._clock.monotonic()
        generation = self._inside(circuit.name, run.generation)
        result = Run(generation, run.failed, run.slow, run.count, now - run.ended, run.label)
        self._hear(Report(circuit.name, runs=(result,), hold=circuit.held(now)))

    def wanted(self, circuit: LocalCircuit) -> None:
        """There are calls to try with."""
        self._hear(Report(circuit.name, blocked=1))

    def settled(self, circuit: LocalCircuit) -> None:
        """Hear how far a trial has come."""
        self._see(circuit)
        note = circuit.note()
        if note is not None:
            generation = self._inside(circuit.name, note.generation)
            self._hear(Report(circuit.name, trial=replace(note, generation=generation)))

    def overdue(self, circuit: LocalCircuit) -> None:
        """Judge calls that are slow before they have ended."""
        self._see(circuit)
        now = self._clock.monotonic()
        generation = max(0, self._inside(circuit.name, circuit.admission.generation))
        overdue, _ = circuit.look(now)
        self._hear(
            Report(circuit.name, generation=generation, hold=circuit.held(now), overdue=overdue)
        )

    def overruled(self, name: str) -> None:
        """Begin anew from the fleet's word."""
        self._newest += 1
        self._starts.pop(name, None)
        if self._judge is not None:
            self._judge.forget(name)

    def _hear(self, report: Report) -> None:
        if self._judge is not None:  # a call brings it, in whose context nothing else may run
            hear = partial(self._judge.hear, self._instance, report, at=self._frame.now())
            self._context().run(hear)

    async def _tell_notes(self) -> None:
        while True:
            await asyncio.sleep(NOTE_INTERVAL)
            for circuit in self._table.trials():
                if self._concerns(circuit.name):
                    self.settled(circuit)

    # Numbers: above zero in the judge, below zero everywhere else

    def _start(self, name: str) -> Transition:
        """The fleet's word, under a number that nothing decided here ever had."""
        transition = self._table.in_force(name)
        if transition.generation < 0:  # it was forgotten here, but not there
            return replace(transition, generation=-transition.generation)
        self._starts[name] = self._newest
        return replace(transition, generation=self._newest)

    def _inside(self, name: str, generation: int) -> int:
        if generation < 0:
            return -generation
        is_current = generation == self._table.known(name).generation
        return self._starts.get(name, self._newest) if is_current else -1

    def _decided(self, transition: Transition) -> None:
        self._newest = max(self._newest, transition.generation)
        reason = transition.reason
        self._table.decide_alone(
            replace(
                transition,
                generation=-transition.generation,
                reason=replace(reason, detail=f"cut off from the store: {reason}"),
            )
        )
