"""Ramps of a fleet in virtual time: with a leader that dies, a store that forgets, clocks that are
set, and an upstream that comes back cold."""

import math
from contextlib import suppress
from dataclasses import replace

import pytest

from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    ExponentialBackoff,
    Outcome,
    Permit,
    Role,
    State,
)
from zenvark_web.testing import Fleet, SimulationSettings, simulate
from zenvark_web.testing.simulation.faults import Fault, FaultKind
from zenvark_web.testing.simulation.world import ColdUpstream

SHARES = (0.1, 0.25, 0.5)
STEP = 5.0


async def check(kind: object) -> None:
    """The fleet has its own."""


POLICY = BreakerPolicy(
    strategy=ConsecutiveFailures(4),
    backoff=ConstantBackoff(2),
    health_check=check,
    ramp=SHARES,
    ramp_step=STEP,
)


def call(breaker: Breaker, outcome: Outcome = Outcome.SUCCESS) -> bool:
    """Whether it is let through."""
    try:
        breaker.acquire().record(outcome)
    except CircuitOpenError:
        return False
    return True


def climbing(fleet: Fleet, instances: int = 3) -> list[Coordinator]:
    """A fleet whose circuit has just begun a ramp."""
    coordinators = [fleet.coordinator() for _ in range(instances)]
    fleet.advance(1)
    fleet.trip("payments")
    fleet.down.clear()
    while not 0 < coordinators[0].breaker("payments").share < 1:
        fleet.advance(0.05)
    return coordinators


def breakers(coordinators: list[Coordinator]) -> list[Breaker]:
    return [coordinator.breaker("payments") for coordinator in coordinators]


def leader_of(coordinators: list[Coordinator]) -> Coordinator:
    [leader] = [each for each in coordinators if each.connected and each.role is Role.LEADER]
    return leader


class TestSchedule:
    def test_all_instances_climb_together(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            all_of_them = breakers(climbing(fleet))
            seen: list[float] = []
            for _ in range(34):
                [share] = {breaker.share for breaker in all_of_them}
                if seen[-1:] != [share]:
                    seen.append(share)
                for breaker in all_of_them:
                    call(breaker)
                fleet.advance(0.5)
            assert seen == [*SHARES, 1.0]
            assert {breaker.state for breaker in all_of_them} == {State.CLOSED}

    def test_each_instance_permits_its_share(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            all_of_them = breakers(climbing(fleet, 10))
            for share in SHARES:
                fleet.advance(1)
                passed = [sum(call(breaker) for _ in range(40)) for breaker in all_of_them]
                assert {round(abs(count - 40 * share)) for count in passed} <= {0}
                fleet.advance(STEP - 1)

    def test_a_rejected_call_is_told_when_the_next_step_comes(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            [breaker, *_] = breakers(climbing(fleet))
            left = breaker.retry_after
            assert STEP - 1 < left <= STEP
            fleet.advance(left - 0.4)
            assert breaker.retry_after == 1, "at least"
            while call(breaker):
                pass
            with pytest.raises(CircuitOpenError) as caught:
                breaker.acquire()
            assert caught.value.retry_after == 1

    def test_require_passes(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            for breaker in breakers(climbing(fleet)):
                for _ in range(20):
                    breaker.require()

    def test_trial_calls_lead_into_it(self) -> None:
        """R3: each call between open and closed belongs to a trial or to the ramp."""
        policy = BreakerPolicy(
            strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(2), ramp=SHARES, ramp_step=STEP
        )
        with Fleet(policy=policy) as fleet:
            here, there = fleet.coordinator().breaker("a"), fleet.coordinator().breaker("a")
            fleet.advance(1)
            call(here, Outcome.FAILURE)
            fleet.advance(1)
            passed: dict[float, int] = {}
            while here.state is not State.CLOSED:
                for breaker in (here, there):
                    share = breaker.share
                    passed[share] = passed.get(share, 0) + call(breaker)
                fleet.advance(0.05)
            assert passed[0.0] == 1
            for share in SHARES:
                assert passed[share] == pytest.approx(share * 2 * STEP / 0.05, abs=4)


class TestFailures:
    def test_the_fleets_failures_count_together(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            all_of_them = breakers(climbing(fleet, 4))
            fleet.advance(6)
            for breaker in all_of_them:
                while not call(breaker, Outcome.FAILURE):
                    pass
                fleet.advance(0.1)
            assert {breaker.state for breaker in all_of_them} == {State.OPEN}
            assert {breaker.share for breaker in all_of_them} == {0.0}

    def test_a_call_that_began_in_the_first_step_counts_in_the_last(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            all_of_them = breakers(climbing(fleet, 4))
            permits = []
            for breaker in all_of_them:
                while len(permits) <= all_of_them.index(breaker):
                    try:
                        permits.append(breaker.acquire())
                    except CircuitOpenError:
                        continue
            fleet.advance(12)
            for permit in permits:
                permit.record(Outcome.FAILURE)
            fleet.advance()
            assert {breaker.state for breaker in all_of_them} == {State.OPEN}

    def test_calls_that_never_end_open_it(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            [breaker, *_] = breakers(climbing(fleet))
            permit = None
            while permit is None:
                try:
                    permit = breaker.acquire()
                except CircuitOpenError:
                    continue
            fleet.advance(3 * STEP + 55)
            assert breaker.share == SHARES[-1]
            fleet.advance(6)
            assert breaker.state is not State.CLOSED
            assert breaker.share < SHARES[-1]
            permit.record(Outcome.IGNORED)

    def test_a_lost_permit_is_no_call_in_flight(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            [breaker, *_] = breakers(climbing(fleet))
            for _ in range(10):
                try:
                    breaker.acquire()
                except CircuitOpenError:
                    continue
            fleet.advance(3 * STEP + 2)
            assert breaker.state is State.CLOSED


@pytest.mark.parametrize("after", [0.1, 2.0, 4.9, 5.1, 7.0, 9.9, 10.1, 13.0, 14.9])
class TestLeaderDies:
    def test_the_schedule_goes_on(self, after: float) -> None:
        with Fleet(policy=POLICY) as fleet:
            coordinators = climbing(fleet)
            began = fleet.now
            for breaker in breakers(coordinators):
                for _ in range(10):
                    call(breaker)
            fleet.advance(after)
            dead = leader_of(coordinators)
            fleet.cut_off(dead)
            [first, second] = breakers([each for each in coordinators if each is not dead])
            while fleet.now < began + 3 * STEP + 4:
                due = SHARES[min(int((fleet.now - began + 0.2) / STEP), 2)]
                for breaker in (first, second):
                    assert breaker.share <= due or breaker.state is State.CLOSED
                fleet.advance(0.5)
            fleet.advance(3)
            assert {first.state, second.state} == {State.CLOSED}

    def test_the_window_goes_on(self, after: float) -> None:
        with Fleet(policy=POLICY) as fleet:
            coordinators = climbing(fleet)
            for breaker in breakers(coordinators)[:2]:
                while not call(breaker, Outcome.FAILURE):
                    pass
            fleet.advance(after)
            dead = leader_of(coordinators)
            fleet.cut_off(dead)
            living = breakers([each for each in coordinators if each is not dead])
            fleet.advance(4)
            assert {breaker.state for breaker in living} == {State.HALF_OPEN}
            for breaker in living:
                while not call(breaker, Outcome.FAILURE):
                    pass
            fleet.advance(2)
            assert {breaker.state for breaker in living} == {State.OPEN}, "four in a row"


class TestCutOff:
    @pytest.mark.parametrize("after", [1.0, 6.0])
    def test_the_share_freezes(self, after: float) -> None:
        with Fleet(policy=POLICY) as fleet:
            coordinators = climbing(fleet)
            follower = next(each for each in coordinators if each.role is not Role.LEADER)
            fleet.advance(after)
            fleet.cut_off(follower)
            breaker = follower.breaker("payments")
            fleet.advance(4)
            frozen = breaker.share
            assert frozen < SHARES[-1]
            for _ in range(30):
                fleet.advance(2)
                assert (breaker.share, breaker.state) == (frozen, State.HALF_OPEN)
            fleet.reconnect(follower)
            fleet.advance(10)
            assert breaker.state is State.CLOSED

    def test_one_that_decides_alone_goes_on(self) -> None:
        policy = BreakerPolicy(
            strategy=ConsecutiveFailures(3),
            backoff=ConstantBackoff(2),
            health_check=check,
            cut_off="local",
            ramp=SHARES,
            ramp_step=STEP,
        )
        with Fleet(policy=policy) as fleet:
            coordinators = climbing(fleet)
            followers = [each for each in coordinators if each.role is not Role.LEADER]
            fleet.advance(1)
            for follower in followers:
                fleet.cut_off(follower)
            well, ill = (follower.breaker("payments") for follower in followers)
            fleet.advance(8)
            assert (well.share, ill.share) == (0.25, 0.25)
            for _ in range(3):
                while not call(ill, Outcome.FAILURE):
                    pass
            fleet.advance(7)
            assert well.state is State.CLOSED
            assert well.generation < 0
            assert ill.generation < 0
            assert ill.share < 1


class TestStore:
    def test_a_lost_ramp_is_written_again_with_its_time(self) -> None:
        with Fleet(policy=POLICY) as fleet:
            coordinators = climbing(fleet)
            began, generation = fleet.now, coordinators[0].breaker("payments").generation
            fleet.advance(6)
            fleet._server.restart(empty=True)
            fleet.advance(3)
            newcomer = fleet.coordinator().breaker("payments")
            fleet.advance(2)
            all_of_them = [*breakers(coordinators), newcomer]
            assert {breaker.generation for breaker in all_of_them} == {generation}
            due = SHARES[int((fleet.now - began) / STEP)]
            assert {breaker.share for breaker in all_of_them} == {due}
            fleet.advance(8)
            assert {breaker.state for breaker in all_of_them} == {State.CLOSED}

    @pytest.mark.parametrize("seconds", [-3600.0, -4.0])
    def test_a_clock_that_is_set_back_lets_no_share_grow(self, seconds: float) -> None:
        with Fleet(policy=POLICY) as fleet:
            coordinators = climbing(fleet)
            fleet.advance(6)
            fleet._server.ahead += seconds
            fleet.advance(1)
            newcomer = fleet.coordinator().breaker("payments")
            fleet.advance(1)
            assert newcomer.share <= 0.25
            assert {breaker.share for breaker in breakers(coordinators)} == {0.25}
            fleet.advance(12)
            assert {breaker.state for breaker in breakers(coordinators)} == {State.CLOSED}


class TestColdUpstream:
    """It bears 60 of 200 calls a second until it has served 1,500."""

    @pytest.mark.parametrize("seed", range(2))
    def test_a_fleet_with_a_ramp_agrees(self, seed: int) -> None:
        backoff = ExponentialBackoff(maximum=8)
        policy = replace(POLICY_OF_CALLERS, backoff=backoff, ramp=(0.1, 0.25))
        settings = SimulationSettings(
            instances=4, circuits=1, calls=50, seconds=10, faults=0, policy=policy
        )
        cold = Fault(1, FaultKind.UPSTREAM_COMES_BACK_COLD, lasts=5)
        simulate(seed, settings, [cold])  # within its patience, or it raises

    def test_warms_up_in_a_ramp(self) -> None:
        seconds, openings = come_back(POLICY_OF_CALLERS, 0.1, 0.25)
        assert seconds < 100
        assert openings <= 5

    def test_opens_again_and_again_at_once(self) -> None:
        seconds, openings = come_back(POLICY_OF_CALLERS)
        assert seconds == math.inf
        assert openings >= 5


POLICY_OF_CALLERS = BreakerPolicy(
    strategy=CountWindow(100, 0.5), backoff=ExponentialBackoff(jitter=0)
)


def come_back(policy: BreakerPolicy, *ramp: float, within: float = 120.0) -> tuple[float, int]:
    """The seconds until a cold upstream is warm and its circuit closed, and how often the circuit
    opened until then."""
    upstream = ColdUpstream(bears=60, warm_after=1500)
    with Fleet(policy=replace(policy, ramp=ramp)) as fleet:
        callers = [fleet.coordinator().breaker("payments") for _ in range(4)]
        fleet.advance(1)
        fleet.trip("payments")
        openings, before, began = 0, State.OPEN, fleet.now
        while fleet.now < began + within:
            for breaker in callers:
                with suppress(CircuitOpenError):
                    permit = breaker.acquire()
                    well = upstream.serves(fleet.now)
                    permit.record(Outcome.SUCCESS if well else Outcome.FAILURE)
            fleet.advance(0.02)
            state = callers[0].state
            openings += state is State.OPEN and before is not State.OPEN
            before = state
            if upstream.is_warm and {breaker.state for breaker in callers} == {State.CLOSED}:
                return fleet.now - began, openings
    return math.inf, openings


async def test_a_call_that_outlives_the_one_around_it_counts() -> None:
    with Fleet(policy=replace(POLICY, strategy=CountWindow(8, 0.5, 8))) as fleet:
        [coordinator] = climbing(fleet, 1)
        breaker = coordinator.breaker("payments")
        for _ in range(4):  # four outer calls pass, and four inner ones fail
            while (outer := permitted(breaker)) is None:
                pass
            with outer:
                inner = breaker.acquire()
            inner.record(Outcome.FAILURE, "late")
        fleet.advance()
        assert breaker.state is State.OPEN


def permitted(breaker: Breaker) -> Permit | None:
    with suppress(CircuitOpenError):
        return breaker.acquire()
    return None
