"""Who gets the trial calls of a circuit whose instances have calls often, seldom, or none any more.

The permit once went to whoever had asked last, for three times the pause between its calls: a busy
instance was rejected for up to 120 s beside a rare one, and where calls were so rare that each
permit lapsed the circuit stayed half-open for ever.
"""

import itertools
import random
from collections.abc import Sequence

import pytest

from tests.helpers.spanning import spanning
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    State,
)
from zenvark_web.testing import Fleet

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(2))


def call(coordinator: Coordinator, outcome: Outcome = Outcome.SUCCESS) -> bool:
    """Whether it is let through."""
    try:
        coordinator.breaker("a").acquire().record(outcome)
    except CircuitOpenError:
        return False
    return True


def opened(fleet: Fleet, instances: int) -> Sequence[Coordinator]:
    coordinators = [fleet.coordinator() for _ in range(instances)]
    fleet.advance(1)
    call(coordinators[0], Outcome.FAILURE)
    fleet.advance(1)
    assert all(each.breaker("a").state is State.OPEN for each in coordinators)
    return coordinators


@pytest.mark.parametrize("trial_calls", [1, 2])
@pytest.mark.parametrize("pause", spanning([45.0, 600.0], {45.0}))
@pytest.mark.parametrize("instances", spanning([1, 2, 3, 7], {1, 3}))
def test_calls_however_rare_recover_it_in_turn(
    instances: int, pause: float, trial_calls: int
) -> None:
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(2), trial_calls=trial_calls
    )
    with Fleet(policy=policy) as fleet:
        coordinators = opened(fleet, instances)
        let_through = 0
        for number in range(2 * trial_calls * instances + 1):
            fleet.advance(pause)
            let_through += call(coordinators[number % instances])
            fleet.advance(0.5)
            if coordinators[0].breaker("a").state is State.CLOSED:
                break
        assert {each.breaker("a").state for each in coordinators} == {State.CLOSED}
        assert let_through == trial_calls


@pytest.mark.parametrize(("trial_calls", "most"), [(1, 2), (3, 9)])
@pytest.mark.parametrize(
    ("instances", "pause"), spanning([(8, 20.0), (8, 60.0), (24, 20.0)], {(8, 20.0)})
)
def test_few_calls_recover_it_in_a_large_fleet_that_is_called_in_turn(
    instances: int, pause: float, trial_calls: int, most: int
) -> None:
    """The permit waited at whoever had been rejected first, whose turn comes last."""
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(2), trial_calls=trial_calls
    )
    with Fleet(policy=policy) as fleet:
        coordinators = [fleet.coordinator() for _ in range(instances)]
        fleet.advance(1)
        turn = itertools.cycle(coordinators)
        for _ in range(instances + 4):
            fleet.advance(20)
            assert call(next(turn))
        fleet.advance(20)
        call(next(turn), Outcome.FAILURE)
        let_through = 0
        for _ in range(most):
            fleet.advance(pause)
            let_through += call(next(turn))
        fleet.advance(1)
        assert {each.breaker("a").state for each in coordinators} == {State.CLOSED}
        assert let_through >= trial_calls


@pytest.mark.parametrize("seed", spanning(range(4), range(2)))
def test_calls_however_rare_recover_it_in_any_order(seed: int) -> None:
    chance = random.Random(seed)
    with Fleet(policy=POLICY) as fleet:
        coordinators = opened(fleet, 3)
        let_through = calls = 0
        while coordinators[0].breaker("a").state is not State.CLOSED:
            fleet.advance(chance.uniform(1, 90))
            let_through += call(chance.choice(coordinators))
            calls += 1
            fleet.advance(0.5)
            assert calls <= 30
        assert let_through == 1


@pytest.mark.parametrize("rare_pause", [6.0, 20.0, 40.0])
def test_a_busy_instance_is_not_rejected_for_long_beside_a_rare_one(rare_pause: float) -> None:
    with Fleet(policy=POLICY) as fleet:
        rare, busy = opened(fleet, 2)
        fleet.advance(rare_pause)
        call(rare)
        fleet.advance(0.1)
        assert busy.breaker("a").state is State.HALF_OPEN
        waited = 0.0
        while not call(busy):
            fleet.advance(0.05)
            waited += 0.05
        assert waited < 2.0
        fleet.advance()
        assert rare.breaker("a").state is State.CLOSED


def test_a_busy_instance_gets_the_permit_at_once_when_the_wait_is_over() -> None:
    with Fleet(policy=POLICY) as fleet:
        rare, busy = opened(fleet, 2)
        for _ in range(40):
            call(busy)
            fleet.advance(0.05)
            if busy.breaker("a").state is not State.OPEN:
                break
        call(rare)
        fleet.advance(0.3)
        assert call(busy)
        assert not call(rare)


@pytest.mark.parametrize("after", [0.0, 1.0, 3.1, 10.0])
def test_a_permit_that_passes_from_a_holder_that_is_cut_off_is_used_once(after: float) -> None:
    with Fleet(policy=POLICY) as fleet:
        coordinators = opened(fleet, 3)
        fleet.advance(3)
        leads = next(each for each in coordinators if each.role == "leader")
        holder, other = (each for each in coordinators if each is not leads)
        call(holder)
        fleet.advance(1.5)
        assert holder.breaker("a").state is State.HALF_OPEN
        fleet.cut_off(holder)
        fleet.advance(after)
        used_here = call(holder, Outcome.FAILURE)
        assert used_here is (after < 3)
        used_there = 0
        for _ in range(200):
            used_there += call(other)
            used_here += call(holder)
            fleet.advance(0.05)
        assert used_there == 1 or other.breaker("a").state is State.CLOSED
        assert not call(holder)


@pytest.mark.parametrize("trial_calls", [1, 3])
@pytest.mark.parametrize("seed", spanning(range(6), range(1)))
def test_exactly_so_many_calls_whatever_the_traffic(seed: int, trial_calls: int) -> None:
    """Calls that fail at once, in bursts here and there: no wait ends in one more, and few end in
    fewer (a trial that has failed does not wait for calls that nobody makes)."""
    chance = random.Random(seed)
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(2), trial_calls=trial_calls
    )
    with Fleet(policy=policy) as fleet:
        coordinators = opened(fleet, 4)
        breakers = [each.breaker("a") for each in coordinators]
        by_wait: list[int] = []
        made = 0
        for _ in range(600):
            if all(breaker.state is State.OPEN for breaker in breakers) and made:
                by_wait.append(made)
                made = 0
            caller = chance.choice(coordinators[: chance.choice([1, 2, 4])])
            for _ in range(chance.choice([1, 1, 1, 5])):
                made += call(caller, Outcome.FAILURE)
            fleet.advance(chance.choice([0.01, 0.05, 0.3, 1.0]))
        assert by_wait
        assert max(by_wait) == trial_calls
