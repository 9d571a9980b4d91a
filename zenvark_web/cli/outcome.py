"""The page of an operator's request: what it did, and what will happen."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from .._core.overrides import Override
from .._core.states import State
from .._operators import texts
from .._operators.overview import Overview
from .._operators.texts import STATES, counted, escaped
from ..backends.base import OverrideRecord, Probe
from .blocks import Line, Page, Part, line

EFFECTS: dict[Override | None, str] = {
    Override.FORCE_OPEN: "All calls are rejected. At the end, the circuit recovers by a health "
    "check or trial calls.",
    Override.FORCE_CLOSED: "All calls are permitted, and metrics and alerts show a closed circuit.",
    Override.OBSERVE: "All calls are permitted, and metrics and alerts show the fleet's verdict.",
    None: "The fleet's verdict applies again.",
}
ATTEMPT = (
    "The next attempt is due at once: the leader runs the health check, or grants trial calls."
)
NOT_OPEN = "The circuit is not open, so there is nothing to attempt."
HELD_OPEN = (
    "An operator has all calls of the circuit rejected, so there is no attempt. See `zenvark-web "
    "lift`."
)


def outcome_page(item: OverrideRecord | Probe, overview: Overview) -> Page:
    """Return the page.

    Args:
        item: The request, as Redis has written it.
        overview: The fleet afterwards.
    """
    name = Part(escaped(item.circuit), "bold")
    if isinstance(item, Probe):
        told = line(name, ": ", texts.operated(item))
        return [told, *_attempt(item, overview), *_reach(item, overview)]
    until = f", {texts.end(item, overview.now)}" if item.mode is not None else ""
    first = line(name, ": ", texts.operated(item), f"{until} (number {item.number})")
    return [first, line(EFFECTS[item.mode]), *_reach(item, overview), *_remedy(item)]


def _attempt(probe: Probe, overview: Overview) -> Sequence[Line]:
    """Return what a request for an attempt leads to, as far as the circuit is known."""
    for circuit in overview.circuits:
        if circuit.name == probe.circuit:
            override = circuit.override
            if override is not None and override.mode is Override.FORCE_OPEN:
                return [line(Part(HELD_OPEN, "yellow"))]
            return [line(Part(NOT_OPEN, "yellow") if circuit.state is not State.OPEN else ATTEMPT)]
    return []


def _reach(item: OverrideRecord | Probe, overview: Overview) -> Sequence[Line]:
    """Return the circuits and instances to which a request applies."""
    found = overview.matching(item.circuit)
    instances = sum(each.seen.is_alive for each in overview.members)
    if not instances:
        yet = "No instance is connected. The request applies when one starts."
        return [line(Part(yet, "yellow"))]
    if not found:
        unknown = "No instance has called such a circuit in the last hour: check the name."
        return [line(Part(unknown, "yellow"))]
    if len(found) == 1:
        state = STATES[found[0].state]
        return [line(f"{counted(instances, 'instance')}; the fleet's verdict is {state}.")]
    return [line(f"{counted(instances, 'instance')}, {counted(len(found), 'circuit')}.")]


def _remedy(record: OverrideRecord) -> Sequence[Line]:
    if record.mode is None:
        return []
    name = shlex.quote(escaped(record.circuit, 255))
    return [line(f"To end it before: zenvark-web lift {name} --reason ...")]
