"""Circuits that trip together: when most of a fleet's upstreams seem to fail at once, the cause is
probably the fleet's own (its egress, DNS, a deployment), and no circuit should open for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ._checks import check_rate

TOGETHER = 10.0
"""Seconds within which circuits trip together."""

CALLED = 30.0
"""Seconds for which a result makes a circuit count as called."""

LEAST_CALLED = 5
"""Called circuits below which nothing can be told: two upstreams may well share a fate."""

HELD_BACK = 30.0
"""Seconds for which no further circuit opens."""


def check_common_cause(share: object) -> None:
    """Refuse a value that is neither None nor a share above 0 and up to 1.

    Raises:
        TypeError, ValueError: It is not usable.
    """
    if share is not None:
        check_rate("common_cause", share)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """The decision to open no further circuit for a while.

    Args:
        tripped: The circuits that tripped together.
        called: The number of called circuits.
    """

    tripped: Sequence[str]
    called: int


class CommonCause:
    """The trips of one leader's circuits.

    Args:
        share: The share of the called circuits above which no further circuit opens.

    Attributes:
        found: The decisions. The owner reports and clears them.
    """

    __slots__ = ("_called", "_share", "_tripped", "_until", "found")

    def __init__(self, share: float) -> None:
        self._share = share
        self._called: dict[str, float] = {}
        self._tripped: dict[str, float] = {}
        self._until = float("-inf")
        self.found: list[HeldBack] = []

    def note_called(self, circuit: str, now: float) -> None:
        """Record that a circuit has results."""
        self._called.pop(circuit, None)  # the dict stays in order of time
        self._called[circuit] = now
        _forget(self._called, now - CALLED)

    def holds_back(self, circuit: str, now: float) -> bool:
        """Record that a circuit trips; return whether it must stay closed."""
        self._tripped.pop(circuit, None)
        self._tripped[circuit] = now
        _forget(self._tripped, now - TOGETHER)
        if now < self._until:
            return True
        _forget(self._called, now - CALLED)
        called = len(self._called)
        if called < LEAST_CALLED or len(self._tripped) <= self._share * called:
            return False
        self._until = now + HELD_BACK
        self.found.append(HeldBack(tuple(self._tripped), called))
        return True


def _forget(times: dict[str, float], before: float) -> None:
    """Remove what happened before a time. The dict is in order of time."""
    while times:
        name, at = next(iter(times.items()))
        if at >= before:
            return
        del times[name]
