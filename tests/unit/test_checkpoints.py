"""What a circuit saves, and another one goes on from: nothing is lost, nothing counts twice."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bench import Bench, half_opened, opened
from tests.unit.records import json_values
from tests.unit.test_strategies import Calls, count_windows, record, run_lists, time_windows
from zenvark_web import ConsecutiveFailures, CountWindow, State, Strategy, TimeWindow, Trip
from zenvark_web._core.failure_sample import MAX_SUMMARY
from zenvark_web._core.policy import described
from zenvark_web._core.states import CircuitSnapshot, TrialNote, WindowSnapshot
from zenvark_web._core.windows import LookAhead, Savable

STRATEGIES = [
    ConsecutiveFailures(5),
    CountWindow(10, 0.5, 5, slow_rate=0.5),
    TimeWindow(10, 0.5, 5, slow_rate=0.5),
]


def strategies() -> st.SearchStrategy[Strategy]:
    return st.one_of(
        st.builds(ConsecutiveFailures, st.integers(1, 30)), count_windows(), time_windows()
    )


class TestWindows:
    @given(st.data())
    def test_go_on_as_if_nothing_had_happened(self, data: st.DataObject) -> None:
        strategy = data.draw(strategies())
        duration = strategy.duration if isinstance(strategy, TimeWindow) else 1.0
        usual, moved = strategy.window(), strategy.window()
        for calls in data.draw(run_lists(duration=duration)):
            if data.draw(st.booleans()):
                assert isinstance(moved, Savable)
                saved = moved.save()
                moved = strategy.window()
                assert isinstance(moved, Savable)
                moved.restore(saved)
                assert moved.save() == saved
            assert record(moved, calls) == record(usual, calls)
            if isinstance(usual, LookAhead):
                assert isinstance(moved, LookAhead)
                assert moved.overdue(3, calls.at) == usual.overdue(3, calls.at)

    @pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
    def test_save_little_of_a_steady_upstream(self, strategy: Strategy) -> None:
        window = strategy.window()
        for second in range(1000):
            record(window, Calls(count=50, at=1_000_000.0 + second))
        assert isinstance(window, Savable)
        assert len(window.save()) < 400

    @pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
    @given(saved=st.text() | json_values.map(json.dumps))
    def test_refuse_rubbish_or_live_with_it(self, strategy: Strategy, saved: str) -> None:
        window = strategy.window()
        assert isinstance(window, Savable)
        try:
            window.restore(saved)
        except Exception:
            return
        record(window, Calls(failed=True, at=1_000_000.0))

    @pytest.mark.parametrize(
        ("strategy", "saved"),
        [
            (ConsecutiveFailures(3), "[null,[[1.0,3,false]]]"),
            (ConsecutiveFailures(3), "[null,[[1.0,-1,false]]]"),
            (CountWindow(3, 0.5), "[[0,4]]"),
            (CountWindow(3, 0.5), "[[4,1]]"),
            (CountWindow(3, 0.5), "[[0,1.5]]"),
            (TimeWindow(3, 0.5), "[]"),
            (TimeWindow(3, 0.5), "[7,[0,1,2,0]]"),
            (TimeWindow(3, 0.5), "[7,[0,1,0,2]]"),
            (TimeWindow(3, 0.5), "[7,[0,1,-1,0]]"),
            (TimeWindow(3, 0.5), "[7,[0,1,1,0],[30,1,1,0]]"),
        ],
    )
    def test_refuse_what_cannot_be(self, strategy: Strategy, saved: str) -> None:
        window = strategy.window()
        assert isinstance(window, Savable)
        with pytest.raises(ValueError, match=r"."):
            window.restore(saved)


def successor(bench: Bench, **settings: Any) -> Bench:
    """Another leader's circuit, before it takes anything up."""
    return Bench(bench.latest, now=bench.now, **settings)


def saved(bench: Bench) -> CircuitSnapshot:
    tally = bench.circuit.save(bench.now)
    assert tally is not None
    return tally


class TestClosed:
    @pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
    def test_failures_before_and_after_open_together(self, strategy: Strategy) -> None:
        bench = Bench(strategy=strategy, slow_call=1)
        bench.fail(2, by="a", label="HTTP 503")
        bench.fail(2, by="b", label="ReadTimeout")
        other = successor(bench, strategy=strategy, slow_call=1)
        assert other.circuit.restore(saved(bench), bench.now)
        assert other.fail(by="c", label="HTTP 503") is not None
        assert other.state is State.OPEN
        assert other.latest.reason.instances == {"a": 2, "b": 2, "c": 1}
        assert other.latest.reason.failures == {"HTTP 503": 3, "ReadTimeout": 2}

    def test_nothing_is_saved_of_nothing(self) -> None:
        bench = Bench()
        assert bench.circuit.save(bench.now) is None
        bench.demand()
        assert bench.circuit.save(bench.now) is None
        opened(bench)
        assert bench.circuit.save(bench.now) is None

    def test_a_success_is_worth_saving(self) -> None:
        """It ends failures that were reported later, though they came before."""
        bench = Bench(strategy=ConsecutiveFailures(1))
        bench.calls(1)
        other = successor(bench, strategy=ConsecutiveFailures(1))
        assert other.circuit.restore(saved(bench), bench.now)
        assert other.fail(age=1) is None
        assert other.fail() is not None

    def test_calls_in_flight_are_told_again(self) -> None:
        strategy = CountWindow(10, 1.0, 4, slow_rate=1.0)
        bench = Bench(strategy=strategy, slow_call=1)
        bench.calls(2, slow=True)
        bench.overdue(1)
        other = successor(bench, strategy=strategy, slow_call=1)
        assert other.circuit.restore(saved(bench), bench.now)
        assert other.overdue(1) is None
        assert other.overdue(2) is not None

    def test_counts_of_another_generation_are_left_alone(self) -> None:
        bench = Bench()
        bench.fail(4)
        tally = saved(bench)
        other = successor(bench)
        other.repair(7)
        assert other.circuit.restore(tally, other.now)
        assert other.fail() is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda counted: WindowSnapshot("CountWindow", counted.saved),
            lambda counted: WindowSnapshot("ConsecutiveFailures(6.0)", counted.saved),
            lambda counted: WindowSnapshot(counted.strategy, None),
        ],
        ids=["other strategy", "other settings", "not saved"],
    )
    def test_what_was_counted_in_another_way_is_counted_again(
        self, change: Callable[[WindowSnapshot], WindowSnapshot]
    ) -> None:
        bench = Bench()
        bench.fail(4)
        tally = saved(bench)
        assert tally.window is not None
        other = successor(bench)
        assert not other.circuit.restore(CircuitSnapshot(0, window=change(tally.window)), bench.now)
        assert other.fail(4) is None

    def test_window_that_cannot_save_itself_is_counted_again(self) -> None:
        class Mine:
            def window(self) -> Any:
                return self

            def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
                return None

        bench = Bench(strategy=Mine())
        bench.fail()
        tally = saved(bench)
        assert tally.window == WindowSnapshot(
            "TestClosed.test_window_that_cannot_save_itself_is_counted_again.<locals>.Mine",
            None,
            (("a", "", 1),),
            bench.now,
        )
        assert not successor(bench, strategy=Mine()).circuit.restore(tally, bench.now)
        claimed = CircuitSnapshot(0, window=WindowSnapshot(tally.window.strategy, "window"))
        assert not successor(bench, strategy=Mine()).circuit.restore(claimed, bench.now)

    @pytest.mark.parametrize(
        ("strategy", "broken"),
        [
            (ConsecutiveFailures(5), "[null,[[1.0,4,false],[2.0,-1,false]]]"),
            (CountWindow(5, 1.0, 5), "[[1,4],[7,1]]"),
            (TimeWindow(10, 1.0, 5), "[100,[0,4,4,0],[1,1,2,0]]"),
        ],
        ids=repr,
    )
    def test_rubbish_leaves_nothing_behind(self, strategy: Strategy, broken: str) -> None:
        bench = Bench(strategy=strategy)
        counted = WindowSnapshot(described(strategy), broken, (("web-1", "boom", 4),))
        with pytest.raises(ValueError, match=r"."):
            bench.circuit.restore(CircuitSnapshot(0, window=counted), bench.now)
        assert bench.fail(4, by="a") is None
        moved = bench.fail(by="a")
        assert moved is not None
        assert moved.reason.instances == {"a": 5}

    def test_it_may_be_restored_twice(self) -> None:
        strategy = CountWindow(10, 1.0, 9)
        bench = Bench(strategy=strategy)
        bench.fail(4)
        other = successor(bench, strategy=strategy)
        for _ in range(2):
            assert other.circuit.restore(saved(bench), bench.now)
        assert other.fail(4) is None
        moved = other.fail()
        assert moved is not None
        assert moved.reason.instances == {"a": 9}

    def test_window_that_takes_too_much_room_is_counted_again(self) -> None:
        strategy = CountWindow(10_000, 1.0)
        bench = Bench(strategy=strategy)
        for number in range(5_000):
            bench.calls(1, failed=bool(number % 2))
        counted = saved(bench).window
        assert counted is not None
        assert counted.saved is None
        assert not successor(bench, strategy=strategy).circuit.restore(saved(bench), bench.now)

    def test_window_that_saves_something_else_than_text_is_told(self) -> None:
        class Mine:
            def window(self) -> Any:
                return self

            def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
                return None

            def save(self) -> Any:
                return {"failures": 3}

            def restore(self, saved: str) -> None:
                raise AssertionError

        bench = Bench(strategy=Mine())
        bench.fail()
        with pytest.raises(TypeError, match="must return a str, not dict"):
            bench.circuit.save(bench.now)

    def test_explanation_stays_short(self) -> None:
        bench = Bench(strategy=ConsecutiveFailures(1000))
        for number in range(200):
            bench.fail(by=f"web-{number}", label="boom")
            bench.fail(by="web-0", label="boom")
        counted = saved(bench).window
        assert counted is not None
        assert len(counted.failures) == MAX_SUMMARY
        assert counted.failures[-1][0] == "web-0"
        assert counted.failures[-2] == ("web-199", "boom", 1)


THREE_TRIALS: dict[str, Any] = {"trial_calls": 3, "healthy_after": 3}


class TestHalfOpen:
    def test_trials_before_and_after_close_together(self) -> None:
        bench = half_opened(Bench(**THREE_TRIALS))
        bench.trial(True, True, held=1)
        other = successor(bench, **THREE_TRIALS)
        assert other.circuit.restore(saved(bench), bench.now)
        moved = other.trial(True)
        assert moved is not None
        assert moved.state is State.CLOSED

    def test_a_trial_that_failed_before_opens_after(self) -> None:
        bench = half_opened(Bench(**THREE_TRIALS))
        bench.trial(False, True, unused=1)
        other = successor(bench, **THREE_TRIALS)
        assert other.circuit.restore(saved(bench), bench.now)
        moved = other.say(note=TrialNote(other.latest.generation, 0, 1))
        assert moved is not None
        assert moved.state is State.OPEN
        assert moved.reason.failures == {"boom": 1}

    def test_nothing_is_saved_before_a_trial_has_ended(self) -> None:
        bench = half_opened(Bench(**THREE_TRIALS))
        bench.trial(unused=2, held=1)
        assert bench.circuit.save(bench.now) is None


class TestHold:
    def test_outlives_the_leader(self) -> None:
        bench = Bench()
        bench.hold(30)
        other = successor(bench)
        assert other.circuit.restore(saved(bench), bench.now)
        moved = other.fail(5)
        assert moved is not None
        assert moved.delay == pytest.approx(30)

    def test_outlives_its_generation(self) -> None:
        bench = Bench()
        bench.hold(30)
        tally = saved(bench)
        opened(bench)
        bench.wait(10)
        other = successor(bench)
        assert other.circuit.restore(tally, other.now)
        assert other.circuit.deadline == pytest.approx(tally.retry_after_until)

    def test_is_no_longer_saved_when_it_is_over(self) -> None:
        bench = Bench()
        bench.hold(30)
        bench.wait(31)
        assert bench.circuit.save(bench.now) is None

    def test_absurd_one_is_cut(self) -> None:
        bench = Bench(max_retry_after=60)
        assert bench.circuit.restore(CircuitSnapshot(0, retry_after_until=1e12), bench.now)
        moved = bench.fail(5)
        assert moved is not None
        assert moved.delay == pytest.approx(60)
