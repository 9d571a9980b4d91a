"""When a closed circuit opens: strategies are immutable settings that create windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ._checks import check_number, check_rate, check_whole
from .backoff import LONGEST_WAIT
from .built_in_windows import ConsecutiveWindow, CountBasedWindow, Rates, TimeBasedWindow
from .windows import Trip, Window

DEFAULT_MINIMUM_CALLS = 10
MAX_WINDOW_SIZE = 1_000_000
# Ages of results are whole milliseconds: a shorter window could not tell them apart.
SHORTEST_WINDOW = 0.001


@runtime_checkable
class Strategy(Protocol):
    """The immutable part of a strategy: settings that create a window for each circuit."""

    def window(self) -> Window:
        """Create an empty window."""
        ...


@runtime_checkable
class QuorumAware(Protocol):
    """A strategy that can evaluate its decision again without the calls of some instances.

    For a policy with a `quorum`. A strategy without this is asked nothing: its decision stands if
    calls of the required number of instances have failed.
    """

    def stands(self, trip: Trip, without: int) -> bool:
        """Return whether a decision stands without some of its failed calls.

        Args:
            trip: The decision. A strategy with a `slow_rate` is asked twice: by the failures of the
                decision (then `slow` is 0), and by its slow calls (then `failures` is 0).
            without: The number of failed, or slow, calls to leave out.
        """
        ...


@dataclass(frozen=True, slots=True)
class ConsecutiveFailures:
    """Open after a number of consecutive failures, counted over the whole fleet.

    Args:
        threshold: The number of consecutive failures, at least one.
    """

    threshold: int = 5

    def __post_init__(self) -> None:
        check_whole("threshold", self.threshold, most=MAX_WINDOW_SIZE)

    def window(self) -> Window:
        """Create a counter that a later success resets."""
        return ConsecutiveWindow(self.threshold)

    def stands(self, trip: Trip, without: int) -> bool:
        """Whether a streak has failures of other instances than those left out (`quorum`)."""
        return trip.failures - without >= 1


@dataclass(frozen=True, slots=True, init=False)
class CountWindow:
    """A count-based sliding window: open when too many of the last calls failed (or were slow).

    Args:
        size: The number of calls in the window.
        failure_rate: The share of failures that opens the circuit, above 0 and up to 1.
        minimum_calls: The minimum number of calls for a decision. Default: 10, or `size` if that is
            less.
        slow_rate: The share of slow calls that opens the circuit too. Requires the policy's
            `slow_call`.
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
        """Create a ring buffer of the last calls."""
        return CountBasedWindow(self.size, self)

    def stands(self, trip: Trip, without: int) -> bool:
        """Whether a rate is reached without some of the bad calls (`quorum`)."""
        return _reaches_rate(self, trip, without)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A time-based sliding window: open when too many of the latest calls failed (or were slow).

    Args:
        duration: The window's length in seconds, from 0.001 to 1e9. It moves in steps of a
            thirtieth.
        failure_rate: The share of failures that opens the circuit, above 0 and up to 1.
        minimum_calls: The minimum number of calls for a decision.
        slow_rate: The share of slow calls that opens the circuit too. Requires the policy's
            `slow_call`.
    """

    duration: float
    failure_rate: float
    minimum_calls: int = DEFAULT_MINIMUM_CALLS
    slow_rate: float | None = None

    def __post_init__(self) -> None:
        check_number("duration", self.duration, above=0, unit="seconds")
        check_number("duration", self.duration, least=SHORTEST_WINDOW, most=LONGEST_WAIT)
        check_whole("minimum_calls", self.minimum_calls, most=2**53)
        _check_rates(self.failure_rate, self.slow_rate)

    def window(self) -> Window:
        """Create a ring buffer of counts, one for each thirtieth of the duration."""
        return TimeBasedWindow(self.duration, self)

    def stands(self, trip: Trip, without: int) -> bool:
        """Whether a rate is reached without some of the bad calls (`quorum`)."""
        return _reaches_rate(self, trip, without)


def judges_slow_calls(strategy: object) -> bool:
    """Whether a strategy uses the number of slow calls."""
    return getattr(strategy, "slow_rate", None) is not None


def _reaches_rate(rates: Rates, trip: Trip, without: int) -> bool:
    calls = trip.calls - without
    if calls <= 0:
        return False
    if (trip.failures - without) / calls >= rates.failure_rate:
        return True
    return rates.slow_rate is not None and (trip.slow - without) / calls >= rates.slow_rate


def _check_rates(failure_rate: float, slow_rate: float | None) -> None:
    check_rate("failure_rate", failure_rate)
    if slow_rate is not None:
        check_rate("slow_rate", slow_rate)
