"""A trial permit that nobody settled comes back when it is collected. The garbage collector may
do that wherever something is allocated, also while the same thread held the circuit's lock: the
thread waited for itself, and with it the event loop."""

import gc
import threading
from collections.abc import Callable

import pytest

from tests.helpers.instances import make_instance
from zenvark_web import BreakerPolicy, Outcome, State
from zenvark_web._circuits.local import LocalCircuit
from zenvark_web._circuits.outbox import Outbox
from zenvark_web._core.admission import Admission
from zenvark_web._core.states import Grant, Transition, TrialNote
from zenvark_web.breaker import Breaker

NOW = 1000.0
"""Time stands still."""


class CollectingAdmission(Admission):
    """One in which the collector strikes at the worst moment."""

    def take(self, now: float) -> bool:
        gc.collect()
        return super().take(now)

    def note(self) -> TrialNote | None:
        gc.collect()
        return super().note()


def half_open_circuit(permits: int) -> LocalCircuit:
    admission = CollectingAdmission("web-1")
    grant = Grant(holder="web-1", permits=permits)
    trial = Transition(circuit="c", generation=2, state=State.HALF_OPEN, grant=grant)
    admission.apply(trial, NOW, 0)
    admission.told(2, NOW - 1, NOW - 1)
    admission.heard(NOW)
    outbox = Outbox(make_instance(monotonic=lambda: NOW))
    return LocalCircuit("c", BreakerPolicy(), admission, outbox)


def lose_a_permit(circuit: LocalCircuit) -> None:
    """Take one and drop it in a cycle, as a traceback does."""
    cycle: list[object] = [Breaker(circuit).acquire()]
    cycle.append(cycle)


def take_another(circuit: LocalCircuit) -> None:
    Breaker(circuit).acquire().record(Outcome.IGNORED)


def tell(circuit: LocalCircuit) -> None:
    circuit.note()


@pytest.mark.parametrize("do", [take_another, tell])
def test_collector_may_strike_under_the_lock(do: Callable[[LocalCircuit], None]) -> None:
    circuit = half_open_circuit(permits=2)
    gc.disable()
    try:
        lose_a_permit(circuit)
        thread = threading.Thread(target=do, args=[circuit], daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "it waits for itself"
    finally:
        gc.enable()
    assert circuit.note() == TrialNote(2, unused=2, held=0)
