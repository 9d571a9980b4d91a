"""Checks of waits that upstreams name (`BreakerPolicy(throttle="open")`).

T1. A circuit is open for a named wait only if an instance was told one, and for no longer. (It
    begins with the report, where a clock that was set hides how long that was under way.)
T2. No attempt to recover is made before its end, unless an operator asks for one.
"""

from __future__ import annotations

from ..._core.states import Cause, Transition
from .world import World

UNSURE = 0.5
"""The tolerance of comparisons of times, in seconds: clocks are apart."""

ATTEMPTS = frozenset({Cause.TRIAL, Cause.RAMP, Cause.CHECK_PASSED, Cause.CHECK_FAILED})


class ThrottleChecks:
    """What upstreams said, and what the leaders made of it.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[str, float] = {}
        self._ends: dict[tuple[str, int], tuple[float, float]] = {}

    def told(self, circuit: str, seconds: float) -> None:
        """An upstream has named a wait to an instance."""
        self._told[circuit] = max(seconds, self._told.get(circuit, 0.0))

    def published(self, transition: Transition, now: float) -> None:
        """A transition is in force.

        Args:
            transition: The transition.
            now: The time of its store.
        """
        circuit = transition.circuit
        if transition.reason.cause is Cause.THROTTLED:
            self._ends[circuit, transition.generation] = transition.retry_at, self._world.loop.now
            self._world.require(
                transition.delay <= self._told.get(circuit, 0.0) + UNSURE,
                f"{circuit} is open for {transition.delay:.3f} s, which nobody named (T1)",
            )
        end, since = self._ends.pop((circuit, transition.generation - 1), (0.0, 0.0))
        if transition.reason.cause in ATTEMPTS and since > self._world.clocks_set_at:
            self._world.require(
                now >= end - UNSURE,
                f"{circuit} recovers {end - now:.3f} s before its upstream wants it (T2)",
            )
