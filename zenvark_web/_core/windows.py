"""What a strategy needs of a window, which counts the calls of one circuit, and its verdict.

A window records *runs*: n calls in a row that ended alike. A run decides exactly as its calls would
one by one, also in its middle: `Trip.after` is the call at which the window tripped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

MOST_CALLS = 2**53


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


def checked(verdict: object, count: int, faults: list[Exception]) -> Trip | None:
    """A verdict with numbers that make sense. A user's window that wants to open does open,
    whatever its numbers are.

    Args:
        verdict: What the window returned.
        count: How many calls were recorded.
        faults: Receives an error if numbers make no sense.

    Raises:
        TypeError: The window returned something else.
    """
    if verdict is None:
        return None
    if not isinstance(verdict, Trip):
        raise TypeError(f"a window must return a Trip or None, not {verdict!r}")
    told = verdict.after, verdict.calls, verdict.failures, verdict.slow
    whole = [number if type(number) is int else 0 for number in told]
    after, calls, failures, slow = (max(0, min(number, MOST_CALLS)) for number in whole)
    calls = max(1, calls, failures, slow)
    trip = Trip(max(1, min(after, count)), calls, failures, slow)
    if trip != verdict:
        faults.append(ValueError(f"the numbers of {verdict!r} make no sense, {trip!r} is used"))
    return trip


class Window(Protocol):
    """The mutable half of a strategy: counts what one circuit's calls did.

    A window may do more: see `LookAhead` for judging calls before they have ended, and `Savable`
    for a takeover without counting all over again.
    """

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        """Take in `count` calls in a row that ended alike.

        Args:
            failed: Whether they failed.
            slow: Whether they took longer than the policy's `slow_call`.
            count: How many, at least one.
            now: When, in seconds. They begin anywhere, follow no jump of a clock, and do not run
                backwards by more than the age of a late report.

        Returns:
            The verdict at the first call that calls for opening, or None.
        """
        ...


@runtime_checkable
class LookAhead(Protocol):
    """What a window can do if slow calls are to count before they have ended.

    Such a call is recorded like any other when it ends.
    """

    def overdue(self, count: int, at: float) -> Trip | None:
        """Judge calls that are slow already, though they have not ended.

        Args:
            count: How many, at least one.
            at: When, in the same seconds.

        Returns:
            The verdict if they were recorded as slow now, or None. Nothing is recorded.
        """
        ...


@runtime_checkable
class Savable(Protocol):
    """What a window can do so that a new leader need not count all over again.

    Without it, a new leader reads all results that are kept (those of ten minutes, or more if a
    `TimeWindow` is longer) before it judges anything new.
    """

    def save(self) -> str:
        """Everything the window knows, as a text. One of more than 8,192 characters is not kept."""
        ...

    def restore(self, saved: str) -> None:
        """Become what another window of the same strategy was. Called on an empty one.

        Args:
            saved: What that one's `save` gave.

        Raises:
            Exception: That cannot be; results are then counted anew.
        """
        ...
