"""Times, names and transitions as text. All stored texts reach a terminal through `escaped`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from .._core.overrides import Override, OverrideRecord
from .._core.ramp import of_calls
from .._core.states import Cause, Protection, State, Suspicion, Transition
from ..backends.base import Probe
from ..backends.observers import Observers

MOST = 200
"""The default limit for characters of a stored text."""

# Less than a day: a time of day without its date must not mean two moments.
LONG_AGO = 20 * 3600.0

STATES: Mapping[State, str] = {
    State.CLOSED: "closed",
    State.OPEN: "open",
    State.HALF_OPEN: "half-open",
}

MODES: Mapping[Override, str] = {
    Override.FORCE_OPEN: "forced open",
    Override.FORCE_CLOSED: "forced closed",
    Override.OBSERVE: "only observed",
}

NAMED = 5
"""Instances that a warning names."""

STYLES: Mapping[State, str] = {
    State.CLOSED: "green",
    State.OPEN: "bold red",
    State.HALF_OPEN: "bold yellow",
}


def escaped(text: str, most: int = MOST) -> str:
    """Return a stored text without line breaks and control sequences."""
    shown = text[:most] + ("…" if len(text) > most else "")
    if shown.isprintable():
        return shown
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "replace").decode()
        for each in shown
    )


def operated(item: OverrideRecord | Probe) -> str:
    """Return what an operator did to a circuit."""
    why = f"by {escaped(item.actor, 60)}: {escaped(item.reason)}"
    if isinstance(item, Probe):
        return f"an attempt to recover was asked for {why}"
    if item.has_expired:
        return f"the override has expired; it was set {why}"
    if item.mode is None:
        return f"the override was lifted {why}"
    return f"{MODES[item.mode]} {why}"


def observed(observers: Observers) -> str:
    """Return how many instances only observe a circuit; empty if none does."""
    if observers.are_all:
        return MODES[Override.OBSERVE]
    if observers.number:
        return f"only observed by {observers.number} of {counted(observers.of, 'instance')}"
    return ""


def end(record: OverrideRecord, now: float) -> str:
    """Return the end of an override."""
    if record.until is None:
        return "without an end"
    return f"until {clock(record.until, now)} {zone(now)}, {duration(record.until - now)} left"


def duration(seconds: float) -> str:
    """Return a duration in at most two units."""
    if seconds < 1:
        ms = max(0.0, seconds) * 1000
        return f"{ms:.1f} ms" if 0 < ms < 10 else f"{ms:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.0f} min"
    hours = minutes / 60
    if hours < 48:
        return f"{int(hours)} h {int(minutes) % 60} min"
    return f"{min(hours / 24, 1e6):.0f} days"


def clock(at: float, now: float) -> str:
    """Return a time in the local time zone, with its date if that is another day."""
    try:
        moment = datetime.fromtimestamp(at, UTC).astimezone()
    except (OverflowError, ValueError, OSError):  # beyond any calendar
        return "?"
    return f"{moment:%H:%M:%S}" if abs(now - at) < LONG_AGO else f"{moment:%Y-%m-%d %H:%M:%S}"


def zone(now: float) -> str:
    """Return the local time zone."""
    try:
        return datetime.fromtimestamp(now, UTC).astimezone().tzname() or ""
    except (OverflowError, ValueError, OSError):
        return ""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(counts: Mapping[str, int]) -> str:
    """Return names with their numbers."""
    return ", ".join(f"{count:,} x {escaped(what)}" for what, count in counts.items())


def reason(transition: Transition, most: int = MOST) -> str:
    """Return the reason of a transition, with its sample of failures."""
    failures = listed(transition.reason.failures)
    told = detail(transition, most)
    return f"{told} ({failures})" if failures else told


def suspicion(suspect: Suspicion, now: float) -> str:
    """Return what a suspect saw, and for how long its results do not count."""
    slow = f", {suspect.slow:,} slow" if suspect.slow else ""
    saw = f"{suspect.failures:,} of {counted(suspect.calls, 'call')} failed{slow}"
    for_how_long = f"since {duration(now - suspect.since)}, {duration(suspect.until - now)} more"
    return f"{escaped(suspect.instance, 60)}: {saw}; {for_how_long}"


def ignoring(instances: Sequence[str]) -> str:
    """Return the warning of instances that ignore overrides."""
    shown = ", ".join(escaped(name, 60) for name in instances[:NAMED])
    more = f" and {len(instances) - NAMED} more" if len(instances) > NAMED else ""
    return (
        f"overrides are ignored by {counted(len(instances), 'instance')} of an older version: "
        f"{shown}{more}. Until their upgrade, their calls meet the fleet's verdict"
    )


def protection(instance: str, protection: Protection, now: float) -> str:
    """Return what an instance saw that protects itself, and since when."""
    failures = listed(protection.failures)
    saw = f"{escaped(protection.detail)}{f' ({failures})' if failures else ''}"
    state = f"{STATES[protection.state]} for itself since {duration(now - protection.since)}"
    return f"{escaped(instance, 60)}: {state}; {saw}"


def standing(transition: Transition, override: OverrideRecord | None, most: int = MOST) -> str:
    """Return the reason of a circuit's state, which an override that has ended no longer is."""
    told = reason(transition, most)
    mode = override.mode if override else None
    if transition.reason.cause is Cause.FORCED and mode is not Override.FORCE_OPEN:
        return f"the override has ended, and the circuit recovers; it was {told}"
    return told


def detail(transition: Transition, most: int = MOST) -> str:
    """Return the reason of a transition."""
    reason = transition.reason
    return escaped(reason.detail or reason.cause.value.replace("_", " "), most)


def change(transition: Transition) -> str:
    """Return the kind of a transition, in a word or two."""
    if transition.reason.cause is Cause.REPAIRED:
        return f"restored as {STATES[transition.state]}"
    if transition.state is State.CLOSED:
        return "closed"
    if transition.state is State.HALF_OPEN:
        return "half-open"
    if transition.previous is State.CLOSED:
        return "opened"
    return "stays open"


def attempt(transition: Transition, now: float) -> str:
    """Return the time of the next recovery attempt."""
    if transition.state is State.CLOSED:
        return ""
    if transition.state is State.HALF_OPEN:
        grant, ramp = transition.grant, transition.ramp
        if ramp is not None:
            elapsed = now - transition.at
            if elapsed >= ramp.length:
                return f"ramp: {of_calls(ramp.share_at(elapsed))}, until one passes"
            share, rest = of_calls(ramp.share_at(elapsed)), duration(ramp.length - elapsed)
            return f"ramp: {share}, {rest} left"
        if grant is None:
            return "under way"
        return f"{counted(grant.permits, 'trial call')} by {escaped(grant.holder, 60)}"
    left = transition.retry_at - now
    return f"in {duration(left)}" if left > 0 else f"due for {duration(-left)}"
