"""The interface of a strategy's window, which counts the calls of one circuit, and its decision.

A window records *runs*: n consecutive calls with the same outcome. A run has exactly the effect of
its calls, one by one, also in its middle: `Trip.after` is the call at which the window tripped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

# A strategy of a user may return anything, and greater whole numbers are not exact in JSON.
MOST_CALLS = 2**53


@dataclass(frozen=True, slots=True)
class Trip:
    """A window's decision to open the circuit.

    Args:
        after: The number of the call within the run, from one, at which the window tripped.
        calls: The number of calls in the window at that moment.
        failures: The number of failed calls among them.
        slow: The number of slow calls among them.
    """

    after: int
    calls: int
    failures: int
    slow: int


def checked(verdict: object, count: int, faults: list[Exception]) -> Trip | None:
    """Return a decision with valid numbers. A `Trip` of a user's window opens the circuit even if
    its numbers are invalid.

    Args:
        verdict: The value that the window returned.
        count: The number of recorded calls.
        faults: Receives an error if numbers are invalid.

    Raises:
        TypeError: The window returned neither a `Trip` nor None.
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
        faults.append(ValueError(f"the numbers of {verdict!r} are invalid, {trip!r} is used"))
    return trip


class Window(Protocol):
    """The mutable part of a strategy: counts the calls of one circuit.

    A window may have two optional capabilities: `LookAhead` evaluates calls in flight, and
    `Savable` supports a takeover without counting again.
    """

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        """Record `count` consecutive calls with the same outcome.

        Args:
            failed: Whether they failed.
            slow: Whether they took longer than the policy's `slow_call`.
            count: The number of calls, at least one.
            now: The time in seconds, from an arbitrary origin. It follows no jump of a clock, and
                goes back by the age of a late report at most.

        Returns:
            The decision at the first call that reaches the threshold, or None.
        """
        ...


@runtime_checkable
class LookAhead(Protocol):
    """A window that evaluates slow calls in flight.

    These calls are recorded like any others when they end.
    """

    def overdue(self, count: int, at: float) -> Trip | None:
        """Evaluate calls in flight that are already slow.

        Args:
            count: The number of calls, at least one.
            at: The time, on the clock of `record`.

        Returns:
            The decision if these calls ended now as slow calls, or None. Nothing is recorded.
        """
        ...


@runtime_checkable
class Savable(Protocol):
    """A window whose state a new leader can restore.

    Without it, a new leader reads all stored results (ten minutes of them, or more if a
    `TimeWindow` is longer) before it evaluates new ones.
    """

    def save(self) -> str:
        """Return the state of the window as a string of up to 8,192 characters; longer ones are not
        stored."""
        ...

    def restore(self, saved: str) -> None:
        """Restore the state of another window of the same strategy into this empty one.

        Args:
            saved: The return value of the other window's `save`.

        Raises:
            Exception: The state cannot be restored; results are then counted again.
        """
        ...
