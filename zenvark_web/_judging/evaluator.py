"""Brings circuits reports and time, and carries their health checks out.

Everything is decided by `Circuit`; what it decides is handed on. A leader has a judge of its own
for the fleet's circuits; an instance that is cut off from the store has one for itself alone.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Set
from dataclasses import replace

from .._core.circuit import Check, Circuit, Recall
from .._core.policy import PolicyBook
from .._core.states import Counted, Report, Tally, Transition
from .._runtime.clock import Frame
from .._runtime.notifier import Surface, ends_this_task
from .._runtime.threads import NoRoomError
from ..exceptions import StrategyError
from .check_places import CheckPlaces, Claim
from .health import HealthChecks
from .places import Place, Places

HANGING = 1.0
"""A health check that takes more seconds than this, and fails, hangs."""

WANTED_FOR = 10.0
"""Seconds for which a call that was not let through tells that there are more to make."""

SPARE_TIMERS = 64


class Judge:
    """The circuits of one keeper, the timers they set, and the checks they ask for.

    Args:
        policies: The policies of circuits.
        known: Tells a circuit's newest transition, from which it starts.
        frame: The seconds by which it judges. Transitions come and go in the shared clock's.
        chance: Makes random numbers from 0 to 1.
        surface: Where the errors of users' strategies go.
        checks: Runs health checks.
        max_circuits: How many circuits to keep count of.
        decided: Told each transition, signed.
        touched: Told the name of each circuit that may have changed.
        recalled: Told each transition with a grant that is to be recalled, signed.
        epoch: The lease under which it judges, for its signature.
        leader: Who judges, for its signature.
    """

    def __init__(
        self,
        *,
        policies: PolicyBook,
        known: Callable[[str], Transition],
        frame: Frame,
        chance: Callable[[], float],
        surface: Surface,
        checks: HealthChecks,
        max_circuits: int,
        decided: Callable[[Transition], None],
        touched: Callable[[str], None] = lambda name: None,
        recalled: Callable[[Transition], None] = lambda transition: None,
        epoch: int = 0,
        leader: str = "",
    ) -> None:
        self._policies = policies
        self._known = known
        self._frame = frame
        self._now = frame.now
        self._chance = chance
        self._surface = surface
        self._checks = checks
        self._decided = decided
        self._touched = touched
        self._recalled = recalled
        self._epoch = epoch
        self._leader = leader
        self._checking: dict[str, int] = {}
        self._check_places = CheckPlaces()
        self._circuits = Places(max_circuits)
        self._timers: list[tuple[float, str]] = []
        self._timer_of: dict[str, float] = {}
        self._timers_changed = asyncio.Event()

    def begin(self, name: str) -> None:
        """Have a circuit, unless its strategy will not let itself be used."""
        self._guarded(name, lambda circuit: None)

    def adopt(self, transition: Transition) -> None:
        """Go on from a transition that is now in force, unless it is this judge's own."""
        name = transition.circuit
        circuit = self._circuits.get(name)
        if circuit is None or not self._is_news(transition, circuit.latest):
            return
        entered = self._entered(transition)
        self._guarded(name, lambda circuit: circuit.adopt(entered, self._now()))

    def _is_news(self, transition: Transition, latest: Transition) -> bool:
        if (transition.epoch, transition.leader) == (self._epoch, self._leader):
            return transition.generation > latest.generation
        return transition.order > latest.order

    def forget(self, name: str) -> None:
        """Begin a circuit anew when it is heard of again."""
        self._circuits.pop(name)
        self._timer_of.pop(name, None)
        self._touched(name)

    @property
    def names(self) -> Set[str]:
        """The circuits that are kept count of."""
        return self._circuits.names

    def save(self, name: str) -> Tally | None:
        """What results have made of a circuit since its newest transition, if there is any."""
        circuit = self._circuits.get(name)
        if circuit is None:
            return None
        try:
            tally = circuit.save(self._now())
        except BaseException as error:
            self._failed(name, "saved", error)
            return Tally(circuit.latest.generation, counted=Counted("", None))
        if tally is None or not tally.hold:
            return tally
        return replace(tally, hold=self._frame.leaving(tally.hold))

    def restore(self, name: str, tally: Tally) -> bool:
        """Have a circuit go on from what another judge saved.

        Returns:
            Whether it does. If not, it has to hear its reports again.
        """
        try:
            place = self._place(name)
            if place.circuit.latest.generation != tally.generation:
                self._touched(name)
            hold = self._frame.entering(tally.hold)
            restored = place.circuit.restore(replace(tally, hold=hold), self._now())
            if tally.counted is not None:
                place.restore([instance for instance, *_ in tally.counted.failures])
                self._circuits.use(name, place)
            return restored
        except BaseException as error:
            self._failed(name, "restored", error)
            return False

    def hear(
        self,
        instance: str,
        report: Report,
        *,
        at: float,
        replayed: bool = False,
    ) -> None:
        """Have a circuit judge a report.

        Args:
            instance: Whose it is.
            report: What it says.
            at: When it arrived, in the seconds of this judge's frame.
            replayed: Whether it was there before this judge.
        """
        now = self._now()

        def hear(circuit: Circuit) -> Transition | Recall | None:
            return circuit.report(instance, report, at=at, now=now, replayed=replayed)

        self._guarded(report.circuit, lambda circuit: circuit.repair(report, at=at, now=now))
        self._guarded(report.circuit, hear)
        place = self._circuits.place(report.circuit)
        if place is not None:
            place.hear(instance, report)
            self._circuits.use(report.circuit, place)

    def heard_at(self, name: str) -> float | None:
        """When a circuit was last heard of, if it is kept count of."""
        circuit = self._circuits.get(name)
        return None if circuit is None else circuit.heard_at

    async def run(self) -> None:
        """Do what time asks for, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._timers_changed.clear()
                for name in self._due():
                    check = self._guarded(name, lambda circuit: circuit.due(self._now()))
                    # A circuit that was forgotten while it is being checked begins anew, and asks
                    # again: the check under way answers it.
                    if check is not None and self._checking.get(name) != check.generation:
                        self._checking[name] = check.generation
                        tasks.create_task(self._check(name, check))
                wait = self._timers[0][0] - self._now() if self._timers else None
                try:
                    async with asyncio.timeout(wait):
                        await self._timers_changed.wait()
                except TimeoutError:
                    pass

    def _place(self, name: str) -> Place:
        place = self._circuits.place(name)
        if place is None:
            circuit = self._make(self._known(name))
            gone = self._circuits.make_room()
            if gone is not None:
                self._timer_of.pop(gone, None)
                self._touched(gone)
            place = self._circuits.put(name, circuit)
            self._set_timer(name, circuit)
        return place

    def _make(self, latest: Transition) -> Circuit:
        policy = self._policies[latest.circuit]
        return Circuit(policy, self._entered(latest), self._now(), self._chance)

    def _entered(self, transition: Transition) -> Transition:
        """A transition in this judge's seconds, as if decided now if the store's clock was set back
        since it was."""
        at = min(self._frame.entering(transition.at), self._now())
        return replace(transition, at=at)

    def _signed(self, transition: Transition) -> Transition:
        """A transition in the shared clock's seconds, and known again when it comes back."""
        return replace(
            transition,
            at=self._frame.leaving(transition.at),
            since=self._frame.leaving(transition.since),
            epoch=self._epoch,
            leader=self._leader,
        )

    def _guarded(
        self, name: str, decide: Callable[[Circuit], Transition | Check | Recall | None]
    ) -> Check | None:
        """Have a circuit decide, and hand on what it does. What a user's strategy or backoff
        raises stays with its own circuit.

        Returns:
            The health check that the circuit asks for, if it does.
        """
        self._touched(name)
        try:
            place = self._place(name)
            before = place.circuit.latest
            decision = decide(place.circuit)
            self._tell_faults(place.circuit)
            if isinstance(decision, Transition):
                self._hand_on(place, before, decision)
            self._circuits.use(name, place)
            self._set_timer(name, place.circuit)
        except BaseException as error:
            self._failed(name, "judged", error)
            return None
        if isinstance(decision, Recall):
            self._recalled(self._signed(decision.transition))
        return decision if isinstance(decision, Check) else None

    def _hand_on(self, place: Place, before: Transition, decision: Transition) -> None:
        """Have the fleet told. What it can't be told is not decided: the circuit begins anew from
        where it was."""
        try:
            self._decided(self._signed(decision))
        except ValueError:
            place.circuit = Circuit(
                self._policies[before.circuit], before, self._now(), self._chance
            )
            raise

    def _tell_faults(self, circuit: Circuit) -> None:
        """Surface what a user's strategy or backoff gave that made no sense."""
        faults = circuit.faults
        while faults:
            what = f"circuit {circuit.latest.circuit!r} is not judged as its policy asks for"
            error = StrategyError.because(faults.pop(0), what, circuit=circuit.latest.circuit)
            self._surface.error(error)

    def _failed(self, name: str, what: str, error: BaseException) -> None:
        """Surface what a user's strategy has raised."""
        if ends_this_task(error):
            raise error
        what = f"circuit {name!r} could not be {what}"
        self._surface.error(StrategyError.because(error, what, circuit=name))

    def _set_timer(self, name: str, circuit: Circuit) -> None:
        deadline = circuit.deadline
        if deadline is not None and deadline < self._timer_of.get(name, float("inf")):
            self._timer_of[name] = deadline
            heapq.heappush(self._timers, (deadline, name))
            if len(self._timers) > 2 * len(self._timer_of) + SPARE_TIMERS:
                self._timers = [(at, of) for of, at in self._timer_of.items()]
                heapq.heapify(self._timers)
            self._timers_changed.set()

    def _due(self) -> list[str]:
        """The circuits whose time may have come."""
        now = self._now()
        names: list[str] = []
        while self._timers and self._timers[0][0] <= now:
            deadline, name = heapq.heappop(self._timers)
            if self._timer_of.get(name) == deadline:  # not overtaken by an earlier one
                del self._timer_of[name]
                names.append(name)
        return [name for name in names if name in self._circuits.names]

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
        self._guarded(name, lambda circuit: circuit.checked(check, error, self._now()))

    def _put_off(self, name: str, check: Check, reason: Exception) -> None:
        """Have a circuit ask again, and tell that it has to wait."""
        self._surface.checks_wait(name, str(reason))
        self._guarded(name, lambda circuit: circuit.put_off(check, self._now()))

    def _is_trusted(self, name: str) -> bool:
        place = self._circuits.place(name)
        return place is not None and place.is_trusted

    def _asks(self, name: str, check: Check) -> bool:
        """Whether a circuit still asks for a check that had to wait."""
        circuit = self._circuits.get(name)
        return circuit is not None and circuit.latest.generation == check.generation

    def _claim(self, name: str) -> Claim:
        """What a circuit has for itself when it asks for a check."""
        place = self._circuits.place(name)
        if place is None:
            return Claim.UNKNOWN
        if place.is_trusted:
            return Claim.TRUSTED_HANGING if place.checks_hang else Claim.TRUSTED
        if place.checks_hang:
            return Claim.HANGING
        wanted = self._now() - place.wanted_at < WANTED_FOR
        return Claim.WANTED if wanted else Claim.UNKNOWN
