"""What one instance lets pass, by its own clock and memory."""

from hypothesis import given
from hypothesis import strategies as st

from zenvark_web import State
from zenvark_web._core.admission import (
    LONGEST_OFFER,
    SHORTEST_OFFER,
    TRIAL_RETRY_AFTER,
    Admission,
)
from zenvark_web._core.states import Grant, Transition, TrialNote

ME = "web-1"
OFFER = 3 * SHORTEST_OFFER
"""How long a permit is kept where nothing is known of the gaps between calls."""


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
    made = Admission(ME)
    for transition in transitions:
        made.apply(transition, now, transition.delay)
    return made


class TestStates:
    def test_starts_closed(self) -> None:
        made = Admission(ME)
        assert made.closed
        assert (made.state, made.generation) == (State.CLOSED, 0)
        assert made.retry_after(100) == 0.0
        assert not made.trying
        assert made.note(100) is None
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
        assert made.note(100) is None

    def test_closes_again(self) -> None:
        made = admission(opened(), granted(), closed(3))
        assert made.closed
        assert made.generation == 3
        assert made.retry_after(100) == 0.0
        assert made.note(100) is None


class TestPermits:
    def test_as_many_as_were_granted(self) -> None:
        made = admission(opened(), granted(permits=2))
        assert made.trying
        assert made.note(100) == TrialNote(2, unused=2, held=0)
        assert [made.take(100) for _ in range(4)] == [True, True, False, False]
        assert made.note(100) == TrialNote(2, unused=0, held=2)

    def test_grant_goes_on_after_the_instance_was_alone(self) -> None:
        """It was as good as new: more trial calls were made than had been granted."""
        door = admission(granted(generation=2, permits=2))
        assert door.take(100.0)
        door.apply(opened(generation=-3), 101.0, 5.0)
        door.apply(granted(generation=-4, permits=1), 101.0, 0.0)
        door.settle(2, returned=False)
        assert door.note(101.0) == TrialNote(-4, unused=1, held=0)
        door.apply(granted(generation=2, permits=2), 102.0, 0.0)
        assert door.note(102.0) == TrialNote(2, unused=1, held=0)
        assert door.take(102.0)
        assert not door.take(102.0)

    def test_settled_ones_are_gone(self) -> None:
        made = admission(opened(), granted())
        assert made.take(100)
        made.settle(2, returned=False)
        assert made.note(100) == TrialNote(2, unused=0, held=0)
        assert not made.take(100)

    def test_returned_ones_can_be_taken_again(self) -> None:
        made = admission(opened(), granted())
        assert made.take(100)
        made.settle(2, returned=True)
        assert made.note(100) == TrialNote(2, unused=1, held=0)
        assert made.take(100)

    def test_late_end_of_an_earlier_trial_changes_nothing(self) -> None:
        made = admission(opened(), granted(2), opened(3), granted(4))
        made.settle(2, returned=True)
        assert made.note(100) == TrialNote(4, unused=1, held=0)
        assert made.take(100)
        made.settle(2, returned=True)
        assert made.note(100) == TrialNote(4, unused=0, held=1)
        made = admission(opened(), granted(2), closed(3))
        made.settle(2, returned=True)
        assert made.note(100) is None

    def test_same_grant_written_again_gives_no_more(self) -> None:
        """A new leader that finds the store empty writes the state it knows once more."""
        made = admission(opened(), granted(2))
        assert made.take(100)
        made.apply(granted(2, epoch=2), 101, 0)
        assert made.note(101) == TrialNote(2, unused=0, held=1)
        assert not made.take(101)
        made.settle(2, returned=False)
        assert made.note(101) == TrialNote(2, unused=0, held=0)

    def test_other_grant_of_the_same_generation_counts_from_the_start(self) -> None:
        """Two leaders came to the same number, and the later lease won."""
        made = admission(opened(), granted(2))
        assert made.take(100)
        made.apply(granted(2, permits=3, epoch=2), 101, 0)
        made.settle(2, returned=False)  # of the grant that lost
        assert made.note(101) == TrialNote(2, unused=3, held=0)


class TestOffer:
    """How long an instance keeps a permit that nobody takes."""

    def test_lapses_when_its_time_is_over(self) -> None:
        made = admission(opened(), granted(permits=2))
        assert made.take(100)
        until = 100 + OFFER
        assert made.note(until - 0.01) == TrialNote(2, unused=1, held=1)
        assert not made.take(until)
        assert made.note(until) == TrialNote(2, unused=0, held=1)
        made.settle(2, returned=False)
        assert made.note(until) == TrialNote(2, unused=0, held=0)

    def test_permit_that_comes_back_too_late_lapses(self) -> None:
        made = admission(opened(), granted())
        assert made.take(100)
        made.settle(2, returned=True)
        assert not made.take(100 + OFFER)
        assert made.note(100 + OFFER) == TrialNote(2, unused=0, held=0)

    def test_is_longer_where_calls_are_rare(self) -> None:
        made = admission(opened())
        made.block(110)
        made.block(120)
        made.apply(granted(), 121, 0)
        assert made.take(121 + 29)
        made.settle(2, returned=True)
        assert not made.take(121 + 30)

    def test_is_short_where_calls_are_many(self) -> None:
        made = admission(opened())
        made.block(110)
        made.block(110.001)
        made.apply(granted(), 111, 0)
        assert made.take(111 + 0.9 * SHORTEST_OFFER)
        made.settle(2, returned=True)
        assert not made.take(111 + SHORTEST_OFFER)

    def test_is_bounded_where_calls_are_very_rare(self) -> None:
        made = admission(opened())
        made.block(10_000)
        made.apply(granted(), 10_000, 0)
        assert not made.take(10_000 + LONGEST_OFFER)

    def test_first_blocked_call_is_compared_with_the_opening(self) -> None:
        made = admission(opened(), now=100)
        made.block(104)
        made.apply(granted(), 104, 0)
        assert made.take(104 + 11)
        made.settle(2, returned=True)
        assert not made.take(104 + 12)

    def test_doubles_each_time_it_was_too_short(self) -> None:
        made = admission(opened())
        now, offers = 100.0, []
        for generation in range(2, 12):
            made.apply(granted(generation), now, 0)
            offers.append(self.offer_of(made, now))
            now += 1000
        assert offers == [3, 6, 12, 24, 48, 96, *[LONGEST_OFFER] * 4]

        made.apply(closed(12), now, 0)
        made.apply(opened(13), now, 0)
        made.apply(granted(14), now, 0)
        assert self.offer_of(made, now) == OFFER, "a recovery starts it anew"

    @staticmethod
    def offer_of(made: Admission, now: float) -> float:
        """Wait until the permit lapses."""
        for seconds in range(1000):
            note = made.note(now + seconds)
            if note is not None and not note.unused:
                return float(seconds)
        raise AssertionError("it never lapsed")


@given(st.lists(st.sampled_from(["take", "used", "returned", "note", "wait"])), st.integers(1, 5))
def test_permits_are_conserved(steps: list[str], permits: int) -> None:
    """Taken, used, returned or lapsed: there are never more than were granted."""
    made = admission(opened(), granted(permits=permits))
    now, held, used = 100.0, 0, 0
    for step in steps:
        if step == "take":
            held += made.take(now)
        elif step == "wait":
            now += 0.4
        elif step == "note":
            note = made.note(now)
            assert note is not None
            assert note.held == held
            assert 0 <= note.unused <= permits - used - held
        elif held:
            made.settle(2, returned=step == "returned")
            held -= 1
            used += step == "used"
        assert 0 <= held + used <= permits
