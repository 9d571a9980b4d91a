"""A ramp: a recovered circuit permits a growing share of its calls before it permits all.

An upstream that has just come back may have cold caches and few connections, and fail again under
full load. One transition starts the ramp on every instance and contains its whole schedule, so no
step needs a message: each instance computes the current share from the time that has passed.

Envoy's slow start has the same aim, and ends by time alone. Here the leader counts the results of
the ramp like those of a closed circuit, and opens the circuit again when they trip its window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

from ._checks import check_number, is_number

# Each instance stores the schedule, and each report of a circuit in a ramp repeats it.
MOST_SHARES = 20
# Successes wait up to 0.1 s for their write. A much shorter step would end before its results are
# known to the leader, and the next one would begin unjudged.
SHORTEST_STEP = 0.5
LONGEST_STEP = 3600.0


def of_calls(*shares: float) -> str:
    """Return shares of calls as text, in the one form that all messages use."""
    return f"{', '.join(f'{100 * share:.3g} %' for share in shares)} of calls"


@dataclass(frozen=True, slots=True)
class Ramp:
    """The schedule of a ramp.

    Args:
        shares: The permitted shares of calls, strictly rising, each above 0 and below 1.
        step: The seconds for which each of them applies.
    """

    shares: tuple[float, ...]
    step: float

    @property
    def length(self) -> float:
        """The seconds from the ramp's start to the end of its last step."""
        return len(self.shares) * self.step

    def share_at(self, elapsed: float) -> float:
        """The permitted share of calls; the last one also after the end.

        Args:
            elapsed: The seconds since the ramp began. Below zero, the ramp is about to begin.
        """
        return self.shares[self._step_at(elapsed)]

    def until_next_step(self, elapsed: float) -> float:
        """The seconds until the current step ends; 0 after the end."""
        if elapsed >= self.length:
            return 0.0
        return (self._step_at(elapsed) + 1) * self.step - max(0.0, elapsed)

    def _step_at(self, elapsed: float) -> int:
        last = len(self.shares) - 1
        return min(int(min(max(0.0, elapsed) / self.step, last)), last)


class Credit:
    """Chooses the calls that pass: of any n consecutive calls at a share s, n times s, rounded up
    or down.

    Each call adds the share to the credit, and a call that makes it reach one passes and takes one
    off. The sums are exact: in binary floating point, ten times 0.1 would not reach one.

    Args:
        first: The credit before the first call, from 0 up to 1.
    """

    __slots__ = ("_credit", "_exact", "_share")

    def __init__(self, first: Fraction) -> None:
        self._credit = first
        self._share = 0.0
        self._exact = Fraction(0)

    def spend(self, share: float) -> bool:
        """Whether the next call passes.

        Args:
            share: The current share, above 0 and below 1.
        """
        if share != self._share:
            self._share, self._exact = share, Fraction(share)
        self._credit += self._exact
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


def first_credit(instance: str, generation: int) -> Fraction:
    """The credit with which an instance starts a ramp, from 0 up to 1: a hash of both, because with
    the same credit everywhere a hundred instances would let their tenth call pass at one moment."""
    text = f"{instance} {generation}".encode("utf-8", "replace")
    return Fraction(int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big"), 2**32)


def checked_shares(value: object) -> tuple[float, ...]:
    """Return the shares of a policy's `ramp`.

    Raises:
        TypeError: The value is no sequence of numbers.
        ValueError: A share is out of range, or not above the one before.
    """
    if is_number(value):
        raise TypeError(
            f"ramp must be a sequence of shares, not {value!r}: pass a sequence: (0.5,)"
        )
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(
            f"ramp must be a sequence of shares such as (0.1, 0.25, 0.5), not {value!r}"
        )
    shares: Sequence[Any] = cast(Any, value)
    if len(shares) > MOST_SHARES:
        raise ValueError(f"ramp must have at most {MOST_SHARES} shares, not {len(shares)}")
    before = 0.0
    for number, share in enumerate(shares):
        what = f"ramp[{number}]"
        check_number(what, share, above=before)
        if share >= 1:
            raise ValueError(
                f"{what} must be below 1, not {share!r}: after the ramp, all calls pass"
            )
        before = share
    return tuple(float(share) for share in shares)


def check_step(value: object) -> None:
    """Refuse a policy's `ramp_step` that is not a number of seconds in the range.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    check_number("ramp_step", value, least=SHORTEST_STEP, most=LONGEST_STEP, unit="seconds")
