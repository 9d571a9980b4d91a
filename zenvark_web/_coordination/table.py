"""What this instance knows of the fleet's circuits: their newest transitions, applied in order."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakValueDictionary

from .._core.admission import Admission
from .._core.policy import PolicyBook
from .._core.states import Transition
from ..events import StateChange
from .clock import SharedClock
from .local import LocalCircuit
from .outbox import Outbox
from .surface import Surface


class Table:
    """Newest transitions by circuit, and the local circuits they apply to.

    It outlives a coordinator's runs: what was known stays known. It holds local circuits weakly;
    they live as long as someone holds their breaker.

    Args:
        instance: This instance's id.
        policies: The policies of circuits.
        outbox: Where results of local circuits wait.
        clock: For the times of results.
        surface: Told each change of a circuit's state.
    """

    def __init__(
        self,
        *,
        instance: str,
        policies: PolicyBook,
        outbox: Outbox,
        clock: SharedClock,
        surface: Surface,
    ) -> None:
        self._instance = instance
        self._policies = policies
        self._outbox = outbox
        self._clock = clock
        self._surface = surface
        self._locals: WeakValueDictionary[str, LocalCircuit] = WeakValueDictionary()
        self._holding: dict[str, None] = {}  # a set in order, so that runs can be repeated
        self.latest: dict[str, Transition] = {}

    def rename(self, instance: str) -> None:
        """Go by another id from now on."""
        self._instance = instance
        for circuit in self._locals.values():
            circuit.admission.instance = instance

    def local(self, name: str) -> LocalCircuit:
        """The local side of a circuit, made on first use."""
        circuit = self._locals.get(name)
        if circuit is None:
            circuit = LocalCircuit(
                name=name,
                policy=self._policies[name],
                admission=Admission(self._instance),
                outbox=self._outbox,
                monotonic=self._clock.monotonic,
                surface=self._surface,
            )
            self._locals[name] = circuit
            latest = self.latest.get(name)
            if latest is not None:
                self._admit(circuit, latest)
        return circuit

    def known(self, name: str) -> Transition:
        """The newest transition of a circuit (generation 0 if there has been none)."""
        return self.latest.get(name) or Transition(circuit=name)

    def apply(self, transition: Transition) -> bool:
        """Take on a transition, unless it is no news; tells whether it was."""
        name = transition.circuit
        known = self.known(name)
        if transition.order <= known.order:
            return False
        self.latest[name] = transition
        circuit = self._locals.get(name)
        if circuit is not None:
            self._admit(circuit, transition)
        if transition.state is not known.state:
            self._surface.state_changed(
                StateChange(
                    name, known.state, transition.state, transition.generation, transition.reason
                )
            )
        return True

    def forget(self, name: str, generation: int) -> None:
        """Begin a circuit anew that the fleet has forgotten, unless it has moved on."""
        if self.known(name).generation == generation:
            self.latest.pop(name, None)
            circuit = self._locals.get(name)
            if circuit is not None:
                self._admit(circuit, self.known(name))

    def trials(self) -> Iterator[LocalCircuit]:
        """The local circuits on which this instance holds a grant."""
        for name in tuple(self._holding):
            circuit = self._locals.get(name)
            if circuit is None:
                self._holding.pop(name, None)
            else:
                yield circuit

    def _admit(self, circuit: LocalCircuit, transition: Transition) -> None:
        circuit.admission.apply(transition, self._clock.monotonic(), self._left(transition))
        grant = transition.grant
        if grant is not None and grant.holder == self._instance:
            self._holding[circuit.name] = None
        else:
            self._holding.pop(circuit.name, None)

    def _left(self, transition: Transition) -> float:
        """The seconds left of a circuit's wait. It ends in time whatever the clock does."""
        if not self._clock.known.is_set():
            return transition.delay
        return min(transition.delay, max(0.0, transition.retry_at - self._clock.now()))
