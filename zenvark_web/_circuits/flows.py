"""Calls of a circuit inside a permitted call of the same circuit are part of that call.

A guarded function calls another one of the same circuit, or a client whose transport has the same
circuit. The outer call was permitted, so inner calls are too: they need no permit of their own,
which a half-open circuit would not have, and all of them count once, as the outer call.

A *flow* is the record of such a call in a context variable. It is a list instead of an object,
because nearly every call creates one, and a list takes a third of the time.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, TypeAlias
from weakref import ref

from .._core.states import ANSWERED, FAILURE, IGNORED, SUCCESS, Outcome

Flow: TypeAlias = list[Any]

WHOSE = 0
"""The circuit, a `Checked`, or None after the call is settled."""
GENERATION = 1
"""The generation in which the call began."""
OUTER = 2
"""The outer flow, or None."""
WORD = 3
"""The results of inner calls, or None: the last informative outcome with its label, and the errors
of ignored inner calls."""
OWNER = 4
"""A weak reference to the permit that carries the flow, or None. The flow ends when the permit is
lost."""
BEGAN = 5
"""The monotonic second at which a call without a permit began, or None."""

MOST_IGNORED = 8
"""The maximum number of kept errors of ignored inner calls, the latest ones: one of them may leave
the call."""

current: ContextVar[Flow | None] = ContextVar("zenvark_web.flow", default=None)


class Checked:
    """The circuit of a running health check.

    Args:
        home: An object that identifies one coordinator.
        name: The circuit's name.
    """

    __slots__ = ("home", "name")

    def __init__(self, home: object, name: str) -> None:
        self.home = home
        self.name = name


def under_way(flow: Flow | None) -> Flow | None:
    """The innermost call that is not settled. A task may outlive the call in which it began."""
    while flow is not None and (flow[WHOSE] is None or (flow[OWNER] and flow[OWNER]() is None)):
        flow = flow[OUTER]
    return flow


def carrier(flow: Flow | None, circuit: Any) -> Flow | None:
    """The flow of the same circuit that a call is part of, or None.

    Args:
        flow: The innermost flow.
        circuit: The circuit's local side.
    """
    while flow is not None:
        whose = flow[WHOSE]
        if whose is circuit and (flow[OWNER] is None or flow[OWNER]() is not None):
            # Once the circuit has moved on, the call further out counts in nothing any more.
            return flow if flow[GENERATION] == circuit.admission.generation else None
        if type(whose) is Checked and whose.home is circuit.notifier and whose.name == circuit.name:
            return flow
        flow = flow[OUTER]
    return None


def begun(circuit: object, generation: int, owner: object = None) -> Flow:
    """Begin a flow in this context. It ends with `left`, or when its owner is lost."""
    outer = current.get()
    flow: Flow = [circuit, generation, outer and under_way(outer), None, owner and ref(owner), None]
    current.set(flow)
    return flow


def entered(flow: Flow) -> None:
    """Resume a flow that was begun before, in this context or another one."""
    inner = current.get()
    seen = inner
    while seen is not None and seen is not flow:
        seen = seen[OUTER]
    if seen is None:
        flow[OUTER] = under_way(inner)
        current.set(flow)


def left(flow: Flow) -> None:
    """Return to the outer flow. Nothing happens outside the context in which the flow began,
    because a generator may be resumed or closed in any context."""
    inner = current.get()
    if inner is flow or under_way(inner) is flow:
        current.set(flow[OUTER])


def owner(flow: Flow) -> Any:
    """The permit that carries a flow, if it still exists."""
    return flow[OWNER] and flow[OWNER]()


def told(flow: Flow, outcome: Outcome, label: str, error: BaseException | None) -> None:
    """Record the outcome of a call inside a flow.

    Args:
        flow: The flow.
        outcome: The outcome.
        label: The name of a failure.
        error: The exception of the call, if it raised one.
    """
    last, its_label, ignored = flow[WORD] or (IGNORED, "", ())
    if outcome is not IGNORED:
        flow[WORD] = outcome, label, ignored
    elif error is not None:
        flow[WORD] = last, its_label, (*ignored, error)[-MOST_IGNORED:]


def ignored(flow: Flow | None) -> tuple[BaseException, ...]:
    """The errors of ignored calls inside a flow."""
    return () if flow is None or flow[WORD] is None else flow[WORD][2]


def last_word(flow: Flow, outcome: Outcome, label: str) -> tuple[Outcome, str]:
    """Settle a flow: return the outcome of its call, including inner calls. If the last informative
    inner call failed, the call is a failure; if it was answered, a success of the call counts as
    answered."""
    flow[WHOSE] = None
    word, flow[WORD] = flow[WORD], None  # the errors in it are kept no longer
    if word is not None and (
        (word[0] is FAILURE and outcome is not FAILURE)
        or (word[0] is ANSWERED and outcome is SUCCESS)
    ):
        return word[0], word[1]
    return outcome, label
