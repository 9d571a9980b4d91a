"""Each window decides as a naive model that keeps every call and counts them all again."""

import pickle
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    CountWindow,
    Strategy,
    TimeWindow,
    Trip,
    Window,
)
from zenvark_web._core.built_in_windows import BUCKETS
from zenvark_web._core.strategies import MAX_WINDOW_SIZE


@dataclass(frozen=True)
class Calls:
    """A run, as tests write it."""

    failed: bool = False
    slow: bool = False
    count: int = 1
    at: float = 0.0


@dataclass
class Call:
    failed: bool
    slow: bool
    step: int


class Model(Protocol):
    """Takes one call at a time; tells calls, failures and slow ones if it trips."""

    def call(self, failed: bool, slow: bool, now: float) -> tuple[int, int, int] | None: ...


@dataclass
class StreakModel:
    """All failures and the times of all successes are kept. A success ends the failures that
    came before it, whichever is heard of first; of two at one time, the one heard of first."""

    threshold: int
    failures: list[tuple[float, bool]] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)

    def call(self, failed: bool, slow: bool, now: float) -> tuple[int, int, int] | None:
        if not failed:
            self.successes.append(now)
            self.failures = [failure for failure in self.failures if failure[0] > now]
        elif not any(success > now for success in self.successes):
            self.failures.append((now, slow))
        if len(self.failures) < self.threshold:
            return None
        counted = (len(self.failures), len(self.failures), sum(slow for _, slow in self.failures))
        self.failures = []
        return counted


@dataclass
class RateModel:
    """Both rate windows: all calls are kept, and those inside the window are counted anew."""

    settings: CountWindow | TimeWindow
    calls: list[Call] = field(default_factory=list)
    newest: int | None = None

    def call(self, failed: bool, slow: bool, now: float) -> tuple[int, int, int] | None:
        step = self._step(now)
        self.newest = step if self.newest is None else max(step, self.newest)
        if self._left_behind(step):
            return None
        self.calls.append(Call(failed, slow, step))
        counted = self._inside()
        failures, slow_ones = sum(c.failed for c in counted), sum(c.slow for c in counted)
        if not self._too_many(len(counted), failures, slow_ones):
            return None
        self.calls = []
        return len(counted), failures, slow_ones

    def _step(self, now: float) -> int:
        if isinstance(self.settings, CountWindow):
            return 0
        return int(now // (self.settings.duration / BUCKETS))

    def _left_behind(self, step: int) -> bool:
        return self.newest is not None and step <= self.newest - BUCKETS

    def _inside(self) -> list[Call]:
        if isinstance(self.settings, CountWindow):
            return self.calls[-self.settings.size :]
        return [call for call in self.calls if not self._left_behind(call.step)]

    def _too_many(self, calls: int, failures: int, slow: int) -> bool:
        settings = self.settings
        if calls < settings.minimum_calls:
            return False
        return failures / calls >= settings.failure_rate or (
            settings.slow_rate is not None and slow / calls >= settings.slow_rate
        )


def run_model(model: Model, calls: Calls) -> Trip | None:
    """A run, fed one call at a time until the first verdict."""
    for after in range(1, calls.count + 1):
        counted = model.call(calls.failed, calls.slow, calls.at)
        if counted is not None:
            return Trip(after, *counted)
    return None


def record(window: Window, calls: Calls) -> Trip | None:
    return window.record(calls.failed, calls.slow, calls.count, calls.at)


def record_all(strategy: Strategy, *runs: Calls) -> Trip | None:
    """What the last of these runs leads to, when none before it did anything."""
    window = strategy.window()
    *before, last = runs
    for calls in before:
        assert record(window, calls) is None
    return record(window, last)


def assert_decides_like(window: Window, model: Model, runs: Iterable[Calls]) -> None:
    for calls in runs:
        assert record(window, calls) == run_model(model, calls), calls


counts = st.one_of(st.integers(1, 4), st.integers(1, 60))
rates = st.one_of(st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.7, 1.0]), st.floats(0.001, 1.0))
slow_rates = st.none() | rates


@st.composite
def run_lists(draw: st.DrawFn, *, duration: float = 0.0) -> list[Calls]:
    """Runs in a row; for a time window at times that mostly go on, now and then back or far on."""
    runs = []
    now = 1_000_000.0
    for _ in range(draw(st.integers(1, 25))):
        late = 0.0
        if duration:
            now += draw(st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.9, 1.0, 1.5, 40.0])) * duration
            late = draw(st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.5, 0.99, 1.2, 3.0])) * duration
        runs.append(Calls(draw(st.booleans()), draw(st.booleans()), draw(counts), now - late))
    return runs


@st.composite
def count_windows(draw: st.DrawFn) -> CountWindow:
    size = draw(st.integers(1, 40))
    minimum = draw(st.none() | st.integers(1, size))
    return CountWindow(size, draw(rates), minimum, draw(slow_rates))


@st.composite
def time_windows(draw: st.DrawFn) -> TimeWindow:
    duration = draw(st.sampled_from([0.3, 1.0, 10.0, 60.0, 61.7]))
    return TimeWindow(duration, draw(rates), draw(st.integers(1, 40)), draw(slow_rates))


class TestAgainstTheModel:
    @given(st.integers(1, 30), run_lists(duration=1.0))
    def test_consecutive_failures(self, threshold: int, runs: list[Calls]) -> None:
        window = ConsecutiveFailures(threshold).window()
        assert_decides_like(window, StreakModel(threshold), runs)

    @given(count_windows(), run_lists())
    def test_count_window(self, strategy: CountWindow, runs: list[Calls]) -> None:
        assert_decides_like(strategy.window(), RateModel(strategy), runs)

    @given(st.data())
    def test_time_window(self, data: st.DataObject) -> None:
        strategy = data.draw(time_windows())
        runs = data.draw(run_lists(duration=strategy.duration))
        assert_decides_like(strategy.window(), RateModel(strategy), runs)

    @given(st.data())
    def test_one_run_decides_as_its_calls_one_by_one(self, data: st.DataObject) -> None:
        """The same without any model: the window against itself."""
        strategy = data.draw(
            st.one_of(
                st.builds(ConsecutiveFailures, st.integers(1, 30)), count_windows(), time_windows()
            )
        )
        duration = 0.0 if isinstance(strategy, CountWindow) else 1.0
        if isinstance(strategy, TimeWindow):
            duration = strategy.duration
        whole, single = strategy.window(), strategy.window()
        for calls in data.draw(run_lists(duration=duration)):
            trip = record(whole, calls)
            taken = calls.count if trip is None else trip.after
            singly = [
                record(single, Calls(calls.failed, calls.slow, 1, calls.at)) for _ in range(taken)
            ]
            assert singly[:-1] == [None] * (taken - 1)
            if trip is None:
                assert singly[-1] is None
            else:
                assert singly[-1] == Trip(1, trip.calls, trip.failures, trip.slow)


class TestConsecutiveFailures:
    def test_trips_in_the_middle_of_a_run(self) -> None:
        trip = record_all(ConsecutiveFailures(5), Calls(True, count=3), Calls(True, count=10))
        assert trip == Trip(after=2, calls=5, failures=5, slow=0)

    def test_success_starts_it_anew(self) -> None:
        strategy = ConsecutiveFailures(3)
        assert record_all(strategy, Calls(True, count=2), Calls(), Calls(True, count=2)) is None

    def test_an_older_success_that_is_heard_of_later_does_not(self) -> None:
        """Each instance's last successes wait for company, and come with its first failure."""
        calls = [
            each
            for number in range(5)
            for each in (Calls(count=9, at=10.0), Calls(True, at=10.05 + number / 1000))
        ]
        assert record_all(ConsecutiveFailures(5), *calls) == Trip(1, 5, 5, 0)

    def test_a_failure_before_a_known_success_does_not_count(self) -> None:
        calls = [Calls(True, count=2, at=10.0), Calls(at=11.0), Calls(True, count=3, at=10.5)]
        assert record_all(ConsecutiveFailures(3), *calls) is None

    def test_starts_anew_after_a_verdict(self) -> None:
        window = ConsecutiveFailures(2).window()
        assert record(window, Calls(True, count=2)) == Trip(2, 2, 2, 0)
        assert record(window, Calls(True)) is None

    def test_slow_failures_are_told(self) -> None:
        trip = record_all(ConsecutiveFailures(3), Calls(True, slow=True, count=2), Calls(True))
        assert trip == Trip(1, 3, 3, 2)


@pytest.mark.parametrize(
    "strategy",
    [CountWindow(30, 0.1, 30), TimeWindow(60, 0.1, 30)],
    ids=["count", "time"],
)
class TestRates:
    def test_exactly_at_the_limit_opens(self, strategy: Strategy) -> None:
        runs = Calls(True, count=3), Calls(count=27)
        assert record_all(strategy, *runs) == Trip(27, 30, 3, 0)

    def test_just_below_the_limit_does_not(self, strategy: Strategy) -> None:
        assert record_all(strategy, Calls(True, count=2), Calls(count=28)) is None

    def test_no_verdict_on_fewer_calls_than_the_minimum(self, strategy: Strategy) -> None:
        assert record_all(strategy, Calls(True, count=29)) is None
        assert record_all(strategy, Calls(True, count=29), Calls(True)) == Trip(1, 30, 30, 0)

    def test_long_run_trips_as_soon_as_it_may(self, strategy: Strategy) -> None:
        assert record_all(strategy, Calls(True, count=10**6)) == Trip(30, 30, 30, 0)


@example(part=3, whole=30)
@example(part=7, whole=10)
@given(part=st.integers(1, 300), whole=st.integers(1, 300))
def test_rate_written_as_a_fraction_is_met_by_exactly_that_fraction(part: int, whole: int) -> None:
    """No float rounding takes the verdict away: 3 of 30 is 0.1, also 300 of 3,000."""
    part = min(part, whole)
    for times in (1, 10):
        calls, failures = whole * times, part * times
        strategy = TimeWindow(60, part / whole, calls)
        runs = [Calls(True, count=failures)]
        if calls > failures:
            runs.append(Calls(count=calls - failures))
        trip = record_all(strategy, *runs)
        assert trip is not None
        assert (trip.calls, trip.failures) == (calls, failures)


@pytest.mark.parametrize(
    "strategy",
    [CountWindow(10, 0.5, 4, slow_rate=0.75), TimeWindow(60, 0.5, 4, slow_rate=0.75)],
    ids=["count", "time"],
)
class TestSlowRate:
    def test_slow_successes_open(self, strategy: Strategy) -> None:
        runs = Calls(), Calls(slow=True, count=9)
        assert record_all(strategy, *runs) == Trip(3, 4, 0, 3)

    def test_failures_open_as_well(self, strategy: Strategy) -> None:
        assert record_all(strategy, Calls(count=2), Calls(True, count=9)) == Trip(2, 4, 2, 0)

    def test_below_either_rate_nothing_happens(self, strategy: Strategy) -> None:
        runs = Calls(count=2), Calls(slow=True), Calls(True), Calls(count=2)
        assert record_all(strategy, *runs) is None


class TestTimeWindow:
    STRATEGY = TimeWindow(30, 0.5, 4)

    def test_forgets_what_is_older_than_its_duration(self) -> None:
        runs = Calls(True, count=3, at=100), Calls(True, count=3, at=130)
        assert record_all(self.STRATEGY, *runs) is None

    def test_remembers_what_is_not(self) -> None:
        runs = Calls(True, count=3, at=100), Calls(True, at=129)
        assert record_all(self.STRATEGY, *runs) == Trip(1, 4, 4, 0)

    def test_late_calls_count_where_they_belong(self) -> None:
        runs = Calls(True, count=2, at=129), Calls(True, at=101), Calls(True, at=130)
        assert record_all(self.STRATEGY, *runs) == Trip(1, 4, 4, 0)

        runs = Calls(True, count=2, at=129), Calls(True, at=101), Calls(True, at=131)
        assert record_all(self.STRATEGY, *runs) is None, "the late one has left by then"

    def test_calls_from_before_the_window_do_not_count(self) -> None:
        assert record_all(self.STRATEGY, Calls(at=200), Calls(True, count=100, at=170)) is None

    def test_jump_forward_empties_it(self) -> None:
        runs = Calls(True, count=3, at=100), Calls(at=1e9), Calls(True, count=2, at=1e9)
        assert record_all(self.STRATEGY, *runs) is None


@pytest.mark.parametrize("strategy", [CountWindow(50, 1.0), TimeWindow(50, 1.0)])
def test_memory_stays_bounded(strategy: Strategy) -> None:
    window = strategy.window()
    sizes: deque[int] = deque(maxlen=2)
    for round_of_calls in (range(50), range(50, 5_000)):
        for at in round_of_calls:
            assert record(window, Calls(at % 2 == 0, count=7, at=at)) is None
        sizes.append(len(pickle.dumps(window)))
    assert sizes[1] <= sizes[0] + 200  # longer integers


@pytest.mark.parametrize(
    "strategy", [ConsecutiveFailures(100), CountWindow(100, 0.5, 100), TimeWindow(60, 0.5, 100)]
)
def test_huge_runs_take_no_time(strategy: Strategy) -> None:
    """What a batch claims is bounded by its numbers only; a leader must not hang on it."""
    assert record_all(strategy, Calls(count=2**53), Calls(slow=True, count=2**53)) is None
    trip = record(strategy.window(), Calls(True, count=2**53))
    assert trip == Trip(100, 100, 100, 0)


def test_strategies_are_values() -> None:
    assert CountWindow(10, 0.5) == CountWindow(10, 0.5, 10, None)
    assert len({TimeWindow(60, 0.5), TimeWindow(60, 0.5), ConsecutiveFailures()}) == 2
    assert "size=10" in repr(CountWindow(10, 0.5))
    for strategy in (ConsecutiveFailures(3), CountWindow(10, 0.5), TimeWindow(60, 0.5)):
        assert isinstance(strategy, Strategy)
        assert pickle.loads(pickle.dumps(strategy)) == strategy


def test_minimum_calls_defaults_to_ten_or_a_smaller_window() -> None:
    assert CountWindow(100, 0.5).minimum_calls == 10
    assert CountWindow(4, 0.5).minimum_calls == 4
    assert TimeWindow(60, 0.5).minimum_calls == 10


def test_each_circuit_gets_a_window_of_its_own() -> None:
    for strategy in (ConsecutiveFailures(2), CountWindow(2, 1.0), TimeWindow(60, 1.0, 2)):
        assert record(strategy.window(), Calls(True)) is None
        assert record(strategy.window(), Calls(True)) is None


NOT_WHOLE: list[Any] = ["5", 2.0, True, None]
NO_NUMBER: list[Any] = ["60", True, 1j]


@pytest.mark.parametrize(
    ("make", "arguments", "error", "says"),
    [
        *[(ConsecutiveFailures, (bad,), TypeError, "threshold") for bad in NOT_WHOLE],
        (ConsecutiveFailures, (0,), ValueError, "threshold must be at least 1, not 0"),
        *[(CountWindow, (bad, 0.5), TypeError, "size") for bad in NOT_WHOLE],
        (CountWindow, (0, 0.5), ValueError, "size must be at least 1"),
        (CountWindow, (MAX_WINDOW_SIZE + 1, 0.5), ValueError, "size must be at most"),
        *[(CountWindow, (9, 0.5, bad), TypeError, "minimum_calls") for bad in NOT_WHOLE[:-1]],
        (CountWindow, (9, 0.5, 0), ValueError, "minimum_calls must be at least 1"),
        (CountWindow, (9, 0.5, 10), ValueError, "minimum_calls must be at most 9"),
        *[(CountWindow, (9, bad), TypeError, "failure_rate") for bad in [*NO_NUMBER, None]],
        *[(CountWindow, (9, bad), ValueError, "failure_rate") for bad in (0, -0.1, 1.01, 50)],
        *[(CountWindow, (9, 0.5, 9, bad), TypeError, "slow_rate") for bad in NO_NUMBER],
        *[(CountWindow, (9, 0.5, 9, bad), ValueError, "slow_rate") for bad in (0, 1.5)],
        *[(TimeWindow, (bad, 0.5), TypeError, "seconds") for bad in [*NO_NUMBER, None]],
        (TimeWindow, (0, 0.5), ValueError, "duration must be above 0"),
        (TimeWindow, (5e-324, 0.5, 1), ValueError, "duration must be at least 0.001"),
        (TimeWindow, (1e10, 0.5), ValueError, "duration must be at most 1e+09"),
        (TimeWindow, (9, 0.5, 2**60), ValueError, "minimum_calls must be at most"),
        (TimeWindow, (float("inf"), 0.5), ValueError, "duration must be finite"),
        (TimeWindow, (float("nan"), 0.5), ValueError, "duration must be finite"),
        *[(TimeWindow, (9, 0.5, bad), TypeError, "minimum_calls") for bad in NOT_WHOLE],
        (TimeWindow, (9, 0.5, 0), ValueError, "minimum_calls must be at least 1"),
        (TimeWindow, (9, float("nan")), ValueError, "failure_rate"),
        (TimeWindow, (9, 50), ValueError, "failure_rate must be at most 1, not 50"),
        *[(TimeWindow, (9, 0.5, 9, bad), TypeError, "slow_rate") for bad in NO_NUMBER],
        *[(TimeWindow, (9, 0.5, 9, bad), ValueError, "slow_rate") for bad in (0, 1.5)],
    ],
)
def test_illegal_settings_are_refused(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        make(*arguments)


def test_slow_rate_needs_to_know_what_is_slow() -> None:
    for strategy in (CountWindow(10, 0.5, slow_rate=0.5), TimeWindow(10, 0.5, slow_rate=0.5)):
        with pytest.raises(ValueError, match="slow_call: pass the seconds"):
            BreakerPolicy(strategy=strategy)
        assert BreakerPolicy(strategy=strategy, slow_call=1.0).strategy is strategy
