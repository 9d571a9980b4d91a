"""Brings circuits reports and time, and carries their health checks out.

Everything is decided by `Circuit`; what it decides is handed on. A leader has a judge of its own
for the fleet's circuits; an instance that is cut off from the store has one for itself alone.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Set
from dataclasses import replace

from .._core.circuit import Check, Circuit
from .._core.policy import PolicyBook
from .._core.states import Counted, Report, State, Tally, Transition
from ..exceptions import StrategyError
from .health import HealthChecks
from .surface import Surface, ends_this_task

EVICTION_TRIES = 100


class Judge:
    """The circuits of one keeper, the timers they set, and the checks they ask for.

    Args:
        policies: The policies of circuits.
        known: Tells a circuit's newest transition, from which it starts.
        now: The seconds by which it judges.
        chance: Makes random numbers from 0 to 1.
        surface: Where the errors of users' strategies go.
        checks: Runs health checks.
        max_circuits: How many closed circuits to keep count of.
        decided: Told each transition.
        touched: Told the name of each circuit that may have changed.
    """

    def __init__(
        self,
        *,
        policies: PolicyBook,
        known: Callable[[str], Transition],
        now: Callable[[], float],
        chance: Callable[[], float],
        surface: Surface,
        checks: HealthChecks,
        max_circuits: int,
        decided: Callable[[Transition], None],
        touched: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._policies = policies
        self._known = known
        self._now = now
        self._chance = chance
        self._surface = surface
        self._checks = checks
        self._max_circuits = max_circuits
        self._decided = decided
        self._touched = touched
        self._circuits: dict[str, Circuit] = {}
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
        if circuit is not None and transition.order > circuit.latest.order:
            now = self._now()
            self._guarded(name, lambda circuit: circuit.adopt(_not_ahead(transition, now), now))

    def forget(self, name: str) -> None:
        """Begin a circuit anew when it is heard of again."""
        self._circuits.pop(name, None)
        self._touched(name)

    @property
    def names(self) -> Set[str]:
        """The circuits that are kept count of."""
        return self._circuits.keys()

    def save(self, name: str) -> Tally | None:
        """What results have made of a circuit since its newest transition, if there is any."""
        circuit = self._circuits.get(name)
        if circuit is None:
            return None
        try:
            return circuit.save(self._now())
        except BaseException as error:
            self._failed(name, "saved", error)
            return Tally(circuit.latest.generation, counted=Counted("", None))

    def restore(self, name: str, tally: Tally) -> bool:
        """Have a circuit go on from what another judge saved.

        Returns:
            Whether it does. If not, it has to hear its reports again.
        """
        try:
            circuit = self._circuit(name)
            if circuit.latest.generation != tally.generation:
                self._touched(name)
            return circuit.restore(tally, self._now())
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
        stands_still: bool = False,
    ) -> None:
        """Have a circuit judge a report.

        Args:
            instance: Whose it is.
            report: What it says.
            at: When it arrived.
            replayed: Whether it was there before this judge.
            stands_still: Whether that time does not go on, though time does.
        """
        now = self._now()
        self._guarded(report.circuit, lambda circuit: circuit.repair(report.generation, now))
        self._guarded(
            report.circuit,
            lambda circuit: circuit.report(
                instance, report, at=at, now=now, replayed=replayed, stands_still=stands_still
            ),
        )

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
                    if check is not None:
                        tasks.create_task(self._check(name, check))
                wait = self._timers[0][0] - self._now() if self._timers else None
                try:
                    async with asyncio.timeout(wait):
                        await self._timers_changed.wait()
                except TimeoutError:
                    pass

    def _circuit(self, name: str) -> Circuit:
        circuit = self._circuits.get(name)
        if circuit is None:
            if len(self._circuits) >= self._max_circuits:
                self._evict()
            circuit = self._circuits[name] = self._make(self._known(name))
            self._set_timer(name)
        return circuit

    def _make(self, latest: Transition) -> Circuit:
        now = self._now()
        policy = self._policies[latest.circuit]
        return Circuit(policy, _not_ahead(latest, now), now, self._chance)

    def _evict(self) -> None:
        """Forget a closed circuit, the one not heard of for longest if there is no better."""
        for name, _ in zip(list(self._circuits), range(EVICTION_TRIES), strict=False):
            circuit = self._circuits.pop(name)
            if circuit.latest.state is State.CLOSED:
                self._touched(name)
                return
            self._circuits[name] = circuit

    def _guarded(
        self, name: str, decide: Callable[[Circuit], Transition | Check | None]
    ) -> Check | None:
        """Have a circuit decide, and hand on what it does. What a user's strategy or backoff
        raises stays with its own circuit.

        Returns:
            The health check that the circuit asks for, if it does.
        """
        self._touched(name)
        try:
            decision = decide(self._circuit(name))
            self._set_timer(name)
        except BaseException as error:
            self._failed(name, "judged", error)
            return None
        if isinstance(decision, Transition):
            self._decided(decision)
            return None
        return decision

    def _failed(self, name: str, what: str, error: BaseException) -> None:
        """Surface what a user's strategy has raised."""
        if ends_this_task(error):
            raise error
        what = f"circuit {name!r} could not be {what}"
        self._surface.error(StrategyError.because(error, what, circuit=name))

    def _set_timer(self, name: str) -> None:
        deadline = self._circuits[name].deadline
        if deadline is not None and deadline < self._timer_of.get(name, float("inf")):
            self._timer_of[name] = deadline
            heapq.heappush(self._timers, (deadline, name))
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
        return [name for name in names if name in self._circuits]

    async def _check(self, name: str, check: Check) -> None:
        error = await self._checks.run(name, self._policies[name], check)
        self._guarded(name, lambda circuit: circuit.checked(check, error, self._now()))


def _not_ahead(transition: Transition, now: float) -> Transition:
    """A transition as if decided now, if the store's clock was set back since it was."""
    return replace(transition, at=now) if transition.at > now else transition
