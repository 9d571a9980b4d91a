"""A wait that an upstream names, to whichever instance, opens the circuit for the fleet."""

from collections.abc import Iterator
from typing import Any

import pytest

from zenvark_web import BreakerPolicy, Cause, Coordinator, Outcome, State, StateChange
from zenvark_web.testing import Fleet

NAME = "provider"


def policy(**settings: Any) -> BreakerPolicy:
    return BreakerPolicy(**{"throttle": "open", **settings})


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet(policy=policy()) as running:
        yield running


def two(fleet: Fleet, **settings: Any) -> list[Coordinator]:
    return [fleet.coordinator(**settings), fleet.coordinator(**settings)]


def states(*coordinators: Coordinator) -> list[State]:
    return [each.breaker(NAME).state for each in coordinators]


def refused(coordinator: Coordinator, seconds: float) -> None:
    coordinator.breaker(NAME).acquire().record(Outcome.FAILURE, "HTTP 429", retry_after=seconds)


def last_one(coordinator: Coordinator, seconds: float) -> None:
    with coordinator.breaker(NAME).guard() as permit:
        permit.hold_off(seconds)


@pytest.mark.parametrize("say", [refused, last_one])
@pytest.mark.parametrize("settings", [{}, {"quorum": 2}], ids=["one", "quorum"])
def test_one_answer_opens_for_all_for_just_that_wait(say: Any, settings: Any) -> None:
    with Fleet(policy=policy(**settings)) as fleet:
        one, other = two(fleet)
        say(one, 10.0)
        fleet.advance()
        assert states(one, other) == [State.OPEN] * 2
        assert [each.breaker(NAME).own_state for each in (one, other)] == [State.CLOSED] * 2
        assert 9 < other.breaker(NAME).retry_after <= 10
        fleet.advance(9.5)
        assert states(one, other) == [State.OPEN] * 2
        fleet.advance(0.6)
        fleet.recover(NAME)
        assert fleet.now < 13
        assert states(one, other) == [State.CLOSED] * 2


def test_the_ramp_follows(fleet: Fleet) -> None:
    told: list[StateChange] = []
    one, other = two(
        fleet, policy=policy(ramp=(0.1, 0.5), ramp_step=1.0), on_state_change=told.append
    )
    refused(one, 10.0)
    fleet.advance()
    fleet.advance(10.0)
    assert [each.breaker(NAME).share for each in (one, other)] == [0.1] * 2
    causes = [change.reason.cause for change in told[::2]]
    assert causes == [Cause.THROTTLED, Cause.RAMP]


def test_success_without_a_number_is_a_failure_by_no_means(fleet: Fleet) -> None:
    """What the last one of a minute says does not count against the upstream."""
    one, _ = two(fleet)
    last_one(one, 10.0)
    fleet.advance()
    assert sum(one.breaker(NAME).failures.counts) == 0
    assert sum(one.breaker(NAME).successes.counts) == 1


def test_waits_only_count_by_default() -> None:
    with Fleet() as fleet:
        one, other = two(fleet)
        refused(one, 10.0)
        last_one(other, 10.0)
        fleet.advance()
        assert states(one, other) == [State.CLOSED] * 2
        fleet.trip(NAME)
        assert one.breaker(NAME).retry_after > 5  # the wait is obeyed once the circuit is open


def test_instance_that_is_cut_off_obeys_for_itself(fleet: Fleet) -> None:
    one, other = two(fleet, policy=policy(cut_off="local"))
    fleet.cut_off(one)
    fleet.advance(5.0)
    last_one(one, 10.0)
    fleet.advance()
    assert states(one, other) == [State.OPEN, State.CLOSED]
    assert 9 < one.breaker(NAME).retry_after <= 10


def test_calls_that_count_for_nothing_tell_nothing(fleet: Fleet) -> None:
    one, _ = two(fleet, policy=policy(observe=True))
    refused(one, 10.0)
    fleet.advance()
    with one.breaker(NAME).guard() as permit:
        permit.hold_off(100.0)
    fleet.advance()
    assert one.breaker(NAME).verdict is State.OPEN
    fleet.advance(11.0)
    with one.breaker(NAME).guard():
        pass  # shows demand, so that the trial is granted at the told time
    fleet.advance()
    assert one.breaker(NAME).verdict is not State.OPEN


@pytest.mark.parametrize("seconds", [-1.0, 0.0, float("inf"), float("nan")])
def test_waits_without_a_meaning_are_ignored(fleet: Fleet, seconds: float) -> None:
    one, _ = two(fleet)
    last_one(one, seconds)
    fleet.advance()
    assert one.breaker(NAME).state is State.CLOSED


def test_what_is_no_number_is_refused(fleet: Fleet) -> None:
    one, _ = two(fleet)
    wrong: Any = "10"
    with one.breaker(NAME).guard() as permit, pytest.raises(TypeError, match="a number, not '10'"):
        permit.hold_off(wrong)
