"""Decides for one instance by its own results only, with the state machine that a leader runs for
the fleet. Its decisions apply to this instance only.

Generations decided here are below zero, so that a call that began in one of them counts in no
generation of the fleet. Inside the evaluator they are above zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from .._circuits.local import LocalCircuit
from .._circuits.runs import PendingRun
from .._circuits.shard import Shard
from .._core.capabilities import Capability
from .._core.order import Lease
from .._core.overrides import OverrideRecord
from .._core.states import Report, Run, Suspicion, Transition
from .._core.surroundings import Contradiction
from .._runtime.instance import Instance
from .evaluator import Evaluator

NOTE_INTERVAL = 1.0

NO_LEASE = Lease(0, "")
"""Local decisions need no lease."""


class OwnResults:
    """Feeds an evaluator with the results of this instance's circuits, all of which also go on to
    the outbox.

    Args:
        instance: This instance, with the policies to decide by.
        shard: The shard whose circuits it evaluates.
    """

    def __init__(self, instance: Instance, shard: Shard) -> None:
        self._instance = instance
        self._outbox = shard.outbox
        self._table = shard.table
        self._numbers = shard.table.own_generations
        self._clock = shard.clock
        self._frame = shard.clock.frame()
        self._evaluator: Evaluator | None = None
        self._starts: dict[str, int] = {}

    def _begin(self) -> Evaluator:
        """Begin with no results. No call counts that began under an earlier decision of its own."""
        self._numbers.newest += 1
        self._frame = self._clock.frame()
        self._evaluator = Evaluator(self._instance, self._frame, self, NO_LEASE)
        return self._evaluator

    def _end(self) -> None:
        self._evaluator = None
        self._starts.clear()

    # What the circuits report: all of it goes on to the outbox

    def recorded(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Evaluate urgent results at once, and the others when they are taken."""
        self._outbox.recorded(circuit, urgent=urgent)
        if urgent:
            self._evaluate(circuit)

    def leaving(self, circuit: LocalCircuit) -> None:
        """Evaluate results before they are taken."""
        self._evaluate(circuit)

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
        overdue = circuit.own_slow_in_flight(now)
        retry_after = circuit.retry_after_left(now)
        self._apply(
            Report(circuit.name, generation=generation, retry_after=retry_after, overdue=overdue)
        )

    def told_to_wait(self, circuit: LocalCircuit) -> None:
        """Evaluate a wait that the upstream has named."""
        self._outbox.told_to_wait(circuit)
        self._evaluate(circuit)
        left = circuit.retry_after_left(self._clock.monotonic())
        self._apply(Report(circuit.name, retry_after=left))

    def began(self, circuit: LocalCircuit) -> None:
        """Monitor a call that has started."""
        self._outbox.began(circuit)

    def overruled(self, name: str) -> None:
        """Restart from the fleet's state."""
        self._numbers.newest += 1
        self._starts.pop(name, None)
        if self._evaluator is not None:
            self._evaluator.forget(name)

    def _evaluate(self, circuit: LocalCircuit) -> None:
        for run in circuit.unseen():
            self._apply_run(circuit, run)

    def _apply_run(self, circuit: LocalCircuit, run: PendingRun) -> None:
        """Evaluate one run of results, unless an own decision came and went during its calls."""
        if run.outlived:
            return
        now = self._clock.monotonic()
        generation = self._inner_generation(circuit.name, run.generation)
        result = Run(generation, run.failed, run.slow, run.count, now - run.ended, run.label)
        self._apply(Report(circuit.name, runs=(result,), retry_after=circuit.retry_after_left(now)))

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

    def _concerns(self, name: str) -> bool:
        """Return whether it decides about a circuit."""
        raise NotImplementedError

    def _inner_generation(self, name: str, generation: int) -> int:
        """Return the evaluator's number of the generation in which a call began."""
        if generation < 0:
            return -generation
        is_current = generation == self._table.known(name).generation
        return self._starts.get(name, self._numbers.newest) if is_current else -1

    # What the evaluator asks for

    def known(self, circuit: str) -> Transition:
        """Return the transition to start from, under a number that no own decision has used."""
        raise NotImplementedError

    def decided(self, transition: Transition) -> None:
        """Apply a transition to this instance only."""
        raise NotImplementedError

    def allows(self, capability: Capability) -> bool:
        """Return True: nobody else reads these decisions."""
        return True

    def override(self, circuit: str) -> OverrideRecord | None:
        """Return None: an override covers these decisions, and does not change them."""
        return None

    def recalled(self, transition: Transition) -> None:
        """Ignore a recall: there is no other holder."""

    def refused(self, circuit: str, suspicions: Sequence[Suspicion]) -> None:
        """Ignore a refusal: there is no other instance."""

    def contradicted(self, circuit: str, contradiction: Contradiction) -> None:
        """Ignore a second opinion: there is no other instance."""
