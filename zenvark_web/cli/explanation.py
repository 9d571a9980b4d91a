"""The page of `why`: the reason of a circuit's state, and its next attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .._core.ramp import of_calls
from .._core.states import Cause, State, Transition
from .._operators import texts
from .._operators.advice import what_next
from .._operators.texts import STATES, STYLES, counted, duration, escaped, listed
from ..backends.views import CircuitView, Recent, is_closed
from .blocks import Block, Line, Page, Part, Table, line

DIM = "dim"
OVERRIDDEN = "bold magenta"
FULL = 1000

HISTORY = ("WHEN", "WHAT", "ATTEMPT", "REASON")


def circuit_page(name: str, view: CircuitView) -> Page:
    """Return the page of `why`."""
    return [
        _heading(name, view),
        *_override(name, view),
        *_reason(view),
        *_next(view),
        *_recent(view.recent),
        *_suspects(view),
        *_protections(view),
        *_counting(view),
        *_history(view),
    ]


def _heading(name: str, view: CircuitView) -> Line:
    current, shown = view.current, Part(escaped(name), "bold")
    if current is None:
        never = "; no state change yet"
        return line(shown, " is ", Part("closed", STYLES[State.CLOSED]), never)
    state = Part(STATES[current.state], STYLES[current.state])
    where = Part(f" (generation {current.generation}, shard {view.shard})", DIM)
    return line(shown, " is ", state, f", {_times(view, current)}", where)


def _override(name: str, view: CircuitView) -> Sequence[Block]:
    record = view.override
    if record is None:
        observed = texts.observed(view.observers)
        told = Part(f"{observed}, by the policy (observe=True)", OVERRIDDEN)
        return [line(Part(f"{'calls:':<12}", DIM), told, indent=2)] if observed else ()
    named = "" if record.circuit == name else f"as {escaped(record.circuit)}, "
    until = texts.end(record, view.now)
    told = Part(f"{texts.operated(record)} ({named}{until}, number {record.number})", OVERRIDDEN)
    return [line(Part(f"{'override:':<12}", DIM), told, indent=2)]


def _times(view: CircuitView, current: Transition) -> str:
    changed = f"changed {_moment(current.at, view.now)}"
    if view.since is None or view.since.transition.at == current.at:
        return changed
    before = "" if view.since.exact else "before "
    return f"opened {before}{_moment(view.since.at, view.now)}, {changed}"


def _moment(at: float, now: float) -> str:
    return f"{duration(now - at)} ago at {texts.clock(at, now)}"


def _reason(view: CircuitView) -> Sequence[Block]:
    current, since = view.current, view.since
    if current is None:
        return ()
    ended = texts.standing(current, view.override, FULL)
    told = ended if current.reason.cause is Cause.FORCED else texts.detail(current, FULL)
    last = [("why", told), *_sample(current)]
    last.append(("decided by", f"{escaped(current.leader)} (epoch {current.epoch})"))
    blocks: list[Block] = [_fact(what, told) for what, told in last]
    if since is not None and since.exact and since.transition.generation != current.generation:
        opening = [("opened by", texts.detail(since.transition, FULL)), *_sample(since.transition)]
        blocks += [line(), *(_fact(what, told) for what, told in opening)]
    return blocks


def _sample(transition: Transition) -> Sequence[tuple[str, str]]:
    reason = transition.reason
    facts = [("failures", listed(reason.failures)), ("seen by", _who(reason.instances))]
    if reason.kinds:
        facts.append(("kinds", listed(reason.kinds)))
    if reason.slow_share:
        facts.append(("slow", of_calls(reason.slow_share)))
    return [(what, told) for what, told in facts if told]


def _fact(what: str, told: str) -> Line:
    return line(Part(f"{what + ':':<12}", DIM), told, indent=2)


def _who(instances: Mapping[str, int]) -> str:
    return ", ".join(f"{escaped(who, 60)} ({count:,})" for who, count in instances.items())


def _next(view: CircuitView) -> Sequence[Block]:
    left = view.snapshot.retry_after_until - view.now if view.snapshot else 0.0
    asked = [line(f"Retry-After: the upstream asked to wait {duration(left)} more.")]
    return [line(), line(Part(what_next(view), "bold")), *(asked if left > 0 else [])]


def _recent(recent: Recent) -> Sequence[Block]:
    told = f"Last {duration(recent.span)}: {counted(recent.calls, 'call')}"
    told += f", {recent.failed:,} failed, {recent.blocked:,} rejected"
    if recent.uncounted:
        told += f", {recent.uncounted:,} would have been rejected"
    if recent.slow:
        told += f", {recent.slow:,} slow"
    if recent.overdue:
        told += f", {recent.overdue:,} in flight for too long"
    told += f"; reported by {counted(len(recent.instances), 'instance')}"
    seen = {who: count for who, count in recent.instances.items() if count}
    facts = [("failures", listed(recent.failures)), ("seen by", _who(seen))]
    return [line(), line(told), *(_fact(what, told) for what, told in facts if told)]


def _suspects(view: CircuitView) -> Sequence[Block]:
    if not view.suspects:
        return ()
    told = [line(texts.suspicion(each, view.now), indent=2) for each in view.suspects]
    return [line(), line("Suspects, whose results do not count:"), *told]


def _protections(view: CircuitView) -> Sequence[Block]:
    if not view.protections:
        return ()
    told = [line(texts.protection(*each, view.now), indent=2) for each in view.protections]
    return [line(), line("Instances that reject its calls by their own results:"), *told]


def _counting(view: CircuitView) -> Sequence[Block]:
    window = view.current_snapshot.window if view.current_snapshot else None
    if window is None or not is_closed(view.current):
        return ()
    blocks: list[Block] = [line(), line(f"Counting: {escaped(window.strategy, FULL)}")]
    blocks += [
        line(f"{count:,} x {escaped(what)} on {escaped(who, 60)}", indent=2)
        for who, what, count in window.failures[:10]
    ]
    return blocks


def _history(view: CircuitView) -> Sequence[Block]:
    if not view.history:
        return ()
    rows = [
        (
            texts.clock(each.at, view.now),
            Part(texts.change(each), STYLES[each.state]),
            f"{each.attempt}, {duration(each.delay)}" if each.state is State.OPEN else "",
            texts.reason(each),
        )
        for each in view.history
    ]
    return [line(), line("Last changes, newest first:"), Table(HISTORY, tuple(rows), indent=2)]
