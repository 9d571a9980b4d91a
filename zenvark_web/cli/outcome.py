"""The page of an operator's request: what it did, and what will happen."""

from __future__ import annotations

from collections.abc import Sequence

from .._core.overrides import Override
from .._core.states import State
from .._operators import texts
from .._operators.overview import Overview
from .._operators.texts import STATES, counted, duration, escaped
from ..backends.base import OverrideRecord, Probe
from .blocks import Line, Page, Part, line
from .names import suggestion

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
UNSEEN = "No instance has called such a circuit in the last hour: check the name."
KEPT = "The override is kept, and applies when such a circuit appears."


def outcome_page(item: OverrideRecord | Probe, overview: Overview, lift: str, probe: str) -> Page:
    """Return the page.

    Args:
        item: The request, as Redis has written it.
        overview: The fleet afterwards.
        lift: The command that lifts an override of the same name.
        probe: The command that asks for an attempt to recover.
    """
    name = Part(escaped(item.circuit), "bold")
    if isinstance(item, Probe):
        told = line(name, ": ", texts.operated(item))
        return [told, line(ATTEMPT), *_reach(item, overview)]
    until = f", {texts.end(item, overview.now)}" if item.mode is not None else ""
    first = line(name, ": ", texts.operated(item), f"{until} (number {item.number})")
    if item.mode is None:
        remedy = _attempt(item, overview, probe)
    else:
        remedy = [line(f"To end it before: {lift}")]
    return [
        first,
        *_replaced(item, overview.now),
        line(EFFECTS[item.mode]),
        *_ignored(item, overview),
        *_reach(item, overview),
        *remedy,
    ]


def _attempt(lifted: OverrideRecord, overview: Overview, probe: str) -> Sequence[Line]:
    """Return when a circuit that stays open attempts to recover."""
    for circuit in overview.matching(lifted.circuit):
        transition = circuit.transition
        # Of a pattern, the circuits differ; and another override may still apply.
        if circuit.name != lifted.circuit or transition is None or circuit.override is not None:
            continue
        left = transition.retry_at - overview.now
        if transition.state is State.OPEN and left > 0:
            return [line(f"The next attempt to recover is in {duration(left)}. At once: {probe}")]
    return []


def _replaced(record: OverrideRecord, now: float) -> Sequence[Line]:
    """Return the override of the same name that is no longer in force."""
    before = record.replaced
    if before is None or record.mode is None:
        return []
    told = f"{texts.operated(before)}, {texts.end(before, now)} (number {before.number})"
    return [line(Part(f"In place of: {told}", "yellow"))]


def _ignored(record: OverrideRecord, overview: Overview) -> Sequence[Line]:
    """Return a warning of instances to which an override does not apply."""
    if record.mode is None or not overview.ignoring:
        return []
    told = texts.ignoring(overview.ignoring)
    return [line(Part(f"{told[0].upper()}{told[1:]}.", "bold red"))]


def _reach(item: OverrideRecord | Probe, overview: Overview) -> Sequence[Line]:
    """Return the circuits and instances to which a request applies."""
    found = overview.matching(item.circuit)
    instances = sum(each.seen.is_alive for each in overview.members)
    if not instances:
        yet = "No instance is connected. The request applies when one starts."
        return [line(Part(yet, "yellow"))]
    if not found:
        alike = suggestion(item.circuit, [each.name for each in overview.unsorted])
        return [line(Part(f"{UNSEEN} {alike}{KEPT}", "yellow"))]
    if len(found) == 1:
        state = STATES[found[0].state]
        return [line(f"{counted(instances, 'instance')}; the fleet's verdict is {state}.")]
    return [line(f"{counted(instances, 'instance')}, {counted(len(found), 'circuit')}.")]
