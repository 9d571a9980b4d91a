"""The arguments of callbacks: frozen events, created after the fact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._core.overrides import OverrideRecord
from ._core.states import Reason, State


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state change of a circuit on this instance.

    Args:
        name: The circuit's name.
        previous: The previous state on this instance.
        state: The new state.
        generation: The number of the transition.
        reason: The explanation of the transition.
    """

    name: str
    previous: State
    state: State
    generation: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class OverrideChange:
    """A change of an override, as it takes effect on this instance.

    Args:
        circuit: The circuit or pattern.
        kind: Whether it was set, lifted by an operator, or expired.
        override: The override that is in force now, or that has ended.
        lifted: Who lifted it and why, if this instance has received that.
    """

    circuit: str
    kind: Literal["set", "lifted", "expired"]
    override: OverrideRecord
    lifted: OverrideRecord | None = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """An instance whose failures did not open a circuit: its quorum was not reached, so the cause
    is probably the instance's own (its egress, its configuration, its host).

    Args:
        circuit: The circuit's name.
        instance: The suspect. Its results do not count for a while.
        failures: The number of its failed calls in the window, slow calls included.
        calls: The number of its calls in the window.
        since: The time at which it became a suspect, in seconds of Redis' clock.
    """

    circuit: str
    instance: str
    failures: int
    calls: int
    since: float
