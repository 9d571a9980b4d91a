"""The waits of an open circuit before each recovery attempt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ._checks import check_number, is_number

SHORTEST_WAIT = 0.001
LONGEST_WAIT = 1e9
"""The longest wait of a setting, in seconds (31 years). Much longer waits cannot be stored."""


@runtime_checkable
class Backoff(Protocol):
    """The interface of a policy's backoff. Implementations are immutable settings."""

    def delay(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait before a recovery attempt.

        Args:
            attempt: The number of the attempt, from one, since the circuit was last healthy.
            chance: A random number from 0 up to 1, for jitter. (As an argument, it makes the
                decision reproducible.)

        Returns:
            Seconds, from 0 to 1e9. Any other value is reported as a `StrategyError`, and the
            default backoff applies instead.
        """
        ...


@dataclass(frozen=True, slots=True, init=False)
class ConstantBackoff:
    """The same wait before every recovery attempt.

    Args:
        delay: The wait in seconds, above zero, at most 1e9.
    """

    seconds: float

    def __init__(self, delay: float) -> None:
        check_number("delay", delay, above=0, most=LONGEST_WAIT, unit="seconds")
        object.__setattr__(self, "seconds", float(delay))

    def delay(self, attempt: int, chance: float) -> float:
        """Return the constant wait."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Waits that grow with each failed attempt: `initial * multiplier ** (attempt - 1)`.

    Args:
        initial: The wait before the first attempt in seconds, above zero.
        multiplier: The factor from one wait to the next, at least 1.
        maximum: The longest wait in seconds, including jitter, at least `initial` and at most 1e9.
        jitter: The share, from 0 to 1, by which a wait is extended or shortened at random (0.1: up
            to ten percent either way), so that circuits that opened together do not recover at the
            same moment.
    """

    initial: float = 1.0
    multiplier: float = 2.0
    maximum: float = 60.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        check_number("initial", self.initial, above=0, most=LONGEST_WAIT, unit="seconds")
        check_number("multiplier", self.multiplier, least=1)
        check_number("maximum", self.maximum, least=self.initial, most=LONGEST_WAIT, unit="seconds")
        check_number("jitter", self.jitter, least=0, most=1)

    def delay(self, attempt: int, chance: float) -> float:
        """Return the wait of an attempt, with maximum and jitter, at least 0.001 seconds."""
        try:
            grown = self.initial * self.multiplier ** (attempt - 1)
        except OverflowError:
            grown = self.maximum
        jittered = min(grown, self.maximum) * (1 + self.jitter * (2 * chance - 1))
        return max(SHORTEST_WAIT, min(jittered, self.maximum))


def next_attempt(attempt: int, healthy: float, forgive: float) -> int:
    """Return the number of the next attempt of a circuit that opens, by which its wait grows.

    The number grows by one with each opening, and decreases by one for each `forgive` seconds for
    which the circuit was closed. (Envoy decrements the multiplier of its ejection times in the same
    way.) It forgets gradually: after a fixed time, an upstream that fails just after that time
    would be retried at the shortest wait for ever.

    Args:
        attempt: The number of the last attempt, 0 without one.
        healthy: The seconds since the circuit closed; 0 if it did not.
        forgive: The policy's `forgive`.
    """
    forgiven = int(min(attempt, max(0.0, healthy) / forgive))
    return attempt - forgiven + 1


def check_forgive(value: object) -> None:
    """Refuse a policy's `forgive` that is no number of seconds above 0, or infinite.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    if value != math.inf:
        check_number("forgive", value, above=0, unit="seconds")


def wait_of(backoff: Backoff, attempt: int, chance: float) -> float:
    """Return the wait of a backoff, if it can be stored.

    Raises:
        TypeError, ValueError: The wait is invalid. Exceptions of a user's backoff propagate.
    """
    seconds: object = backoff.delay(attempt, chance)
    expected = f"{backoff!r} must return a wait of 0 to {LONGEST_WAIT:g} seconds, not {seconds!r}"
    if not is_number(seconds):
        raise TypeError(expected)
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ValueError(expected)
    return max(SHORTEST_WAIT, float(seconds))
