"""The rule of a quorum: no instance opens a circuit alone, and an outage of all still does."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bench import Bench, check
from zenvark_web import (
    BreakerPolicy,
    Cause,
    ConsecutiveFailures,
    ConstantBackoff,
    CountWindow,
    State,
    Strategy,
    TimeWindow,
    Trip,
    Window,
)
from zenvark_web._core.circuit import Circuit
from zenvark_web._core.common_cause import CommonCause
from zenvark_web._core.failure_kinds import kind_of
from zenvark_web._core.policy import described
from zenvark_web._core.quorum import (
    MOST_EVIDENCE,
    Evidence,
    Suspects,
    Tally,
    instances_needed,
    least_left_out,
)
from zenvark_web._core.states import Grant, Report, Run, Transition
from zenvark_web._core.surroundings import Contradiction, Surroundings

STRATEGIES: Sequence[Strategy] = (
    ConsecutiveFailures(5),
    ConsecutiveFailures(1),
    CountWindow(20, 0.5, 10),
    CountWindow(10, 1.0),
    TimeWindow(60.0, 0.5, 10),
    TimeWindow(1.0, 0.2, 4),
)


class Fleet:
    """A leader's circuit, and the calls of instances."""

    def __init__(
        self,
        strategy: Strategy,
        quorum: float,
        instances: int = 4,
        *,
        expected: int = 0,
        expected_until: float = 0.0,
    ) -> None:
        policy = BreakerPolicy(strategy=strategy, quorum=quorum, backoff=ConstantBackoff(30))
        latest = Transition(circuit="c")
        self.now = 1000.0
        self.circuit = Circuit(
            policy, latest, self.now, lambda: 0.5, Surroundings("leader", expected, expected_until)
        )
        self.names = [f"i{number}" for number in range(instances)]
        for name in self.names:
            self.call(name, failed=False)

    @property
    def is_open(self) -> bool:
        return self.circuit.latest.state is State.OPEN

    def call(self, name: str, *, failed: bool, count: int = 1, slow: bool = False) -> None:
        self.now += 0.001
        run = Run(self.circuit.latest.generation, failed, slow, count, label="boom" * failed)
        self.circuit.report(name, Report("c", runs=(run,)), at=self.now, now=self.now)

    def overdue(self, name: str, count: int) -> None:
        report = Report("c", overdue=count, generation=self.circuit.latest.generation)
        self.circuit.report(name, report, at=self.now, now=self.now)

    def protects_itself(self, name: str, failures: int = 5) -> None:
        self.now += 0.001
        runs = (Run(0, failed=True, slow=False, count=failures),) if failures else ()
        report = Report("c", runs=runs, blocked=1, protects_itself=True)
        self.circuit.report(name, report, at=self.now, now=self.now)

    @property
    def suspects(self) -> list[str]:
        assert self.circuit.jury is not None
        return sorted(each.instance for each in self.circuit.jury.suspects.current(self.now))


strategies = st.sampled_from(STRATEGIES)
calls = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.integers(1, 30), st.floats(0, 40)), max_size=80
)


@given(strategies, st.integers(2, 5), calls)
def test_q1_fewer_than_the_quorum_never_open_it(
    strategy: Strategy, quorum: int, made: list[tuple[int, bool, int, float]]
) -> None:
    """Q1. Results of any q - 1 instances never open it, if all others only succeed."""
    fleet = Fleet(strategy, quorum, instances=6)
    for number, failed, count, pause in made:
        bad = number < quorum - 1
        fleet.now += pause
        for name in fleet.names:  # they go on to report
            fleet.circuit.report(name, Report("c", blocked=1), at=fleet.now, now=fleet.now)
        fleet.call(fleet.names[number], failed=failed and bad, count=count)
        assert not fleet.is_open


@given(strategies, st.integers(2, 5), st.lists(st.integers(0, 5), min_size=500, max_size=500))
def test_q2_an_outage_of_all_opens_it(strategy: Strategy, quorum: int, callers: list[int]) -> None:
    """Q2. If all calls fail, at most q - 1 decisions are refused, so it opens after at most q times
    the counted calls of quorum 1: twice as many with a quorum of 2."""
    plain = Fleet(strategy, 1, instances=0)
    needed = 0
    while not plain.is_open:
        plain.call("a", failed=True)
        needed += 1
    fleet = Fleet(strategy, quorum, instances=0)
    jury = fleet.circuit.jury
    assert jury is not None
    for name in range(6):  # all are known, and nothing is counted
        fleet.circuit.report(f"i{name}", Report("c", blocked=1), at=fleet.now, now=fleet.now)
    counted = 0
    for caller in [*callers, *range(6), *range(6)] * needed:
        name = f"i{caller}"
        counted += not jury.discounts(name, fleet.now)
        fleet.call(name, failed=True)
        if fleet.is_open:
            break
    assert fleet.is_open
    assert counted <= quorum * needed


@given(strategies, calls)
def test_q3_quorum_1_is_the_same_machine(
    strategy: Strategy, made: list[tuple[int, bool, int, float]]
) -> None:
    """Q3. Quorum 1 has no jury; and where one instance reports, a larger quorum has no effect."""
    plain, sole = Fleet(strategy, 1, instances=1), Fleet(strategy, 2, instances=1)
    assert plain.circuit.jury is None
    for _, failed, count, pause in made:
        for fleet in (plain, sole):
            fleet.now += pause
            fleet.call("i0", failed=failed, count=count)
        assert plain.circuit.latest == sole.circuit.latest


def test_a_bad_instance_is_left_out_and_suspected() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 2)
    for _ in range(5):
        fleet.call("i0", failed=True)
    assert not fleet.is_open
    assert fleet.suspects == ["i0"]
    for _ in range(50):
        fleet.call("i0", failed=True)
    assert not fleet.is_open
    for _ in range(10):
        fleet.call("i1", failed=False)
        for _ in range(4):
            fleet.call("i0", failed=True)
        fleet.call("i1", failed=True)  # a stray failure does not complete a suspect's streak
    assert not fleet.is_open


def test_suspects_count_towards_the_quorum() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 2)
    for _ in range(5):
        fleet.call("i0", failed=True)
    for _ in range(5):
        fleet.call("i1", failed=True)
    assert fleet.is_open


def test_an_instance_that_protects_itself_counts_as_a_suspect() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 2)
    fleet.protects_itself("i0")
    assert not fleet.is_open
    assert fleet.suspects == ["i0"]  # not by its own failures
    fleet.now += 50.0  # the suspicion is over
    fleet.protects_itself("i0", failures=0)
    fleet.call("i1", failed=True, count=5)
    assert fleet.is_open


def test_an_instance_that_knows_an_older_generation_counts_for_nothing() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 2)
    fleet.circuit.adopt(Transition(circuit="c", generation=2), fleet.now)
    for name in fleet.names:
        fleet.protects_itself(name)  # in generation 0
    assert not fleet.is_open


def test_as_many_as_the_quorum_that_protect_themselves_open_it() -> None:
    fleet = Fleet(CountWindow(1_000, 0.5, 100), 3, instances=4)
    for name in fleet.names[:2]:
        fleet.protects_itself(name)
    assert not fleet.is_open
    fleet.protects_itself("i2")
    assert fleet.is_open
    assert "3 instances" in str(fleet.circuit.latest.reason)


def test_a_suspicion_ends_and_returns_for_longer() -> None:
    suspects = Suspects()
    assert suspects.accuse(Tally("a", 5, 0, 5), 100.0).until == 130.0
    assert suspects.holds("a", 129.9)
    assert not suspects.holds("a", 130.0)
    again = suspects.accuse(Tally("a", 5, 0, 5), 140.0)
    assert (again.since, again.until) == (100.0, 200.0)
    for now in (201.0, 400.0, 700.0, 1300.0, 2000.0):
        last = suspects.accuse(Tally("a", 5, 0, 5), now)
    assert last.length == 600.0
    assert suspects.accuse(Tally("a", 5, 0, 5), 9000.0).length == 30.0  # it was well for long


def test_a_bad_zone_is_outvoted_by_a_larger_quorum() -> None:
    fleet = Fleet(CountWindow(50, 0.2, 20), 4, instances=9)
    for _ in range(200):
        for number, name in enumerate(fleet.names):
            fleet.call(name, failed=number < 3)
    assert not fleet.is_open
    assert 1 < len(fleet.suspects) < 4
    for _ in range(200):
        for number, name in enumerate(fleet.names):
            fleet.call(name, failed=number < 4)
    assert fleet.is_open  # a fourth one


def test_slow_calls_and_those_in_flight_are_attributed() -> None:
    strategy = CountWindow(20, 0.9, 10, slow_rate=0.5)
    policy = BreakerPolicy(strategy=strategy, quorum=2, slow_call=1.0)
    fleet = Fleet(ConsecutiveFailures(5), 2)
    fleet.circuit = Circuit(policy, Transition(circuit="c"), fleet.now, lambda: 0.5)
    for name in fleet.names:
        fleet.call(name, failed=False, count=2)
    for _ in range(9):
        fleet.call("i0", failed=False, slow=True)
    assert not fleet.is_open
    assert fleet.suspects == ["i0"]
    for name in fleet.names:
        fleet.call(name, failed=False, count=3)
    fleet.overdue("i0", 50)
    assert not fleet.is_open  # those of a suspect do not count
    fleet.overdue("i1", 30)
    assert fleet.is_open


def test_the_first_overdue_instance_is_left_out() -> None:
    policy = BreakerPolicy(
        strategy=CountWindow(20, 0.9, 10, slow_rate=0.5), quorum=2, slow_call=1.0
    )
    fleet = Fleet(ConsecutiveFailures(5), 2)
    fleet.circuit = Circuit(policy, Transition(circuit="c"), fleet.now, lambda: 0.5)
    for name in fleet.names:
        fleet.call(name, failed=False, count=3)
    fleet.overdue("i0", 12)
    assert not fleet.is_open
    assert fleet.suspects == ["i0"]


@pytest.mark.parametrize(
    ("quorum", "reporting", "needed"),
    [
        (2, 0, 1),
        (2, 1, 1),
        (2, 2, 2),
        (4, 3, 3),
        (0.5, 1, 1),
        (0.5, 3, 2),
        (0.1, 30, 3),
        (1.0, 7, 7),
        (1, 7, 1),
    ],
)
def test_the_quorum_follows_the_number_of_reporting_instances(
    quorum: float, reporting: int, needed: int
) -> None:
    assert instances_needed(quorum, reporting) == needed


def test_the_quorum_follows_a_fleet_that_scales() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 0.5, instances=10)
    for name in fleet.names[:2]:
        fleet.call(name, failed=True, count=3)
    assert not fleet.is_open  # five are needed
    fleet = Fleet(ConsecutiveFailures(5), 0.5, instances=10)
    fleet.now += 31.0  # the others have gone
    for name in fleet.names[:2] * 2:
        fleet.call(name, failed=True)
        fleet.call(name, failed=True)
    assert fleet.is_open


def test_a_new_leader_expects_those_that_reported_before() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 2, instances=0, expected=3, expected_until=1030)
    fleet.call("i0", failed=True, count=20)
    assert not fleet.is_open
    fleet = Fleet(ConsecutiveFailures(5), 2, instances=0, expected=3, expected_until=1030)
    fleet.now += 31.0
    fleet.call("i0", failed=True, count=20)
    assert fleet.is_open  # nobody else has a call


def test_suspects_outlast_their_leader() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 2)
    fleet.call("i0", failed=True, count=5)
    saved = fleet.circuit.save(fleet.now)
    assert saved is not None
    successor = Fleet(ConsecutiveFailures(5), 2)
    assert successor.circuit.restore(saved, successor.now)
    assert successor.suspects == ["i0"]


def test_a_restored_sample_is_evidence() -> None:
    fleet = Fleet(ConsecutiveFailures(5), 2)
    for _ in range(4):
        fleet.call("i0", failed=True)
    saved = fleet.circuit.save(fleet.now)
    assert saved is not None
    successor = Fleet(ConsecutiveFailures(5), 2, instances=0, expected=4, expected_until=2000)
    successor.now = fleet.now
    assert successor.circuit.restore(saved, successor.now)
    successor.call("i1", failed=True)
    assert successor.is_open  # two instances have failed


def test_failures_older_than_the_evidence_are_attributed_in_proportion() -> None:
    evidence = Evidence()
    evidence.add("old", True, False, 1_000)
    for _ in range(MOST_EVIDENCE // 2):
        evidence.add("a", True, False, 1)
        evidence.add("b", False, False, 1)
    tallies = evidence.attribute(Trip(1, 10_000, 9_000, 0), {})
    assert [tally.instance for tally in tallies] == ["a"]
    strategy = CountWindow(10_000, 0.5)
    faults: list[Exception] = []
    left_out = least_left_out(strategy, Trip(1, 10_000, 9_000, 0), tallies, 1, faults)
    assert left_out == tallies  # all of the 9,000 are a's, as far as is known


@dataclass(frozen=True)
class UserStrategy:
    """A user's strategy that knows nothing of a quorum, or whose `stands` raises."""

    def window(self) -> Window:
        return ConsecutiveFailures(5).window()


class RaisingStrategy(UserStrategy):
    def stands(self, trip: Trip, without: int) -> bool:
        raise LookupError("a user's mistake")


@pytest.mark.parametrize("strategy", [UserStrategy(), RaisingStrategy()])
def test_a_users_strategy_counts_instances(strategy: Strategy) -> None:
    fleet = Fleet(strategy, 2)
    fleet.call("i0", failed=True, count=5)
    assert not fleet.is_open
    fleet = Fleet(strategy, 2)
    fleet.call("i0", failed=True, count=4)
    fleet.call("i1", failed=True)
    assert fleet.is_open
    raised = [type(error) for error in fleet.circuit.faults]
    assert raised == [LookupError] * isinstance(strategy, RaisingStrategy)


@pytest.mark.parametrize(
    ("strategy", "trip", "without", "stands"),
    [
        (ConsecutiveFailures(5), Trip(1, 5, 5, 0), 4, True),
        (ConsecutiveFailures(5), Trip(1, 5, 5, 0), 5, False),
        (CountWindow(100, 0.5), Trip(1, 100, 60, 0), 20, True),
        (CountWindow(100, 0.5), Trip(1, 100, 60, 0), 21, False),
        (CountWindow(100, 0.5), Trip(1, 100, 100, 0), 100, False),
        (TimeWindow(60, 0.5, slow_rate=0.5), Trip(1, 100, 0, 60), 20, True),
        (TimeWindow(60, 0.5, slow_rate=0.5), Trip(1, 100, 0, 60), 21, False),
    ],
)
def test_decisions_stand_without_some_calls(
    strategy: ConsecutiveFailures | CountWindow | TimeWindow,
    trip: Trip,
    without: int,
    stands: bool,
) -> None:
    assert strategy.stands(trip, without) is stands


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (1001, ValueError),
        (True, TypeError),
        ("2", TypeError),
        (None, TypeError),
        (0.0, ValueError),
        (-0.5, ValueError),
        (1.5, ValueError),
        (2.0, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
    ],
)
def test_an_unusable_quorum_is_refused(value: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="quorum must be a whole number of instances from 1 to 1000"):
        BreakerPolicy(quorum=value)


def test_one_and_all_are_different_settings() -> None:
    assert described(BreakerPolicy(quorum=1)) != described(BreakerPolicy(quorum=1.0))


class TestChecksOfABadLeader:
    """The leader's own egress may be broken: its health checks are not believed at once."""

    def idle(self, quorum: int) -> Bench:
        return Bench(
            quorum=quorum,
            health_check=check,
            idle_interval=10,
            surroundings=Surroundings("leader"),
        )

    def test_idle_checks_must_fail_three_times_in_a_row(self) -> None:
        it = self.idle(2)
        for error in ("refused", "refused", None, "refused", "refused"):
            assert it.answer(it.wait_for_check(), error) is None
        opened = it.answer(it.wait_for_check(), "refused")
        assert opened is not None
        assert (opened.state, it.cause) == (State.OPEN, Cause.IDLE_CHECK_FAILED)

    def test_with_quorum_1_one_is_enough(self) -> None:
        it = self.idle(1)
        assert it.answer(it.wait_for_check(), "refused") is not None

    def opened(self, quorum: int = 2) -> Bench:
        it = Bench(quorum=quorum, health_check=check, surroundings=Surroundings("leader"))
        for name in ("leader", "a"):
            it.calls(by=name)
            it.fail(5, by=name)
        assert it.state is State.OPEN
        return it

    def demand(self, it: Bench) -> object:
        """Let calls be rejected just before the next check is due."""
        deadline = it.circuit.deadline
        assert deadline is not None
        it.now = deadline - 0.5
        it.demand("a")
        it.demand("leader")
        return it.wait(1)

    def test_another_instance_gives_a_second_opinion(self) -> None:
        it = self.opened()
        for _ in range(3):
            it.answer(it.wait_for_check(), "refused")
        granted = self.demand(it)
        assert isinstance(granted, Transition)
        assert granted.grant == Grant(holder="a", permits=1)
        closed = it.trial(True, by="a")
        assert closed is not None
        assert (closed.state, it.cause) == (State.CLOSED, Cause.TRIAL_PASSED)
        assert it.circuit.contradictions == [Contradiction("a", 3, "refused")]

    def test_it_may_agree_with_the_checks(self) -> None:
        it = self.opened()
        for _ in range(3):
            it.answer(it.wait_for_check(), "refused")
        self.demand(it)
        opened = it.trial(False, by="a")
        assert opened is not None
        assert (opened.state, it.cause) == (State.OPEN, Cause.TRIAL_FAILED)
        assert it.circuit.contradictions == []
        it.demand("a")
        for _ in range(3):  # checks again, three of them
            it.answer(it.wait_for_check(), "refused")

    def test_without_demand_elsewhere_checks_go_on(self) -> None:
        it = self.opened()
        for _ in range(5):
            it.demand("leader")
            it.answer(it.wait_for_check(), "refused")
        assert it.answer(it.wait_for_check()) is not None
        assert it.state is State.CLOSED

    def test_a_holder_that_is_lost_gives_none(self) -> None:
        it = self.opened()
        for _ in range(3):
            it.answer(it.wait_for_check(), "refused")
        self.demand(it)
        assert it.state is State.HALF_OPEN
        it.wait(10)
        assert (it.state, it.cause) == (State.OPEN, Cause.CHECK_FAILED)
        it.wait_for_check()

    def test_quorum_1_asks_nobody(self) -> None:
        it = self.opened(1)
        for _ in range(6):
            it.demand("a")
            it.answer(it.wait_for_check(), "refused")


class TestCommonCause:
    def circuits(self, called: int = 10) -> list[Circuit]:
        cause = CommonCause(0.5)
        policy = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(30))
        surroundings = Surroundings(common_cause=cause)
        made = [
            Circuit(policy, Transition(circuit=f"c{n}"), 1000.0, lambda: 0.5, surroundings)
            for n in range(called)
        ]
        for circuit in made:
            self.call(circuit, 1000.0, failed=False)
        return made

    def call(self, circuit: Circuit, now: float, *, failed: bool, count: int = 1) -> None:
        generation = circuit.latest.generation
        run = Run(generation, failed, slow=False, count=count)
        report = Report(circuit.latest.circuit, runs=(run,))
        circuit.report("i0", report, at=now, now=now)

    def opened(self, circuits: list[Circuit]) -> int:
        return sum(circuit.latest.state is State.OPEN for circuit in circuits)

    def test_most_circuits_do_not_open(self) -> None:
        circuits = self.circuits()
        for number, circuit in enumerate(circuits[:8]):
            self.call(circuit, 1001.0 + number / 2, failed=True, count=5)
        assert self.opened(circuits) == 5
        self.call(circuits[9], 1020.0, failed=True, count=5)
        assert self.opened(circuits) == 5  # none for 30 s
        for circuit in circuits:
            self.call(circuit, 1040.0, failed=False)
        self.call(circuits[8], 1041.0, failed=True, count=5)
        assert self.opened(circuits) == 6

    def test_few_circuits_and_separate_moments_have_none(self) -> None:
        few = self.circuits(called=4)
        for circuit in few:
            self.call(circuit, 1001.0, failed=True, count=5)
        assert self.opened(few) == 4
        many = self.circuits()
        for number, circuit in enumerate(many):
            for other in many:
                self.call(other, 1000.0 + 11 * number, failed=False)
            self.call(circuit, 1001.0 + 11 * number, failed=True, count=5)
        assert self.opened(many) == 10


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("ConnectError (name resolution)", "connect"),
        ("ConnectTimeout", "connect"),
        ("gaierror", "connect"),
        ("ReadTimeout", "timeout"),
        ("TimeoutError", "timeout"),
        ("cancelled after more than 2 s", "timeout"),
        ("HTTP 503", "status"),
        ("ReadError (body)", "body"),
        ("PoolTimeout", "pool"),
        ("ValueError", "other"),
        ("", "other"),
    ],
)
def test_labels_have_kinds(label: str, kind: str) -> None:
    assert kind_of(label) == kind


def test_reasons_name_kinds() -> None:
    it = Bench()
    it.fail(3, label="ConnectError (refused)")
    it.fail(2, label="HTTP 503")
    assert it.latest.reason.kinds == {"connect": 3, "status": 2}


TEN_MINUTES = 600
RATE = 20
"""Calls per second of the whole fleet."""


def trips(strategy: Strategy, quorum: int, seed: int) -> int:
    """How often the circuit trips in ten minutes in which one of 20 instances always fails with 60%
    of the calls, and 1% of the others fail. After each opening it is closed at once."""
    chance = Random(seed)
    fleet = Fleet(strategy, quorum, instances=20)
    opened = 0
    for _ in range(TEN_MINUTES * RATE):
        fleet.now += 1 / RATE
        bad = chance.random() < 0.6
        name = "i0" if bad else f"i{chance.randrange(1, 20)}"
        fleet.call(name, failed=bad or chance.random() < 0.01)
        if fleet.is_open:
            opened += 1
            generation = fleet.circuit.latest.generation + 1
            fleet.circuit.adopt(Transition(circuit="c", generation=generation), fleet.now)
    return opened


def seconds_of_an_outage(strategy: Strategy, quorum: int, seed: int) -> float:
    """How long an outage for all of 20 instances lasts before the circuit opens."""
    chance = Random(seed)
    fleet = Fleet(strategy, quorum, instances=20)
    for number in range(100 * 60):
        fleet.now += 0.01
        fleet.call(f"i{chance.randrange(20)}", failed=number >= 3_000)
        if fleet.is_open:
            return (number - 3_000) / 100
    raise AssertionError("it stays closed")


@pytest.mark.parametrize(
    "strategy",
    [ConsecutiveFailures(5), CountWindow(50, 0.5), TimeWindow(10, 0.5, 20)],
    ids=["streak", "count", "time"],
)
class TestOneOfTwenty:
    def test_opens_nothing_for_the_others(self, strategy: Strategy) -> None:
        assert trips(strategy, 1, seed=1) > 300
        assert trips(strategy, 2, seed=1) <= 1

    def test_an_outage_of_all_is_seen_as_soon(self, strategy: Strategy) -> None:
        later = [
            seconds_of_an_outage(strategy, 2, seed) - seconds_of_an_outage(strategy, 1, seed)
            for seed in range(3)
        ]
        assert max(later) <= 0.3
