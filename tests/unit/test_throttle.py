"""A wait that an upstream names opens the circuit for just that wait (`throttle="open"`)."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.bench import Bench, check, half_opened, opened, ramped
from zenvark_web import BreakerPolicy, Cause, ConsecutiveFailures, State
from zenvark_web._core.circuit import LEAST_TOLD_WAIT
from zenvark_web._core.states import Run, Transition
from zenvark_web._core.surroundings import ALONE, Check, Surroundings


def bench_with(**settings: Any) -> Bench:
    settings = {"strategy": ConsecutiveFailures(3), "throttle": "open", **settings}
    return Bench(**settings)


def throttled(bench: Bench, seconds: float = 30.0, by: str = "a") -> Transition:
    """One call is refused with a wait."""
    refused = Run(bench.latest.generation, True, False, 1, 0.0, "HTTP 429")
    opening = bench.say(refused, by=by, retry_after=seconds)
    assert opening is not None
    assert (opening.state, opening.reason.cause) == (State.OPEN, Cause.THROTTLED)
    return opening


class TestOneAnswer:
    def test_opens_for_its_wait_and_the_attempt_stays(self) -> None:
        opening = throttled(bench_with())
        assert (opening.attempt, opening.delay) == (0, 30)
        assert str(opening.reason) == "the upstream told a to wait 30.0 s"

    def test_counts_like_any_other_failure_by_default(self) -> None:
        bench = bench_with(throttle="count")
        assert bench.say(Run(0, True, False, 1), retry_after=30) is None

    def test_opens_without_a_failure(self) -> None:
        """A success may say that it was the last one of a minute."""
        bench = bench_with()
        opening = bench.say(Run(0, False, False, 1), retry_after=30)
        assert opening is not None
        assert opening.delay == 30

    def test_precedes_a_threshold_that_its_failure_reaches(self) -> None:
        opening = throttled(bench_with(strategy=ConsecutiveFailures(1)))
        assert (opening.attempt, opening.delay) == (0, 30)

    def test_opens_whatever_the_quorum(self) -> None:
        opening = throttled(bench_with(quorum=3))
        assert opening.delay == 30

    def test_that_arrives_when_its_wait_is_over_opens_nothing(self) -> None:
        assert bench_with().hold(LEAST_TOLD_WAIT / 2) is None

    def test_opens_for_no_more_than_the_policy_obeys(self) -> None:
        assert throttled(bench_with(max_retry_after=10.0)).delay == 10

    def test_counts_whatever_its_generation(self) -> None:
        bench = bench_with(health_check=check)
        opened(bench)
        bench.answer(bench.wait_for_check())
        opening = bench.say(Run(0, True, False, 1), retry_after=30)
        assert opening is not None
        assert opening.reason.cause is Cause.THROTTLED

    def test_keeps_the_attempt_that_healthy_time_has_left(self) -> None:
        bench = bench_with(health_check=check, forgive=10.0)
        opened(bench)
        for _ in range(3):
            bench.answer(bench.wait_for_check(), "down")
        bench.answer(bench.wait_for_check())
        assert (bench.state, bench.latest.attempt) == (State.CLOSED, 4)
        bench.now += 25
        assert throttled(bench).attempt == 2

    def test_reaches_the_next_leader(self) -> None:
        """The first one died when it had read the report, before it had written."""
        bench, successor = bench_with(throttle="count"), bench_with()
        bench.hold(30)
        saved = bench.circuit.save(bench.now)
        assert saved is not None
        successor.circuit.restore(saved, successor.now)
        opening = successor.calls()
        assert opening is not None
        assert str(opening.reason) == "the upstream told an instance to wait 30.0 s"

    def test_opens_nothing_while_an_operator_holds_the_circuit(self) -> None:
        bench = bench_with()
        bench.force()
        assert bench.hold(30) is None


class TestAfterTheWait:
    def test_the_ramp_follows_without_a_trial(self) -> None:
        bench = bench_with(ramp=(0.1, 0.5))
        throttled(bench)
        assert bench.wait(29.9) is None
        moved = bench.wait(0.2)
        assert isinstance(moved, Transition)
        assert (moved.reason.cause, bench.now) == (Cause.RAMP, 1030)
        assert str(moved.reason).startswith("the wait that the upstream named is over: 10 %")

    def test_the_ramp_follows_without_a_check(self) -> None:
        bench = bench_with(ramp=(0.1, 0.5), health_check=check)
        throttled(bench)
        moved = bench.wait(31)
        assert isinstance(moved, Transition)
        assert moved.reason.cause is Cause.RAMP

    def test_a_rejected_call_begins_the_ramp_and_no_trial(self) -> None:
        bench = bench_with(ramp=(0.1, 0.5))
        throttled(bench)
        bench.now += 30
        moved = bench.demand()
        assert moved is not None
        assert moved.reason.cause is Cause.RAMP

    def test_a_check_follows_without_a_ramp(self) -> None:
        bench = bench_with(health_check=check)
        throttled(bench)
        bench.answer(bench.wait_for_check())
        assert (bench.state, bench.now) == (State.CLOSED, 1030)

    @pytest.mark.parametrize("ramp", [(), (0.1,)])
    def test_a_trial_follows_without_a_ramp_that_all_can_read(self, ramp: tuple[float]) -> None:
        bench = bench_with(ramp=ramp, may_ramp=False)
        throttled(bench)
        bench.now += 30
        bench.demand()
        assert bench.cause is Cause.TRIAL

    def test_a_failed_attempt_counts_from_where_it_was(self) -> None:
        bench = half_opened(bench_with())
        bench.trial(True)
        assert (bench.state, bench.latest.attempt) == (State.CLOSED, 1)
        throttled(bench)
        bench.now += 30
        bench.demand()
        bench.trial(False)
        assert (bench.state, bench.latest.attempt) == (State.OPEN, 2)

    def test_an_operator_may_end_it(self) -> None:
        bench = bench_with(ramp=(0.1,))
        throttled(bench)
        bench.hurry()
        assert bench.cause is Cause.PROBE
        bench.demand()
        assert bench.cause is Cause.TRIAL


class TestInAnyState:
    def test_a_later_one_lengthens_the_wait_and_the_ramp_still_follows(self) -> None:
        bench = bench_with(ramp=(0.1,))
        throttled(bench)
        later = bench.hold(60, by="b")
        assert later is not None
        assert (later.reason.cause, later.delay, later.attempt) == (Cause.THROTTLED, 60, 0)
        moved = bench.wait(60)
        assert isinstance(moved, Transition)
        assert moved.reason.cause is Cause.RAMP

    def test_an_open_circuit_recovers_as_its_failures_demand(self) -> None:
        bench = opened(bench_with(ramp=(0.1,)))
        bench.hold(30)
        assert bench.cause is Cause.RETRY_AFTER
        bench.now += 30
        bench.demand()
        assert bench.cause is Cause.TRIAL

    def test_a_trial_call_may_be_told(self) -> None:
        bench = half_opened(bench_with())
        opening = throttled(bench, 5)
        assert (opening.attempt, opening.delay) == (1, 5)

    def test_a_ramp_ends(self) -> None:
        bench = ramped(bench_with(ramp=(0.1, 0.5), health_check=check))
        opening = throttled(bench, 5)
        assert (opening.attempt, opening.delay) == (1, 5)

    def test_a_common_cause_holds_nothing_back(self) -> None:
        class Broken:
            def holds_back(self, circuit: str, now: float) -> bool:
                return True

            def note_called(self, circuit: str, now: float) -> None: ...

        broken: Any = Broken()
        surroundings = Surroundings(ALONE.leader, ALONE.may_ramp, broken)
        throttled(bench_with(surroundings=surroundings))


@given(
    told=st.lists(
        st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 400.0), st.booleans()), min_size=1
    ),
    ramp=st.sampled_from([(), (0.2, 0.6)]),
    with_check=st.booleans(),
)
@example(told=[(0.0, 30.5, True)], ramp=(0.2, 0.6), with_check=False)
def test_a_told_wait_ends_when_told(
    told: list[tuple[float, float, bool]], ramp: tuple[float, ...], with_check: bool
) -> None:
    """Whatever instances are told while the circuit is open for it: the next attempt is made at the
    latest of the times, no earlier and no later."""
    bench = bench_with(ramp=ramp, health_check=check if with_check else None)
    ends = bench.now + 30.0
    throttled(bench)
    for pause, seconds, failed in told:
        if bench.now + pause >= ends:
            break
        assert bench.wait(pause) is None
        ends = max(ends, bench.now + min(seconds, 300.0))
        bench.say(Run(0, failed, False, 1), retry_after=seconds, blocked=1)
        assert bench.state is State.OPEN
    assert bench.latest.attempt == 0
    bench.now = max(bench.now, ends - 0.001)
    bench.demand()
    assert bench.state is State.OPEN
    bench.now = ends + 1e-6  # as far as floats are exact
    begun = bench.circuit.due(bench.now) or bench.demand()
    if with_check and not ramp:
        assert isinstance(begun, Check)
    else:
        assert isinstance(begun, Transition)
        assert begun.reason.cause is (Cause.RAMP if ramp else Cause.TRIAL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"throttle": "shut"}, "throttle must be 'count' or 'open', not 'shut'"),
        ({"throttle": True}, "throttle must be 'count' or 'open', not True"),
        ({"throttle": "open", "max_retry_after": 0}, "throttle='open' requires max_retry_after"),
    ],
)
def test_settings_that_are_not_usable(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BreakerPolicy(**settings)
