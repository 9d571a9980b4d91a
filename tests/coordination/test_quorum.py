"""A quorum in a fleet: the bad instance protects itself, and only itself."""

from dataclasses import replace

import pytest

from tests.helpers.inside import protection_of
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    Outcome,
    Permit,
    State,
    StateChange,
    Suspect,
)
from zenvark_web.testing import Fleet

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(10), quorum=2)
CIRCUITS = [f"upstream-{number}" for number in range(10)]


def call(coordinator: Coordinator, *, failed: bool, circuit: str = "upstream") -> bool:
    """Make a call; return whether it was permitted."""
    try:
        permit = coordinator.breaker(circuit).acquire()
    except CircuitOpenError:
        return False
    permit.record(Outcome.FAILURE if failed else Outcome.SUCCESS, "ConnectError" if failed else "")
    return True


def fail(coordinator: Coordinator, times: int, circuit: str = "upstream") -> None:
    for _ in range(times):
        call(coordinator, failed=True, circuit=circuit)


def breaker(coordinator: Coordinator) -> Breaker:
    return coordinator.breaker("upstream")


def told(suspects: list[Suspect]) -> list[tuple[str, int]]:
    return [(suspect.instance, suspect.failures) for suspect in suspects]


def test_one_bad_instance_protects_itself_only() -> None:
    suspects: list[Suspect] = []
    with Fleet(policy=POLICY) as fleet:
        good, bad, third = (fleet.coordinator(on_suspect=suspects.append) for _ in range(3))
        for _ in range(2):
            for each in (good, bad, third):
                call(each, failed=False)
            fleet.advance()
        fail(bad, 5)
        fleet.advance()
        assert breaker(bad).state is breaker(bad).own_state is State.OPEN
        assert breaker(good).state is breaker(third).state is State.CLOSED
        assert breaker(good).own_state is State.CLOSED
        assert breaker(good).generation == 0
        assert told(suspects) == [(bad.instance_id, 5)]
        [refusals] = [
            each.statistics.quorum_refusals for each in (good, bad, third) if each.role == "leader"
        ]
        assert refusals["upstream"].count == 1


def test_it_recovers_by_one_trial_call_and_counts_again() -> None:
    changes: list[StateChange] = []
    with Fleet(policy=POLICY) as fleet:
        good = fleet.coordinator()
        bad = fleet.coordinator(on_state_change=changes.append)
        for each in (good, bad):
            call(each, failed=False)
        fleet.advance()
        fail(bad, 5)
        fleet.advance(9.5)
        assert not call(bad, failed=True)  # it shows demand
        fleet.advance(1.0)
        assert breaker(bad).own_state is State.HALF_OPEN
        assert call(bad, failed=True)
        assert not call(bad, failed=True)
        fleet.advance()
        assert breaker(bad).own_state is State.OPEN
        fleet.advance(10.5)
        call(bad, failed=False)
        fleet.advance()
        assert call(bad, failed=False)
        fleet.advance()
        assert breaker(bad).own_state is breaker(bad).state is State.CLOSED
        assert breaker(bad).generation == 0  # the fleet's, whose circuit it counts in again
        assert all("protects itself" in str(change.reason) for change in changes)
        assert [change.state for change in changes] == [
            "open",
            "half_open",
            "open",
            "half_open",
            "closed",
        ]
        call(good, failed=False)
        fleet.advance()
        assert breaker(good).state is State.CLOSED


def begin(coordinator: Coordinator, calls: int) -> list[Permit]:
    """Begin calls; return their permits."""
    return [breaker(coordinator).acquire() for _ in range(calls)]


def recover(fleet: Fleet, coordinator: Coordinator) -> None:
    """Have an instance that protects itself make the trial call with which it ceases to."""
    for _ in range(25):
        if breaker(coordinator).own_state is State.CLOSED:
            return
        call(coordinator, failed=False)
        fleet.advance(1.0)
    raise AssertionError("it protects itself for ever")


def test_calls_that_outlive_its_own_decision_count_for_the_fleet_only() -> None:
    """As with generations: what began before it opened cannot open it again after it has closed."""
    with Fleet(policy=POLICY) as fleet:
        good, bad = fleet.coordinator(), fleet.coordinator()
        for each in (good, bad):
            call(each, failed=False)
        fleet.advance()
        old = begin(bad, 10)
        fail(bad, 5)
        fleet.advance()
        assert breaker(bad).own_state is State.OPEN
        recover(fleet, bad)
        before = bad.statistics.recorded
        for permit in old[:5]:
            permit.record(Outcome.FAILURE, "ReadTimeout")
        fleet.advance()
        assert breaker(bad).own_state is State.CLOSED
        assert bad.statistics.recorded == before + 5  # and reported
        new = begin(bad, 4)
        for permit in [*new, *old[5:]]:
            permit.record(Outcome.FAILURE, "ReadTimeout")
        fleet.advance()
        assert breaker(bad).own_state is State.CLOSED, "four failures are not enough"
        fail(bad, 1)
        fleet.advance()
        assert breaker(bad).own_state is State.OPEN


def test_nor_do_slow_calls_in_flight() -> None:
    strategy = CountWindow(10, 0.5, 5, slow_rate=0.5)
    policy = BreakerPolicy(strategy=strategy, backoff=ConstantBackoff(2), quorum=2, slow_call=8.0)
    with Fleet(policy=policy) as fleet:
        good, bad = fleet.coordinator(), fleet.coordinator()
        for each in (good, bad):
            for _ in range(10):
                call(each, failed=False)
        fleet.advance()
        old = begin(bad, 10)
        fail(bad, 10)
        fleet.advance()
        recover(fleet, bad)
        for _ in range(10):
            call(bad, failed=False)
        fleet.advance(10.0)  # now the old ones are slow
        assert breaker(bad).own_state is State.CLOSED
        new = begin(bad, 10)
        fleet.advance(10.0)
        assert breaker(bad).own_state is State.OPEN
        for permit in [*old, *new]:
            permit.record(Outcome.IGNORED)


def test_an_outage_of_all_opens_for_all() -> None:
    with Fleet(policy=POLICY) as fleet:
        members = [fleet.coordinator() for _ in range(3)]
        for each in members:
            call(each, failed=False)
        fleet.advance()
        for _ in range(3):
            for each in members:
                call(each, failed=True)
        fleet.advance()
        assert {breaker(each).state for each in members} == {State.OPEN}
        assert {breaker(each).own_state for each in members} == {State.CLOSED}
        assert {breaker(each).generation for each in members} == {1}


def test_one_after_the_other_opens_for_all() -> None:
    """Whoever protects itself counts towards the quorum, also when its suspicion is long over."""
    with Fleet(policy=POLICY) as fleet:
        first, second, third = (fleet.coordinator() for _ in range(3))
        for each in (first, second, third):
            call(each, failed=False)
        fleet.advance()
        fail(first, 5)
        for _ in range(45):
            fleet.advance(1.0)
            call(first, failed=True)
            call(second, failed=False)
        fail(second, 5)
        fleet.advance()
        assert breaker(third).state is State.OPEN


def test_the_fleets_transition_overrules_it() -> None:
    with Fleet(policy=POLICY) as fleet:
        first, second, third = (fleet.coordinator() for _ in range(3))
        for each in (first, second, third):
            call(each, failed=False)
        fleet.advance()
        fail(first, 5)
        fleet.advance()
        assert breaker(first).own_state is State.OPEN
        fail(second, 5)
        fleet.advance()
        assert breaker(first).own_state is State.CLOSED
        assert breaker(first).generation == breaker(third).generation == 1


def test_a_single_process_needs_no_other() -> None:
    with Fleet(policy=POLICY) as fleet:
        alone = fleet.coordinator()
        fail(alone, 5)
        fleet.advance()
        assert breaker(alone).state is State.OPEN
        assert breaker(alone).generation == 1


@pytest.mark.parametrize(("instances", "bad", "quorum"), [(2, 1, 2), (20, 1, 2), (10, 3, 4)])
def test_bad_instances_harm_no_other(instances: int, bad: int, quorum: int) -> None:
    """One of two processes, one of twenty, and a zone of three of ten."""
    with Fleet(policy=replace(POLICY, quorum=quorum)) as fleet:
        members = [fleet.coordinator() for _ in range(instances)]
        for number in range(90):
            for each in members[bad:]:
                assert call(each, failed=False)
            for each in members[:bad]:
                call(each, failed=True)
            if number % 3 == 0:
                fleet.advance(0.5)
        assert {breaker(each).own_state for each in members[bad:]} == {State.CLOSED}
        assert State.CLOSED not in {breaker(each).own_state for each in members[:bad]}


class Scaling:
    """A fleet whose instances come and go."""

    def __init__(self, fleet: Fleet, instances: int) -> None:
        self._fleet = fleet
        self.members = [fleet.coordinator() for _ in range(instances)]

    def scale(self, instances: int, *, failed: bool) -> None:
        """Add or end one instance a second, while calls go on."""
        while len(self.members) != instances:
            if len(self.members) < instances:
                self.members.append(self._fleet.coordinator())
            else:
                self._fleet.cut_off(self.members.pop())
            self.call(1, failed=failed)

    def call(self, seconds: int, *, failed: bool) -> None:
        """Make two calls a second on each instance."""
        for _ in range(2 * seconds):
            for each in self.members:
                call(each, failed=failed)
            self._fleet.advance(0.5)

    @property
    def states(self) -> set[State]:
        return {breaker(each).state for each in self.members}

    @property
    def own_states(self) -> set[State]:
        return {breaker(each).own_state for each in self.members}


@pytest.mark.parametrize("quorum", [0.5, 4])
def test_a_fleet_that_scales_during_an_outage(quorum: float) -> None:
    """From 2 to 10 and back: it opens with each number of instances, stays open for all who come
    and who are left, and recovers."""
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(2), quorum=quorum
    )
    with Fleet(policy=policy) as fleet:
        it = Scaling(fleet, 2)
        it.call(5, failed=False)
        for instances in (10, 2):
            it.call(4, failed=True)
            assert it.states == {State.OPEN}
            assert it.own_states == {State.CLOSED}, "it is the fleet's decision"
            it.scale(instances, failed=True)
            assert State.CLOSED not in it.states
            it.call(8, failed=False)
            assert it.states == {State.CLOSED}


def test_a_fleet_that_has_just_shrunk_opens_when_those_who_left_no_longer_count() -> None:
    """Until then, each instance protects itself."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(60), quorum=4)
    with Fleet(policy=policy) as fleet:
        it = Scaling(fleet, 10)
        it.call(10, failed=False)
        it.scale(2, failed=False)
        it.call(5, failed=True)
        assert it.states == it.own_states == {State.OPEN}
        it.call(30, failed=True)
        assert it.states == {State.OPEN}
        assert it.own_states == {State.CLOSED}, "it is the fleet's decision"


def test_quorum_1_has_no_own_protection() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(10))
    with Fleet(policy=policy) as fleet:
        good, bad = fleet.coordinator(), fleet.coordinator()
        call(good, failed=False)
        fail(bad, 5)
        fleet.advance()
        assert breaker(good).state is breaker(bad).state is State.OPEN
        assert breaker(bad).own_state is State.CLOSED


def test_circuits_that_fail_together_have_a_common_cause() -> None:
    errors: list[Exception] = []
    policy = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(5))
    with Fleet(policy=policy) as fleet:
        members = [fleet.coordinator(common_cause=0.5, on_error=errors.append) for _ in range(3)]
        for circuit in CIRCUITS:
            for each in members:
                call(each, failed=False, circuit=circuit)
        fleet.advance()
        for _ in range(6):  # 8 of 10, within five seconds
            for circuit in CIRCUITS[:8]:
                for each in members:
                    call(each, failed=True, circuit=circuit)
            fleet.advance(0.5)
        opened = [c for c in CIRCUITS if members[0].breaker(c).generation > 0]
        assert len(opened) <= 5
        protected = [c for c in CIRCUITS if members[0].breaker(c).own_state is not State.CLOSED]
        assert sorted(opened + protected) == CIRCUITS[:8]
        assert [type(error).__name__ for error in errors] == ["CommonCauseError"]
        for _ in range(30):  # mended
            for circuit in CIRCUITS:
                for each in members:
                    call(each, failed=False, circuit=circuit)
            fleet.advance(1.0)
        assert {each.breaker(c).state for each in members for c in CIRCUITS} == {State.CLOSED}


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan"), True, "0.5"])
def test_an_unusable_share_is_refused(share: float) -> None:
    with pytest.raises((TypeError, ValueError), match="common_cause"):
        Coordinator(common_cause=share)


def test_names_that_callers_make_up_take_no_memory() -> None:
    with Fleet(policy=POLICY) as fleet:
        coordinator = fleet.coordinator(max_breakers=20)
        fleet.advance()
        for number in range(200):
            call(coordinator, failed=False, circuit=f"tenant-{number}")
            if number % 10 == 9:
                fleet.advance(0.5)
        assert len(protection_of(coordinator)._starts) <= 2 * 20 + 1
