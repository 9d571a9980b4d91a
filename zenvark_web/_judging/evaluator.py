"""Feeds circuits with reports and time, and runs their health checks.

`Circuit` makes all decisions, and the evaluator passes them on. A leader has an evaluator for the
fleet's circuits; an instance that is cut off from the store has one for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from typing import Concatenate, ParamSpec, Protocol

from .._core.capabilities import Capability
from .._core.circuit import Circuit
from .._core.lull import Lull
from .._core.order import Lease
from .._core.overrides import Override, OverrideRecord
from .._core.patterns import NamePatterns
from .._core.quorum import REPORTING
from .._core.states import CircuitSnapshot, Report, State, Suspicion, Transition, WindowSnapshot
from .._core.surroundings import ALONE, Check, Contradiction, Recall
from .._runtime.clock import Frame
from .._runtime.instance import Instance
from .._runtime.notifier import ends_this_task
from .._runtime.threads import NoRoomError
from .._runtime.waiting import Timers
from ..backends.stored_reports import StoredReports
from ..exceptions import StrategyError
from .check_places import CheckPlaces, Claim
from .health import HealthChecks
from .places import Place, Places

P = ParamSpec("P")

HANGING = 1.0
"""A failed health check that took more seconds than this counts as hanging."""

WANTED_FOR = 10.0
"""Seconds for which a rejected call indicates demand."""


class Keeper(Protocol):
    """The owner of an evaluator, which receives its decisions."""

    def known(self, circuit: str) -> Transition:
        """Return a circuit's newest transition, from which the evaluator starts."""
        ...

    def allows(self, capability: Capability) -> bool:
        """Return whether everybody who reads the decisions has a capability."""
        ...

    def decided(self, transition: Transition) -> None:
        """Apply a transition, which is signed and in seconds of the shared clock."""
        ...

    def override(self, circuit: str) -> OverrideRecord | None:
        """Return the override of a circuit, if there is one."""
        ...

    def recalled(self, transition: Transition) -> None:
        """Recall the grant of a transition, which is signed."""
        ...

    def refused(self, circuit: str, suspicions: Sequence[Suspicion]) -> None:
        """Called when a circuit's window tripped, but its quorum was not reached."""
        ...

    def contradicted(self, circuit: str, contradiction: Contradiction) -> None:
        """Called when a second opinion contradicts the health checks of this instance."""
        ...


class Evaluator:
    """The circuits of one keeper, their timers, and their health checks.

    Args:
        instance: The instance that evaluates.
        frame: The evaluator's clock. Transitions enter and leave in seconds of the shared clock.
        keeper: The receiver of decisions.
        lease: The lease under which it decides, for its signature.
        changed: Receives the circuits that may have changed.

    Attributes:
        names: The circuits that are counted now.
        surroundings: What circuits that are created from now on cannot know from their reports.
    """

    def __init__(
        self,
        instance: Instance,
        frame: Frame,
        keeper: Keeper,
        lease: Lease,
        changed: set[str] | None = None,
    ) -> None:
        self.surroundings = ALONE
        self._policies = instance.policies
        self._chance = instance.host.chance
        self._notifier = instance.notifier
        self._checks = HealthChecks(instance)
        self._circuits = Places(instance.max_breakers)
        self.names: Set[str] = self._circuits.names
        self._changed = changed
        self._frame = frame
        self._now = frame.now
        self._keeper = keeper
        self._lease = lease
        self._lulls: dict[str, Lull] = {}
        self._checking: dict[str, int] = {}
        self._check_places = CheckPlaces()
        self._timers = Timers()

    def expect(self, instances: int) -> None:
        """Expect reports of as many instances, for a while."""
        until = self._now() + REPORTING
        self.surroundings = replace(self.surroundings, expected=instances, expected_until=until)

    def begin(self, name: str) -> None:
        """Create a circuit, unless its strategy raises."""
        self._guarded(name, _nothing)

    def adopt(self, transition: Transition) -> None:
        """Adopt a transition that is now in force, unless this evaluator made it."""
        name = transition.circuit
        circuit = self._circuits.get(name)
        if circuit is None:
            return
        latest = circuit.latest
        is_own = (transition.epoch, transition.leader) == (self._lease.epoch, self._lease.holder)
        # Its own decisions are signed on their way out only, so their order is higher than here.
        if transition.generation > latest.generation if is_own else transition.order > latest.order:
            self._guarded(name, Circuit.adopt, self._entered(transition), self._now())

    def review(self, changed: NamePatterns[bool]) -> None:
        """Hold the counted circuits that operators hold open now, and release the others.

        Args:
            changed: The names of which the overrides have changed.
        """
        for name in changed.among(self.names):
            circuit = self._circuits.get(name)
            if circuit is not None and circuit.held is not self._is_forced(name):
                self._guarded(name, _nothing)

    def probe(self, name: str, detail: str) -> None:
        """Have the next attempt to recover a circuit made at once."""
        self._guarded(name, Circuit.hurry, detail, self._now())

    def _is_forced(self, name: str) -> bool:
        override = self._keeper.override(name)
        return override is not None and override.mode is Override.FORCE_OPEN

    def _hold(self, name: str, place: Place) -> None:
        """Hold a circuit as an operator has decided, or release it."""
        circuit, override = place.circuit, self._keeper.override(name)
        if override is not None and override.mode is Override.FORCE_OPEN:
            if not circuit.held or circuit.latest.state is not State.OPEN:
                before = circuit.latest
                detail = f"held open by {override.actor}: {override.reason}"
                decision = circuit.hold(detail, self._now())
                if decision is not None:
                    self._hand_on(place, before, decision)
        elif circuit.held:
            circuit.release(self._now())

    def forget(self, name: str) -> None:
        """Remove a circuit. Its next report creates it again."""
        self._circuits.pop(name)
        self._lulls.pop(name, None)
        self._timers.discard(name)
        self._note_change(name)

    def save(self, name: str) -> CircuitSnapshot | None:
        """Return the window snapshot of a circuit, if there is one."""
        self._end_lull(name)
        circuit = self._circuits.get(name)
        if circuit is None:
            return None
        try:
            snapshot = circuit.save(self._now())
        except BaseException as error:
            self._failed(name, "be saved", error)
            return CircuitSnapshot(circuit.latest.generation, window=WindowSnapshot("", None))
        return snapshot and _converted(snapshot, self._frame.leaving)

    def restore(self, name: str, snapshot: CircuitSnapshot) -> bool:
        """Restore a circuit from a window snapshot.

        Returns:
            Whether it was restored. If not, its reports must be evaluated again.
        """
        self._end_lull(name)
        try:
            place = self._place(name)
            self._set_timer(name, place.circuit)
            if place.circuit.latest.generation != snapshot.generation:
                self._note_change(name)
            entered = _converted(snapshot, self._frame.entering)
            restored = place.circuit.restore(entered, self._now())
            if snapshot.window is not None:
                place.restore([instance for instance, *_ in snapshot.window.failures])
                self._circuits.use(name, place)
            return restored
        except BaseException as error:
            self._failed(name, "be restored", error)
            return False

    def apply_report(
        self, sender: str, report: Report, at: float, now: float, *, replayed: bool = False
    ) -> None:
        """Apply a report to its circuit.

        Args:
            sender: The instance that sent it.
            report: The results and other content.
            at: The time of arrival, on this evaluator's clock: not ahead of `now`.
            now: The current time.
            replayed: Whether the report was there before this evaluator.
        """
        name = report.circuit
        if report.generation:  # one that knows no transition can't know more
            self._guarded(name, Circuit.repair, report, at=at, now=now)
        self._guarded(name, Circuit.report, sender, report, at=at, now=now, replayed=replayed)
        self._circuits.reported(name, sender, report)

    def count_successes(
        self, sender: str, reports: StoredReports, at: float, now: float
    ) -> Iterator[Report]:
        """Sum up the reports of circuits in good health that contain nothing but successes.

        Args:
            sender: The instance that sent them.
            reports: The reports of a batch.
            at: The time of arrival, on this evaluator's clock: not ahead of `now`.
            now: The current time.

        Yields:
            The other reports, each of which `apply_report` is to apply before the next.
        """
        lulls = self._lulls
        for item in reports.items:
            if not isinstance(item, tuple):
                yield item
                continue
            name, generation, count, age, _ = item
            lull = lulls.get(name)
            if lull is None or not lull.add(sender, generation, count, at - age, now):
                yield reports.complete(item)
                self._begin_lull(name)

    def _begin_lull(self, name: str) -> None:
        """Sum up further successes of a circuit, if they can decide nothing."""
        circuit = self._circuits.get(name)
        lull = None if circuit is None else circuit.lull()
        if lull is not None:
            self._lulls[name] = lull

    def _end_lull(self, name: str) -> None:
        """Have a circuit record the sum of its successes, before anything else happens to it."""
        lull = self._lulls.pop(name, None)
        if lull is None or not lull.count:
            return
        self._decide(name, Circuit.end_lull, lull)  # it has changed since the lull began
        place = self._circuits.place(name)
        if place is not None:
            place.note_senders(lull.instances)

    def reported_at(self, name: str) -> float | None:
        """Return the time of a circuit's last report, if the circuit is counted."""
        self._end_lull(name)
        circuit = self._circuits.get(name)
        return None if circuit is None else circuit.heard_at

    async def run(self) -> None:
        """Run the timers, forever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in self._timers.due(self._now()):
                    check = self._due(name)
                    if check is not None:
                        tasks.create_task(self._check(name, check))
                await self._timers.wait(self._now())

    def _due(self, name: str) -> Check | None:
        """Run a circuit's due timer; return a health check to run, if there is one."""
        if name not in self.names:
            return None
        check = self._guarded(name, Circuit.due, self._now())
        # A circuit that was forgotten while it is being checked begins anew, and asks again: the
        # check under way answers it.
        if check is None or self._checking.get(name) == check.generation:
            return None
        self._checking[name] = check.generation
        return check

    def _place(self, name: str) -> Place:
        place = self._circuits.place(name)
        if place is None:
            circuit = self._make(self._entered(self._keeper.known(name)))
            gone = self._circuits.make_room()
            if gone is not None:
                self._lulls.pop(gone, None)
                self._timers.discard(gone)
                self._note_change(gone)  # the checkpoint drops its window
            place = self._circuits.put(name, circuit)
        return place

    def _make(self, entered: Transition) -> Circuit:
        policy = self._policies[entered.circuit]
        surroundings = replace(self.surroundings, may_ramp=self._may_ramp)
        return Circuit(policy, entered, self._now(), self._chance, surroundings)

    def _may_ramp(self) -> bool:
        return self._keeper.allows(Capability.RAMP)

    def _entered(self, transition: Transition) -> Transition:
        """Return a transition on this evaluator's clock. Its time is now, if the store's clock was
        set back since the decision."""
        at = min(self._frame.entering(transition.at), self._now())
        return replace(transition, at=at)

    def _signed(self, transition: Transition) -> Transition:
        """Return a transition on the shared clock, with a signature that identifies it when it is
        read from the store."""
        return replace(
            transition,
            at=self._frame.leaving(transition.at),
            since=self._frame.leaving(transition.since),
            epoch=self._lease.epoch,
            leader=self._lease.holder,
        )

    def _guarded(
        self,
        name: str,
        decide: Callable[Concatenate[Circuit, P], Transition | Check | Recall | None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Check | None:
        """Let a circuit decide, and pass its decisions on. An exception of a user's strategy or
        backoff affects its own circuit only.

        Returns:
            The health check that the circuit requests, if any.
        """
        self._end_lull(name)
        self._note_change(name)
        return self._decide(name, decide, *args, **kwargs)

    def _decide(
        self,
        name: str,
        decide: Callable[Concatenate[Circuit, P], Transition | Check | Recall | None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Check | None:
        try:
            place = self._place(name)
            self._hold(name, place)
            before = place.circuit.latest
            decision = decide(place.circuit, *args, **kwargs)
            self._report_faults(place.circuit)
            self._report_findings(name, place.circuit)
            if isinstance(decision, Transition):
                self._hand_on(place, before, decision)
            self._set_timer(name, place.circuit)
            self._circuits.use(name, place)
        except BaseException as error:
            self._failed(name, "evaluate results", error)
            circuit = self._circuits.get(name)
            if circuit is not None:
                self._set_timer(name, circuit)
            return None
        if isinstance(decision, Recall):
            self._keeper.recalled(self._signed(decision.transition))
        return decision if isinstance(decision, Check) else None

    def _hand_on(self, place: Place, before: Transition, decision: Transition) -> None:
        """Apply a decision. A decision that the store cannot represent is not made: the circuit
        restarts from its last state."""
        try:
            self._keeper.decided(self._signed(decision))
        except ValueError:
            place.circuit = self._make(before)
            raise

    def _note_change(self, name: str) -> None:
        if self._changed is not None:
            self._changed.add(name)

    def _report_faults(self, circuit: Circuit) -> None:
        """Report invalid return values of a user's strategy or backoff."""
        faults = circuit.faults
        while faults:
            what = f"circuit {circuit.latest.circuit!r} is not evaluated as its policy specifies"
            error = StrategyError.because(faults.pop(0), what, circuit=circuit.latest.circuit)
            self._notifier.report_error(error)

    def _report_findings(self, name: str, circuit: Circuit) -> None:
        """Report what a quorum has found."""
        if circuit.jury is None:
            return
        for suspicions in circuit.jury.take_refusals():
            self._keeper.refused(name, suspicions)
        contradictions = circuit.contradictions
        while contradictions:
            self._keeper.contradicted(name, contradictions.pop(0))

    def _failed(self, name: str, what: str, error: BaseException) -> None:
        """Report an exception of a user's strategy."""
        if ends_this_task(error):
            raise error
        what = f"the window of circuit {name!r} could not {what}"
        self._notifier.report_error(StrategyError.because(error, what, circuit=name))

    def _set_timer(self, name: str, circuit: Circuit) -> None:
        deadline = circuit.deadline
        if deadline is not None:
            self._timers.set(name, deadline)

    async def _check(self, name: str, check: Check) -> None:
        try:
            async with self._check_places.place(self._claim(name)):
                if not self._asks(name, check):
                    return
                began = self._now()
                policy, trusted = self._policies[name], self._is_trusted(name)
                error = await self._checks.run(name, policy, check, trusted=trusted)
        except NoRoomError as reason:
            self._put_off(name, check, reason)
            return
        finally:
            if self._checking.get(name) == check.generation:
                del self._checking[name]
        place = self._circuits.place(name)
        if place is not None:
            place.has_worked = place.has_worked or error is None
            slow = self._now() - began > HANGING or self._checks.hangs(name)
            place.checks_hang = error is not None and slow
        self._guarded(name, Circuit.checked, check, error, self._now())

    def _put_off(self, name: str, check: Check, reason: Exception) -> None:
        """Make a circuit request its check again, and report the delay."""
        self._notifier.checks_wait(name, str(reason))
        self._guarded(name, Circuit.put_off, check, self._now())

    def _is_trusted(self, name: str) -> bool:
        place = self._circuits.place(name)
        return place is not None and place.is_trusted

    def _asks(self, name: str, check: Check) -> bool:
        """Return whether a circuit still requests a delayed check."""
        circuit = self._circuits.get(name)
        if circuit is None or self._is_forced(name):
            return False
        return circuit.latest.generation == check.generation

    def _claim(self, name: str) -> Claim:
        """Return the priority of a circuit's check."""
        place = self._circuits.place(name)
        if place is None:
            return Claim.UNKNOWN
        if place.is_trusted:
            return Claim.TRUSTED_HANGING if place.checks_hang else Claim.TRUSTED
        if place.checks_hang:
            return Claim.HANGING
        wanted = self._now() - place.wanted_at < WANTED_FOR
        return Claim.WANTED if wanted else Claim.UNKNOWN


def _converted(snapshot: CircuitSnapshot, convert: Callable[[float], float]) -> CircuitSnapshot:
    """Return a snapshot with its times on another clock."""
    deadline = snapshot.retry_after_until
    if not deadline and not snapshot.suspects:
        return snapshot
    return replace(
        snapshot,
        retry_after_until=convert(deadline) if deadline else 0.0,
        suspects=tuple(
            replace(each, since=convert(each.since), until=convert(each.until))
            for each in snapshot.suspects
        ),
    )


def _nothing(circuit: Circuit) -> None:
    """Decides nothing."""
