"""The arguments of callbacks: frozen events, created after the fact."""

from __future__ import annotations

from dataclasses import dataclass

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
