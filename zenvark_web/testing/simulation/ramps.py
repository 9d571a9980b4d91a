"""The invariants of ramps in a simulated fleet.

Of its calls in a ramp, an instance permits at most the greatest share so far, and one call more
each time it begins to count: when it applies the ramp, and when it returns to the fleet after
having decided alone. While no clock is changed, that share is the one of the schedule at most.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..._core.ramp import Ramp
from ..._core.states import Transition
from ...breaker import Breaker
from .world import World

AHEAD = 1.0
"""Seconds by which an instance may be ahead of the schedule: it knows the shared clock as exactly
as its replies are fast, and so does the leader."""

UNAWARE = 5.0
"""Seconds for which an instance may not know that a server's clock was set, for lack of a reply."""

BEGINNINGS = 3
"""The calls that an instance may permit beyond its share, one for each time it begins to count."""


class RampChecks:
    """Observes the ramps of a fleet.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._begun: dict[tuple[str, int], tuple[Ramp, float]] = {}
        self._seen: dict[tuple[str, int, str], _Calls] = {}

    def published(self, transition: Transition, now: float) -> None:
        """A transition is in force; its ramp began when it was decided.

        Args:
            transition: The transition.
            now: The time of the store.
        """
        if transition.ramp is not None:
            key = transition.circuit, transition.generation
            began = self._world.loop.now - max(0.0, now - transition.at)
            self._begun.setdefault(key, (transition.ramp, began))

    def passed(self, instance: str, breaker: Breaker) -> bool:
        """Check a permitted call; return whether it belongs to a ramp."""
        key = breaker.name, breaker.generation
        begun = self._begun.get(key)
        if begun is None:
            return False
        self._check_share(instance, breaker, *begun)
        self._check_number(instance, breaker)
        return True

    def _check_share(self, instance: str, breaker: Breaker, ramp: Ramp, began: float) -> None:
        world = self._world
        due = ramp.share_at(world.loop.now - began + AHEAD)
        world.require(
            world.clocks_set_at >= began - UNAWARE or breaker.share <= due,
            f"{instance} permits a share of {breaker.share} of {breaker.name}, {due} is due",
        )

    def _check_number(self, instance: str, breaker: Breaker) -> None:
        calls = self._seen.setdefault(
            (breaker.name, breaker.generation, instance), _Calls(breaker.blocked)
        )
        calls.passed += 1
        calls.share = max(calls.share, breaker.share)
        number = calls.passed + breaker.blocked - calls.blocked_before
        self._world.require(
            calls.passed <= calls.share * number + BEGINNINGS,
            f"{instance} permitted {calls.passed} of {number} calls of {breaker.name} in a ramp",
        )


@dataclass
class _Calls:
    """The calls of one ramp on one instance."""

    blocked_before: int
    passed: int = 0
    share: float = 0.0
