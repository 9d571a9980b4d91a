"""Protects one instance from an upstream that fails for this instance only (`quorum`).

With a quorum above 1, the results of one instance do not open the fleet's circuit. So each instance
also runs the state machine over its own results: it rejects calls for itself alone, and recovers by
one trial call at a time, never by health checks. The fleet's transitions take precedence.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from .._circuits.local import LocalCircuit
from .._circuits.shard import Shard
from .._core.policy import BreakerPolicy
from .._core.quorum import is_shared
from .._core.states import Report, State, Transition
from .._runtime.instance import Instance
from .own_results import OwnResults


def is_used(instance: Instance) -> bool:
    """Return whether any circuit's instances protect themselves."""
    policies = instance.policies.all()
    return instance.common_cause is not None or any(is_shared(each.quorum) for each in policies)


def own_policy(policy: BreakerPolicy) -> BreakerPolicy:
    """Return the policy of one instance's own decisions."""
    return replace(policy, quorum=1, health_check=None, idle_interval=None, trial_calls=1, ramp=())


class SelfProtection(OwnResults):
    """The loop that decides for this instance by its own results, while the fleet's circuit is
    closed.

    Args:
        instance: This instance.
        shard: The shard whose circuits it evaluates.
    """

    def __init__(self, instance: Instance, shard: Shard) -> None:
        super().__init__(replace(instance, policies=instance.policies.changed(own_policy)), shard)
        self._policies = instance.policies

    async def run(self) -> None:
        """Evaluate this instance's results, forever."""
        evaluator = self._begin()
        self._table.protect_by(self)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(evaluator.run())
                tasks.create_task(self._evaluate_trials())
        finally:
            self._end()
            self._table.protect_by(None)

    def concerns(self, policy: BreakerPolicy) -> bool:
        """Return whether a circuit with this policy is to be listened to."""
        return self._instance.common_cause is not None or is_shared(policy.quorum)

    def _concerns(self, name: str) -> bool:
        return self._table.own(name) is not None

    def _apply(self, report: Report) -> None:
        # While the fleet rejects or tries calls, or lets a part of them pass, it decides alone.
        if self._table.known(report.circuit).state is State.CLOSED:
            super()._apply(report)

    def blocked(self, circuit: LocalCircuit) -> None:
        """Evaluate the demand for calls."""
        if self._table.own(circuit.name) is not None:
            super().blocked(circuit)
        else:
            self._outbox.blocked(circuit)

    def restart(self) -> None:
        """Begin anew with circuits that another decided about meanwhile."""
        if self._evaluator is not None:
            for name in tuple(self._evaluator.names):
                if self._policies[name].cut_off == "local":
                    self.overruled(name)

    def _inner_generation(self, name: str, generation: int) -> int:
        if name not in self._starts:
            self._forget_starts()
            self._numbers.newest += 1
            self._starts[name] = self._numbers.newest
        return super()._inner_generation(name, generation)

    def _forget_starts(self) -> None:
        """Forget where circuits began that the evaluator no longer keeps: names may be endless."""
        if self._evaluator is not None and len(self._starts) > 2 * self._instance.max_breakers:
            kept = self._evaluator.names
            self._starts = {
                name: start
                for name, start in self._starts.items()
                if name in kept or self._table.own(name) is not None
            }

    # What the evaluator asks for

    def known(self, circuit: str) -> Transition:
        """Return its own decision if there is one, otherwise a closed circuit, under a number that
        no own decision has used."""
        own = self._table.own(circuit)
        if own is not None:  # it was forgotten here, but not there
            return replace(own, generation=-own.generation)
        number = self._inner_generation(circuit, self._table.known(circuit).generation)
        return Transition(circuit=circuit, generation=number, at=self._clock.now())

    def decided(self, transition: Transition) -> None:
        """Apply a transition to this instance only."""
        number = transition.generation
        self._numbers.newest = max(self._numbers.newest, number)
        if transition.state is State.CLOSED:
            self._starts[transition.circuit] = number  # the fleet's generation counts again
        self._table.protect(replace(transition, generation=-number))
