"""The known states of the fleet's circuits: their newest transitions, applied in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from .._core.admission import Admission
from .._core.overrides import Override
from .._core.patterns import NamePatterns
from .._core.policy import BreakerPolicy
from .._core.states import Cause, KnownState, Protection, Reason, State, Transition
from .._runtime.clock import SharedClock
from .._runtime.instance import Instance
from ..events import StateChange
from ..exceptions import MalformedEntryError
from .kept import LocalCircuits
from .local import Home, Listener, LocalCircuit
from .overrides import OverrideBook

MOST_NEW = 1_000

MOST_ANNOUNCED = 10
"""The most own decisions that an instance announces."""

LONGEST_DETAIL = 200


class OwnGenerations:
    """The numbers of decisions that apply to this instance only: below zero in its circuits."""

    def __init__(self) -> None:
        self.newest = 0


class StandIn(Listener, Protocol):
    """The substitute for the leader while this instance is cut off."""

    def overruled(self, name: str) -> None:
        """Called when the fleet has a new transition of a circuit."""
        ...


class Protector(StandIn, Protocol):
    """Decides for this instance, in addition to the leader."""

    def concerns(self, policy: BreakerPolicy) -> bool:
        """Return whether a circuit with this policy is to be listened to."""
        ...

    def restart(self) -> None:
        """Begin anew with circuits that a stand-in decided about meanwhile."""
        ...


class Table:
    """The newest transitions by circuit, and the local circuits to which they apply.

    The table outlives a coordinator's runs, with all known transitions. It holds local circuits
    weakly; they live as long as their breaker is referenced.

    Args:
        instance: The instance; it has no name until it participates.
        home: The shared part of the local circuits.
        clock: The shared clock.
        number: The shard's number.

    Attributes:
        overrides: The overrides of the shard.
    """

    def __init__(self, instance: Instance, home: Home, clock: SharedClock, number: int = 0) -> None:
        self._name = instance.id
        self._policies = instance.policies
        self._notifier = instance.notifier
        self._statistics = instance.statistics
        self._home = home
        self._clock = clock
        self._locals = LocalCircuits()
        # A circuit that another thread makes meanwhile must not miss what all are told.
        self._joining: AbstractContextManager[bool] = threading.RLock()
        self._alone: dict[str, Transition] = {}
        self._stand_in: StandIn | None = None
        self._own: dict[str, Transition] = {}
        self._protections: dict[str, Protection] = {}
        self._protector: Protector | None = None
        self.own_generations = OwnGenerations()
        self._holding: dict[str, None] = {}  # a set in order, so that runs can be repeated
        self._new_circuits: deque[str] = deque(maxlen=MOST_NEW)
        self.latest: dict[str, Transition] = {}
        self.is_cut_off: bool = False
        self.overrides: OverrideBook = OverrideBook(
            clock, instance.notifier, tells_patterns=number == 0
        )
        self.overrides.watch(self._put_under_changed)

    def take_over(self, inherited: Table) -> None:
        """Continue with the known transitions and the same local circuits in a forked process."""
        self.latest = inherited.latest
        self.overrides.take_over(inherited.overrides)
        self._locals = inherited._locals.taken_over()
        for circuit in self._locals.all():
            circuit.begin_anew(self._home)
            circuit.own_state, circuit.protects_itself = State.CLOSED, False
            circuit.admission.begin_anew(self._name)
            self._admit(circuit)

    def join(self, name: str) -> None:
        """Take a name, by which this instance recognises its grants."""
        if name == self._name:
            return
        with self._joining:
            self._name = name
            for circuit in self._locals.all():
                with circuit.lock:
                    circuit.admission.instance = name
                self._admit(circuit)

    def local(self, name: str) -> LocalCircuit:
        """The local side of a circuit, created on first use."""
        circuit = self._locals.get(name)
        if circuit is None:
            policy = self._policies[name]
            admission = Admission(self._name, observes=policy.observe)
            circuit = LocalCircuit(name, policy, admission, self._home)
            with self._joining:
                circuit.admission.instance = self._name
                self._locals.add(circuit)
                self._introduce(circuit)
            self.put_under(circuit)
            own = self._own.get(name)
            if own is not None:
                circuit.own_state = own.state
            if name in self._alone or name in self._own or name in self.latest:
                self._admit(circuit)
            else:
                self._new_circuits.append(name)  # any thread's
        return circuit

    def put_under(self, circuit: LocalCircuit) -> None:
        """Apply the override of a circuit, or none."""
        with circuit.lock:
            override = self.overrides.find(circuit.name)
            until = float("inf") if override is None else self.overrides.ends_at(override)
            circuit.admission.put_under(override, until)

    def _put_under_changed(self, changed: NamePatterns[bool]) -> None:
        for name in changed.among(self._locals.names):
            circuit = self._locals.get(name)
            if circuit is not None:
                self.put_under(circuit)

    def knows(self, name: str) -> bool:
        """Whether the fleet or this instance knows a circuit."""
        return name in self.latest or self._locals.get(name) is not None

    def known(self, name: str) -> Transition:
        """The newest transition of a circuit (generation 0 without any)."""
        return self.latest.get(name) or Transition(circuit=name)

    def in_force(self, name: str) -> Transition:
        """The transition that this instance applies: its own decision while it is cut off or
        protects itself, otherwise the fleet's newest."""
        return self._alone.get(name) or self._own.get(name) or self.known(name)

    def own(self, name: str) -> Transition | None:
        """The decision by which this instance protects itself, if it does."""
        return self._own.get(name)

    @property
    def protections(self) -> tuple[Protection, ...]:
        """What this instance protects itself from; the newest ones, if they are many."""
        return tuple(self._protections.values())[-MOST_ANNOUNCED:]

    def new_circuits(self) -> Sequence[str]:
        """The local circuits created since the last call without a transition of the fleet; the
        newest ones, if there are many."""
        return [self._new_circuits.popleft() for _ in range(len(self._new_circuits))]

    def may_be_tried(self, name: str) -> bool:
        """Whether an operator may ask for an attempt to recover: the circuit is open for the fleet,
        and no operator holds it open."""
        override = self.overrides.find(name)
        held = override is not None and override.mode is Override.FORCE_OPEN
        return self.known(name).state is State.OPEN and not held

    def known_state(self, name: str) -> KnownState | None:
        """A circuit's state in the newest known generation of the fleet."""
        transition = self.latest.get(name)
        if transition is None:
            return None
        circuit = self._locals.get(name)
        if circuit is None or circuit.admission.generation != transition.generation:
            left, elapsed = self._left(transition), self._elapsed(transition)
        else:  # counted by this host's own clock since it was heard of
            now = self._clock.monotonic()
            left = max(0.0, circuit.admission.retry_at - now)
            elapsed = circuit.admission.elapsed(now)
        return KnownState(
            transition.state,
            transition.attempt,
            transition.delay,
            left,
            transition.grant,
            transition.ramp,
            elapsed,
        )

    def apply(self, transition: Transition) -> bool:
        """Apply a transition if it is newer than the known one; returns whether it was."""
        name = transition.circuit
        known = self.known(name)
        if transition.order <= known.order:
            return False
        if transition.leaps(known):
            self._notifier.report_error(
                MalformedEntryError(
                    f"skipped generation {transition.generation} of circuit {name!r}: implausibly "
                    f"far ahead of the known generation {known.generation}"
                )
            )
            return False
        before = self.in_force(name)
        self.latest[name] = transition
        if transition.leader == self._name:
            self._count(transition)
        if transition.reason.cause is Cause.PROBE:
            self._drop_retry_after(name)
        self._alone.pop(name, None)
        self._drop_own(name)
        for decider in (self._stand_in, self._protector):
            if decider is not None:
                decider.overruled(name)
        self._take_effect(before, transition)
        return True

    def _drop_retry_after(self, name: str) -> None:
        """Forget the upstream's deadline, before which an operator wants an attempt."""
        circuit = self._locals.get(name)
        if circuit is not None:
            circuit.drop_retry_after()

    def cut_off(self, stand_in: StandIn | None) -> None:
        """Let a stand-in for the fleet listen to circuits with `cut_off="local"`. With None, the
        fleet's newest transitions apply again."""
        if self._protector is not None:
            self._protector.restart()
        for name in [name for name in self._own if self._policies[name].cut_off == "local"]:
            self._protect_no_more(name)  # the stand-in begins with the fleet's states
        with self._joining:
            self._stand_in = stand_in
            self.is_cut_off = stand_in is not None
            for circuit in self._locals.all():
                self._introduce(circuit)
        if stand_in is None:
            alone, self._alone = self._alone, {}  # at one go: none is left behind, come what may
            for name in alone:
                self._put_in_force(name)
            for name, before in alone.items():
                self._report(before, self.known(name))

    def protect_by(self, protector: Protector | None) -> None:
        """Let a protector listen to circuits with a quorum. With None, the fleet's newest
        transitions apply."""
        with self._joining:
            self._protector = protector
            for circuit in self._locals.all():
                self._introduce(circuit)
        if protector is None:
            for name in list(self._own):
                self._protect_no_more(name)

    def protect(self, transition: Transition) -> None:
        """Apply a decision by which this instance protects itself, until it is closed."""
        name, reason = transition.circuit, transition.reason
        told = replace(reason, detail=f"this instance protects itself: {reason}")
        if transition.state is State.CLOSED:
            self._protect_no_more(name, told)
            return
        before = self.in_force(name)
        self._announce(transition)
        transition = replace(transition, reason=told)
        self._own[name] = transition
        self._show_own(name, transition.state)
        self._take_effect(before, transition)

    def _announce(self, transition: Transition) -> None:
        """Announce an own decision, with the reason to open."""
        name, reason = transition.circuit, transition.reason
        opened = Protection(
            name, State.OPEN, transition.at, str(reason)[:LONGEST_DETAIL], reason.failures
        )
        first = self._protections.get(name, opened)
        self._protections[name] = replace(first, state=transition.state)

    def _protect_no_more(self, name: str, reason: Reason | None = None) -> None:
        before = self.in_force(name)
        self._drop_own(name)
        self._put_in_force(name)
        now = self.in_force(name)
        self._report(before, now if reason is None else replace(now, reason=reason))

    def _drop_own(self, name: str) -> None:
        self._protections.pop(name, None)
        if self._own.pop(name, None) is not None:
            self._show_own(name, State.CLOSED)

    def _show_own(self, name: str, state: State) -> None:
        circuit = self._locals.get(name)
        if circuit is not None:
            circuit.own_state = state
            if state is State.CLOSED:  # calls from before it opened have been decided upon
                circuit.own_since = self._clock.monotonic()

    def renew_waits(self) -> None:
        """Recompute the waits of open circuits by the shared clock, because this host's clock stood
        still with the host."""
        for circuit in self._locals.all():
            if not circuit.admission.closed:
                self._admit(circuit)

    def decide_alone(self, transition: Transition) -> None:
        """Apply a decision of this instance alone."""
        self._count(transition)
        before = self.in_force(transition.circuit)
        self._alone[transition.circuit] = transition
        self._take_effect(before, transition)

    def _count(self, transition: Transition) -> None:
        """Count an opening that was decided on this instance. An operator's is no outage."""
        cause = transition.reason.cause
        opens = transition.previous is State.CLOSED and transition.state is State.OPEN
        if opens and cause is not Cause.FORCED:
            self._statistics.opened(transition.circuit, cause)

    def _introduce(self, circuit: LocalCircuit) -> None:
        stand_in, protector = self._stand_in, self._protector
        circuit.protects_itself = protector is not None and protector.concerns(circuit.policy)
        if stand_in is not None and circuit.policy.cut_off == "local":
            circuit.listen(stand_in)
        elif protector is not None and circuit.protects_itself:
            circuit.listen(protector)
        else:
            circuit.listen(self._home)

    def _take_effect(self, before: Transition, now: Transition) -> None:
        self._put_in_force(now.circuit)
        self._report(before, now)

    def _put_in_force(self, name: str) -> None:
        circuit = self._locals.get(name)
        if circuit is not None:
            self._admit(circuit)

    def _report(self, before: Transition, now: Transition) -> None:
        if now.state is not before.state:
            self._notifier.state_changed(
                StateChange(now.circuit, before.state, now.state, now.generation, now.reason),
                self._mode(now.circuit),
            )

    def _mode(self, name: str) -> Override | None:
        """What calls of a circuit meet instead of the verdict, if anything."""
        override = self.overrides.find(name)
        if override is not None:
            return override.mode
        return Override.OBSERVE if self._policies[name].observe else None

    def recall(self, name: str, generation: int) -> None:
        """Return the unused permits of a grant."""
        circuit = self._locals.get(name)
        if circuit is not None:
            circuit.recall(generation)

    def confirm_grants(self, asked: float) -> None:
        """Extend the use of this instance's grants and ramps: everything that the store knew at
        this monotonic second is known here."""
        for circuit in self.trials():
            circuit.admission.heard(asked)

    def forget(self, name: str, generation: int) -> None:
        """Reset a circuit that the fleet has forgotten, unless it has a newer generation."""
        if self.known(name).generation == generation:
            self.latest.pop(name, None)
            self._put_in_force(name)

    @property
    def holds_grants(self) -> bool:
        """Whether this instance holds a grant, or takes part in a ramp."""
        return bool(self._holding)

    @property
    def has_unconfirmed_grants(self) -> bool:
        """Whether a grant of this instance may be used after the next read of the states."""
        return any(circuit.admission.unconfirmed for circuit in self.trials())

    def trials(self) -> Iterator[LocalCircuit]:
        """The local circuits with a grant of this instance, or in a ramp."""
        for name in tuple(self._holding):
            circuit = self._locals.get(name)
            if circuit is None:
                self._holding.pop(name, None)
            else:
                yield circuit

    def _admit(self, circuit: LocalCircuit) -> None:
        with circuit.lock:  # a thread that has just made the circuit may be at it, too
            transition = self.in_force(circuit.name)
            circuit.admission.apply(
                transition,
                self._clock.monotonic(),
                self._left(transition),
                self._elapsed(transition),
            )
        grant = transition.grant
        if transition.ramp is not None:
            self._holding[circuit.name] = None
        elif grant is not None and grant.holder == self._name:
            self._holding[circuit.name] = None
            # It may be used once that is reported.
            self._home.handover.here(self._home.trial_changed, circuit)
        else:
            self._holding.pop(circuit.name, None)

    def _left(self, transition: Transition) -> float:
        """The remaining seconds of a circuit's wait, at most its whole wait."""
        if not self._clock.known.is_set():
            return transition.delay
        return min(transition.delay, max(0.0, transition.retry_at - self._clock.now()))

    def _elapsed(self, transition: Transition) -> float:
        """The seconds since a ramp began; 0 without one."""
        if transition.ramp is None or not self._clock.known.is_set():
            return 0.0
        return max(0.0, self._clock.now() - transition.at)
