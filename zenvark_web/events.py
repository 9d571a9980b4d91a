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
class PublishedChange(StateChange):
    """A transition of a circuit as the leader has published it: one for the whole fleet.

    Args:
        position: The transition's place in the stream `states`, which identifies it together with
            the circuit's name: a receiver that has processed both may ignore a repetition.
        at: The time of the decision, in seconds of Redis' clock.
        retry_at: The time at which the next attempt to recover is due, if the circuit is open; else
            None.
        leader: The instance that decided.
    """

    position: str
    at: float
    retry_at: float | None
    leader: str


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
