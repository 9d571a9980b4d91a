"""What to simulate, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..._core._checks import check_number, check_whole
from ..._core.policy import BreakerPolicy


class ViolationError(AssertionError):
    """An invariant was violated. The message contains the violation and its time, the call that
    reproduces it, and the preceding events."""


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """What to simulate.

    Args:
        instances: How many hosts, each with one coordinator.
        circuits: How many circuits, each with an upstream of its own. Every third one recovers by
            a health check, the others by trial calls.
        shards: As `Coordinator` has it.
        cut_off: As `BreakerPolicy` has it.
        seconds: How long faults happen; then all must agree before long.
        faults: Faults per minute, on average.
        calls: Calls per second that each instance makes, of circuits chosen by chance.
        lease_ttl: As `Coordinator` has it.
        policy: The circuits' policy, if not the simulation's own (five failures in a row, short
            waits). A health check in it is replaced by one of the simulated upstream, and
            `cut_off` by the setting above.
        notify: Whether the coordinators have a callback `on_published`.

    Raises:
        TypeError, ValueError: A number is none, or out of range.
    """

    instances: int = 4
    circuits: int = 3
    shards: int = 1
    cut_off: Literal["hold", "local"] = "hold"
    seconds: float = 300.0
    faults: float = 6.0
    calls: float = 6.0
    lease_ttl: float = 2.0
    policy: BreakerPolicy | None = None
    notify: bool = False

    def __post_init__(self) -> None:
        check_whole("instances", self.instances)
        check_whole("circuits", self.circuits)
        check_number("seconds", self.seconds, least=0)
        check_number("faults", self.faults, least=0)
        check_number("calls", self.calls, above=0)


@dataclass
class SimulationSummary:
    """The summary of a run.

    Args:
        seconds: Virtual seconds.
        steps: The number of executed steps.
        calls: The number of calls, permitted or rejected.
        transitions: The number of published transitions.
        notifications: The number of calls of `on_published`.
        faults: The number of faults.
        history: The newest lines of the history.
    """

    seconds: float = 0.0
    steps: int = 0
    calls: int = 0
    transitions: int = 0
    notifications: int = 0
    faults: int = 0
    history: Sequence[str] = ()
