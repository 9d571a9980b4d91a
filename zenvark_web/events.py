"""What callbacks are told: frozen events, after the fact."""

from __future__ import annotations

from dataclasses import dataclass

from ._core.states import Reason, State


@dataclass(frozen=True, slots=True)
class StateChange:
    """A circuit changed its state on this instance.

    Args:
        name: The circuit's name.
        previous: The state this instance knew before.
        state: The state from now on.
        generation: The number of the transition.
        reason: Why.
    """

    name: str
    previous: State
    state: State
    generation: int
    reason: Reason
