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


class ConsecutiveWindow:
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


class CountBasedWindow:
    """A ring of the last calls."""

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
        for after in range(1, min(count, self._size) + 1):
            self._push(mark)
            if self._tripped():
                trip = Trip(after, len(self._ring), self._failures, self._slow)
                self._clear()
                return trip
        return None

    def overdue(self, count: int, at: float) -> Trip | None:
        count = min(count, self._size)
        gone = self._oldest(max(0, len(self._ring) + count - self._size))
        both = gone.count(self.FAILED | self.SLOW)
        return _too_slow(
            self._rates,
            count,
            calls=len(self._ring) - len(gone) + count,
            failures=self._failures - gone.count(self.FAILED) - both,
            slow=self._slow - gone.count(self.SLOW) - both + count,
        )

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
            for _ in range(number):
                self._push(mark)

    def _oldest(self, count: int) -> bytearray:
        """The oldest calls, which a number of new calls displaces."""
        end = self._next + count
        return self._ring[self._next : end] + self._ring[: max(0, end - len(self._ring))]

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


class TimeBasedWindow:
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


_dump = json.JSONEncoder(separators=(",", ":")).encode


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a number of something: {value!r}")
    return value
