"""Half-open: exactly as many trial calls as the policy says, and never stuck."""

import pytest

from tests.unit.bench import Bench, half_opened, opened
from zenvark_web import Cause, ConsecutiveFailures, ConstantBackoff, CountWindow, State
from zenvark_web._core.states import Grant, Report, Run, Transition, TrialNote
from zenvark_web._core.surroundings import Recall
from zenvark_web._core.trial import (
    FRESH_DEMAND,
    HOLDER_SILENCE,
    MAX_DEMAND,
    RECALL_AGAIN,
    RIVAL_CALLS,
    TIME_TO_USE,
    TRIAL_PATIENCE,
)


def grant_of(bench: Bench) -> Grant:
    assert bench.state is State.HALF_OPEN
    assert bench.latest.grant is not None
    return bench.latest.grant


class TestGrants:
    def test_needs_demand_when_it_is_due(self) -> None:
        bench = opened(Bench())
        assert bench.wait(60) is None, "nobody has asked for a call"
        granting = bench.demand("b")
        assert granting is not None
        assert (granting.state, granting.reason.cause) == (State.HALF_OPEN, Cause.TRIAL)
        assert granting.grant == Grant(holder="b", permits=1, passed=0)
        assert str(granting.reason) == "1 trial call granted to b"
        assert granting.attempt == 1, "the wait it ends is still the first"

    def test_comes_by_itself_when_demand_is_there(self) -> None:
        bench = opened(Bench())
        assert bench.demand("b") is None, "too soon"
        bench.wait(1)
        assert grant_of(bench).holder == "b"

    def test_goes_to_the_instance_with_the_most_calls(self) -> None:
        bench = opened(Bench())
        for name in ("a", "b", "a", "c"):
            bench.demand(name)
        bench.wait(1)
        assert grant_of(bench).holder == "a"

    def test_goes_to_the_last_of_several_with_as_many(self) -> None:
        bench = opened(Bench())
        for name in ("a", "b"):
            bench.say(by=name, blocked=7)
        bench.wait(1)
        assert grant_of(bench).holder == "b"

    def test_goes_to_who_has_many_calls_now(self) -> None:
        bench = opened(Bench(backoff=ConstantBackoff(60)))
        bench.say(by="a", blocked=1000)
        bench.wait(59)
        bench.say(by="b", blocked=5)
        bench.demand("a")
        bench.wait(1)
        assert grant_of(bench).holder == "b"

    def test_demand_grows_stale(self) -> None:
        bench = opened(Bench(backoff=ConstantBackoff(FRESH_DEMAND + 0.1)))
        bench.demand("b")
        assert bench.wait(60) is None, "b may have no calls any more"
        bench.demand("c")
        assert grant_of(bench).holder == "c"

    def test_old_news_is_no_demand(self) -> None:
        """What a new leader reads again says nothing of who has calls to make now."""
        bench = opened(Bench())
        bench.wait(1)
        assert bench.say(by="b", blocked=5, replayed=True) is None
        assert bench.say(by="b", blocked=5) is not None

    def test_only_blocked_calls_are_demand(self) -> None:
        bench = opened(Bench())
        bench.wait(1)
        assert bench.say(by="b") is None
        assert bench.fail(by="b") is None
        assert bench.state is State.OPEN

    def test_demand_from_before_the_opening_counts_if_fresh(self) -> None:
        bench = half_opened(Bench())
        bench.demand("b")
        bench.trial(False)
        bench.wait(2)
        assert grant_of(bench).holder == "b"

    def test_memory_of_demand_is_bounded(self) -> None:
        bench = opened(Bench(backoff=ConstantBackoff(1)))
        for number in range(MAX_DEMAND * 3):
            bench.demand(f"web-{number}")
        assert len(bench.circuit._callers._demand) == MAX_DEMAND
        bench.wait(1)
        assert grant_of(bench).holder == f"web-{MAX_DEMAND * 3 - 1}"

    @pytest.mark.parametrize("calls", [1, 2, 7])
    def test_are_for_exactly_so_many_calls(self, calls: int) -> None:
        bench = half_opened(Bench(trial_calls=calls))
        assert grant_of(bench).permits == calls

    def test_only_one_is_out_at_a_time(self) -> None:
        bench = half_opened(Bench())
        assert bench.demand("b") is None
        assert bench.demand("a") is None
        assert bench.latest.generation == 2


class TestVerdict:
    def test_success_closes(self) -> None:
        bench = half_opened(Bench())
        closing = bench.trial(True)
        assert closing is not None
        assert (closing.state, closing.reason.cause) == (State.CLOSED, Cause.TRIAL_PASSED)
        assert str(closing.reason) == "1 trial call passed"

    def test_failure_waits_longer(self) -> None:
        bench = half_opened(Bench())
        moved = bench.trial(False)
        assert moved is not None
        assert (moved.state, moved.reason.cause) == (State.OPEN, Cause.TRIAL_FAILED)
        assert (moved.attempt, moved.delay) == (2, 2)
        assert str(moved.reason) == "1 of 1 trial call failed"
        assert moved.reason.instances == {"a": 1}
        assert moved.reason.failures == {"boom": 1}

    def test_slow_success_fails(self) -> None:
        bench = half_opened(Bench(slow_call=1, strategy=CountWindow(10, 0.5, 5)))
        assert bench.trial(True, slow=True) is not None
        assert bench.cause is Cause.TRIAL_FAILED
        assert bench.latest.reason.failures == {"slow": 1}

    def test_comes_when_all_are_settled(self) -> None:
        bench = half_opened(Bench(trial_calls=3))
        assert bench.trial(True, unused=2) is None
        assert bench.trial(True, unused=0, held=1) is None
        assert bench.trial(True) is not None
        assert bench.state is State.CLOSED

    def test_does_not_wait_for_calls_that_cannot_save_it(self) -> None:
        bench = half_opened(Bench(trial_calls=3))
        assert bench.trial(False, unused=1, held=1) is None, "one may still be taken"
        assert bench.trial(unused=0, held=2) is not None
        assert bench.cause is Cause.TRIAL_FAILED
        assert str(bench.latest.reason) == "1 of 3 trial calls failed"

    def test_is_not_made_of_other_peoples_results(self) -> None:
        bench = half_opened(Bench())
        assert bench.calls(by="b") is None
        assert bench.fail(by="b") is None
        assert bench.say(by="b", note=TrialNote(2, 0, 0)) is None
        assert bench.trial(True) is not None
        assert bench.state is State.CLOSED

    def test_is_not_made_of_earlier_results(self) -> None:
        bench = half_opened(Bench())
        late = Run(1, True, False, 5)
        assert bench.say(late, by="a", note=TrialNote(1, 0, 0)) is None
        assert bench.trial(True) is not None
        assert bench.state is State.CLOSED

    def test_holder_that_claims_too_much_gets_no_odd_grant(self) -> None:
        bench = half_opened(Bench(trial_calls=2, healthy_after=10))
        bench.say(Run(2, False, False, 5), note=TrialNote(2, 0, 0))
        assert grant_of(bench) == Grant(holder="a", permits=2, passed=5)

    def test_is_told_to_a_new_leader_by_replay(self) -> None:
        """The results that decided are in the stream; the leader that read them is gone."""
        trying = half_opened(Bench(trial_calls=2))
        trying.trial(True, unused=1)
        successor = Bench(trying.latest, now=trying.now + 1, trial_calls=2)
        half = Run(2, False, False, 1)
        assert successor.say(half, note=TrialNote(2, 1, 0), replayed=True) is None
        assert successor.say(half, note=TrialNote(2, 0, 0), replayed=True) is not None
        assert successor.state is State.CLOSED


class TestReturnedPermits:
    def test_go_to_whoever_has_calls(self) -> None:
        bench = half_opened(Bench(trial_calls=3))
        bench.trial(True, unused=2)
        bench.demand("b")
        moved = bench.trial(unused=0)  # two were recalled or cancelled
        assert moved is not None
        assert moved.grant == Grant(holder="b", permits=2, passed=1)
        assert bench.trial(True, True, by="b") is not None
        assert str(bench.latest.reason) == "3 trial calls passed"

    def test_wait_for_demand(self) -> None:
        bench = half_opened(Bench(trial_calls=2))
        bench.wait(FRESH_DEMAND - 0.1)
        bench.trial(True, unused=1)  # so that it is not silent
        bench.wait(1)
        assert bench.trial(unused=0) is None
        assert bench.circuit.deadline is None
        assert bench.wait(1000) is None
        moved = bench.demand("b")
        assert moved is not None
        assert moved.grant == Grant(holder="b", permits=1, passed=1)

    def test_do_not_wait_for_a_failed_trial(self) -> None:
        bench = half_opened(Bench(trial_calls=2))
        assert bench.trial(False, unused=0, held=0) is not None
        assert bench.cause is Cause.TRIAL_FAILED

    def test_survive_a_change_of_leader(self) -> None:
        """The permits were given back, nobody wants them yet, and the leader goes."""
        bench = half_opened(Bench())
        bench.wait(1)
        successor = Bench(bench.latest, now=bench.now + 5)
        successor.wait(HOLDER_SILENCE)
        assert successor.state is State.HALF_OPEN
        assert successor.demand("b") is not None
        assert grant_of(successor).holder == "b"


class TestSeveralRounds:
    def test_as_many_as_it_takes(self) -> None:
        bench = half_opened(Bench(healthy_after=5, trial_calls=2))
        for passed in (0, 2, 4):
            assert grant_of(bench) == Grant(holder="a", permits=2, passed=passed)
            bench.trial(True, True)
        assert bench.state is State.CLOSED
        assert str(bench.latest.reason) == "6 trial calls passed"

    def test_next_round_waits_for_demand(self) -> None:
        bench = half_opened(Bench(healthy_after=2))
        bench.now += 2.9
        bench.trial(unused=1)
        bench.now += 1
        assert bench.trial(True) is None
        assert bench.wait(1000) is None
        bench.demand("b")
        assert grant_of(bench) == Grant(holder="b", permits=1, passed=1)

    def test_failure_in_a_later_one_starts_over(self) -> None:
        bench = half_opened(Bench(healthy_after=2))
        bench.trial(True)
        bench.trial(False)
        assert bench.state is State.OPEN
        bench.wait(bench.latest.delay)
        bench.demand()
        assert grant_of(bench).passed == 0

    def test_each_wait_is_as_long_as_if_all_had_been_one(self) -> None:
        bench = half_opened(Bench(healthy_after=3))
        for _ in range(2):
            bench.trial(True)
            assert bench.latest.attempt == 1
        bench.trial(False)
        assert bench.latest.attempt == 2


class TestSilentHolder:
    def test_is_replaced_by_one_that_has_calls(self) -> None:
        bench = half_opened(Bench(trial_calls=2))
        bench.wait(HOLDER_SILENCE - 1)
        bench.demand("b")
        assert bench.wait(1) is not None
        assert grant_of(bench) == Grant(holder="b", permits=2, passed=0)

    def test_is_not_asked_again_because_of_what_it_said_before(self) -> None:
        bench = half_opened(Bench())
        assert bench.wait(HOLDER_SILENCE) is None
        assert bench.circuit.deadline is None
        bench.demand("b")
        assert grant_of(bench).holder == "b"

    def test_keeps_its_permits_while_nobody_else_has_calls(self) -> None:
        """It may learn of its grant late, and use it."""
        bench = half_opened(Bench(trial_calls=2))
        assert bench.wait(HOLDER_SILENCE) is None
        assert bench.demand("a") is None
        bench.now += 100
        assert bench.trial(unused=2) is None
        assert bench.demand("b") is None
        bench.trial(True, True)
        assert bench.state is State.CLOSED

    def test_has_lost_them_as_soon_as_somebody_else_has_calls(self) -> None:
        bench = half_opened(Bench())
        bench.wait(HOLDER_SILENCE)
        assert bench.say(by="b", blocked=1, replayed=True) is None, "it was there before"
        bench.demand("b")
        assert (grant_of(bench).holder, bench.latest.generation) == ("b", 3)
        assert bench.trial(True) is None, "of the grant that it has lost"

    def test_keeps_what_it_has_passed(self) -> None:
        bench = half_opened(Bench(trial_calls=3))
        bench.trial(True, unused=1, held=1)
        bench.now += 1
        bench.demand("b")
        bench.wait(HOLDER_SILENCE)
        assert grant_of(bench) == Grant(holder="b", permits=2, passed=1)

    def test_has_failed_if_one_of_its_calls_had(self) -> None:
        bench = half_opened(Bench(trial_calls=3))
        bench.trial(False, unused=1, held=1)
        assert bench.wait(HOLDER_SILENCE) is not None
        assert bench.cause is Cause.TRIAL_FAILED

    def test_has_passed_if_all_its_calls_had(self) -> None:
        """The last result came, and its holder was gone before it said that this was all."""
        bench = half_opened(Bench())
        assert bench.trial(True, held=1) is None
        bench.demand("b")
        assert bench.wait(HOLDER_SILENCE) is not None
        assert bench.cause is Cause.TRIAL_PASSED

    def test_starts_the_next_round_elsewhere_if_all_its_calls_had_passed(self) -> None:
        bench = half_opened(Bench(healthy_after=2))
        assert bench.trial(True, held=1) is None
        bench.now += 1
        bench.demand("b")
        bench.wait(HOLDER_SILENCE)
        assert grant_of(bench) == Grant(holder="b", permits=1, passed=1)

    def test_is_not_lost_as_long_as_it_says_how_far_it_is(self) -> None:
        bench = half_opened(Bench())
        for _ in range(5):
            assert bench.wait(HOLDER_SILENCE - 0.5) is None
            bench.trial(held=1)
            bench.demand("b")
        assert bench.latest.generation == 2

    def test_is_one_that_does_not_know_of_its_grant(self) -> None:
        bench = half_opened(Bench())
        for _ in range(3):
            bench.wait(1)
            bench.demand("b")
            bench.say(by="a", blocked=1)
        assert grant_of(bench).holder == "b"


class TestRecall:
    """Permits that their holder does not use, while others have calls to make."""

    @staticmethod
    def recalled(bench: Bench) -> bool:
        before = bench.latest
        asked = bench.wait(TIME_TO_USE)
        if asked is None:
            return False
        assert asked == Recall(before)
        assert bench.latest is before, "nothing has changed until it is given back"
        return True

    def test_is_asked_for_and_goes_to_the_other(self) -> None:
        bench = half_opened(Bench(trial_calls=2))
        bench.trial(True, unused=1)
        bench.say(by="b", blocked=RIVAL_CALLS)
        assert self.recalled(bench)
        assert bench.trial(unused=0) is not None
        assert grant_of(bench) == Grant(holder="b", permits=1, passed=1)

    def test_leaves_the_holder_time(self) -> None:
        bench = half_opened(Bench())
        bench.say(by="b", blocked=100)
        assert bench.wait(TIME_TO_USE) is None, "it may not know of it yet"
        bench.trial(unused=1)
        bench.say(by="b", blocked=100)
        assert bench.wait(TIME_TO_USE - 0.1) is None
        assert self.recalled(bench)

    def test_comes_with_the_call_that_shows_it(self) -> None:
        bench = half_opened(Bench())
        bench.trial(unused=1)
        bench.wait(1)
        assert bench.demand("b") is None, "the next call may be the holder's"
        asked = bench.circuit.report("b", Report("c", blocked=1), at=bench.now, now=bench.now)
        assert isinstance(asked, Recall)

    def test_calls_of_several_instances_are_no_reason(self) -> None:
        bench = half_opened(Bench())
        for name in "bcdefg":
            bench.trial(unused=1)
            bench.wait(1)
            assert bench.demand(name) is None
        bench.trial(True)
        assert bench.state is State.CLOSED

    def test_one_call_is_enough_where_it_is_the_turn_of_another(self) -> None:
        bench = Bench(trial_calls=2, strategy=ConsecutiveFailures(1))
        for name in "abcabc":
            bench.calls(by=name)
        bench.fail(by="a")
        bench.wait(1)
        bench.demand("b")
        assert grant_of(bench).holder == "c"
        bench.trial(True, by="c", unused=1)
        assert bench.wait(1) is None
        asked = bench.circuit.report("a", Report("c", blocked=1), at=bench.now, now=bench.now)
        assert isinstance(asked, Recall)
        bench.trial(by="c")
        assert grant_of(bench) == Grant(holder="b", permits=1, passed=1)

    def test_is_asked_for_again(self) -> None:
        bench = half_opened(Bench())
        bench.trial(unused=1)
        bench.say(by="b", blocked=5)
        assert self.recalled(bench)
        bench.trial(unused=1)
        assert bench.wait(RECALL_AGAIN - 0.1) is None
        assert isinstance(bench.wait(0.2), Recall)

    def test_what_is_used_is_not_asked_for(self) -> None:
        bench = half_opened(Bench())
        bench.trial(unused=0, held=1)
        bench.say(by="b", blocked=5)
        assert not self.recalled(bench)

    def test_goes_back_to_the_holder_if_it_is_the_only_one_with_calls_by_then(self) -> None:
        bench = half_opened(Bench())
        bench.trial(unused=1)
        bench.say(by="b", blocked=5)
        assert self.recalled(bench)
        bench.now += FRESH_DEMAND
        bench.trial(unused=0)
        bench.demand("a")
        assert grant_of(bench).holder == "a"

    def test_takes_longer_each_time(self) -> None:
        """Of two that have calls as often, one is to have the permit when its next call comes."""
        bench = half_opened(Bench())
        for recalls in range(3):
            holder, other = ("a", "b") if recalls % 2 == 0 else ("b", "a")
            time_to_use = TIME_TO_USE * 2**recalls
            bench.trial(by=holder, unused=1)
            bench.say(by=other, blocked=RIVAL_CALLS + recalls - 1)
            assert bench.wait(time_to_use - 0.1) is None
            bench.say(by=other, blocked=1)
            assert isinstance(bench.wait(0.2), Recall)
            bench.trial(by=holder, unused=0)
            assert grant_of(bench).holder == other

    def test_rivals_are_bounded(self) -> None:
        bench = half_opened(Bench())
        for number in range(2 * MAX_DEMAND):
            bench.demand(f"web-{number}")
        assert bench.circuit._trial is not None
        assert len(bench.circuit._trial._rivals) == MAX_DEMAND


class TestEndlessTrial:
    @staticmethod
    def hold(bench: Bench, seconds: float, *, unused: int = 0, held: int = 1) -> None:
        """Have the holder say again and again that its call goes on."""
        end = bench.now + seconds
        while bench.now < end and bench.state is State.HALF_OPEN:
            bench.trial(unused=unused, held=held)
            bench.now += 1

    def test_counts_as_failed_after_a_while(self) -> None:
        bench = half_opened(Bench())
        began = bench.now
        self.hold(bench, 2 * TRIAL_PATIENCE)
        assert bench.cause is Cause.TRIAL_FAILED
        assert TRIAL_PATIENCE < bench.now - began < TRIAL_PATIENCE + 5
        assert bench.latest.reason.failures == {"no answer": 1}

    def test_has_time_until_then(self) -> None:
        bench = half_opened(Bench())
        self.hold(bench, TRIAL_PATIENCE)
        assert bench.state is State.HALF_OPEN
        assert bench.trial(True) is not None
        assert bench.state is State.CLOSED

    def test_time_begins_with_each_call(self) -> None:
        bench = half_opened(Bench(trial_calls=3))
        for unused in (2, 1):
            self.hold(bench, TRIAL_PATIENCE - 5, unused=unused)
            assert bench.trial(True, unused=unused) is None
        self.hold(bench, TRIAL_PATIENCE - 5)
        assert bench.trial(True) is not None
        assert bench.state is State.CLOSED

    def test_each_is_counted_once(self) -> None:
        bench = half_opened(Bench(trial_calls=3))
        self.hold(bench, TRIAL_PATIENCE + 30, unused=1, held=2)
        assert bench.state is State.HALF_OPEN, "a permit is still there to be taken"
        bench.trial(unused=0, held=2)
        assert bench.cause is Cause.TRIAL_FAILED
        assert str(bench.latest.reason) == "2 of 3 trial calls failed"
        assert bench.latest.reason.failures == {"no answer": 2}

    def test_lengthens_the_wait_however_long_it_took(self) -> None:
        bench = half_opened(Bench())
        self.hold(bench, 2 * TRIAL_PATIENCE)
        assert bench.latest.attempt == 2

    def test_late_end_changes_nothing(self) -> None:
        bench = half_opened(Bench())
        self.hold(bench, 2 * TRIAL_PATIENCE)
        assert bench.calls(generation=2) is None
        assert bench.state is State.OPEN


def test_stored_trial_without_a_grant_is_granted_anew() -> None:
    """Nothing writes that, but what is stored may have been written by anybody."""
    half_open = Transition(circuit="c", generation=5, state=State.HALF_OPEN)
    bench = Bench(half_open, trial_calls=2)
    assert bench.wait(60) is None
    assert bench.demand("b") is not None
    assert grant_of(bench) == Grant(holder="b", permits=2, passed=0)
