"""What one instance lets pass, by its own clock and memory."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenvark_web import State
from zenvark_web._core.admission import CUT_OFF, TRIAL_RETRY_AFTER, Admission
from zenvark_web._core.overrides import Override, OverrideRecord
from zenvark_web._core.states import Grant, Transition, TrialNote

INSTANT = 1e-3
ME = "web-1"


def closed(generation: int = 2) -> Transition:
    return Transition(circuit="c", generation=generation, previous=State.HALF_OPEN)


def opened(generation: int = 1, delay: float = 5.0) -> Transition:
    return Transition(circuit="c", generation=generation, state=State.OPEN, delay=delay)


def granted(generation: int = 2, permits: int = 1, holder: str = ME, epoch: int = 1) -> Transition:
    return Transition(
        circuit="c",
        generation=generation,
        previous=State.OPEN,
        state=State.HALF_OPEN,
        grant=Grant(holder=holder, permits=permits),
        epoch=epoch,
    )


def admission(*transitions: Transition, now: float = 100.0) -> Admission:
    """One to which the store answers."""
    made = Admission(ME)
    for transition in transitions:
        made.apply(transition, now, transition.delay)
        answer(made, now)
    return made


def answer(made: Admission, now: float) -> None:
    """The store answers to both questions: whether it has taken a note in, and what is new."""
    made.told(made.generation, now, now)
    made.heard(now + INSTANT)


class TestStates:
    def test_starts_closed(self) -> None:
        made = Admission(ME)
        assert made.closed
        assert (made.state, made.generation) == (State.CLOSED, 0)
        assert made.retry_after(100) == 0.0
        assert not made.trying
        assert made.note() is None
        assert not made.take(100), "a permit is for trials; a closed circuit needs none"

    def test_open_lets_nothing_pass_and_tells_how_long(self) -> None:
        """Never 0 seconds, though the wait is over: it is about to be tried."""
        made = admission(opened(delay=5))
        assert not made.closed
        assert (made.state, made.generation) == (State.OPEN, 1)
        assert not made.take(100)
        assert not made.trying
        assert [made.retry_after(now) for now in (100, 103, 105, 999)] == [5, 2, 1, 1]
        assert made.retry_at == 105

    def test_half_open_elsewhere_lets_nothing_pass(self) -> None:
        made = admission(opened(), granted(holder="web-2"))
        assert not made.closed
        assert not made.take(100)
        assert not made.trying
        assert made.retry_after(100) == TRIAL_RETRY_AFTER
        assert made.note() is None

    def test_closes_again(self) -> None:
        made = admission(opened(), granted(), closed(3))
        assert made.closed
        assert made.generation == 3
        assert made.retry_after(100) == 0.0
        assert made.note() is None


class TestPermits:
    def test_as_many_as_were_granted(self) -> None:
        made = admission(opened(), granted(permits=2))
        assert made.trying
        assert made.note() == TrialNote(2, unused=2, held=0)
        assert [made.take(100) for _ in range(4)] == [True, True, False, False]
        assert made.note() == TrialNote(2, unused=0, held=2)

    def test_grant_goes_on_after_the_instance_was_alone(self) -> None:
        """It was as good as new: more trial calls were made than had been granted."""
        door = admission(granted(generation=2, permits=2))
        assert door.take(100.0)
        door.apply(opened(generation=-3), 101.0, 5.0)
        door.apply(granted(generation=-4, permits=1), 101.0, 0.0)
        door.release(2, unused=False)
        assert door.note() == TrialNote(-4, unused=1, held=0)
        door.apply(granted(generation=2, permits=2), 102.0, 0.0)
        assert door.note() == TrialNote(2, unused=1, held=0)
        assert door.take(102.0)
        assert not door.take(102.0)

    def test_settled_ones_are_gone(self) -> None:
        made = admission(opened(), granted())
        assert made.take(100)
        made.release(2, unused=False)
        assert made.note() == TrialNote(2, unused=0, held=0)
        assert not made.take(100)

    def test_returned_ones_can_be_taken_again(self) -> None:
        made = admission(opened(), granted())
        assert made.take(100)
        made.release(2, unused=True)
        assert made.note() == TrialNote(2, unused=1, held=0)
        assert made.take(100)

    def test_late_end_of_an_earlier_trial_changes_nothing(self) -> None:
        made = admission(opened(), granted(2), opened(3), granted(4))
        made.release(2, unused=True)
        assert made.note() == TrialNote(4, unused=1, held=0)
        assert made.take(100)
        made.release(2, unused=True)
        assert made.note() == TrialNote(4, unused=0, held=1)
        made = admission(opened(), granted(2), closed(3))
        made.release(2, unused=True)
        assert made.note() is None

    def test_same_grant_written_again_gives_no_more(self) -> None:
        """A new leader that finds the store empty writes the state it knows once more."""
        made = admission(opened(), granted(2))
        assert made.take(100)
        made.apply(granted(2, epoch=2), 101, 0)
        assert made.note() == TrialNote(2, unused=0, held=1)
        assert not made.take(101)
        made.release(2, unused=False)
        assert made.note() == TrialNote(2, unused=0, held=0)

    def test_other_grant_of_the_same_generation_counts_from_the_start(self) -> None:
        """Two leaders came to the same number, and the later lease won."""
        made = admission(opened(), granted(2))
        assert made.take(100)
        made.apply(granted(2, permits=3, epoch=2), 101, 0)
        made.release(2, unused=False)  # of the grant that lost
        assert made.note() == TrialNote(2, unused=3, held=0)


class TestUse:
    """When an instance may use what it was granted."""

    def test_not_before_the_leader_knows_that_it_has_it(self) -> None:
        made = Admission(ME)
        made.apply(granted(), 100, 0)
        made.heard(100)
        assert not made.take(100)
        made.told(1, 100, 100)
        made.heard(101)
        assert not made.take(101), "that was of another grant"
        made.told(2, 101, 101)
        made.heard(102)
        assert made.take(102)

    def test_not_before_it_has_read_what_was_decided_before_the_leader_knew(self) -> None:
        """It may have been replaced between its last read and its note: by a leader that had not
        heard of it for too long."""
        made = Admission(ME)
        made.apply(granted(permits=3), 100, 0)
        made.heard(102)
        made.told(2, 101.5, 103)
        assert made.unconfirmed
        assert not made.take(103)
        made.heard(102.9)  # asked for before the reply
        assert not made.take(103)
        made.heard(103.1)
        assert not made.unconfirmed
        assert made.take(103.1)
        made.told(2, 104, 105)
        assert made.take(105), "it has been heard of all the time"
        silent = 105 + 2 * CUT_OFF
        made.heard(silent)
        made.told(2, silent, silent)
        assert not made.take(silent), "it has not"
        made.heard(silent + INSTANT)
        assert made.take(silent)

    def test_not_before_all_news_are_known(self) -> None:
        """A process that slept finds the grant, and further on that it has lost it."""
        made = Admission(ME)
        made.apply(granted(), 100, 0)
        made.told(2, 100, 100)
        assert not made.take(100)
        made.heard(101)
        assert made.take(101)

    @pytest.mark.parametrize("question", ["heard", "told"])
    def test_not_when_the_store_has_not_answered_for_a_while(self, question: str) -> None:
        made = admission(opened(), granted(permits=2))
        assert made.take(100 + CUT_OFF - 0.01)
        later = 100 + 5 * CUT_OFF
        made.heard(later if question == "heard" else 0)
        made.told(2, later if question == "told" else 0, later)
        assert not made.take(100 + CUT_OFF)
        answer(made, later)
        assert made.take(later), "it is kept until it is used"

    def test_however_long_nobody_takes_it(self) -> None:
        made = admission(opened(), granted(permits=2))
        answer(made, 100_000)
        assert made.note() == TrialNote(2, unused=2, held=0)
        assert made.take(100_000)

    def test_alone_without_asking_anyone(self) -> None:
        made = Admission(ME)
        made.apply(granted(-4), 100, 0)
        assert made.take(100_000)

    def test_not_when_it_was_recalled(self) -> None:
        made = admission(opened(), granted(permits=3))
        assert made.take(100)
        assert not made.recall(1)
        assert made.note() == TrialNote(2, unused=2, held=1)
        assert made.recall(2)
        assert made.note() == TrialNote(2, unused=0, held=1)
        assert not made.take(100)
        made.release(2, unused=False)
        assert made.note() == TrialNote(2, unused=0, held=0)

    def test_a_recall_reaches_what_is_held_while_the_instance_is_alone(self) -> None:
        made = admission(granted())
        made.apply(opened(-3), 101, 5)
        assert made.recall(2)
        made.apply(granted(), 102, 0)
        answer(made, 102)
        assert not made.take(102)

    def test_nothing_is_granted_that_could_be_asked_for(self) -> None:
        made = admission(opened())
        made.heard(100)
        made.told(1, 100, 100)
        assert not made.recall(1)
        assert made.note() is None


@given(st.lists(st.sampled_from(["take", "used", "returned", "note", "wait"])), st.integers(1, 5))
def test_permits_are_conserved(steps: list[str], permits: int) -> None:
    """Taken, used, returned or kept too long: there are never more than were granted."""
    made = admission(opened(), granted(permits=permits))
    now, held, used = 100.0, 0, 0
    for step in steps:
        if step == "take":
            held += made.take(now)
        elif step == "wait":
            now += 0.4
        elif step == "note":
            note = made.note()
            assert note is not None
            assert note.held == held
            assert 0 <= note.unused <= permits - used - held
        elif held:
            made.release(2, unused=step == "returned")
            held -= 1
            used += step == "used"
        assert 0 <= held + used <= permits


FORCED_OPEN = OverrideRecord(
    circuit="c",
    mode=Override.FORCE_OPEN,
    reason="why",
    actor="ops",
    at=0.0,
    until=None,
    number=1,
)


@pytest.mark.untraced
class TestOtherThreads:
    """Another thread may look between any two steps: its next call meets what it has read."""

    @pytest.mark.parametrize(
        ("before", "change", "after"),
        [
            ([], lambda made: made.apply(opened(), 100.0, 5.0), State.OPEN),
            ([opened()], lambda made: made.apply(closed(), 100.0, 0.0), State.CLOSED),
            ([], lambda made: made.put_under(FORCED_OPEN, 200.0), State.OPEN),
        ],
        ids=["opened", "closed", "forced open"],
    )
    def test_calls_meet_the_state_that_is_shown(
        self, before: list[Transition], change: Callable[[Admission], None], after: State
    ) -> None:
        made = admission(*before)
        seen: list[tuple[State, bool]] = []

        def look(frame: FrameType, event: str, argument: object) -> Any:
            if frame.f_code in CHANGES:
                seen.append((made.met(100.0), passes(made)))
                return look
            return None

        sys.settrace(look)
        try:
            change(made)
        finally:
            sys.settrace(None)
        assert len(seen) > 5
        assert made.met(100.0) is after
        assert [passed for state, passed in seen if state is after] == [
            after is State.CLOSED for state, _ in seen if state is after
        ]


CHANGES = {
    method.__code__ for method in (Admission.apply, Admission.put_under, Admission._set_shortcuts)
}


def passes(made: Admission) -> bool:
    """Whether a call passes now, asked in the order in which a breaker asks."""
    if made.plain is not None:
        return True
    return made.mode(100.0) is not Override.FORCE_OPEN and made.closed
