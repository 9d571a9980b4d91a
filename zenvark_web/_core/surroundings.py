"""The requests of a circuit to its owner, and what the owner tells it besides reports and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .common_cause import CommonCause
from .states import HealthCheckType, Transition


@dataclass(frozen=True, slots=True)
class Check:
    """A request to run a health check.

    Args:
        type: Why it is needed.
        generation: The circuit's generation. The result counts in no other.
    """

    type: HealthCheckType
    generation: int


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A second opinion: calls of an instance pass, though the leader's health checks fail.

    Args:
        holder: The instance whose calls passed.
        failed: The number of failed checks.
        error: The error of the last one.
    """

    holder: str
    failed: int
    error: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a circuit cannot know from its own reports.

    Args:
        leader: The instance that decides, whose health checks these are.
        expected: The number of instances that were present when the leader began.
        expected_until: When these have reported, if they call the circuit.
        common_cause: Keeps circuits closed that trip together, for a common cause.
        may_ramp: Returns whether every instance can read a ramp. Without a ramp, a circuit closes
            at once.
    """

    leader: str = ""
    expected: int = 0
    expected_until: float = 0.0
    common_cause: CommonCause | None = None
    may_ramp: Callable[[], bool] = lambda: True


ALONE = Surroundings()
"""Nothing but its own reports."""


@dataclass(frozen=True, slots=True)
class Recall:
    """A request that the holder of a grant return its unused permits.

    Args:
        transition: The transition with the grant.
    """

    transition: Transition
