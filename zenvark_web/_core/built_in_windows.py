"""The windows of the built-in strategies.

The rate windows are those of resilience4j (count-based as a ring of the last calls, time-based as a
ring of partial aggregates), with its minimum volume.
"""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from .windows import Trip

FEW = 16
"""The calls of a run that are added to a ring faster one by one than by slices."""

BUCKETS = 30
"""A time window moves in steps of a thirtieth of its duration."""


class Rates(Protocol):
    """The settings of a window with rates."""

    @property
    def failure_rate(self) -> float:
        """The share of failures that opens."""
        ...

    @property
    def minimum_calls(self) -> int:
        """The minimum number of calls for a decision."""
        ...

    @property
    def slow_rate(self) -> float | None:
        """The share of slow calls that opens as well."""
        ...


def _too_slow(rates: Rates, count: int, calls: int, failures: int, slow: int) -> Trip | None:
    """The decision of a window that would contain these calls, `count` of them in flight."""
    if rates.slow_rate is None or calls < rates.minimum_calls:
        return None
    return Trip(count, calls, failures, slow) if slow / calls >= rates.slow_rate else None


class BuiltInWindow:
    """A window whose successes can be summed up: see `Lull`."""

    __slots__ = ()

    @property
    def lull_step(self) -> float | None:
        """The seconds within which successes count alike, whichever comes first; None if a success
        may trip the window."""
        raise NotImplementedError


class ConsecutiveWindow(BuiltInWindow):
    """Failures since the last success, by when calls ended: reports of one moment arrive in any
    order, and a success that was sent late must not end a streak that came after it."""

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
        if now < self._succeeded_at:  # reported late: a success has ended its streak already
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

    @property
    def lull_step(self) -> float:
        return float("inf")

    def save(self) -> str:
        since = None if self._succeeded_at == float("-inf") else self._succeeded_at
        return _dump([since, self._runs])

    def restore(self, saved: str) -> None:
        since, stored = json.loads(saved)
        runs = sorted((float(at), _whole(number), bool(slow)) for at, number, slow in stored)
        failures = sum(number for _, number, _ in runs)
        if failures >= self._threshold:
            raise ValueError(f"{failures} failures would have opened the circuit")
        self._succeeded_at = float("-inf") if since is None else float(since)
        self._runs, self._failures = runs, failures

    def _end(self, at: float) -> None:
        """End the streak that came before a success."""
        self._succeeded_at = max(self._succeeded_at, at)
        ended = bisect_right(self._runs, at, key=itemgetter(0))
        self._failures -= sum(number for _, number, _ in self._runs[:ended])
        del self._runs[:ended]


class CountBasedWindow(BuiltInWindow):
    """A ring of the last calls. A long run takes a few slices of it, however long it is."""

    __slots__ = ("_failures", "_next", "_rates", "_ring", "_size", "_slow")

    FAILED = 1
    SLOW = 2

    def __init__(self, size: int, rates: Rates) -> None:
        self._size = size
        self._rates = rates
        self._clear()

    def _clear(self) -> None:
        self._ring = bytearray()
        self._next = 0
        self._failures = 0
        self._slow = 0

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        mark = (self.FAILED if failed else 0) | (self.SLOW if slow else 0)
        # A run longer than the ring leaves it full of one kind; more of the same changes nothing.
        count = min(count, self._size)
        after = self._push_each(mark, count) if count <= FEW else self._push_all(mark, count)
        if after is None:
            return None
        trip = Trip(after, len(self._ring), self._failures, self._slow)
        self._clear()
        return trip

    def _push_each(self, mark: int, count: int) -> int | None:
        """Add equal calls up to the one that trips the window; return its number."""
        for after in range(1, count + 1):
            self._push(mark)
            if self._tripped():
                return after
        return None

    def _push_all(self, mark: int, count: int) -> int | None:
        """The same for many calls, at most as many as the ring has places."""
        after = self._first_trip(mark, count)
        self._fill(mark, count if after is None else after)
        return after

    def overdue(self, count: int, at: float) -> Trip | None:
        count = min(count, self._size)
        calls, failures, slow = self._after(self.SLOW, count)
        return _too_slow(self._rates, count, calls, failures, slow)

    @property
    def lull_step(self) -> float | None:
        may_trip = self._failures or self._slow
        # The success that completes the minimum may trip it. With further ones, rates only fall.
        is_decided = len(self._ring) >= self._rates.minimum_calls
        return float("inf") if is_decided or not may_trip else None

    def save(self) -> str:
        in_order = self._ring[self._next :] + self._ring[: self._next]
        return _dump([[mark, len(list(same))] for mark, same in groupby(in_order)])

    def restore(self, saved: str) -> None:
        runs = [(_whole(mark), _whole(number)) for mark, number in json.loads(saved)]
        if sum(number for _, number in runs) > self._size:
            raise ValueError(f"more than {self._size} calls")
        for mark, number in runs:
            if mark not in range(4):
                raise ValueError(f"unknown kind of call {mark}")
            self._fill(mark, number)

    def _push(self, mark: int) -> None:
        ring = self._ring
        if len(ring) < self._size:
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
        rates = self._rates
        calls = len(self._ring)
        if calls < rates.minimum_calls:
            return False
        if self._failures / calls >= rates.failure_rate:
            return True
        return rates.slow_rate is not None and self._slow / calls >= rates.slow_rate

    def _first_trip(self, mark: int, count: int) -> int | None:
        """The first of `count` equal calls that trips the window, if any does."""
        rates = self._rates
        first = max(1, rates.minimum_calls - len(self._ring))
        if first > count:
            return None

        def too_many_failures(after: int) -> bool:
            calls, failures, _ = self._after(mark, after)
            return failures / calls >= rates.failure_rate

        def too_many_slow(after: int) -> bool:
            calls, _, slow = self._after(mark, after)
            return rates.slow_rate is not None and slow / calls >= rates.slow_rate

        candidates = (
            _first_crossing(too_many_failures, bool(mark & self.FAILED), first, count),
            _first_crossing(too_many_slow, bool(mark & self.SLOW), first, count),
        )
        return min((after for after in candidates if after is not None), default=None)

    def _after(self, mark: int, count: int) -> tuple[int, int, int]:
        """Calls, failures and slow calls of the window after so many equal calls."""
        gone = self._oldest(max(0, len(self._ring) + count - self._size))
        both = gone.count(self.FAILED | self.SLOW)
        return (
            len(self._ring) - len(gone) + count,
            self._failures - gone.count(self.FAILED) - both + count * (mark & self.FAILED),
            self._slow - gone.count(self.SLOW) - both + count * (mark >> 1),
        )

    def _oldest(self, count: int) -> bytearray:
        """The oldest calls, which a number of new calls displaces."""
        end = self._next + count
        return self._ring[self._next : end] + self._ring[: max(0, end - len(self._ring))]

    def _fill(self, mark: int, count: int) -> None:
        """Add equal calls, at most as many as the ring has places."""
        _, self._failures, self._slow = self._after(mark, count)
        ring, marks = self._ring, bytes([mark]) * count
        room = self._size - len(ring)
        ring += marks[:room]
        displacing = marks[room:]
        to_end = len(ring) - self._next
        ring[self._next : self._next + len(displacing)] = displacing[:to_end]
        ring[: len(displacing[to_end:])] = displacing[to_end:]
        self._next = (self._next + len(displacing)) % self._size


class TimeBasedWindow(BuiltInWindow):
    """A ring of counts, one for each thirtieth of the duration."""

    __slots__ = ("_buckets", "_calls", "_failures", "_newest", "_rates", "_slow", "_width")

    def __init__(self, duration: float, rates: Rates) -> None:
        self._rates = rates
        self._width = duration / BUCKETS
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
        return _too_slow(self._rates, count, calls + count, failures, slow + count)

    @property
    def lull_step(self) -> float | None:
        # A success moves the window on, and older ones that leave it let rates rise.
        return None if self._failures or self._slow else self._width

    def save(self) -> str:
        newest = self._newest or 0
        kept = [[back, *self._buckets[(newest - back) % BUCKETS]] for back in range(BUCKETS)]
        return _dump([newest, *(bucket for bucket in kept if bucket[1])])

    def restore(self, saved: str) -> None:
        newest, *kept = json.loads(saved)
        self._newest = _whole(newest)
        for bucket in kept:
            back, calls, failures, slow = map(_whole, bucket)
            if back >= BUCKETS or max(failures, slow) > calls:
                raise ValueError(f"{calls} calls, {failures} failed, {slow} slow, {back} steps ago")
            self._add(self._buckets[(self._newest - back) % BUCKETS], calls, failures, slow)

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
        rates = self._rates
        candidates = [self._first_crossing(self._failures, failed, rates.failure_rate, count)]
        if rates.slow_rate is not None:
            candidates.append(self._first_crossing(self._slow, slow, rates.slow_rate, count))
        return min((after for after in candidates if after is not None), default=None)

    def _first_crossing(self, bad: int, adds: bool, rate: float, count: int) -> int | None:
        """The first of `count` equal calls with which `bad` reaches its rate, if any does."""

        def crossed(after: int) -> bool:
            return (bad + after * adds) / (self._calls + after) >= rate

        first = max(1, self._rates.minimum_calls - self._calls)
        return None if first > count else _first_crossing(crossed, adds, first, count)


def _first_crossing(
    crossed: Callable[[int], bool], adds: bool, first: int, count: int
) -> int | None:
    """The first of the calls `first` to `count` of a run after which a rate is reached.

    Args:
        crossed: Whether the rate is reached after so many calls.
        adds: Whether the calls are of the kind that the rate counts.
        first: The first call that may decide.
        count: The number of calls.
    """
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


_dump = json.JSONEncoder(separators=(",", ":")).encode


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a number of something: {value!r}")
    return value
