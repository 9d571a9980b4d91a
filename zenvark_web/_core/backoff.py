"""How long an open circuit waits before each attempt to recover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ._checks import check_number, is_number

SHORTEST_WAIT = 0.001
LONGEST_WAIT = 1e9
"""Seconds (31 years), the most that a setting may ask for: what is much longer cannot be stored."""


@runtime_checkable
class Backoff(Protocol):
    """What a policy needs of a backoff. Implementations are immutable settings."""

    def delay(self, attempt: int, chance: float) -> float:
        """The seconds to wait before an attempt.

        Args:
            attempt: Counted from one since the circuit was last healthy.
            chance: A random number from 0 up to 1, for jitter. (It comes in as an argument so
                that the same decision can be made again.)

        Returns:
            Seconds, from 0 to 1e9. What is anything else surfaces as a `StrategyError`, and the
            circuit waits as with the default backoff instead.
        """
        ...


@dataclass(frozen=True, slots=True, init=False)
class ConstantBackoff:
    """The same wait before every attempt.

    Args:
        delay: Seconds, above zero, at most 1e9.
    """

    seconds: float

    def __init__(self, delay: float) -> None:
        check_number("delay", delay, above=0, most=LONGEST_WAIT, unit="seconds")
        object.__setattr__(self, "seconds", float(delay))

    def delay(self, attempt: int, chance: float) -> float:
        """The constant, whatever the attempt."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Waits that grow with each failed attempt: `initial * multiplier ** (attempt - 1)`.

    Args:
        initial: Seconds before the first attempt, above zero.
        multiplier: The growth of each wait over the one before, at least 1.
        maximum: The longest wait in seconds, jitter included, at least `initial` and at most 1e9.
        jitter: The share by which a wait is lengthened or shortened at random (0.1: up to ten
            percent either way), so that circuits which opened together do not probe together.
            From 0 up to 1.
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
        """The growing wait, capped and jittered; never below a thousandth of a second."""
        try:
            grown = self.initial * self.multiplier ** (attempt - 1)
        except OverflowError:
            grown = self.maximum
        jittered = min(grown, self.maximum) * (1 + self.jitter * (2 * chance - 1))
        return max(SHORTEST_WAIT, min(jittered, self.maximum))


def wait_of(backoff: Backoff, attempt: int, chance: float) -> float:
    """The wait that a backoff gives, if it is one that can be stored.

    Raises:
        TypeError, ValueError: It is none; or whatever a user's backoff raises.
    """
    seconds: object = backoff.delay(attempt, chance)
    expected = f"{backoff!r} must give a wait of 0 to {LONGEST_WAIT:g} seconds, not {seconds!r}"
    if not is_number(seconds):
        raise TypeError(expected)
    if not 0 <= seconds <= LONGEST_WAIT:
        raise ValueError(expected)
    return max(SHORTEST_WAIT, float(seconds))
