"""The pages of `status`, `watch` and `events`."""

from __future__ import annotations

from collections.abc import Sequence

from .._core.overrides import Override
from .._core.states import State, Suspect, Transition
from .._operators import texts
from .._operators.overview import Member, Overview, SeenCircuit
from .._operators.texts import STATES, STYLES, counted, duration, escaped
from ..backends.base import (
    Forgotten,
    LeaderChange,
    OverrideRecord,
    OverridesRestored,
    Probe,
    Recalled,
    UnknownEntry,
)
from ..backends.views import Event
from ..exceptions import MalformedEntryError
from .blocks import Line, Page, Part, Table, Text, line

ROWS = 50
"""The default limit for rows. Circuits that are not closed are always shown."""

DIM = "dim"
BAD = "bold red"
OVERRIDDEN = "bold magenta"

CIRCUITS = ("CIRCUIT", "STATE", "SINCE", "NEXT ATTEMPT", "REASON")
OVERRIDES = ("OVERRIDE", "CALLS", "END", "BY", "REASON")
INSTANCES = ("INSTANCE", "ROLE", "SEEN", "VERSION", "POLICIES")


def fleet_page(overview: Overview, *, every: bool = False) -> Page:
    """Return the page of `status`."""
    return [
        _heading(overview),
        *_troubles(overview),
        line(),
        *circuit_blocks(overview, None if every else ROWS),
        *override_blocks(overview, None if every else ROWS),
        *suspect_blocks(overview, None if every else ROWS),
        *protection_blocks(overview, None if every else ROWS),
        line(),
        *instance_blocks(overview),
    ]


def live_page(overview: Overview, events: Sequence[Event], height: int) -> Page:
    """Return the page of `watch` for a terminal of this height."""
    top = [_heading(overview), *_troubles(overview), line()]
    room = max(12, height - len(top) - 6)
    circuits = min(len(overview.circuits), room // 2)
    instances = min(len(overview.members), room // 4)
    overrides = min(len(overview.overrides), room // 6)
    shards = overview.shards
    told = [event_line(event, overview.now, shards=shards) for event in events]
    below = [
        *circuit_blocks(overview, circuits, least=0),
        *(override_blocks(overview, overrides) if overrides else ()),
        line(),
        *instance_blocks(overview, instances),
        line(),
    ]
    return [
        *top,
        *below,
        *told[-max(3, room - circuits - instances - (overrides and overrides + 3)) :],
    ]


def circuit_blocks(overview: Overview, rows: int | None, *, least: int | None = None) -> Page:
    """Return the table of circuits.

    Args:
        overview: The fleet.
        rows: The most rows; None for no limit.
        least: The least rows; None for all circuits that are not closed.
    """
    circuits = overview.circuits
    if not circuits:
        return [line(Part("no circuits: the fleet has not reported any call yet", DIM))]
    if least is None:
        least = sum(each.state is not State.CLOSED for each in circuits)
    shown = circuits if rows is None else circuits[: max(rows, least)]
    blocks: list[Line | Table] = [
        Table(CIRCUITS, tuple(_circuit(each, overview) for each in shown))
    ]
    if left := len(circuits) - len(shown):
        blocks.append(line(Part(f"and {counted(left, 'circuit')} more: status --all", DIM)))
    return blocks


def suspect_blocks(overview: Overview, rows: int | None) -> Page:
    """Return the lines of suspects, if there are any."""
    return [
        line(
            Part(f"SUSPECT of {escaped(circuit, 80)}: ", BAD),
            texts.suspicion(suspicion, overview.now),
        )
        for circuit, suspicion in overview.suspects[:rows]
    ]


def protection_blocks(overview: Overview, rows: int | None) -> Page:
    """Return the lines of instances that protect themselves, if there are any."""
    return [
        line(
            Part(f"OWN PROTECTION from {escaped(each.circuit, 80)}: ", BAD),
            texts.protection(instance, each, overview.now),
        )
        for instance, each in overview.protections[:rows]
    ]


def override_blocks(overview: Overview, rows: int | None) -> Page:
    """Return the table of overrides, if there are any."""
    overrides = overview.overrides
    if not overrides:
        return []
    now, shown = overview.now, overrides[:rows]
    table = Table(
        OVERRIDES,
        tuple(
            (
                escaped(each.circuit, 80),
                Part(texts.MODES[each.mode] if each.mode else "", OVERRIDDEN),
                "never" if each.until is None else f"in {duration(each.until - now)}",
                escaped(each.actor, 60),
                escaped(each.reason),
            )
            for each in shown
        ),
    )
    blocks: list[Line | Table] = [line(), table]
    if left := len(overrides) - len(shown):
        blocks.append(line(Part(f"and {counted(left, 'override')} more: status --all", DIM)))
    return blocks


def instance_blocks(overview: Overview, rows: int = ROWS) -> Page:
    """Return the table of instances."""
    members = overview.members
    if not members:
        return [line(Part("no instances: none is connected to this namespace", BAD))]
    digests = {each.seen.policies for each in members}
    shown = [_member(each, overview, differ=len(digests) > 1) for each in members[:rows]]
    blocks: list[Line | Table] = [Table(INSTANCES, tuple(shown))]
    if left := len(members) - len(shown):
        blocks.append(line(Part(f"and {counted(left, 'instance')} more", DIM)))
    return blocks


def event_line(event: Event, now: float, *, shards: int) -> Line:
    """Return the line of an event."""
    at = texts.clock(event.entry.position.seconds, now)
    where = f" shard {event.shard}" if shards > 1 else ""
    return Line((Part(f"{at}{where}  ", DIM), *_event(event)), cut=True)


def _heading(overview: Overview) -> Line:
    counts = overview.counts
    states = [
        Part(f"{counts[state]:,} {STATES[state]}", STYLES[state] if counts[state] else DIM)
        for state in (State.OPEN, State.HALF_OPEN, State.CLOSED)
    ]
    between = [part for state in states for part in (state, Part(", "))][:-1]
    now = overview.now
    where = f"   {texts.clock(now, now)} {texts.zone(now)}   {overview.server}"
    parts: tuple[Text, ...] = (Part(overview.namespace, "bold"), ": ", *between, Part(where, DIM))
    return Line(parts, cut=True)


def _troubles(overview: Overview) -> Sequence[Line]:
    found = [
        f"shard {number} is not readable, its circuits are not shown: {escaped(str(error))}. Run "
        "`zenvark-web doctor`"
        for number, error in overview.unread.items()
    ]
    if overview.leaderless:
        what = "no leader" if overview.shards == 1 else _unled(overview.leaderless)
        found.append(f"{what}: circuits keep their states. Run `zenvark-web doctor`")
    if overview.overrides and overview.ignoring:
        found.append(texts.ignoring(overview.ignoring))
    if overview.unreadable:
        what = counted(overview.unreadable, "malformed field")
        found.append(f"{what} skipped. Run `zenvark-web doctor`")
    if overview.omitted:
        found.append(f"{counted(overview.omitted, 'circuit')} not shown: above the limit of a read")
    return [line(Part(each, BAD)) for each in found]


def _unled(shards: Sequence[int]) -> str:
    return f"no leader of shard {', '.join(map(str, shards[:20]))}"


def _circuit(circuit: SeenCircuit, overview: Overview) -> tuple[Text, ...]:
    now, transition = overview.now, circuit.transition
    state = _state(circuit)
    name = escaped(circuit.name, 80)
    if transition is None:
        return name, state, "", "", Part("no state change yet", DIM)
    attempt = texts.attempt(transition, now)
    if circuit.override is not None and circuit.override.mode is Override.FORCE_OPEN:
        attempt = "after the override"
    elif circuit.state is State.OPEN:
        attempt += f", attempt {transition.attempt}"
    look = DIM if circuit.state is State.CLOSED else ""
    reason = Part(texts.standing(transition, circuit.override), look)
    return name, state, _since(circuit, now), attempt, reason


def _state(circuit: SeenCircuit) -> Part:
    verdict, override = STATES[circuit.state], circuit.override
    if override is None or override.mode is None:
        observed = texts.observed(circuit.observers)
        if observed:
            return Part(f"{verdict}, {observed}", OVERRIDDEN)
        return Part(verdict, STYLES[circuit.state])
    return Part(f"{verdict}, {texts.MODES[override.mode]}", OVERRIDDEN)


def _since(circuit: SeenCircuit, now: float) -> str:
    if circuit.transition is None:
        return ""
    if circuit.since is None:
        return duration(now - circuit.transition.at)
    return f"{'' if circuit.since.exact else 'over '}{duration(now - circuit.since.at)}"


def _member(member: Member, overview: Overview, *, differ: bool) -> tuple[Text, ...]:
    seen = member.seen
    ago = f"{duration(seen.silence)} ago"
    silent = ago if seen.is_alive else Part(f"{ago}, silent", BAD)
    return (
        escaped(seen.name, 60),
        _role(member, overview.shards),
        silent,
        escaped(seen.version, 20),
        Part(escaped(seen.policies, 16), BAD if differ else DIM),
    )


def _role(member: Member, shards: int) -> Text:
    if not member.leads:
        return "follower"
    if shards == 1:
        return Part("leader", "bold")
    return Part(f"leads {', '.join(map(str, member.leads[:8]))}", "bold")


def _event(event: Event) -> Sequence[Text]:
    item = event.entry.item
    match item:
        case Transition():
            circuit = Part(escaped(item.circuit, 80), "bold")
            happened = Part(texts.change(item), STYLES[item.state])
            return circuit, " ", happened, f": {texts.reason(item)}", _wait(item)
        case OverrideRecord() | Probe():
            return Part(escaped(item.circuit, 80), "bold"), f" {texts.operated(item)}"
        case Suspect():
            saw = f"{item.failures:,} of {counted(item.calls, 'call')} failed"
            told = f": {escaped(item.instance, 60)} is a suspect, {saw}"
            return Part(escaped(item.circuit, 80), "bold"), told
        case MalformedEntryError():
            return (Part(escaped(str(item)), BAD),)
        case _:
            return (Part(_aside(item), DIM),)


def _aside(item: LeaderChange | Forgotten | Recalled | OverridesRestored | UnknownEntry) -> str:
    """Return the line of an event that changes no circuit for its calls."""
    match item:
        case LeaderChange(leader=None):
            return f"the leader has stopped (epoch {item.epoch})"
        case LeaderChange():
            return f"{escaped(item.leader or '', 60)} is the leader (epoch {item.epoch})"
        case Forgotten():
            return f"{escaped(item.circuit, 80)} was removed: closed and unused"
        case Recalled():
            return f"{escaped(item.circuit, 80)}: unused trial permits were recalled"
        case UnknownEntry():
            return f"an entry of a newer version: {escaped(item.kind, 64)}"
        case OverridesRestored():
            return "the overrides were written again, which Redis had lost"


def _wait(transition: Transition) -> str:
    if transition.state is not State.OPEN:
        return ""
    return f"; attempt {transition.attempt} after {duration(transition.delay)}"
