"""The records that instances exchange."""

import pytest

from zenvark_web import Cause, Reason, State
from zenvark_web._core.states import Run, Transition


def test_unheard_circuit_is_closed_in_generation_zero() -> None:
    first = Transition(circuit="c")
    assert (first.state, first.generation, first.epoch) == (State.CLOSED, 0, 0)
    assert first.reason == Reason(cause=Cause.INITIAL)


def test_newer_is_what_has_the_higher_generation_then_the_higher_epoch() -> None:
    a, b, c, d = (
        Transition(circuit="c", generation=generation, epoch=epoch).order
        for generation, epoch in [(1, 9), (2, 3), (2, 4), (10, 1)]
    )
    assert a < b < c < d


def test_next_attempt_is_due_after_the_wait() -> None:
    assert Transition(circuit="c", at=100.0, delay=2.5).retry_at == 102.5


def test_states_read_as_words() -> None:
    assert [str(state) for state in State] == ["closed", "open", "half_open"]


@pytest.mark.parametrize("record", [Transition(circuit="c"), Run(0, True, False, 1)], ids=repr)
def test_records_never_change(record: Transition | Run) -> None:
    with pytest.raises(AttributeError):
        record.generation = 5  # type: ignore[misc]
