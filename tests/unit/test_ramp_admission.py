"""A ramp on one instance: its share by the time that has passed, whatever happens meanwhile."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenvark_web import State
from zenvark_web._core.admission import CUT_OFF, Admission
from zenvark_web._core.ramp import Ramp, first_credit
from zenvark_web._core.states import Transition, TrialNote

RAMP = Ramp((0.1, 0.25, 0.5), 5.0)
ME = "web-1"
NOW = 100.0


def ramp(generation: int = 3, epoch: int = 1) -> Transition:
    return Transition(
        circuit="c", generation=generation, state=State.HALF_OPEN, ramp=RAMP, epoch=epoch
    )


def climbing(elapsed: float = 0.0, *, generation: int = 3) -> Admission:
    made = Admission(ME)
    made.apply(ramp(generation), NOW, 0.0, elapsed)
    return made


class TestShare:
    def test_of_other_states(self) -> None:
        made = Admission(ME)
        assert made.share(NOW) == 1.0
        made.apply(Transition(circuit="c", generation=1, state=State.OPEN), NOW, 5.0)
        assert made.share(NOW) == 0.0
        made.apply(Transition(circuit="c", generation=2, state=State.HALF_OPEN), NOW, 0.0)
        assert made.share(NOW) == 0.0

    def test_needs_more_than_the_shortest_look(self) -> None:
        """A call in good times looks at one attribute, which a ramp clears."""
        assert Admission(ME).plain == 0
        assert climbing().plain is None

    @pytest.mark.parametrize(
        ("elapsed", "share"), [(-7.0, 0.1), (0.0, 0.1), (4.0, 0.1), (6.0, 0.25), (99.0, 0.5)]
    )
    def test_begins_where_the_fleet_is(self, elapsed: float, share: float) -> None:
        """A transition of the future, by a clock that was set back, has just begun."""
        assert climbing(elapsed).share(NOW) == share

    def test_time_is_taken_once(self) -> None:
        """The same ramp that is applied again changes nothing, whatever the shared clock says."""
        made = climbing()
        made.climb(NOW)
        for elapsed in (-50.0, 0.0, 50.0):
            made.apply(ramp(epoch=2), NOW + 1, 0.0, elapsed)
            assert made.share(NOW + 1) == 0.1
            assert made.elapsed(NOW + 1) == 1

    def test_a_ramp_of_another_generation_begins_anew(self) -> None:
        made = climbing(12.0)
        made.apply(ramp(generation=5), NOW + 1, 0.0, 0.0)
        assert made.share(NOW + 1) == 0.1

    def test_grows_alone_without_a_store(self) -> None:
        """In generations below zero, which an instance decides for itself."""
        assert climbing(generation=-3).share(NOW + 12) == 0.5

    @given(
        st.floats(-20, 20),
        st.lists(st.tuples(st.floats(0, 10), st.booleans(), st.none() | st.floats(-50, 50))),
    )
    def test_is_never_above_the_schedule_and_frozen_when_cut_off(
        self, elapsed: float, steps: list[tuple[float, bool, float | None]]
    ) -> None:
        """R2."""
        made, now, heard = climbing(elapsed), NOW, NOW
        began = NOW - max(0.0, elapsed)
        for seconds, answered, again in steps:
            now += seconds
            if answered:
                made.heard(now)
                heard = now
            if again is not None:
                made.apply(ramp(), now, 0.0, again)
            assert made.share(now) <= RAMP.share_at(now - began)
            assert made.share(now) == RAMP.share_at(min(now, heard + CUT_OFF) - began)
            assert made.share(now + 1000) == RAMP.share_at(heard + CUT_OFF - began)


class TestCalls:
    @given(st.lists(st.floats(0, 1), max_size=300))
    def test_pass_by_their_share(self, pauses: list[float]) -> None:
        """R1, while the share changes with time."""
        made, now, due, passed = climbing(), NOW, first_credit(ME, 3), 0
        for pause in pauses:
            now += pause
            made.heard(now)
            due += Fraction(made.share(now))
            passed += made.climb(now)
            assert passed == math.floor(due)

    def test_are_in_flight_until_they_are_released(self) -> None:
        made = climbing()
        while not made.climb(NOW):
            pass
        assert made.note() == TrialNote(3, 0, 1)
        made.release(2, unused=False)
        assert made.note() == TrialNote(3, 0, 1), "that call is of another generation"
        made.release(3, unused=False)
        made.release(3, unused=False)
        assert made.note() == TrialNote(3, 0, 0)

    def test_rejected_ones_are_told_the_next_step(self) -> None:
        made = climbing()
        made.heard(NOW + 4)
        assert [made.retry_after(NOW + after) for after in (0, 2, 4.5)] == [5, 3, 1]
        made.heard(NOW + 14)
        assert made.retry_after(NOW + 20) == 1

    def test_no_urgent_results(self) -> None:
        """A leader counts them as those of a closed circuit."""
        assert not climbing().urgent
        assert not Admission(ME).urgent

    def test_all_pass_after_the_ramp_if_no_coordinator_runs(self) -> None:
        made = climbing()
        assert not made.due(NOW + 14.9)
        assert made.due(NOW + 15)
