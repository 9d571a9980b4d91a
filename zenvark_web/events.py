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
