"""Decides for one instance alone while it is cut off from the store (`cut_off="local"`).

The state machine that a leader runs for the fleet receives this instance's own results, and its
decisions apply to this instance only. When the store is back, the fleet's states apply again.

Generations decided here are below zero, so that a call that began in one of them counts in no
generation of the fleet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from .._circuits.local import LocalCircuit
from .._circuits.runs import PendingRun
from .._circuits.shard import Shard
from .._core.capabilities import Capability
from .._core.order import Lease
from .._core.overrides import OverrideRecord
from .._core.states import Report, Run, State, Transition
from .._runtime.connection import ConnectionStatus
from .._runtime.instance import Instance
from ..backends._time_slices import TimeSlice
from ..exceptions import BackendError
from .evaluator import Evaluator

NOTE_INTERVAL = 1.0

GATHERING = 0.1
"""Seconds that successes wait for further results before they are evaluated. A failure is evaluated
at once, with all results before it."""

NO_LEASE = Lease(0, "")
"""Local decisions need no lease."""

READ_AGAIN = 0.1
"""Seconds until the next attempt to read the states after a failed one."""


class Alone:
    """The loop that replaces the leader while the instance is cut off.

    Args:
        instance: This instance.
        shard: The shard whose circuits it evaluates.
        connection: The connection status.
        catch_up: Reads the current states, or raises `BackendError`.
    """

    def __init__(
        self,
        instance: Instance,
        shard: Shard,
        connection: ConnectionStatus,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._instance = instance
        self._policies = instance.policies
        self._connection = connection
        self._outbox = shard.outbox
        self._table = shard.table
        self._clock = shard.clock
        self._catch_up = catch_up
        self._fresh: dict[str, LocalCircuit] = {}
        self._is_fresh = asyncio.Event()
        self._frame = shard.clock.frame()
        self._evaluator: Evaluator | None = None
        self._starts: dict[str, int] = {}
        self._newest = 0

    async def run(self) -> None:
        """Replace the leader whenever this instance is cut off, forever."""
        while True:
            if self._connection.cut_off:
                await self._step_in()
            else:
                await self._connection.changes()

    async def _step_in(self) -> None:
        self._newest += 1  # no call that began under an earlier word of its own counts
        self._frame = self._clock.frame()
        self._evaluator = evaluator = Evaluator(self._instance, self._frame, self, NO_LEASE)
        self._table.cut_off(self)
        self._table.overrides.watch(evaluator.review)
        try:
            self._start_from_fleet(evaluator)
            async with asyncio.TaskGroup() as tasks:
                loops = (evaluator.run, self._evaluate_trials, self._evaluate_fresh)
                running = [tasks.create_task(loop()) for loop in loops]
                await self._until_back()
                for task in running:
                    task.cancel()
        finally:
            self._table.overrides.unwatch(evaluator.review)
            self._evaluator = None
            self._starts.clear()
            self._fresh.clear()
            self._table.cut_off(None)

    async def _until_back(self) -> None:
        """Wait until the store is back and its states are read: the states from before the cut may
        be outdated."""
        while True:
            while self._connection.cut_off:
                await self._connection.changes()
            try:
                await self._catch_up()
            except BackendError:
                await asyncio.sleep(READ_AGAIN)
            else:
                if not self._connection.cut_off:
                    return

    def _start_from_fleet(self, evaluator: Evaluator) -> None:
        """Continue from the fleet's states, with the results that the fleet has not received."""
        for name, latest in self._table.latest.items():
            if latest.state is not State.CLOSED and self._concerns(name):
                evaluator.begin(name)
                if latest.ramp is not None:  # in this instance's own generation its share may grow
                    self._table.decide_alone(replace(latest, generation=-self._starts[name]))
        for circuit, runs in list(self._outbox.unsent()):
            if self._concerns(circuit.name):
                for run in list(runs):
                    run.shown = run.count
                    self._apply_run(circuit, run)

    def _concerns(self, name: str) -> bool:
        return self._policies[name].cut_off == "local"

    # What the circuits report: all of it goes on to the outbox

    def recorded(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Evaluate results: at once, or soon if they are not urgent."""
        self._outbox.recorded(circuit, urgent=urgent)
        if urgent:
            self._evaluate(circuit)
        else:
            self._fresh[circuit.name] = circuit
            self._is_fresh.set()

    def leaving(self, circuit: LocalCircuit) -> None:
        """Evaluate results before they are taken."""
        self._evaluate(circuit)

    async def _evaluate_fresh(self) -> None:
        while True:
            await self._is_fresh.wait()
            self._is_fresh.clear()
            await asyncio.sleep(GATHERING)
            fresh, self._fresh = self._fresh, {}
            time_slice = TimeSlice()
            for circuit in fresh.values():
                await time_slice.yield_if_over()
                self._evaluate(circuit)

    def _evaluate(self, circuit: LocalCircuit) -> None:
        for run in circuit.unseen():
            self._apply_run(circuit, run)

    def _apply_run(self, circuit: LocalCircuit, run: PendingRun) -> None:
        """Evaluate one run of results."""
        now = self._clock.monotonic()
        generation = self._inner_generation(circuit.name, run.generation)
        result = Run(generation, run.failed, run.slow, run.count, now - run.ended, run.label)
        self._apply(Report(circuit.name, runs=(result,), retry_after=circuit.retry_after_left(now)))

    def blocked(self, circuit: LocalCircuit) -> None:
        """Evaluate the demand for calls."""
        self._outbox.blocked(circuit)
        self._apply(Report(circuit.name, blocked=1))

    def trial_changed(self, circuit: LocalCircuit) -> None:
        """Evaluate the progress of a trial."""
        self._outbox.trial_changed(circuit)
        self._evaluate_trial(circuit)

    def slow(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Evaluate slow calls in flight."""
        self._outbox.slow(circuit, urgent=urgent)
        self._evaluate(circuit)
        now = self._clock.monotonic()
        generation = max(0, self._inner_generation(circuit.name, circuit.admission.generation))
        overdue, _ = circuit.slow_in_flight(now)
        retry_after = circuit.retry_after_left(now)
        self._apply(
            Report(circuit.name, generation=generation, retry_after=retry_after, overdue=overdue)
        )

    def began(self, circuit: LocalCircuit) -> None:
        """Monitor a call that has started."""
        self._outbox.began(circuit)

    def overruled(self, name: str) -> None:
        """Restart from the fleet's state."""
        self._newest += 1
        self._starts.pop(name, None)
        if self._evaluator is not None:
            self._evaluator.forget(name)

    def _evaluate_trial(self, circuit: LocalCircuit) -> None:
        self._evaluate(circuit)
        note = circuit.note()
        if note is not None:
            generation = self._inner_generation(circuit.name, note.generation)
            self._apply(Report(circuit.name, trial=replace(note, generation=generation)))

    def _apply(self, report: Report) -> None:
        if self._evaluator is not None:
            # A call brings it, in whose context nothing else may run.
            run, now = self._instance.host.context().run, self._frame.now()
            run(self._evaluator.apply_report, self._instance.id, report, now, now)

    async def _evaluate_trials(self) -> None:
        while True:
            await asyncio.sleep(NOTE_INTERVAL)
            for circuit in self._table.trials():
                if self._concerns(circuit.name):
                    self._evaluate_trial(circuit)

    # What the evaluator asks for. Generations are above zero in it, below zero everywhere else

    def known(self, circuit: str) -> Transition:
        """Return the fleet's newest transition, under a number that no local decision has used."""
        transition = self._table.in_force(circuit)
        if transition.generation < 0:  # it was forgotten here, but not there
            return replace(transition, generation=-transition.generation)
        self._starts[circuit] = self._newest
        return replace(transition, generation=self._newest)

    def _inner_generation(self, name: str, generation: int) -> int:
        if generation < 0:
            return -generation
        is_current = generation == self._table.known(name).generation
        return self._starts.get(name, self._newest) if is_current else -1

    def allows(self, capability: Capability) -> bool:
        """Return True: nobody else reads these decisions."""
        return True

    def override(self, circuit: str) -> OverrideRecord | None:
        """Return the override of a circuit, as known when the store was reached."""
        return self._table.overrides.find(circuit)

    def recalled(self, transition: Transition) -> None:
        """Ignore a recall: there is no other holder."""

    def decided(self, transition: Transition) -> None:
        """Apply a transition to this instance only."""
        self._newest = max(self._newest, transition.generation)
        reason = transition.reason
        self._table.decide_alone(
            replace(
                transition,
                generation=-transition.generation,
                reason=replace(reason, detail=f"cut off from the store: {reason}"),
            )
        )
