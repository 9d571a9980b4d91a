"""Decides for one instance alone while it is cut off from the store (`cut_off="local"`).

The state machine that a leader runs for the fleet receives this instance's own results, and its
decisions apply to this instance only. When the store is back, the fleet's states apply again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from .._circuits.local import LocalCircuit
from .._circuits.shard import Shard
from .._core.overrides import OverrideRecord
from .._core.states import State, Transition
from .._runtime.connection import ConnectionStatus
from .._runtime.instance import Instance
from ..backends._time_slices import TimeSlice
from ..exceptions import BackendError
from .evaluator import Evaluator
from .own_results import OwnResults

GATHERING = 0.1
"""Seconds that successes wait for further results before they are evaluated. A failure is evaluated
at once, with all results before it."""

READ_AGAIN = 0.1
"""Seconds until the next attempt to read the states after a failed one."""


class Alone(OwnResults):
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
        super().__init__(instance, shard)
        self._policies = instance.policies
        self._connection = connection
        self._catch_up = catch_up
        self._fresh: dict[str, LocalCircuit] = {}
        self._is_fresh = asyncio.Event()

    async def run(self) -> None:
        """Replace the leader whenever this instance is cut off, forever."""
        while True:
            if self._connection.cut_off:
                await self._step_in()
            else:
                await self._connection.changes()

    async def _step_in(self) -> None:
        evaluator = self._begin()
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
            self._end()
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
                # In this instance's own generation the share may grow, unless an operator holds it.
                if latest.ramp is not None and self._table.in_force(name) is latest:
                    self._table.decide_alone(replace(latest, generation=-self._starts[name]))
        for circuit, runs in list(self._outbox.unsent()):
            if self._concerns(circuit.name):
                for run in list(runs):
                    run.shown = run.count
                    self._apply_run(circuit, run)

    def _concerns(self, name: str) -> bool:
        return self._policies[name].cut_off == "local"

    def recorded(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Evaluate results: at once, or soon if they are not urgent."""
        super().recorded(circuit, urgent=urgent)
        if not urgent:
            self._fresh[circuit.name] = circuit
            self._is_fresh.set()

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

    # What the evaluator asks for

    def known(self, circuit: str) -> Transition:
        """Return the fleet's newest transition, under a number that no local decision has used."""
        transition = self._table.in_force(circuit)
        if transition.generation < 0:  # it was forgotten here, but not there
            return replace(transition, generation=-transition.generation)
        self._starts[circuit] = self._numbers.newest
        return replace(transition, generation=self._numbers.newest)

    def override(self, circuit: str) -> OverrideRecord | None:
        """Return the override of a circuit, as known when the store was reached."""
        return self._table.overrides.find(circuit)

    def decided(self, transition: Transition) -> None:
        """Apply a transition to this instance only."""
        self._numbers.newest = max(self._numbers.newest, transition.generation)
        reason = transition.reason
        self._table.decide_alone(
            replace(
                transition,
                generation=-transition.generation,
                reason=replace(reason, detail=f"cut off from the store: {reason}"),
            )
        )
