"""Calls of a circuit inside a permitted call of the same circuit are part of that one.

A guarded function calls another one under the same circuit, or a client whose transport has the
circuit of that name. The call further out was let through, so those inside it are: they need no
permit of their own, which a half-open circuit would not have, and all of them count once, as the
call further out.

A *flow* is what such a call carries along in a context variable. It is a list and no object,
since nearly all calls make one and a list takes a third of the time.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, TypeAlias

from ._core.states import Outcome

Flow: TypeAlias = list[Any]

WHOSE = 0
"""The circuit, a `Checked`, or None once the call has been settled."""
GENERATION = 1
"""The generation in which the call began."""
OUTER = 2
"""The flow that this one began in, or None."""
WORD = 3
"""How the last call inside it ended, as an outcome and a label, or None."""

current: ContextVar[Flow | None] = ContextVar("zenvark_web.flow", default=None)


class Checked:
    """The circuit whose health check is under way.

    Args:
        home: What belongs to one coordinator alone.
        name: The circuit's name.
    """

    __slots__ = ("home", "name")

    def __init__(self, home: object, name: str) -> None:
        self.home = home
        self.name = name


def under_way(flow: Flow | None) -> Flow | None:
    """The innermost call that has not been settled: a task may outlive the call it began in."""
    while flow is not None and flow[WHOSE] is None:
        flow = flow[OUTER]
    return flow


def carrier(flow: Flow | None, circuit: Any) -> Flow | None:
    """The flow that a call of a circuit is part of, if there is one.

    Args:
        flow: The innermost flow.
        circuit: The circuit's local side.
    """
    while flow is not None:
        whose = flow[WHOSE]
        if whose is circuit:
            # Once the circuit has moved on, the call further out counts in nothing any more.
            return flow if flow[GENERATION] == circuit.admission.generation else None
        if type(whose) is Checked and whose.home is circuit.surface and whose.name == circuit.name:
            return flow
        flow = flow[OUTER]
    return None


def begun(circuit: object, generation: int) -> Flow:
    """Begin a flow here. `left` ends it."""
    flow: Flow = [circuit, generation, under_way(current.get()), None]
    current.set(flow)
    return flow


def entered(flow: Flow) -> None:
    """Go on with a flow that was begun before, here or elsewhere."""
    inner = current.get()
    seen = inner
    while seen is not None and seen is not flow:
        seen = seen[OUTER]
    if seen is None:
        flow[OUTER] = under_way(inner)
        current.set(flow)


def left(flow: Flow) -> None:
    """Go back to the flow further out. Nothing is done in another context than where the flow
    began: a generator may be resumed, or thrown away, in any."""
    if under_way(current.get()) is flow:
        current.set(flow[OUTER])


def last_word(flow: Flow, outcome: Outcome, label: str) -> tuple[Outcome, str]:
    """Settle a flow: how its call ended, if those inside it are heard as well. A failure that was
    the last to be told inside is one of the call."""
    flow[WHOSE] = None
    word: tuple[Outcome, str] | None = flow[WORD]
    if word is not None and word[0] is Outcome.FAILURE and outcome is not Outcome.FAILURE:
        return word
    return outcome, label
