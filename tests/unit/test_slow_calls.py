"""Calls under way that are slow already open a circuit before they have ended."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bench import Bench, check, opened
from tests.unit.test_strategies import Calls, count_windows, record, run_lists, time_windows
from zenvark_web import ConsecutiveFailures, CountWindow, State, Strategy, TimeWindow, Trip, Window
from zenvark_web._core.overdue import MAX_INSTANCES, OVERDUE_SILENCE, Overdue
from zenvark_web._core.windows import LookAhead

COUNT = CountWindow(20, 1.0, 10, slow_rate=0.5)
TIME = TimeWindow(60, 1.0, 10, slow_rate=0.5)


def ahead(window: Window, count: int, at: float = 0.0) -> Trip | None:
    assert isinstance(window, LookAhead)
    return window.overdue(count, at)


def filled(strategy: Strategy, *runs: Calls) -> Window:
    window = strategy.window()
    for calls in runs:
        assert record(window, calls) is None
    return window


@pytest.mark.parametrize("strategy", [COUNT, TIME], ids=["count", "time"])
class TestWindows:
    def test_enough_of_them_open(self, strategy: Strategy) -> None:
        window = filled(strategy, Calls(count=6))
        assert ahead(window, 5) is None
        assert ahead(window, 6) == Trip(6, 12, 0, 6)

    def test_not_fewer_than_the_minimum(self, strategy: Strategy) -> None:
        window = filled(strategy)
        assert ahead(window, 9) is None
        assert ahead(window, 10) == Trip(10, 10, 0, 10)

    def test_with_those_that_have_ended(self, strategy: Strategy) -> None:
        window = filled(strategy, Calls(count=7), Calls(slow=True), Calls(True, slow=True))
        assert ahead(window, 4) is None
        assert ahead(window, 5) == Trip(5, 14, 1, 7)

    def test_nothing_is_recorded(self, strategy: Strategy) -> None:
        window = filled(strategy, Calls(count=6))
        for _ in range(100):
            assert ahead(window, 5) is None

    def test_failures_open_nothing_here(self, strategy: Strategy) -> None:
        window = filled(strategy, Calls(True, count=9))
        assert ahead(window, 1) is None


def test_last_calls_give_way_to_them() -> None:
    window = filled(COUNT, Calls(count=15), Calls(slow=True, count=5))
    assert ahead(window, 4) is None
    assert ahead(window, 5) == Trip(5, 20, 0, 10)
    assert ahead(window, 10**9) == Trip(20, 20, 0, 20)


def test_what_has_left_the_window_does_not_count() -> None:
    window = filled(TIME, Calls(count=100, at=0.0), Calls(count=10, at=59.0))
    assert ahead(window, 10, at=59.0) is None
    assert ahead(window, 10, at=61.0) == Trip(10, 20, 0, 10)
    assert ahead(window, 10, at=1e6) == Trip(10, 10, 0, 10)
    assert ahead(window, 10, at=0.0) is None, "late news does not turn the window back"


def test_the_window_is_not_moved_by_a_look() -> None:
    """Late results still find their place."""
    window = filled(TimeWindow(1, 1.0, 2, slow_rate=0.9), Calls(True, at=100.0))
    assert ahead(window, 1, at=109.0) is None
    assert record(window, Calls(True, at=100.5)) == Trip(1, 2, 2, 0)


@pytest.mark.parametrize("strategy", [CountWindow(10, 1.0, 1), TimeWindow(60, 1.0, 1)])
def test_without_a_slow_rate_nothing_happens(strategy: Strategy) -> None:
    assert ahead(strategy.window(), 1000) is None


@given(data=st.data())
def test_verdict_is_that_on_calls_that_have_ended(data: st.DataObject) -> None:
    """The same question put to the window itself, with a failure rate out of its reach."""
    settings = data.draw(count_windows() | time_windows())
    rate = data.draw(st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0]))
    strategy = _with(settings, rate)
    window = strategy.window()
    duration = strategy.duration if isinstance(strategy, TimeWindow) else 0.0
    at = 0.0
    for calls in data.draw(run_lists(duration=duration)):
        record(window, Calls(False, calls.slow, calls.count, calls.at))
        at = max(at, calls.at)
    count = data.draw(st.integers(1, 60))
    before = copy.deepcopy(window)
    seen = ahead(window, count, at)
    trip = before.record(False, True, count, at)
    assert (seen is None) == (trip is None)
    if trip is not None and seen is not None:
        assert seen.slow / seen.calls >= rate
        assert seen.slow >= trip.slow
        assert seen.calls >= trip.calls


def _with(settings: CountWindow | TimeWindow, rate: float) -> CountWindow | TimeWindow:
    if isinstance(settings, CountWindow):
        return CountWindow(settings.size, 1.0, settings.minimum_calls, rate)
    return TimeWindow(settings.duration, 1.0, settings.minimum_calls, rate)


def bench_with(**settings: Any) -> Bench:
    return Bench(**{"strategy": COUNT, "slow_call": 2.0, **settings})


class TestCircuit:
    def test_hung_calls_of_several_instances_open(self) -> None:
        bench = bench_with()
        bench.calls(5)
        bench.fail(2, by="web-1", label="503")
        assert bench.overdue(4, by="web-1") is None
        bench.now += 1
        opening = bench.overdue(3, by="web-2")
        assert opening is not None
        assert opening.state is State.OPEN
        assert opening.since == bench.now
        reason = opening.reason
        assert reason.detail.startswith(
            "2 of 14 calls failed, 7 slow (7 still in flight): CountWindow("
        )
        assert reason.instances == {"web-1": 2 + 4, "web-2": 3}
        assert reason.failures == {"503": 2}
        assert reason.slow_share == 0.5

    def test_the_newest_number_counts(self) -> None:
        bench = bench_with()
        for _ in range(20):
            assert bench.overdue(9) is None
        assert bench.overdue(0) is None
        assert bench.overdue(9, by="b") is None
        assert bench.overdue(1) is not None

    def test_results_of_others_may_complete_the_picture(self) -> None:
        bench = bench_with()
        assert bench.overdue(8) is None
        assert bench.calls(1, by="b") is None
        assert bench.calls(1, by="b") is not None

    def test_silent_instance_is_forgotten(self) -> None:
        bench = bench_with()
        bench.overdue(9)
        bench.now += OVERDUE_SILENCE
        assert bench.overdue(1, by="b") is not None
        bench = bench_with()
        bench.overdue(9)
        bench.now += OVERDUE_SILENCE + 0.001
        assert bench.overdue(1, by="b") is None

    def test_only_those_of_the_current_generation(self) -> None:
        bench = bench_with(health_check=check)
        bench.overdue(9)
        bench.repair(5)
        assert bench.overdue(1, by="b") is None
        assert bench.overdue(9, generation=5) is None
        assert bench.overdue(9, generation=7) is None
        assert bench.overdue(9) is not None

    def test_replayed_numbers_say_nothing_of_now(self) -> None:
        bench = bench_with()
        assert bench.overdue(20, replayed=True) is None
        assert bench.overdue(20) is not None

    def test_open_circuit_has_nothing_to_open(self) -> None:
        bench = opened(bench_with(health_check=check))
        assert bench.overdue(20) is None

    @pytest.mark.parametrize("strategy", [ConsecutiveFailures(1), CountWindow(10, 0.5)])
    def test_nothing_happens_without_a_look_ahead(self, strategy: Strategy) -> None:
        assert bench_with(strategy=strategy).overdue(1000) is None

    def test_upstream_that_asked_to_be_left_alone_is(self) -> None:
        bench = bench_with()
        opening = bench.overdue(10, retry_after=60)
        assert opening is not None
        assert opening.delay == 60


@dataclass
class Fleet:
    """What instances said last, and when."""

    said: dict[str, tuple[int, float]] = field(default_factory=dict)

    def total(self, now: float) -> int:
        return sum(count for count, at in self.said.values() if now - at <= OVERDUE_SILENCE)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5])
        ),
        max_size=30,
    )
)
def test_opens_when_and_only_when_the_fleet_has_so_many(
    reports: list[tuple[str, int, float]],
) -> None:
    bench = bench_with(strategy=CountWindow(20, 1.0, 8, slow_rate=1.0))
    fleet = Fleet()
    for instance, count, pause in reports:
        bench.now += pause
        fleet.said[instance] = count, bench.now
        opening = bench.overdue(count, by=instance)
        assert (opening is not None) == (fleet.total(bench.now) >= 8)
        if opening is not None:
            return


def test_instances_are_bounded() -> None:
    overdue = Overdue()
    for number in range(MAX_INSTANCES + 50):
        overdue.note(f"web-{number}", 1, 0.0)
    assert len(overdue) == MAX_INSTANCES
    assert overdue.total(0.0) == sum(overdue.counts.values()) == MAX_INSTANCES
    assert "web-0" not in overdue.counts
