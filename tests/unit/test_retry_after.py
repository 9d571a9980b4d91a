"""What an upstream asks for with `Retry-After` is the least time to the next attempt to recover."""

from typing import Any

import pytest

from tests.unit.bench import Bench, check, half_opened, opened
from zenvark_web import Cause, ConsecutiveFailures, ConstantBackoff, State
from zenvark_web._core.states import Report, Run, Transition
from zenvark_web._core.surroundings import Check
from zenvark_web._core.waits import LEAST_LENGTHENING


def bench_with(**settings: Any) -> Bench:
    return Bench(**{"strategy": ConsecutiveFailures(1), "backoff": ConstantBackoff(5), **settings})


def held_report(seconds: float) -> Report:
    return Report("c", retry_after=seconds)


class TestWhileClosed:
    def test_it_is_the_least_wait_once_the_circuit_opens(self) -> None:
        bench = bench_with()
        assert bench.hold(60) is None
        bench.now += 20
        opening = bench.fail()
        assert opening is not None
        assert (opening.attempt, opening.delay) == (1, 40)
        assert str(opening.reason) == (
            "1 of 1 calls failed: ConsecutiveFailures(threshold=1); "
            "the upstream asked to wait 40.0 s"
        )

    def test_the_failure_that_opens_may_bring_it(self) -> None:
        bench = bench_with()
        opening = bench.say(Run(0, True, False, 1), retry_after=60)
        assert opening is not None
        assert opening.delay == 60

    def test_a_shorter_one_than_the_backoff_changes_nothing(self) -> None:
        bench = bench_with()
        bench.hold(4)
        opening = bench.fail()
        assert opening is not None
        assert opening.delay == 5
        assert str(opening.reason) == "1 of 1 calls failed: ConsecutiveFailures(threshold=1)"

    def test_one_that_is_over_is_forgotten(self) -> None:
        bench = bench_with()
        bench.hold(60)
        bench.now += 60
        opening = bench.fail()
        assert opening is not None
        assert opening.delay == 5

    def test_the_longest_live_one_wins_whoever_was_told(self) -> None:
        bench = bench_with()
        bench.hold(60, by="a")
        bench.hold(90, by="b")
        bench.now += 10
        bench.hold(30, by="c")
        assert opened(bench).latest.delay == 80

    @pytest.mark.parametrize(("longest", "delay"), [(40.0, 40), (0, 5), (1e4, 100)])
    def test_it_is_cut_to_what_the_policy_allows(self, longest: float, delay: float) -> None:
        bench = bench_with(max_retry_after=longest)
        bench.hold(100)
        assert opened(bench).latest.delay == delay

    def test_it_counts_whatever_the_generation(self) -> None:
        """It is no result: it says something of the upstream, not of one call."""
        bench = bench_with(health_check=check)
        opened(bench)
        bench.answer(bench.wait_for_check())
        bench.say(Run(0, True, False, 1), retry_after=60)
        assert bench.state is State.CLOSED
        assert opened(bench).latest.delay == 60

    def test_it_survives_a_takeover_and_an_adoption(self) -> None:
        bench = bench_with()
        moved = bench.repair(7)
        assert moved is not None
        told_at = bench.now
        bench.now += 20
        successor = bench_with(latest=moved, now=bench.now)
        report = successor.circuit.report
        said = {"at": told_at, "now": bench.now, "replayed": True}
        assert report("a", held_report(60), **said) is None
        successor.circuit.adopt(moved, bench.now)
        assert opened(successor).latest.delay == 40

    def test_idle_check_waits(self) -> None:
        bench = bench_with(health_check=check, idle_interval=10)
        bench.hold(60)
        assert bench.wait(59.9) is None
        assert isinstance(bench.wait(0.2), Check)


class TestWhileOpen:
    @pytest.mark.parametrize("settings", [{}, {"health_check": check}], ids=["trial", "check"])
    def test_a_longer_one_lengthens_the_wait(self, settings: dict[str, Any]) -> None:
        bench = opened(bench_with(**settings))
        bench.now += 2
        moved = bench.hold(60, by="web-1")
        assert moved is not None
        assert (moved.previous, moved.state) == (State.OPEN, State.OPEN)
        assert (moved.attempt, moved.delay) == (1, 60)
        assert str(moved.reason) == "the upstream asked web-1 to wait 60.0 s more"
        assert bench.wait(59.9) is None
        assert bench.demand() is None
        assert bench.wait(0.2) is not None

    def test_calls_that_began_earlier_may_bring_it(self) -> None:
        bench = opened(bench_with())
        moved = bench.say(Run(0, True, False, 3), retry_after=60)
        assert moved is not None
        assert moved.reason.cause is Cause.RETRY_AFTER

    def test_a_shorter_one_changes_nothing(self) -> None:
        bench = opened(bench_with())
        assert bench.hold(4) is None
        assert bench.circuit.deadline == bench.latest.retry_at

    def test_no_storm_of_transitions(self) -> None:
        bench = opened(bench_with())
        for _ in range(200):
            bench.now += 0.01
            bench.hold(60)
        assert bench.latest.generation <= 1 + 1 + 2 / LEAST_LENGTHENING
        assert bench.circuit.deadline == bench.now + 60

    @pytest.mark.parametrize("settings", [{}, {"health_check": check}], ids=["trial", "check"])
    def test_what_is_too_little_to_tell_is_waited_for(self, settings: dict[str, Any]) -> None:
        bench = opened(bench_with(**settings))
        assert bench.hold(5.9) is None
        assert bench.latest.delay == 5
        bench.wait(5.5)
        assert bench.demand() is None
        assert bench.state is State.OPEN
        assert bench.circuit.deadline == bench.latest.at + 5.9
        assert bench.wait(0.5) is not None

    def test_a_little_more_when_the_wait_is_over_holds_up_the_next_grant(self) -> None:
        bench = opened(bench_with())
        assert bench.wait(6) is None, "nobody has calls to make"
        assert bench.wait(1) is None
        assert bench.hold(0.5) is None
        assert bench.demand() is None
        grant = bench.wait(0.5)
        assert isinstance(grant, Transition)
        assert grant.state is State.HALF_OPEN

    def test_a_check_under_way_no_longer_counts(self) -> None:
        bench = opened(bench_with(health_check=check))
        asked = bench.wait_for_check()
        assert bench.hold(60) is not None
        assert bench.answer(asked) is None
        assert bench.state is State.OPEN

    def test_a_check_under_way_is_not_asked_for_twice(self) -> None:
        bench = opened(bench_with(health_check=check))
        asked = bench.wait_for_check()
        assert bench.hold(0.5) is None
        assert bench.wait(60) is None
        assert bench.answer(asked) is not None

    def test_further_checks_wait_as_well(self) -> None:
        bench = opened(bench_with(health_check=check, healthy_after=2))
        asked = bench.wait_for_check()
        bench.hold(60)
        assert bench.answer(asked) is None
        bench.answer(bench.wait_for_check(60))
        bench.circuit._retry_after.extend(30, bench.now)
        assert bench.wait(29.9) is None

    def test_a_new_leader_tells_what_the_old_one_did_not(self) -> None:
        bench = opened(bench_with())
        successor = bench_with(latest=bench.latest, now=bench.now + 1)
        moved = successor.hold(60, replayed=True)
        assert moved is not None
        assert moved.reason.cause is Cause.RETRY_AFTER


class TestWhileHalfOpen:
    def test_a_failed_trial_may_bring_it(self) -> None:
        bench = half_opened(bench_with())
        moved = bench.trial(False, retry_after=60)
        assert moved is not None
        assert (moved.state, moved.attempt, moved.delay) == (State.OPEN, 2, 60)

    def test_one_that_another_brings_counts_for_the_next_wait(self) -> None:
        bench = half_opened(bench_with())
        assert bench.hold(60, by="b") is None
        bench.now += 10
        moved = bench.trial(False)
        assert moved is not None
        assert moved.delay == 50

    def test_no_further_round_before_it_is_over(self) -> None:
        bench = half_opened(bench_with(healthy_after=2))
        bench.hold(10, by="b")
        assert bench.trial(True) is None
        assert bench.state is State.HALF_OPEN
        assert bench.demand() is None
        assert bench.wait(9) is None
        assert bench.demand() is None
        grant = bench.wait(1)
        assert isinstance(grant, Transition)
        assert grant.grant is not None
        assert grant.grant.passed == 1

    def test_proof_of_health_closes_nevertheless(self) -> None:
        bench = half_opened(bench_with())
        bench.hold(60, by="b")
        closing = bench.trial(True)
        assert closing is not None
        assert closing.state is State.CLOSED
        assert opened(bench).latest.delay == 60
