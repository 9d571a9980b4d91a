"""A ramp as the leader's circuit decides it: how it begins, what it counts, and how it ends."""

from typing import Any

import pytest

from tests.unit.bench import Bench, check, half_opened, opened, ramped
from zenvark_web import Cause, ConsecutiveFailures, CountWindow, State
from zenvark_web._core.ascent import RAMP_PATIENCE
from zenvark_web._core.circuit import Circuit
from zenvark_web._core.overdue import OVERDUE_SILENCE
from zenvark_web._core.ramp import Ramp
from zenvark_web._core.states import KnownState, Run, Transition

SHARES = (0.1, 0.25, 0.5)
RAMP = Ramp(SHARES, 5.0)


def bench(**settings: Any) -> Bench:
    return Bench(**{"health_check": check, "ramp": SHARES, **settings})


def taken_over(old: Bench, **settings: Any) -> Bench:
    """The circuit of the next leader."""
    saved = old.circuit.save(old.now)
    new = bench(latest=old.latest, now=old.now, **settings)
    if saved is not None:
        assert new.circuit.restore(saved, new.now)
    return new


class TestBeginning:
    def test_after_the_last_health_check(self) -> None:
        it = opened(bench(healthy_after=2))
        assert it.answer(it.wait_for_check()) is None
        moved = it.answer(it.wait_for_check())
        assert moved is not None
        assert (moved.state, moved.reason.cause) == (State.HALF_OPEN, Cause.RAMP)
        assert (moved.ramp, moved.grant, moved.at) == (RAMP, None, it.now)
        assert "2 health checks passed: 10 %, 25 %, 50 % of calls" in str(moved.reason)

    def test_after_the_last_trial_call(self) -> None:
        it = half_opened(Bench(ramp=SHARES, ramp_step=2, healthy_after=2))
        again = it.trial(True)
        assert again is not None
        assert again.reason.cause is Cause.TRIAL
        moved = it.trial(True)
        assert moved is not None
        assert moved.ramp == Ramp(SHARES, 2)

    def test_not_without_a_policy(self) -> None:
        it = opened(Bench(health_check=check))
        it.answer(it.wait_for_check())
        assert (it.state, it.latest.ramp) == (State.CLOSED, None)

    def test_not_while_somebody_could_not_read_it(self) -> None:
        it = opened(bench(may_ramp=False))
        it.answer(it.wait_for_check())
        assert (it.state, it.cause) == (State.CLOSED, Cause.CHECK_PASSED)


class TestEnding:
    def test_by_time_after_a_success(self) -> None:
        it = ramped(bench())
        it.calls(1)
        assert it.wait(14.9) is None
        closing = it.wait(0.2)
        assert isinstance(closing, Transition)
        assert (closing.state, closing.reason.cause) == (State.CLOSED, Cause.RAMP_PASSED)
        assert str(closing.reason) == "1 call passed in a ramp up to 50 % of calls"

    def test_by_time_without_calls(self) -> None:
        it = ramped(bench())
        closing = it.wait(15)
        assert isinstance(closing, Transition)
        assert str(closing.reason) == "no calls during the ramp"

    def test_by_time_with_blocked_calls_only(self) -> None:
        it = ramped(bench())
        it.demand()
        assert isinstance(it.wait(15), Transition)
        assert it.state is State.CLOSED

    def test_no_demand_leads_to_a_grant(self) -> None:
        it = half_opened(Bench(ramp=SHARES))
        it.trial(True)
        assert it.demand("b") is None
        assert it.cause is Cause.RAMP

    def test_not_before_a_call_in_flight_has_ended(self) -> None:
        it = ramped(bench())
        for _ in range(20):  # as long as its instance reports it
            it.in_flight(1)
            it.wait(1)
        assert it.state is State.HALF_OPEN
        it.calls(1)
        assert (it.state, it.cause) == (State.CLOSED, Cause.RAMP_PASSED)

    def test_of_an_instance_that_died_with_its_calls(self) -> None:
        it = ramped(bench())
        it.wait(14)
        it.in_flight(1)
        for _ in range(5):
            it.wait(1)
        assert (it.state, it.cause) == (State.CLOSED, Cause.RAMP_PASSED)

    def test_after_failures_only_with_a_success(self) -> None:
        it = ramped(bench())
        it.fail(2)
        it.wait(30)
        assert it.state is State.HALF_OPEN
        it.calls(1)
        assert (it.state, it.cause) == (State.CLOSED, Cause.RAMP_PASSED)

    def test_opens_without_an_answer(self) -> None:
        it = ramped(bench())
        attempt = it.latest.attempt
        while it.state is State.HALF_OPEN:
            it.in_flight(2)
            it.wait(1)
        assert (it.state, it.cause) == (State.OPEN, Cause.RAMP_FAILED)
        assert it.latest.attempt == attempt + 1
        assert it.latest.reason.failures == {"no answer": 2}
        assert "no answer" in str(it.latest.reason)
        assert it.now - it.latest.at < 1

    def test_failures_do_not_prolong_it(self) -> None:
        it = ramped(bench(strategy=ConsecutiveFailures(1_000)))
        began = it.now
        while it.state is State.HALF_OPEN:
            it.fail(1)
            it.wait(1)
        assert it.cause is Cause.RAMP_FAILED
        assert it.now - began < RAMP_PATIENCE + RAMP.length + 2

    def test_a_new_leader_first_hears_of_the_calls_in_flight(self) -> None:
        it = ramped(bench())
        assert it.latest.ramp is not None
        it.now = it.latest.at + it.latest.ramp.length - 0.5
        it.circuit = Circuit(it.circuit.policy, it.latest, it.now, lambda: 0.5)
        it.wait(1)
        assert it.state is State.HALF_OPEN
        it.wait(OVERDUE_SILENCE)
        assert it.cause is Cause.RAMP_PASSED


class TestCounting:
    def test_trips_at_any_moment(self) -> None:
        it = ramped(bench(strategy=ConsecutiveFailures(3)))
        it.fail(1)
        it.wait(7)
        opening = it.fail(2, by="b", label="HTTP 503")
        assert opening is not None
        assert (opening.state, opening.reason.cause) == (State.OPEN, Cause.RAMP_FAILED)
        assert (opening.attempt, opening.delay) == (2, 2)
        assert str(opening.reason).startswith("at 25 % of calls, 3 of 3 calls failed")
        assert opening.reason.instances == {"a": 1, "b": 2}

    def test_with_one_window_for_all_steps(self) -> None:
        it = ramped(bench(strategy=CountWindow(20, 0.5, 4)))
        it.fail(3)
        it.wait(5)
        assert it.fail(1) is not None

    def test_a_call_that_began_in_an_earlier_step_counts(self) -> None:
        it = ramped(bench(strategy=ConsecutiveFailures(1)))
        generation = it.latest.generation
        it.wait(12)
        assert it.fail(1, generation=generation, age=0) is not None

    def test_nothing_from_before_the_ramp(self) -> None:
        it = ramped(bench(strategy=ConsecutiveFailures(1)))
        assert it.fail(3, generation=it.latest.generation - 1) is None

    def test_slow_calls_in_flight(self) -> None:
        strategy = CountWindow(10, 1.0, 2, slow_rate=0.5)
        it = ramped(bench(strategy=strategy, slow_call=1))
        opening = it.overdue(2)
        assert opening is not None
        assert opening.reason.cause is Cause.RAMP_FAILED

    def test_a_slow_call_is_no_success(self) -> None:
        it = ramped(bench(slow_call=1))
        it.calls(1, slow=True)
        it.wait(20)
        assert it.state is State.HALF_OPEN

    def test_retry_after_counts_for_the_next_wait_and_ends_nothing(self) -> None:
        it = ramped(bench(strategy=ConsecutiveFailures(1)))
        assert it.hold(100) is None
        it.wait(1)
        opening = it.fail(1)
        assert opening is not None
        assert opening.delay == pytest.approx(99)
        other = ramped(bench())
        other.hold(100)
        other.wait(15)
        assert other.state is State.CLOSED


class TestTakeover:
    @pytest.mark.parametrize("after", [0, 2, 5, 7, 10, 14.9])
    def test_schedule_and_window_go_on(self, after: float) -> None:
        old = ramped(bench(strategy=ConsecutiveFailures(3)))
        ends_at = old.now + RAMP.length
        old.fail(2)
        old.wait(after)
        new = taken_over(old, strategy=ConsecutiveFailures(3))
        assert new.circuit.deadline == ends_at
        assert new.fail(1) is not None, "three in a row, of which two were before"

    def test_a_known_success_is_kept(self) -> None:
        old = ramped(bench())
        old.calls(5)
        new = taken_over(old)
        new.fail(1)
        new.wait(15)
        assert new.state is State.CLOSED

    def test_the_schedule_in_force_stays_when_the_policy_changes(self) -> None:
        old = ramped(bench())
        new = taken_over(old, ramp=(0.5,), ramp_step=100)
        assert isinstance(new.wait(15), Transition)
        assert new.state is State.CLOSED

    def test_a_policy_without_health_check_changes_nothing(self) -> None:
        old = ramped(bench())
        new = taken_over(old, health_check=None)
        assert new.demand() is None
        assert isinstance(new.wait(15), Transition)

    def test_repair_goes_on_where_the_instance_is(self) -> None:
        it = bench()
        known = KnownState(State.HALF_OPEN, attempt=3, delay=4.0, ramp=RAMP, elapsed=7.0)
        moved = it.repair(9, known)
        assert moved is not None
        assert (moved.state, moved.ramp, moved.generation) == (State.HALF_OPEN, RAMP, 9)
        assert moved.at == it.now - 7
        it.say(Run(9, False, False, 1))
        it.wait(8)
        assert it.cause is Cause.RAMP_PASSED
