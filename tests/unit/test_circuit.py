"""The circuit's machine: every move it may make, and nothing else."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from tests.unit.bench import Bench, check, half_opened, opened, ramped
from zenvark_web import (
    Cause,
    ConsecutiveFailures,
    ConstantBackoff,
    CountWindow,
    ExponentialBackoff,
    HealthCheckType,
    Reason,
    State,
    TimeWindow,
    Trip,
)
from zenvark_web._core.circuit import CHECK_AGAIN, LONGEST_LEAP
from zenvark_web._core.failure_sample import MAX_SAMPLE
from zenvark_web._core.states import TRANSITIONS, Grant, KnownState, Run, Transition
from zenvark_web._core.surroundings import Check


def half_open_with_a_check() -> Bench:
    """A new policy brings a health check while a trial is under way."""
    trying = half_opened(Bench())
    return Bench(trying.latest, now=trying.now, health_check=check)


def repaired(bench: Bench) -> Bench:
    bench.repair(bench.latest.generation + 5)
    return bench


def checked(bench: Bench, error: str | None = None) -> Bench:
    bench.answer(bench.wait_for_check(), error)
    return bench


def asked_to_wait(bench: Bench, seconds: float = 60) -> Bench:
    bench.hold(seconds)
    return bench


def tried(bench: Bench, *passed: bool, **details: Any) -> Bench:
    bench.trial(*passed, **details)
    return bench


def failing_in_a_ramp(bench: Bench) -> Bench:
    while bench.state is State.HALF_OPEN:
        bench.fail()
    return bench


def at_the_end_of_a_ramp(bench: Bench) -> Bench:
    bench.wait(10)
    return bench


def forced(bench: Bench) -> Bench:
    bench.force()
    return bench


def probed(bench: Bench) -> Bench:
    bench.hurry()
    return bench


def in_a_ramp() -> Bench:
    return ramped(Bench(health_check=check, ramp=(0.1, 0.5)))


MOVES: dict[tuple[State, Cause], Callable[[], Bench]] = {
    (State.CLOSED, Cause.TRIPPED): lambda: opened(Bench()),
    (State.CLOSED, Cause.IDLE_CHECK_FAILED): lambda: checked(
        Bench(health_check=check, idle_interval=5), "down"
    ),
    (State.CLOSED, Cause.THROTTLED): lambda: asked_to_wait(Bench(throttle="open")),
    (State.CLOSED, Cause.FORCED): lambda: forced(Bench()),
    (State.CLOSED, Cause.REPAIRED): lambda: repaired(Bench()),
    (State.OPEN, Cause.CHECK_FAILED): lambda: checked(opened(Bench(health_check=check)), "down"),
    (State.OPEN, Cause.CHECK_PASSED): lambda: checked(opened(Bench(health_check=check))),
    (State.OPEN, Cause.RETRY_AFTER): lambda: asked_to_wait(opened(Bench())),
    (State.OPEN, Cause.THROTTLED): lambda: asked_to_wait(
        asked_to_wait(Bench(throttle="open")), 120
    ),
    (State.OPEN, Cause.PROBE): lambda: probed(opened(Bench())),
    (State.OPEN, Cause.TRIAL): lambda: half_opened(Bench()),
    (State.OPEN, Cause.RAMP): in_a_ramp,
    (State.OPEN, Cause.REPAIRED): lambda: repaired(opened(Bench())),
    (State.HALF_OPEN, Cause.THROTTLED): lambda: asked_to_wait(half_opened(Bench(throttle="open"))),
    (State.HALF_OPEN, Cause.FORCED): lambda: forced(half_opened(Bench())),
    (State.HALF_OPEN, Cause.TRIAL): lambda: tried(half_opened(Bench(healthy_after=2)), True),
    (State.HALF_OPEN, Cause.TRIAL_FAILED): lambda: tried(half_opened(Bench()), False),
    (State.HALF_OPEN, Cause.TRIAL_PASSED): lambda: tried(half_opened(Bench()), True),
    (State.HALF_OPEN, Cause.CHECK_FAILED): lambda: checked(half_open_with_a_check(), "down"),
    (State.HALF_OPEN, Cause.CHECK_PASSED): lambda: checked(half_open_with_a_check()),
    (State.HALF_OPEN, Cause.RAMP): lambda: tried(half_opened(Bench(ramp=(0.5,))), True),
    (State.HALF_OPEN, Cause.RAMP_FAILED): lambda: failing_in_a_ramp(in_a_ramp()),
    (State.HALF_OPEN, Cause.RAMP_PASSED): lambda: at_the_end_of_a_ramp(in_a_ramp()),
    (State.HALF_OPEN, Cause.REPAIRED): lambda: repaired(half_opened(Bench())),
}


ILLEGAL = [move for move in product(State, Cause) if move not in TRANSITIONS]


class TestTable:
    @pytest.mark.parametrize("move", TRANSITIONS, ids="-".join)
    def test_every_row_can_be_reached(self, move: tuple[State, Cause]) -> None:
        previous, cause = move
        latest = MOVES[move]().latest
        assert (latest.previous, latest.reason.cause) == (previous, cause)
        assert latest.state is TRANSITIONS[move]

    @pytest.mark.parametrize("move", ILLEGAL, ids="-".join)
    def test_everything_else_is_refused_and_changes_nothing(
        self, move: tuple[State, Cause]
    ) -> None:
        state, cause = move
        bench = Bench(Transition(circuit="c", generation=3, state=state))
        before, deadline = bench.latest, bench.circuit.deadline
        with pytest.raises(KeyError):
            bench.circuit._move(Reason(cause=cause), bench.now)
        assert bench.latest is before
        assert bench.circuit.deadline == deadline

    def test_only_a_proof_of_health_closes(self) -> None:
        closing = {
            cause
            for (previous, cause), state in TRANSITIONS.items()
            if state is State.CLOSED and previous is not State.CLOSED
        }
        assert closing == {Cause.CHECK_PASSED, Cause.TRIAL_PASSED, Cause.RAMP_PASSED}

    def test_initial_is_no_move(self) -> None:
        assert Cause.INITIAL not in {cause for _, cause in TRANSITIONS}


class TestClosed:
    def test_opens_when_its_strategy_says_so(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(3))
        assert bench.fail(2, by="a") is None
        bench.now += 5
        opening = bench.fail(1, by="b", age=2)
        assert opening is not None
        assert opening.state is State.OPEN
        assert (opening.generation, opening.attempt, opening.delay) == (1, 1, 1)
        assert opening.at == bench.now
        assert opening.since == bench.now - 2, "that is when it was known"
        assert opening.retry_at == bench.now + 1

    def test_takes_the_first_of_several_verdicts(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(2))
        bad = Run(0, True, False, 2)
        assert bench.say(bad, bad, bad) is not None
        assert bench.latest.generation == 1

    def test_counts_all_instances_together(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(20))
        for number in range(19):
            assert bench.fail(by=f"web-{number}") is None
        assert bench.fail(by="web-19") is not None

    def test_judges_by_when_calls_ended(self) -> None:
        """Reports that arrive together do not make a burst of old failures."""
        bench = Bench(strategy=TimeWindow(30, 0.5, 4))
        old = Run(0, True, False, 2, age=40.0)
        new = Run(0, True, False, 2, age=0.0)
        assert bench.say(old, new) is None
        assert bench.say(new) is not None

    def test_ignores_results_of_other_generations(self) -> None:
        closed = Transition(circuit="c", generation=7, at=1.0)
        bench = Bench(closed, strategy=ConsecutiveFailures(1))
        assert bench.fail(generation=6) is None
        assert bench.fail(generation=8) is None
        assert bench.fail(generation=7) is not None

    def test_starts_from_nothing_after_each_transition(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(3), health_check=check)
        bench.fail(2)
        bench.repair(9)
        assert bench.fail(2) is None
        assert bench.fail(1) is not None

    def test_successes_count(self) -> None:
        bench = Bench(strategy=CountWindow(10, 0.5))
        assert bench.calls(6) is None
        assert bench.fail(4) is None
        assert bench.fail(1) is not None

    def test_blocked_calls_and_notes_of_the_past_do_nothing(self) -> None:
        bench = Bench()
        assert bench.demand() is None
        assert bench.trial() is None
        assert bench.circuit.deadline is None
        assert bench.wait(1e6) is None


class TestExplanation:
    def test_names_strategy_instances_and_failures(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(6))
        bench.fail(2, by="web-1", label="503")
        bench.fail(3, by="web-2", label="ReadTimeout")
        bench.fail(1, by="web-1", label="503")
        reason = bench.latest.reason
        assert str(reason) == "6 of 6 calls failed: ConsecutiveFailures(threshold=6)"
        assert reason.instances == {"web-1": 3, "web-2": 3}
        assert reason.failures == {"503": 3, "ReadTimeout": 3}
        assert reason.slow_share == 0.0

    def test_counts_of_the_last_run_what_was_counted(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(5))
        bench.fail(2, by="web-1", label="503")
        bench.fail(100, by="web-2", label="500")
        assert bench.latest.reason.instances == {"web-1": 2, "web-2": 3}
        assert bench.latest.reason.failures == {"503": 2, "500": 3}

    def test_leaves_out_what_no_longer_counts(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(3))
        bench.fail(2, by="old")
        bench.calls(1)
        bench.fail(3, by="new")
        assert bench.latest.reason.instances == {"new": 3}
        assert bench.latest.reason.failures == {"failure": 3}, "a failure without a label"

    def test_tells_slow_calls(self) -> None:
        bench = Bench(strategy=CountWindow(4, 1.0, slow_rate=0.5), slow_call=1)
        bench.calls(2)
        bench.calls(1, slow=True)
        bench.fail(1, slow=True, by="web-1")
        reason = bench.latest.reason
        assert reason.slow_share == 0.5
        assert reason.detail.startswith("1 of 4 calls failed, 2 slow: CountWindow(")
        assert reason.instances == {"web-1": 1}

    def test_stays_short(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(MAX_SAMPLE * 2))
        for number in range(MAX_SAMPLE * 2):
            assert len(bench.circuit._counting._sample) <= MAX_SAMPLE
            bench.fail(by=f"web-{number}", label=f"E{number}")
        reason = bench.latest.reason
        assert bench.state is State.OPEN
        assert len(reason.instances) == 10
        assert len(reason.failures) == 5

    def test_cuts_the_words_of_a_long_winded_strategy(self) -> None:
        class Wordy:
            def window(self) -> Any:
                return self

            def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip:
                return Trip(1, 1, 1, 0)

            def __repr__(self) -> str:
                return "blah " * 1000

        bench = Bench(strategy=Wordy())
        bench.fail()
        assert len(bench.latest.reason.detail) == 500

    def test_says_its_cause_if_there_is_nothing_to_add(self) -> None:
        assert str(Reason(cause=Cause.INITIAL)) == "initial"


class TestWaits:
    def test_grow_with_each_failed_attempt(self) -> None:
        bench = opened(Bench(health_check=check))
        waits = []
        for attempt in range(1, 9):
            assert bench.latest.attempt == attempt
            waits.append(bench.latest.delay)
            checked(bench, "down")
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60]

    def test_attempts_come_when_the_wait_is_over(self) -> None:
        bench = opened(Bench(health_check=check, backoff=ConstantBackoff(5)))
        assert bench.circuit.deadline == bench.now + 5 == bench.latest.retry_at
        assert bench.wait(4.99) is None
        assert isinstance(bench.wait(0.02), Check)
        assert bench.circuit.deadline is None
        assert bench.wait(1e6) is None, "it is asked for once"

    def test_jitter_comes_from_chance(self) -> None:
        backoff = ExponentialBackoff(initial=10, jitter=0.5)
        assert opened(Bench(chance=0.0, backoff=backoff)).latest.delay == 5
        assert opened(Bench(chance=1.0, backoff=backoff)).latest.delay == 15

    def test_go_on_growing_if_a_recovery_does_not_hold(self) -> None:
        bench = Bench(health_check=check, strategy=ConsecutiveFailures(1))
        waits = []
        for _ in range(5):
            opened(bench)
            waits.append(bench.latest.delay)
            checked(bench)
            assert bench.state is State.CLOSED
            bench.now += bench.latest.delay  # too little to be forgiven anything
        assert waits == [1, 2, 4, 8, 16]

    def test_shorten_by_one_step_for_each_forgiven_time(self) -> None:
        bench = opened(Bench(health_check=check))
        for _ in range(4):
            checked(bench, "down")
        checked(bench)
        assert bench.latest.attempt == 5
        healthy = {0: 6, 59.9: 6, 60: 5, 120: 4, 299.9: 2, 300: 1, 1e6: 1}
        found = {}
        for seconds in healthy:
            found[seconds] = opened(Bench(bench.latest, now=bench.now + seconds)).latest.attempt
        assert found == healthy

    @pytest.mark.parametrize(
        ("healthy", "waits"),
        [
            (5, [1, 2, 4, 8, 16, 32, 60, 60]),
            (10.1, [1, 2, 4, 8, 16, 32, 60, 60]),
            (30, [1, 2, 4, 8, 16, 32, 60, 60]),
            (61, [1] * 8),
        ],
    )
    def test_have_no_cliff(self, healthy: float, waits: list[float]) -> None:
        """An upstream that dies just after each recovery is left alone for longer and longer, also
        if it lasts a little longer than some limit."""
        bench = Bench(health_check=check, strategy=ConsecutiveFailures(1))
        seen = []
        for _ in waits:
            seen.append(opened(bench).latest.delay)
            checked(bench)
            assert bench.state is State.CLOSED
            bench.now += healthy
        assert seen == waits

    def test_are_never_forgiven_with_an_infinite_time(self) -> None:
        bench = Bench(health_check=check, forgive=math.inf)
        checked(opened(bench))
        bench.now += 1e9
        assert opened(bench).latest.attempt == 2

    def test_grow_however_long_a_check_took(self) -> None:
        bench = opened(Bench(health_check=check))
        asked = bench.wait_for_check()
        bench.now += 1000
        bench.answer(asked, "down")
        assert bench.latest.attempt == 2

    def test_nothing_but_a_check_ends_a_wait_with_a_health_check(self) -> None:
        bench = opened(Bench(health_check=check))
        bench.wait_for_check()
        assert bench.demand() is None
        assert bench.state is State.OPEN


class TestHealthChecks:
    def test_one_that_passes_closes(self) -> None:
        bench = opened(Bench(health_check=check))
        asked = bench.wait_for_check()
        assert asked == Check(HealthCheckType.RECOVERY, 1)
        closing = bench.answer(asked)
        assert closing is not None
        assert closing.state is State.CLOSED
        assert str(closing.reason) == "1 health check passed"

    def test_one_that_fails_says_why(self) -> None:
        bench = opened(Bench(health_check=check))
        moved = bench.answer(bench.wait_for_check(), "connection refused")
        assert moved is not None
        assert (moved.state, moved.previous) == (State.OPEN, State.OPEN)
        assert str(moved.reason) == "connection refused"

    def test_several_must_pass_in_a_row(self) -> None:
        bench = opened(Bench(health_check=check, healthy_after=3))
        assert bench.answer(bench.wait_for_check()) is None
        assert bench.circuit.deadline == bench.now + 1, "the next one waits as the first did"
        assert bench.answer(bench.wait_for_check()) is None
        assert bench.answer(bench.wait_for_check(), "down") is not None
        assert bench.answer(bench.wait_for_check()) is None
        assert bench.answer(bench.wait_for_check()) is None
        closing = bench.answer(bench.wait_for_check())
        assert closing is not None
        assert str(closing.reason) == "3 health checks passed"

    def test_those_that_must_follow_do_not_wait_as_long_as_the_first(self) -> None:
        bench = opened(Bench(health_check=check, healthy_after=2))
        for _ in range(3):
            checked(bench, "down")
        assert bench.latest.delay == 8
        bench.answer(bench.wait_for_check())
        assert bench.circuit.deadline == bench.now + 1

    def test_late_answer_of_another_generation_is_ignored(self) -> None:
        bench = opened(Bench(health_check=check))
        asked = bench.wait_for_check()
        bench.repair(9)
        assert bench.answer(asked) is None
        assert bench.answer(asked, "down") is None
        assert bench.state is State.OPEN
        assert bench.wait_for_check().generation == 10, "a new one is asked for"

    def test_new_leader_asks_again(self) -> None:
        """The check of the leader before may never be answered."""
        bench = opened(Bench(health_check=check, backoff=ConstantBackoff(5)))
        bench.wait_for_check()
        successor = Bench(bench.latest, now=bench.now + 1, health_check=check)
        assert successor.wait_for_check(0) == Check(HealthCheckType.RECOVERY, 1)

    def test_trial_under_way_gives_way_to_a_new_health_check(self) -> None:
        bench = half_open_with_a_check()
        assert bench.trial(True) is None
        assert bench.demand() is None
        assert bench.answer(bench.wait_for_check()) is not None
        assert bench.cause is Cause.CHECK_PASSED


class TestIdle:
    @pytest.fixture
    def bench(self) -> Bench:
        return Bench(health_check=check, idle_interval=10, strategy=ConsecutiveFailures(3))

    def test_quiet_circuit_is_checked_again_and_again(self, bench: Bench) -> None:
        for _ in range(3):
            before = bench.now
            asked = bench.wait_for_check()
            assert asked == Check(HealthCheckType.IDLE, 0)
            assert bench.now == before + 10
            assert bench.answer(asked) is None
        assert bench.state is State.CLOSED

    def test_calls_put_it_off(self, bench: Bench) -> None:
        bench.wait(9)
        bench.calls()
        assert bench.wait(9.9) is None
        bench.fail()
        assert bench.wait(9.9) is None
        assert isinstance(bench.wait(0.2), Check)

    def test_failed_one_opens(self, bench: Bench) -> None:
        opening = bench.answer(bench.wait_for_check(), "connection refused")
        assert opening is not None
        assert opening.state is State.OPEN
        assert str(opening.reason) == "connection refused"
        assert (opening.attempt, opening.delay) == (1, 1)

    @pytest.mark.parametrize(
        "bench",
        [Bench(health_check=check, idle_interval=10), opened(Bench(health_check=check))],
        ids=["closed", "open"],
    )
    def test_one_that_could_not_be_run_says_nothing_and_is_asked_for_again(
        self, bench: Bench
    ) -> None:
        asked, before = bench.wait_for_check(), bench.latest
        bench.circuit.put_off(asked, bench.now)
        assert bench.wait(CHECK_AGAIN - 0.1) is None
        assert bench.wait(0.2) == asked
        assert bench.latest is before

    def test_one_that_could_not_be_run_is_not_asked_for_again_when_it_is_of_no_use(
        self, bench: Bench
    ) -> None:
        asked = bench.wait_for_check()
        bench.calls()
        bench.circuit.put_off(asked, bench.now)
        assert bench.wait(9.9) is None, "there were calls"
        asked = bench.wait_for_check()
        bench.repair(5)
        bench.circuit.put_off(asked, bench.now)
        assert bench.wait(9.9) is None, "it has moved on"

    def test_there_are_none_by_default(self) -> None:
        bench = Bench(health_check=check)
        bench.calls()
        assert bench.circuit.deadline is None
        assert bench.circuit.due(1e9) is None

    def test_begin_anew_with_each_transition(self, bench: Bench) -> None:
        bench.wait(9)
        bench.repair(5)
        assert bench.circuit.deadline == bench.now + 10

    def test_late_answer_does_not_open_what_has_moved_on(self, bench: Bench) -> None:
        asked = bench.wait_for_check()
        bench.repair(5)
        assert bench.answer(asked, "down") is None
        assert bench.state is State.CLOSED


class TestAdoption:
    def test_goes_on_from_what_is_in_force(self) -> None:
        bench = opened(Bench(strategy=ConsecutiveFailures(2)))
        newer = Transition(circuit="c", generation=7, at=bench.now)
        bench.circuit.adopt(newer, bench.now)
        assert bench.latest is newer
        assert bench.fail(1) is None, "it counts from nothing"
        assert bench.fail(1) is not None

    def test_whoever_has_calls_to_make_must_say_so_again(self) -> None:
        bench = opened(Bench())
        bench.demand()
        bench.circuit.adopt(bench.latest, bench.now)
        assert bench.wait(2) is None
        assert bench.state is State.OPEN
        assert bench.demand() is not None


class TestRepair:
    def test_overtakes_what_an_instance_knows(self) -> None:
        bench = Bench()
        moved = bench.repair(41)
        assert moved is not None
        assert (moved.generation, moved.state) == (42, State.CLOSED)
        assert str(moved.reason) == "an instance knew generation 41, the store only 0"

    def test_is_not_needed_for_what_is_known(self) -> None:
        bench = opened(Bench())
        assert bench.repair(0) is None
        assert bench.repair(1) is None

    def test_does_not_follow_an_absurd_claim(self) -> None:
        """One broken sender must not use up the numbers."""
        bench = opened(Bench())
        assert bench.repair(1 + LONGEST_LEAP + 1) is None
        assert bench.repair(2**53) is None
        assert bench.repair(1 + LONGEST_LEAP) is not None

    def test_open_circuit_waits_once_more(self) -> None:
        bench = opened(Bench(backoff=ConstantBackoff(5)))
        bench.wait(3)
        moved = bench.repair(7)
        assert moved is not None
        assert (moved.state, moved.attempt, moved.delay) == (State.OPEN, 1, 5)
        assert moved.retry_at == bench.now + 5

    def test_half_open_circuit_opens(self) -> None:
        """Whoever held its permits did so in a generation that nobody will hear of."""
        bench = half_opened(Bench())
        moved = bench.repair(7)
        assert moved is not None
        assert moved.state is State.OPEN
        assert moved.grant is None

    def test_goes_on_as_the_instance_tells_it(self) -> None:
        bench = Bench(backoff=ConstantBackoff(5))
        moved = bench.repair(7, KnownState(State.OPEN, attempt=3, delay=20.0, left=12.5))
        assert moved is not None
        assert (moved.generation, moved.state, moved.attempt) == (7, State.OPEN, 3)
        assert (moved.delay, moved.retry_at) == (20.0, bench.now + 12.5)
        assert moved.reason.cause is Cause.REPAIRED
        assert bench.demand() is None
        bench.wait(12.5)
        granted = bench.demand()
        assert granted is not None
        assert (granted.generation, granted.state) == (8, State.HALF_OPEN)

    def test_recovery_by_a_health_check_goes_on(self) -> None:
        bench = Bench(health_check=check)
        bench.repair(7, KnownState(State.OPEN, attempt=1, delay=5.0, left=3.0))
        began = bench.now
        asked = bench.wait_for_check()
        assert (bench.now, asked.generation) == (began + 3.0, 7)
        closed = bench.answer(asked)
        assert closed is not None
        assert (closed.generation, closed.state) == (8, State.CLOSED)

    def test_permits_that_are_out_stay_with_their_holder(self) -> None:
        bench = Bench()
        grant = Grant(holder="b", permits=1)
        moved = bench.repair(7, KnownState(State.HALF_OPEN, attempt=1, delay=1.0, grant=grant))
        assert moved is not None
        assert moved.grant == grant
        closed = bench.trial(True, by="b")
        assert closed is not None
        assert (closed.generation, closed.state) == (8, State.CLOSED)

    def test_closed_circuit_of_a_later_generation_closes_what_is_of_an_earlier_one(self) -> None:
        bench = opened(Bench())
        moved = bench.repair(7, KnownState(State.CLOSED, attempt=2, delay=4.0))
        assert moved is not None
        assert (moved.generation, moved.state, moved.attempt) == (7, State.CLOSED, 2)
        assert bench.fail(5) is not None

    def test_word_of_what_is_known_or_absurd_is_left_alone(self) -> None:
        bench = opened(Bench())
        assert bench.repair(1, KnownState(State.CLOSED)) is None
        assert bench.repair(1 + LONGEST_LEAP + 1, KnownState(State.CLOSED)) is None

    def test_less_is_never_decided_against_more(self) -> None:
        """One instance has not heard yet that the circuit has opened, when the store is lost."""
        bench = Bench()
        bench.repair(6, KnownState(State.CLOSED))
        moved = bench.repair(7, KnownState(State.OPEN, attempt=1, delay=5.0, left=5.0))
        assert moved is not None
        assert (moved.generation, moved.state) == (7, State.OPEN)


class TestHeldByAnOperator:
    def test_counts_nothing_and_attempts_nothing(self) -> None:
        bench = forced(Bench(health_check=check))
        assert bench.latest.reason.detail == "held open by ops: down"
        assert bench.circuit.deadline is None
        assert bench.wait(1_000) is None
        assert bench.demand("a") is None
        assert bench.fail() is None

    def test_a_check_under_way_closes_nothing(self) -> None:
        bench = opened(Bench(health_check=check))
        asked = bench.wait_for_check()
        bench.force()
        assert bench.answer(asked) is None
        assert bench.state is State.OPEN

    @pytest.mark.parametrize("state", State)
    def test_recovers_when_it_is_released(self, state: State) -> None:
        bench = Bench()
        if state is not State.CLOSED:
            opened(bench) if state is State.OPEN else half_opened(bench)
        forced(bench)
        bench.wait(100)
        bench.circuit.release(bench.now)
        assert bench.state is State.OPEN
        granted = bench.demand("a")
        assert granted is not None
        assert granted.reason.cause is Cause.TRIAL
        bench.trial(True)
        assert bench.state is State.CLOSED

    def test_checks_when_it_is_released(self) -> None:
        bench = forced(Bench(health_check=check))
        bench.wait(100)
        bench.circuit.release(bench.now)
        bench.answer(bench.wait_for_check(0))
        assert bench.latest.reason.cause is Cause.CHECK_PASSED

    def test_a_short_override_ends_no_wait(self) -> None:
        bench = forced(opened(Bench()))
        bench.circuit.release(bench.now)
        assert bench.demand("a") is None

    def test_no_probe_ends_it(self) -> None:
        bench = forced(Bench())
        assert bench.hurry() is None


class TestProbe:
    def test_ends_the_wait_and_the_deadline_of_the_upstream(self) -> None:
        bench = opened(Bench(health_check=check))
        bench.hold(60)
        attempt = bench.latest.attempt
        assert bench.hurry() is not None
        assert (bench.latest.delay, bench.latest.attempt) == (0, attempt)
        bench.answer(bench.wait_for_check(0))
        assert bench.state is State.CLOSED

    def test_leaves_others_alone(self) -> None:
        assert Bench().hurry() is None
        assert half_opened(Bench()).hurry() is None


@pytest.mark.parametrize(("healthy", "attempt"), [(0.0, 7), (180.0, 4), (7 * 86_400.0, 1)])
def test_an_operator_who_forces_it_open_costs_no_attempt(healthy: float, attempt: int) -> None:
    """Healthy time is forgiven as if it had tripped, and it has not."""
    latest = Transition(circuit="c", generation=9, state=State.CLOSED, at=1000.0, attempt=7)
    it = Bench(latest, forgive=60.0)
    it.wait(healthy)
    it.force()
    assert (it.state, it.latest.attempt) == (State.OPEN, attempt)
