"""When a closed circuit opens: strategies are immutable settings, windows count for them.

The leader keeps one window per circuit and feeds it *runs*: n calls in a row that ended alike.
A run decides exactly as its calls would one by one, also in its middle: `Trip.after` tells the
call at which the window tripped. The rate windows are those of resilience4j (count-based as a
ring of the last calls, time-based as a ring of partial aggregates), with its minimum volume.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol, runtime_checkable

from ._checks import check_number, check_rate, check_whole

BUCKETS = 30
"""A time window moves in steps of a thirtieth of its duration."""

DEFAULT_MINIMUM_CALLS = 10
MAX_WINDOW_SIZE = 1_000_000


@dataclass(frozen=True, slots=True)
class Trip:
    """A window's verdict: open the circuit.

    Args:
        after: The call of the run, counted from one, at which the window tripped.
        calls: The calls in the window at that moment.
        failures: How many of them had failed.
        slow: How many of them were slow.
    """

    after: int
    calls: int
    failures: int
    slow: int


class Window(Protocol):
    """The mutable half of a strategy: counts what one circuit's calls did.

    A window may have a second method, `overdue(count, at) -> Trip | None`, which tells whether the
    circuit must open now because so many calls that are not in the window have been under way for
    longer than `slow_call`. It changes nothing: each of these calls is recorded when it ends.
    """

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        """Take in `count` calls in a row that ended alike.

        Args:
            failed: Whether they failed.
            slow: Whether they took longer than the policy's `slow_call`.
            count: How many, at least one.
            now: When, in seconds of the one shared clock. It does not run backwards by more than
                the age of a late report.

        Returns:
            The verdict at the first call that calls for opening, or None.
        """
        ...


@runtime_checkable
class LookAhead(Protocol):
    """What a window can do besides."""

    def overdue(self, count: int, at: float) -> Trip | None:
        """Judge calls that are slow already, though they have not ended.

        Args:
            count: How many, at least one.
            at: When, in seconds of the shared clock.

        Returns:
            The verdict if they were recorded as slow now, or None. Nothing is recorded.
        """
        ...


@runtime_checkable
class Strategy(Protocol):
    """The immutable half: settings that make a window for each circuit."""

    def window(self) -> Window:
        """An empty window."""
        ...


@dataclass(frozen=True, slots=True)
class ConsecutiveFailures:
    """Open after so many failures in a row, counted over the whole fleet.

    Args:
        threshold: The failures in a row, at least one.
    """

    threshold: int = 5

    def __post_init__(self) -> None:
        check_whole("threshold", self.threshold, most=MAX_WINDOW_SIZE)

    def window(self) -> Window:
        """A counter that a later success sets back."""
        return _Streak(self.threshold)


@dataclass(frozen=True, slots=True, init=False)
class CountWindow:
    """Open when too many of the last calls failed (or were slow).

    Args:
        size: How many calls the window holds.
        failure_rate: The share of failures that opens, above 0 and up to 1.
        minimum_calls: No verdict on fewer calls. Default: 10, or `size` if that is less.
        slow_rate: The share of slow calls that opens as well. Needs the policy's `slow_call`.
    """

    size: int
    failure_rate: float
    minimum_calls: int = DEFAULT_MINIMUM_CALLS
    slow_rate: float | None = None

    def __init__(
        self,
        size: int,
        failure_rate: float,
        minimum_calls: int | None = None,
        slow_rate: float | None = None,
    ) -> None:
        check_whole("size", size, most=MAX_WINDOW_SIZE)
        if minimum_calls is None:
            minimum_calls = min(size, DEFAULT_MINIMUM_CALLS)
        check_whole("minimum_calls", minimum_calls, most=size)
        _check_rates(failure_rate, slow_rate)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "failure_rate", failure_rate)
        object.__setattr__(self, "minimum_calls", minimum_calls)
        object.__setattr__(self, "slow_rate", slow_rate)

    def window(self) -> Window:
        """A ring of the last calls."""
        return _LastCalls(self)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Open when too many of the calls of the last seconds failed (or were slow).

    Args:
        duration: The window's length in seconds. It moves in steps of a thirtieth.
        failure_rate: The share of failures that opens, above 0 and up to 1.
        minimum_calls: No verdict on fewer calls.
        slow_rate: The share of slow calls that opens as well. Needs the policy's `slow_call`.
    """

    duration: float
    failure_rate: float
    minimum_calls: int = DEFAULT_MINIMUM_CALLS
    slow_rate: float | None = None

    def __post_init__(self) -> None:
        check_number("duration", self.duration, above=0, unit="seconds")
        check_whole("minimum_calls", self.minimum_calls)
        _check_rates(self.failure_rate, self.slow_rate)

    def window(self) -> Window:
        """A ring of counts per thirtieth of the duration."""
        return _LastSeconds(self)


def judges_slow_calls(strategy: Strategy) -> bool:
    """Whether a strategy has a use for knowing which calls were slow."""
    return getattr(strategy, "slow_rate", None) is not None


def _check_rates(failure_rate: float, slow_rate: float | None) -> None:
    check_rate("failure_rate", failure_rate)
    if slow_rate is not None:
        check_rate("slow_rate", slow_rate)


def _too_slow(
    settings: CountWindow | TimeWindow, count: int, calls: int, failures: int, slow: int
) -> Trip | None:
    """The verdict on a window that would hold these, `count` of them still under way."""
    if settings.slow_rate is None or calls < settings.minimum_calls:
        return None
    return Trip(count, calls, failures, slow) if slow / calls >= settings.slow_rate else None


class _Streak:
    """Failures since the last success, by when calls ended: reports of one moment arrive in any
    order, and a success that waited for company must not end a streak that came after it."""

    __slots__ = ("_failures", "_runs", "_succeeded_at", "_threshold")

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._failures = 0
        self._runs: list[tuple[float, int, bool]] = []  # when, how many, whether slow; in order
        self._succeeded_at = float("-inf")

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        if not failed:
            self._end(now)
            return None
        if now < self._succeeded_at:
            return None
        after = min(count, self._threshold - self._failures)
        insort(self._runs, (now, after, slow))
        self._failures += after
        if self._failures < self._threshold:
            return None
        slow_ones = sum(number for _, number, was_slow in self._runs if was_slow)
        trip = Trip(after, self._failures, self._failures, slow_ones)
        self._failures = 0
        self._runs.clear()
        return trip

    def _end(self, at: float) -> None:
        """End the streak that came before a success."""
        self._succeeded_at = max(self._succeeded_at, at)
        ended = bisect_right(self._runs, at, key=itemgetter(0))
        self._failures -= sum(number for _, number, _ in self._runs[:ended])
        del self._runs[:ended]


class _LastCalls:
    __slots__ = ("_failures", "_next", "_ring", "_settings", "_slow")

    FAILED = 1
    SLOW = 2

    def __init__(self, settings: CountWindow) -> None:
        self._settings = settings
        self._clear()

    def _clear(self) -> None:
        self._ring = bytearray()
        self._next = 0
        self._failures = 0
        self._slow = 0

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        mark = (self.FAILED if failed else 0) | (self.SLOW if slow else 0)
        # A run longer than the ring leaves it full of one kind; more of the same changes nothing.
        for after in range(1, min(count, self._settings.size) + 1):
            self._push(mark)
            if self._tripped():
                trip = Trip(after, len(self._ring), self._failures, self._slow)
                self._clear()
                return trip
        return None

    def overdue(self, count: int, at: float) -> Trip | None:
        size = self._settings.size
        count = min(count, size)
        gone = self._oldest(max(0, len(self._ring) + count - size))
        both = gone.count(self.FAILED | self.SLOW)
        return _too_slow(
            self._settings,
            count,
            calls=len(self._ring) - len(gone) + count,
            failures=self._failures - gone.count(self.FAILED) - both,
            slow=self._slow - gone.count(self.SLOW) - both + count,
        )

    def _oldest(self, count: int) -> bytearray:
        """The calls that give way to so many more."""
        end = self._next + count
        return self._ring[self._next : end] + self._ring[: max(0, end - len(self._ring))]

    def _push(self, mark: int) -> None:
        ring = self._ring
        if len(ring) < self._settings.size:
            ring.append(mark)
        else:
            old = ring[self._next]
            self._failures -= old & self.FAILED
            self._slow -= old >> 1
            ring[self._next] = mark
            self._next = (self._next + 1) % len(ring)
        self._failures += mark & self.FAILED
        self._slow += mark >> 1

    def _tripped(self) -> bool:
        settings = self._settings
        calls = len(self._ring)
        if calls < settings.minimum_calls:
            return False
        if self._failures / calls >= settings.failure_rate:
            return True
        return settings.slow_rate is not None and self._slow / calls >= settings.slow_rate


class _LastSeconds:
    __slots__ = ("_buckets", "_calls", "_failures", "_newest", "_settings", "_slow", "_width")

    def __init__(self, settings: TimeWindow) -> None:
        self._settings = settings
        self._width = settings.duration / BUCKETS
        self._newest: int | None = None
        self._clear()

    def _clear(self) -> None:
        self._buckets = [[0, 0, 0] for _ in range(BUCKETS)]
        self._calls = self._failures = self._slow = 0

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        bucket = self._bucket(now)
        if bucket is None:
            return None
        after = self._first_trip(failed, slow, count)
        taken = count if after is None else after
        self._add(bucket, taken, taken * failed, taken * slow)
        if after is None:
            return None
        trip = Trip(after, self._calls, self._failures, self._slow)
        self._clear()
        return trip

    def overdue(self, count: int, at: float) -> Trip | None:
        calls, failures, slow = self._inside(at)
        return _too_slow(self._settings, count, calls + count, failures, slow + count)

    def _inside(self, at: float) -> tuple[int, int, int]:
        """Calls, failures and slow calls of the window that ends at a time. Nothing is moved: late
        results are still to find their place."""
        if self._newest is None:
            return 0, 0, 0
        first = max(self._newest, int(at // self._width)) - BUCKETS + 1
        inside = [self._buckets[n % BUCKETS] for n in range(first, self._newest + 1)]
        return (
            sum(bucket[0] for bucket in inside),
            sum(bucket[1] for bucket in inside),
            sum(bucket[2] for bucket in inside),
        )

    def _bucket(self, now: float) -> list[int] | None:
        """The counts that `now` belongs to, or None if the window has left it behind."""
        index = int(now // self._width)
        newest = index if self._newest is None else self._newest
        self._expire(newest, index)
        self._newest = max(newest, index)
        return None if index <= newest - BUCKETS else self._buckets[index % BUCKETS]

    def _expire(self, newest: int, index: int) -> None:
        for passed in range(newest + 1, min(index, newest + BUCKETS) + 1):
            old = self._buckets[passed % BUCKETS]
            self._add(old, -old[0], -old[1], -old[2])

    def _add(self, bucket: list[int], calls: int, failures: int, slow: int) -> None:
        bucket[0] += calls
        bucket[1] += failures
        bucket[2] += slow
        self._calls += calls
        self._failures += failures
        self._slow += slow

    def _first_trip(self, failed: bool, slow: bool, count: int) -> int | None:
        settings = self._settings
        candidates = [self._first_crossing(self._failures, failed, settings.failure_rate, count)]
        if settings.slow_rate is not None:
            candidates.append(self._first_crossing(self._slow, slow, settings.slow_rate, count))
        return min((after for after in candidates if after is not None), default=None)

    def _first_crossing(self, bad: int, adds: bool, rate: float, count: int) -> int | None:
        """The first of `count` equal calls with which `bad` reaches its rate, if any does."""

        def crossed(after: int) -> bool:
            return (bad + after * adds) / (self._calls + after) >= rate

        first = max(1, self._settings.minimum_calls - self._calls)
        if first > count:
            return None
        if not adds:  # the rate only falls, so the first chance is the only one
            return first if crossed(first) else None
        return _bisect(crossed, first, count)


def _bisect(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least number in low..high for which a monotone condition holds."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
