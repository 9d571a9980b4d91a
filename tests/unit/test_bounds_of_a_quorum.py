"""What a leader remembers of instances and circuits is bounded, and may be empty."""

from tests.unit.bench import Bench
from zenvark_web import ConsecutiveFailures, CountWindow, Trip
from zenvark_web._core.common_cause import CommonCause
from zenvark_web._core.lull import MOST_SENDERS, Lull
from zenvark_web._core.quorum import (
    MOST_INSTANCES,
    MOST_SUSPECTS,
    Reporters,
    Suspects,
    least_left_out,
)
from zenvark_web._core.states import CircuitSnapshot, Suspicion, WindowSnapshot

LONG = 10_000.0


def test_suspects() -> None:
    suspects = Suspects()
    for number in range(MOST_SUSPECTS + 1):
        suspects.restore(Suspicion(f"web-{number}", 1, 0, 1, 0.0, 30.0, 30.0))
    assert len(suspects.current(1.0)) == MOST_SUSPECTS
    assert not suspects.holds("web-0", 1.0)


def test_reporters() -> None:
    reporters = Reporters()
    for number in range(MOST_INSTANCES + 1):
        reporters.note(f"web-{number}", False, 0.0)
    assert len(reporters.present(1.0)) == MOST_INSTANCES
    assert reporters.present(LONG) == {}


def test_a_decision_without_evidence_does_not_stand() -> None:
    trip = Trip(5, 5, 5, 0)
    assert least_left_out(ConsecutiveFailures(5), trip, [], 1, []) == ()


def test_circuits_that_are_no_longer_called_have_no_cause_in_common() -> None:
    common = CommonCause(0.5)
    for number in range(10):
        common.note_called(f"circuit-{number}", 0.0)
    assert not common.holds_back("another", LONG)


def test_a_lull_with_too_many_senders_ends() -> None:
    lull = Lull(0, 1.0)
    assert not lull.add("web-0", 1, 1, 0.5, 0.5), "of another generation"
    for number in range(MOST_SENDERS):
        assert lull.add(f"web-{number}", 0, 1, 0.5, 0.5)
    assert not lull.add("another", 0, 1, 0.5, 0.5)


def test_a_window_of_another_strategy_is_no_evidence() -> None:
    it = Bench(strategy=CountWindow(10, 0.5, 5), quorum=2)
    other = WindowSnapshot("another", None, (("web-1", "boom", 9),))
    assert not it.circuit.restore(CircuitSnapshot(0, window=other), it.now)


def test_circuits_that_are_called_once_are_forgotten() -> None:
    """Callers may make up names, and no circuit may ever trip."""
    common = CommonCause(0.5)
    for number in range(10_000):
        common.note_called(f"tenant-{number}", float(number))
    assert len(common._called) < 100
